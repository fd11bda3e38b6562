/*
 * The journal: what goes in comes out in order, as long as there is room; and who is overtaken is told.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/journal.h"

#define SMALL ((size_t)16 << 10)
#define STORM 200000

static struct journal *journal;

static void setup(void)
{
        cr_assert_eq(journal_new(SMALL, &journal), 0);
}

static void teardown(void)
{
        journal_free(journal);
}

TestSuite(journal, .init = setup, .fini = teardown);

static void append(struct journal *j, const char *path)
{
        const struct change c = {.kind = CHANGE_MODIFIED,
                                 .origin = ORIGIN_CONTAINER,
                                 .type = CONTENT_PROGRAM,
                                 .path = path,
                                 .has_old = true,
                                 .has_new = true,
                                 .old_hash = {.bytes = {1}},
                                 .new_hash = {.bytes = {2}}};

        journal_append(j, &c);
}

static void append_touch(struct journal *j, const char *path)
{
        journal_append(j, &(struct change){.kind = CHANGE_TOUCHED, .type = CONTENT_FILE, .path = path});
}

static void settle(struct journal *j)
{
        journal_settle(j, &(struct settled){.has_root = true, .root = {.bytes = {3}}});
}

/* A copy of a record, its texts too. */
struct copy {
        struct journal_record record;
        char path[512], operation[300], was[300], is[300];
};

static void take(char *to, const char *text)
{
        snprintf(to, 300, "%s", text ? text : "(none)");
}

static void visit(void *arg, const struct journal_record *r)
{
        struct copy *c = arg;

        c->record = *r;
        if (r->is_settled) {
                take(c->operation, r->settled.operation);
                take(c->was, r->settled.head_was);
                take(c->is, r->settled.head_is);
        } else {
                snprintf(c->path, sizeof(c->path), "%s", r->change.path);
        }
}

static struct copy must_read(struct journal *j, uint64_t seq)
{
        struct copy c = {0};

        cr_assert_eq(journal_next(j, seq, visit, &c), 0);
        return c;
}

static int next(struct journal *j, uint64_t seq)
{
        struct copy c;

        return journal_next(j, seq, visit, &c);
}

static uint64_t newest(struct journal *j)
{
        char text[CLOCK_TEXT];
        uint64_t seq;

        journal_clock(j, text);
        cr_assert_eq(journal_clock_parse(j, text, &seq), 0, "%s", text);
        return seq;
}

static struct journal_stats stats(struct journal *j)
{
        struct journal_stats s;

        journal_stats(j, &s);
        return s;
}

Test(journal, gives_back_what_was_put_in)
{
        struct copy c;

        cr_assert_eq(next(journal, 0), -EAGAIN);
        append(journal, "a/b");
        append_touch(journal, "c");
        settle(journal);
        append(journal, "d");
        c = must_read(journal, 0);
        cr_assert_str_eq(c.path, "a/b");
        cr_assert(c.record.seq == 1 && c.record.batch == 1 && !c.record.is_settled && c.record.time_ns > 0);
        cr_assert(c.record.change.kind == CHANGE_MODIFIED && c.record.change.origin == ORIGIN_CONTAINER);
        cr_assert(c.record.change.type == CONTENT_PROGRAM && c.record.change.old_hash.bytes[0] == 1 && c.record.change.has_new);
        c = must_read(journal, 2);
        cr_assert(c.record.is_settled && c.record.seq == 3 && c.record.batch == 1 && c.record.settled.has_root);
        cr_assert(c.record.settled.changes == 1 && c.record.settled.touches == 1 && c.record.settled.root.bytes[0] == 3);
        c = must_read(journal, 3);
        cr_assert(c.record.seq == 4 && c.record.batch == 2);
        cr_assert_eq(next(journal, 4), -EAGAIN);
        cr_assert(stats(journal).open && stats(journal).batches == 1 && stats(journal).changes == 3 && stats(journal).records == 4);
}

Test(journal, settles_what_is_open_and_what_git_did)
{
        struct copy c;

        settle(journal);
        cr_assert_eq(newest(journal), 0, "there is nothing to settle");
        journal_settle(journal, &(struct settled){.operation = "commit", .head_was = "1", .head_is = "2"});
        c = must_read(journal, 0);
        cr_assert(c.record.is_settled && c.record.batch == 1 && c.record.settled.changes == 0);
        cr_assert(strcmp(c.operation, "commit") == 0 && strcmp(c.was, "1") == 0 && strcmp(c.is, "2") == 0);
        append(journal, "a");
        settle(journal);
        c = must_read(journal, 2);
        cr_assert(c.record.is_settled && c.record.batch == 2 && strcmp(c.operation, "(none)") == 0);
}

Test(journal, cuts_texts_that_are_too_long)
{
        char text[600] = {0};

        memset(text, 'x', sizeof(text) - 1);
        journal_settle(journal, &(struct settled){.operation = "checkout", .head_was = text, .head_is = text});
        cr_assert_eq(strlen(must_read(journal, 0).is), JOURNAL_TEXT_MAX);
}

