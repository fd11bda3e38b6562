/* The descriptor budget: who gets a slot, who keeps it, and that no descriptor is lost. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/slots.h"

#define BUDGET 64U
#define MANY (4 * BUDGET)

static struct node_table *table;
static struct slots *slots;
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
        cr_assert_eq(slots_new(BUDGET, &slots), 0);
}

static void release(void)
{
        slots_free(slots);
        node_table_free(table);
}

TestSuite(slots, .init = make, .fini = release);

static int open_null(void)
{
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        cr_assert_geq(fd, 0);
        return fd;
}

static bool is_open(int fd)
{
        return fcntl(fd, F_GETFD) >= 0 || errno != EBADF;
}

static struct held put(struct node *n, enum slot_mode mode)
{
        struct held h = slots_put(slots, n, mode, open_null());

        cr_assert_geq(h.fd, 0);
        return h;
}

/* Put and let go: the descriptor. */
static int keep(struct node *n, enum slot_mode mode)
{
        struct held h = put(n, mode);
        int fd = h.fd;

        slots_release(slots, &h);
        return fd;
}

/* The node's descriptor of at least `mode`, or -1. */
static int look(struct node *n, enum slot_mode mode)
{
        struct held h;
        int fd;

        if (!slots_get(slots, n, mode, &h))
                return -1;
        fd = h.fd;
        slots_release(slots, &h);
        return fd;
}

static struct slots_stats stats(void)
{
        struct slots_stats s;

        slots_stats(slots, &s);
        return s;
}

Test(slots, a_better_one_takes_the_place_of_a_lesser)
{
        struct node *n = intern();
        int path = keep(n, SLOT_PATH);
        int reading;
        int writing;

        cr_assert_eq(look(n, SLOT_PATH), path);
        cr_assert_eq(look(n, SLOT_READ), -1);
        reading = keep(n, SLOT_READ);
        cr_assert_eq(look(n, SLOT_PATH), reading);
        cr_assert_eq(look(n, SLOT_READ), reading);
        cr_assert_eq(look(n, SLOT_WRITE), -1);
        cr_assert_not(is_open(path));
        writing = keep(n, SLOT_WRITE);
        cr_assert_eq(look(n, SLOT_PATH), writing);
        cr_assert_eq(look(n, SLOT_WRITE), writing);
        cr_assert_not(is_open(reading));
        cr_assert_eq(stats().used, 1);
}

Test(slots, the_pin_goes_over_to_the_better_one)
{
        struct node *n = intern();

        keep(n, SLOT_PATH);
        cr_assert(slots_pin(slots, n));
        keep(n, SLOT_READ);
        keep(n, SLOT_WRITE);
        cr_assert_eq(stats().pinned, 1);
        slots_trim();
        cr_assert_geq(look(n, SLOT_WRITE), 0);
        slots_unpin(slots, n);
        cr_assert_eq(stats().pinned, 0);
        slots_trim();
        cr_assert_eq(look(n, SLOT_PATH), -1);
}

Test(slots, a_replaced_one_in_use_is_closed_when_let_go)
{
        struct node *n = intern();
        struct held h = put(n, SLOT_PATH);
        int fd = h.fd;

        keep(n, SLOT_READ);
        cr_assert(is_open(fd));
        slots_release(slots, &h);
        cr_assert_eq(h.fd, -1);
        cr_assert_not(is_open(fd));
        cr_assert_eq(stats().used, 1);
}

Test(slots, who_comes_second_gets_the_first_ones)
{
        struct node *n = intern();
        int first = keep(n, SLOT_READ);
        int mine = open_null();
        struct held h = slots_put(slots, n, SLOT_PATH, mine);

        cr_assert_eq(h.fd, first);
        slots_release(slots, &h);
        cr_assert_not(is_open(mine));
        cr_assert(is_open(first));
        cr_assert_eq(stats().used, 1);
}

