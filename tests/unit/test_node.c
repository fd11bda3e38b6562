/* The node table: found by identity and by number, gone with the last reference, stale numbers noticed. */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/node.h"

#define MANY 200000U
#define NODE_BYTES_MAX 200U

static struct node_table *table;

static void make(void)
{
        cr_assert_eq(node_table_new(&table), 0);
}

static void release(void)
{
        node_table_free(table);
}

TestSuite(node, .init = make, .fini = release);

static struct ident ident(uint32_t number)
{
        struct ident id;
        uint32_t bytes[2] = {number, number * 7 + 1};

        cr_assert(ident_from_handle(1, bytes, sizeof(bytes), &id));
        return id;
}

static struct node *intern(uint32_t number)
{
        struct ident id = ident(number);
        struct node *n = node_intern(table, &id, S_IFREG | 0644, 0);

        cr_assert_not_null(n);
        return n;
}

static struct node *find(uint32_t number)
{
        struct ident id = ident(number);

        return node_find(table, &id);
}

static void forget(struct node *n)
{
        cr_assert(node_drop(table, n, 1));
        node_recycle(table, n);
}

Test(node, the_first_is_the_root)
{
        cr_assert_eq(node_id_of(intern(1)), NODE_ROOT);
        cr_assert_neq(node_id_of(intern(2)), NODE_ROOT);
}

Test(node, an_identity_has_one_node)
{
        struct node *n = intern(1);

        cr_assert_eq(intern(1), n);
        cr_assert_eq(find(1), n);
        cr_assert_neq(intern(2), n);
        cr_assert_eq(node_count(table), 2);
        cr_assert_eq(node_get(table, node_id_of(n)), n);
}

Test(node, the_type_is_kept_and_the_permissions_are_not)
{
        struct ident id = ident(1);

        cr_assert_eq(node_intern(table, &id, S_IFDIR | 0755, 0)->type, S_IFDIR);
}

Test(node, nobody_unknown_is_found)
{
        intern(1);
        cr_assert_null(find(2));
        cr_assert_null(node_get(table, NODE_NONE));
        cr_assert_null(node_hold(table, NODE_NONE));
        cr_assert_null(node_hold(table, 2));
        cr_assert_null(node_get(table, UINT32_MAX));
        cr_assert_null(node_get(table, UINT64_MAX));
        cr_assert_null(node_hold(table, (node_id)1 << 32 | 1));
}

Test(node, it_lives_until_the_last_reference)
{
        struct node *n = intern(1);

        cr_assert_eq(intern(1), n);
        cr_assert_eq(node_hold(table, node_id_of(n)), n);
        cr_assert_not(node_drop(table, n, 2));
        cr_assert_eq(find(1), n);
        cr_assert(node_drop(table, n, 2));
        cr_assert_null(find(1));
        cr_assert_null(node_hold(table, node_id_of(n)));
        cr_assert_eq(node_count(table), 0);
        node_recycle(table, n);
}

Test(node, a_recycled_record_has_another_number)
{
        struct node *n = intern(1);
        node_id old = node_id_of(n);
        struct node *again;

        forget(n);
        cr_assert_null(node_get(table, old));
        again = intern(1);
        cr_assert_eq(again, n, "the record is used again");
        cr_assert_neq(node_id_of(again), old);
        cr_assert_null(node_get(table, old));
        cr_assert_null(node_hold(table, old));
        cr_assert_eq(node_get(table, node_id_of(again)), again);
}

Test(node, a_recycled_record_is_as_new)
{
        struct node *n = intern(1);

        atomic_store(&n->retell, true);
        forget(n);
        n = intern(1);
        cr_assert_not(atomic_load(&n->retell));
        cr_assert_null(n->names);
        cr_assert_eq(atomic_load(&n->slot), -1);
        cr_assert_eq(atomic_load(&n->refs), 1);
}

Test(node, a_dead_one_that_is_not_recycled_yet_is_not_taken_for_its_successor)
{
        struct node *old = intern(1);
        struct node *n;

        cr_assert(node_drop(table, old, 1));
        n = intern(1);
        cr_assert_neq(n, old);
        node_recycle(table, old);
        cr_assert_eq(find(1), n);
}

Test(node, many_are_found_and_cost_little)
{
        for (uint32_t i = 1; i <= MANY; i++)
                intern(i);
        cr_assert_eq(node_count(table), MANY);
        cr_assert_lt(node_table_bytes(table) / MANY, NODE_BYTES_MAX);
        for (uint32_t i = 1; i <= MANY; i++) {
                struct node *n = find(i);

                cr_assert_not_null(n);
                cr_assert_eq(node_get(table, node_id_of(n)), n);
                cr_assert_not(node_drop(table, n, 1));
        }
}

Test(node, memory_does_not_grow_as_they_come_and_go)
{
        uint64_t bytes = 0;

        for (int round = 0; round < 4; round++) {
                struct node *nodes[3000];

                for (uint32_t i = 0; i < 3000; i++)
                        nodes[i] = intern(i + 1);
                if (round == 0)
                        bytes = node_table_bytes(table);
                for (uint32_t i = 0; i < 3000; i++)
                        forget(nodes[i]);
        }
        cr_assert_eq(node_table_bytes(table), bytes);
        cr_assert_eq(node_count(table), 0);
}

struct visits {
        unsigned seen, put, stop_at;
};

static bool visit(void *arg, struct node *n)
{
        struct visits *v = arg;

        cr_assert_gt(atomic_load(&n->refs), 1, "a reference is held");
        return ++v->seen != v->stop_at;
}

static void put(void *arg, struct node *n)
{
        struct visits *v = arg;

        v->put++;
        (void)node_drop(table, n, 1);
}

Test(node, each_is_visited_once_until_told_to_stop)
{
        struct visits all = {0};
        struct visits some = {.stop_at = 3};
        struct node *fourth = NULL;

        for (uint32_t i = 1; i <= 10; i++) {
                struct node *n = intern(i);

                if (i == 4)
                        fourth = n;
        }
        forget(fourth);
        node_each(table, visit, put, &all);
        cr_assert_eq(all.seen, 9);
        cr_assert_eq(all.put, 9);
        node_each(table, visit, put, &some);
        cr_assert_eq(some.seen, 3);
        cr_assert_eq(some.put, 3);
        cr_assert_eq(node_count(table), 9);
}