Test(journal, tells_who_is_overtaken)
{
        uint64_t first;
        char clock[CLOCK_TEXT];

        append(journal, "first");
        journal_clock_of(journal, 0, clock);
        for (int i = 0; i < 1000; i++)
                append(journal, "a/path/of/some/length");
        cr_assert_eq(next(journal, 0), -ESTALE);
        cr_assert_eq(journal_clock_parse(journal, clock, &first), -ESTALE);
        cr_assert_leq(stats(journal).bytes, SMALL);
        cr_assert_eq(stats(journal).forgotten + stats(journal).records, 1001);
        /* The oldest that is there is read from the clock before it. */
        first = 1001 - stats(journal).records;
        cr_assert_eq(must_read(journal, first).record.seq, first + 1);
        cr_assert_eq(next(journal, first - 1), -ESTALE);
        cr_assert_eq(next(journal, 1001), -EAGAIN);
}

Test(journal, knows_its_clocks)
{
        static const char *const none[] = {"",
                                           "c:",
                                           "c:0123456789abcdef",
                                           "c:0123456789abcdef:",
                                           "c:0123456789abcde:1",
                                           "c:0123456789abcdef0:1",
                                           "c:0123456789abcdeF:1",
                                           "c:0123456789abcdef:01",
                                           "c:0123456789abcdef:-1",
                                           "c:0123456789abcdef:1 ",
                                           " c:0123456789abcdef:1",
                                           "c:0123456789abcdef:18446744073709551616",
                                           "c:0123456789abcdef:99999999999999999999999",
                                           "d:0123456789abcdef:1"};
        char text[CLOCK_TEXT];
        struct journal *other;
        uint64_t seq = 77;

        for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
                cr_assert_eq(journal_clock_parse(journal, none[i], &seq), -EINVAL, "%s", none[i]);
        cr_assert_eq(journal_new(0, &other), 0);
        append(other, "a");
        journal_clock(other, text);
        cr_assert_eq(journal_clock_parse(journal, text, &seq), -ESTALE, "another agent's");
        cr_assert_eq(journal_clock_parse(other, text, &seq), 0);
        cr_assert_eq(seq, 1);
        journal_clock_of(other, 2, text);
        cr_assert_eq(journal_clock_parse(other, text, &seq), -EINVAL, "of the future");
        journal_clock_of(other, UINT64_MAX, text);
        cr_assert(strlen(text) < CLOCK_TEXT);
        cr_assert_eq(journal_clock_parse(other, text, &seq), -EINVAL, "of the future");
        journal_free(other);
}

Test(journal, makes_every_reader_fresh_when_continuity_is_gone)
{
        uint64_t before;
        char text[CLOCK_TEXT];

        cr_assert_eq(newest(journal), 0);
        journal_lost(journal);
        cr_assert_eq(next(journal, 0), -ESTALE, "nothing was in it, but who was there at the beginning has missed something");
        append(journal, "a");
        before = newest(journal);
        journal_clock(journal, text);
        journal_lost(journal);
        cr_assert_eq(next(journal, before), -ESTALE);
        cr_assert_eq(journal_clock_parse(journal, text, &before), -ESTALE);
        cr_assert_eq(next(journal, newest(journal)), -EAGAIN);
        settle(journal);
        cr_assert_eq(next(journal, newest(journal)), -EAGAIN, "the open batch ended untold");
        before = newest(journal);
        append(journal, "b");
        cr_assert_eq(must_read(journal, before).record.batch, 2);
        cr_assert_eq(stats(journal).lost, 2);
}

Test(journal, keeps_within_its_memory_in_a_storm)
{
        struct journal *j;
        char path[64];

        cr_assert_eq(journal_new(0, &j), 0);
        for (int i = 0; i < STORM; i++) {
                snprintf(path, sizeof(path), "some/where/in/the/tree/file-%d", i);
                append(j, path);
        }
        settle(j);
        cr_assert_leq(stats(j).bytes, JOURNAL_BYTES);
        cr_assert_leq(stats(j).records, JOURNAL_RECORDS);
        cr_assert_geq(stats(j).records, 20000, "a checkout of 20k files fits in");
        for (uint64_t seq = STORM + 1 - stats(j).records; seq < STORM; seq++) {
                struct copy c = must_read(j, seq);

                snprintf(path, sizeof(path), "some/where/in/the/tree/file-%" PRIu64, seq);
                cr_assert_str_eq(c.path, path);
        }
        journal_free(j);
}

Test(journal, forgets_by_number_too)
{
        struct journal *j;

        cr_assert_eq(journal_new((size_t)64 << 20, &j), 0);
        for (unsigned i = 0; i < JOURNAL_RECORDS + 10; i++)
                append(j, "x");
        cr_assert_eq(stats(j).records, JOURNAL_RECORDS);
        cr_assert_eq(next(j, 9), -ESTALE);
        cr_assert_eq(must_read(j, 10).record.seq, 11);
        journal_free(j);
}

static void count(void *arg)
{
        ++*(int *)arg;
}

Test(journal, calls_whoever_listens)
{
        int calls = 0;

        journal_on_news(journal, count, &calls);
        append(journal, "a");
        cr_assert_eq(calls, 1);
        settle(journal);
        cr_assert_eq(calls, 2);
        settle(journal);
        cr_assert_eq(calls, 2, "nothing is new");
        journal_lost(journal);
        cr_assert_eq(calls, 3);
}