Test(slots, more_than_the_budget_are_never_open)
{
        for (unsigned i = 0; i < MANY; i++) {
                keep(intern(), SLOT_READ);
                cr_assert_leq(stats().used, stats().max);
        }
        cr_assert_eq(stats().max, BUDGET);
        cr_assert_eq(stats().used, BUDGET);
}

Test(slots, the_pinned_and_those_in_use_are_not_evicted)
{
        struct node *pinned = intern();
        struct node *used = intern();
        struct held h;

        keep(pinned, SLOT_READ);
        cr_assert(slots_pin(slots, pinned));
        h = put(used, SLOT_READ);
        for (unsigned i = 0; i < MANY; i++)
                keep(intern(), SLOT_READ);
        cr_assert_geq(look(pinned, SLOT_READ), 0);
        cr_assert_eq(look(used, SLOT_READ), h.fd);
        cr_assert(is_open(h.fd));
        slots_release(slots, &h);
        for (unsigned i = 0; i < MANY; i++)
                keep(intern(), SLOT_READ);
        cr_assert_eq(look(used, SLOT_READ), -1);
        cr_assert_geq(look(pinned, SLOT_READ), 0);
}

Test(slots, one_used_meanwhile_outlives_the_others)
{
        struct node *used = intern();

        keep(used, SLOT_READ);
        for (unsigned i = 0; i < MANY; i++) {
                cr_assert_geq(look(used, SLOT_READ), 0);
                keep(intern(), SLOT_READ);
        }
}

Test(slots, an_evicted_node_never_finds_its_successors_descriptor)
{
        struct node *nodes[MANY];
        unsigned found = 0;

        for (unsigned i = 0; i < MANY; i++) {
                nodes[i] = intern();
                keep(nodes[i], SLOT_READ);
        }
        for (unsigned i = 0; i < MANY; i++)
                found += look(nodes[i], SLOT_READ) >= 0;
        cr_assert_eq(found, stats().used);
}

Test(slots, beyond_the_budget_a_descriptor_lasts_as_long_as_its_use)
{
        struct held held[MANY];
        unsigned beyond = 0;

        for (unsigned i = 0; i < MANY; i++) {
                struct node *n = intern();

                held[i] = put(n, SLOT_READ);
                if (held[i].slot >= 0)
                        continue;
                beyond++;
                cr_assert_eq(look(n, SLOT_READ), -1, "nobody else finds it");
                cr_assert_not(slots_pin(slots, n));
        }
        cr_assert_eq(beyond, MANY - BUDGET);
        cr_assert_eq(stats().used, BUDGET);
        for (unsigned i = 0; i < MANY; i++) {
                int fd = held[i].fd;
                bool stays = held[i].slot >= 0;

                slots_release(slots, &held[i]);
                cr_assert_eq(is_open(fd), stays);
        }
}

Test(slots, a_node_finds_its_own_slot_again_after_it_was_closed)
{
        struct node *n = intern();

        /* It takes the slot that it had before, which it still names. */
        for (int i = 0; i < 3; i++) {
                struct held h = put(n, SLOT_PATH);

                cr_assert_geq(h.slot, 0);
                cr_assert(is_open(h.fd));
                cr_assert_eq(look(n, SLOT_PATH), h.fd);
                slots_release(slots, &h);
                cr_assert_geq(look(n, SLOT_PATH), 0);
                cr_assert_eq(stats().used, 1);
                slots_trim();
                cr_assert_eq(look(n, SLOT_PATH), -1);
                cr_assert_eq(stats().used, 0);
        }
}

Test(slots, idle_writers_are_closed_and_busy_ones_are_not)
{
        struct node *idle = intern();
        struct node *busy = intern();
        struct node *reader = intern();
        int fd = keep(idle, SLOT_WRITE);

        keep(busy, SLOT_WRITE);
        keep(reader, SLOT_READ);
        cr_assert(slots_close_idle_writers(slots), "both were used just now");
        cr_assert(is_open(fd));
        cr_assert_geq(look(busy, SLOT_WRITE), 0);
        cr_assert(slots_close_idle_writers(slots));
        cr_assert_not(is_open(fd));
        cr_assert_eq(look(idle, SLOT_PATH), -1);
        cr_assert_geq(look(busy, SLOT_PATH), 0);
        (void)slots_close_idle_writers(slots);
        cr_assert_not(slots_close_idle_writers(slots));
        cr_assert_eq(look(busy, SLOT_PATH), -1);
        cr_assert_geq(look(reader, SLOT_READ), 0);
}

