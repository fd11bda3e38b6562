/* The name index: what the kernel believes, and by which names a node is reached. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/name.h"

#define MANY 50000U

static struct node_table *table;
static struct name_index *names;
static struct node *root;
static uint32_t numbers;

static struct node *intern(void)
{
        struct ident id;
        struct node *n;

        numbers++;
        cr_assert(ident_from_handle(1, &numbers, sizeof(numbers), &id));
        n = node_intern(table, &id, S_IFREG, 0);
        cr_assert_not_null(n);
        return n;
}

static void make(void)
{
        cr_assert_eq(node_table_new(&table), 0);
        cr_assert_eq(name_index_new(&names), 0);
        root = intern();
}

static void release(void)
{
        name_index_free(names);
        node_table_free(table);
}

TestSuite(name, .init = make, .fini = release);

static void set(struct node *dir, const char *name, struct node *n)
{
        name_set(names, node_id_of(dir), name, strlen(name), n);
}

static void saw(struct node *dir, const char *name, struct node *n)
{
        name_saw(names, node_id_of(dir), name, strlen(name), n);
}

static void clear(struct node *dir, const char *name)
{
        name_clear(names, node_id_of(dir), name, strlen(name));
}

static node_id belief(struct node *dir, const char *name)
{
        return name_belief(names, node_id_of(dir), name, strlen(name));
}

/* Is the nth name of `n` this one? */
static bool is_nth(struct node *n, unsigned nth, struct node *dir, const char *name)
{
        char text[NAME_BYTES_MAX + 1];
        node_id id = name_of_node(names, n, nth, text);

        return dir ? id == node_id_of(dir) && strcmp(text, name) == 0 : id == NODE_NONE;
}

Test(name, what_was_set_is_believed)
{
        struct node *a = intern();

        cr_assert_eq(belief(root, "a"), NODE_NONE);
        set(root, "a", a);
        cr_assert_eq(belief(root, "a"), node_id_of(a));
        cr_assert_eq(belief(a, "a"), NODE_NONE, "another directory's");
        cr_assert_eq(belief(root, "A"), NODE_NONE);
        cr_assert_eq(name_belief(names, NODE_ROOT, "ab", 1), node_id_of(a), "the length counts, not the end");
        cr_assert(is_nth(a, 0, root, "a"));
        cr_assert(is_nth(a, 1, NULL, NULL));
}

Test(name, what_was_cleared_is_nothing)
{
        struct node *a = intern();

        set(root, "a", a);
        clear(root, "b");
        clear(root, "a");
        clear(root, "a");
        cr_assert_eq(belief(root, "a"), NODE_NONE);
        cr_assert(is_nth(a, 0, NULL, NULL));
        cr_assert_eq(name_count(names), 0);
}

Test(name, a_replaced_node_loses_the_name)
{
        struct node *a = intern();
        struct node *b = intern();

        set(root, "x", a);
        set(root, "y", a);
        set(root, "x", b);
        cr_assert_eq(belief(root, "x"), node_id_of(b));
        cr_assert(is_nth(b, 0, root, "x"));
        cr_assert(is_nth(a, 0, root, "y"));
        cr_assert(is_nth(a, 1, NULL, NULL));
        cr_assert_eq(name_count(names), 2);
}

Test(name, aliases_are_listed_the_most_recent_first)
{
        struct node *dir = intern();
        struct node *a = intern();

        set(root, "one", a);
        set(dir, "two", a);
        set(root, "three", a);
        set(root, "one", a); /* known already */
        cr_assert(is_nth(a, 0, root, "three"));
        cr_assert(is_nth(a, 1, dir, "two"));
        cr_assert(is_nth(a, 2, root, "one"));
        cr_assert(is_nth(a, 3, NULL, NULL));
        clear(dir, "two");
        cr_assert(is_nth(a, 1, root, "one"));
        cr_assert(is_nth(a, 2, NULL, NULL));
}

Test(name, a_name_only_seen_is_no_belief_but_leads_to_the_node)
{
        struct node *a = intern();

        saw(root, "a", a);
        cr_assert_eq(belief(root, "a"), NODE_NONE);
        cr_assert(is_nth(a, 0, root, "a"));
        set(root, "a", a);
        cr_assert_eq(belief(root, "a"), node_id_of(a));
        cr_assert_eq(name_count(names), 1);
}

Test(name, what_was_told_outweighs_what_is_seen)
{
        struct node *a = intern();
        struct node *b = intern();

        set(root, "x", a);
        saw(root, "x", b);
        cr_assert_eq(belief(root, "x"), node_id_of(a));
        cr_assert(is_nth(b, 0, NULL, NULL));
        saw(root, "y", b);
        set(root, "y", a);
        cr_assert_eq(belief(root, "y"), node_id_of(a));
        cr_assert(is_nth(b, 0, NULL, NULL));
}

Test(name, names_of_a_forgotten_node_are_gone)
{
        struct node *a = intern();
        struct node *b = intern();
        uint64_t bytes;

        set(root, "b", b);
        bytes = name_index_bytes(names);
        set(root, "a", a);
        set(b, "a", a);
        saw(b, "other", a);
        cr_assert(node_drop(table, a, 1));
        name_clear_node(names, a);
        node_recycle(table, a);
        cr_assert_eq(belief(root, "a"), NODE_NONE);
        cr_assert_eq(belief(b, "a"), NODE_NONE);
        cr_assert_eq(belief(root, "b"), node_id_of(b));
        cr_assert_eq(name_count(names), 1);
        cr_assert_leq(name_index_bytes(names), bytes + 3 * 16 * sizeof(void *), "no more than the buckets stay");
}

Test(name, a_directory_made_of_a_recycled_record_has_no_names_of_the_old)
{
        struct node *dir = intern();
        struct node *a = intern();
        struct node *again;
        struct ident id = dir->ident;

        set(dir, "a", a);
        cr_assert(node_drop(table, dir, 1));
        name_clear_node(names, dir);
        node_recycle(table, dir);
        again = node_intern(table, &id, S_IFDIR, 0);
        cr_assert_eq(again, dir, "the record is used again");
        cr_assert_eq(belief(again, "a"), NODE_NONE);
}

Test(name, any_bytes_up_to_255_make_a_name)
{
        char longest[NAME_BYTES_MAX + 1];
        struct node *a = intern();
        struct node *b = intern();

        memset(longest, '\xff', NAME_BYTES_MAX);
        longest[NAME_BYTES_MAX] = '\0';
        longest[1] = '\n';
        set(root, longest, a);
        longest[NAME_BYTES_MAX - 1] = 'x';
        set(root, longest, b);
        cr_assert_eq(belief(root, longest), node_id_of(b));
        cr_assert(is_nth(b, 0, root, longest));
        longest[NAME_BYTES_MAX - 1] = '\xff';
        cr_assert_eq(belief(root, longest), node_id_of(a));
}

Test(name, many_are_found)
{
        struct node *a = intern();
        char text[16];

        for (unsigned i = 0; i < MANY; i++) {
                snprintf(text, sizeof(text), "%u", i);
                set(root, text, a);
        }
        cr_assert_eq(name_count(names), MANY);
        for (unsigned i = 0; i < MANY; i++) {
                snprintf(text, sizeof(text), "%u", i);
                cr_assert_eq(belief(root, text), node_id_of(a));
        }
        name_clear_node(names, a);
        cr_assert_eq(name_count(names), 0);
}