Test(slots, a_writer_in_use_is_not_closed)
{
        struct node *n = intern();
        struct held h = put(n, SLOT_WRITE);

        for (int i = 0; i < 3; i++)
                cr_assert(slots_close_idle_writers(slots));
        cr_assert(is_open(h.fd));
        slots_release(slots, &h);
}

Test(slots, pinned_writers_stay_and_nobody_waits_for_them)
{
        struct node *n = intern();

        keep(n, SLOT_WRITE);
        cr_assert(slots_pin(slots, n));
        cr_assert_not(slots_close_idle_writers(slots));
        cr_assert_not(slots_close_idle_writers(slots));
        cr_assert_geq(look(n, SLOT_WRITE), 0);
        slots_unpin(slots, n);
        while (slots_close_idle_writers(slots))
                ;
        cr_assert_eq(look(n, SLOT_PATH), -1);
}

Test(slots, the_forgotten_is_closed_at_once_or_with_its_last_use)
{
        struct node *n = intern();
        struct node *used = intern();
        int fd = keep(n, SLOT_READ);
        struct held h = put(used, SLOT_READ);
        int used_fd = h.fd;

        cr_assert(slots_pin(slots, n));
        slots_forget(slots, n);
        cr_assert_not(is_open(fd));
        slots_forget(slots, n);
        slots_forget(slots, used);
        cr_assert(is_open(used_fd));
        slots_release(slots, &h);
        cr_assert_not(is_open(used_fd));
        cr_assert_eq(stats().used, 0);
        cr_assert_eq(stats().pinned, 0);
}

Test(slots, forgetting_the_evicted_leaves_the_successor_alone)
{
        struct node *nodes[MANY];
        unsigned found = 0;

        for (unsigned i = 0; i < MANY; i++) {
                nodes[i] = intern();
                keep(nodes[i], SLOT_READ);
        }
        for (unsigned i = 0; i < MANY; i++)
                if (look(nodes[i], SLOT_READ) < 0)
                        slots_forget(slots, nodes[i]);
        for (unsigned i = 0; i < MANY; i++)
                found += look(nodes[i], SLOT_READ) >= 0;
        cr_assert_eq(found, BUDGET);
}

Test(slots, pinning_leaves_room_for_others)
{
        unsigned pinned = 0;

        cr_assert_not(slots_pin(slots, intern()), "it has none");
        for (unsigned i = 0; i < MANY; i++) {
                struct node *n = intern();

                keep(n, SLOT_PATH);
                pinned += slots_pin(slots, n);
        }
        cr_assert_geq(pinned, BUDGET / 2);
        cr_assert_lt(pinned, BUDGET);
        cr_assert_eq(stats().pinned, pinned);
}

/* Two mounts of one process: what both may have together is bounded, but each can always have a few. */
Test(slots, the_mounts_of_a_process_share_its_descriptors)
{
        struct slots *first = slots, *second;
        struct slots_stats one, two;

        cr_assert_eq(slots_new(BUDGET, &second), 0);
        slots_share(BUDGET);
        for (unsigned i = 0; i < BUDGET; i++) {
                slots = first;
                keep(intern(), SLOT_PATH);
                slots = second;
                keep(intern(), SLOT_PATH);
        }
        slots = first;
        slots_stats(first, &one);
        slots_stats(second, &two);
        cr_assert_leq(one.used + two.used, BUDGET + 64);
        cr_assert_geq(two.used, 32);
        slots_trim();
        slots_stats(first, &one);
        slots_stats(second, &two);
        cr_assert_eq(one.used + two.used, 0);
        slots_share(UINT32_MAX);
        slots_free(second);
}
