/*
 * The event stream: what is told, from where on, and barriers.
 */
#include "tests/unit/stream.h"

Test(stream, tells_what_comes)
{
        struct subscriber *s = subscribe(NULL);
        const struct event *e = next(s);

        cr_assert_eq(e->kind, EVENT_HELLO);
        cr_assert(e->fresh);
        cr_assert_str_eq(e->name, "app");
        cr_assert_str_eq(e->source, "/home/me/app");
        change(CHANGE_CREATED, "a\xff\\b");
        settle("checkout");
        e = next(s);
        cr_assert_eq(e->kind, EVENT_CREATED);
        cr_assert_eq(e->path_len, 4);
        cr_assert_str_eq(e->path, "a\xff\\b");
        cr_assert_str_eq(e->type, "file");
        cr_assert_str_eq(e->origin, "host");
        cr_assert_str_eq(e->new_hash, "abababababababababababababababab");
        cr_assert_null(e->old_hash);
        cr_assert_gt(e->time, 1e9);
        e = next(s);
        cr_assert_eq(e->kind, EVENT_SETTLED);
        cr_assert_eq(e->changes, 1);
        cr_assert_str_eq(e->operation, "checkout");
        cr_assert_str_eq(e->head_was, "main");
        cr_assert_str_eq(e->head_is, "topic");
        subscriber_free(s);
}

Test(stream, in_a_mount_nobody_is_told_where_the_source_is)
{
        struct subscriber *s = subscribe_at("inside", &(struct subscriber_wish){0});

        cr_assert_null(next(s)->source);
        subscriber_free(s);
}

Test(stream, goes_on_after_a_clock)
{
        char clock[CLOCK_TEXT];
        struct subscriber *s;
        struct stream_stats st;
        const struct event *e;

        change(CHANGE_CREATED, "a");
        journal_clock(server.journal, clock);
        change(CHANGE_CREATED, "b");
        settle(NULL);
        s = subscribe(clock);
        e = next(s);
        cr_assert_eq(e->kind, EVENT_HELLO);
        cr_assert_not(e->fresh);
        cr_assert_str_eq(e->clock, clock);
        expect_change(s, EVENT_CREATED, "b");
        expect(s, EVENT_SETTLED);
        change(CHANGE_MODIFIED, "c");
        expect_change(s, EVENT_MODIFIED, "c");
        stats(&st);
        cr_assert_eq(st.sent, 3);
        cr_assert_eq(st.replayed, 2);
        subscriber_free(s);
}

Test(stream, what_is_forgotten_or_anothers_is_fresh)
{
        char clock[CLOCK_TEXT];
        struct subscriber *s;

        change(CHANGE_CREATED, "a");
        journal_clock(server.journal, clock);
        journal_lost(server.journal);
        s = subscribe(clock);
        cr_assert(next(s)->fresh);
        change(CHANGE_CREATED, "b");
        expect_change(s, EVENT_CREATED, "b");
        subscriber_free(s);
        s = subscribe("c:0123456789abcdef:7");
        cr_assert(next(s)->fresh);
        subscriber_free(s);
}

Test(stream, lost_continuity_is_said_in_mid_stream)
{
        struct subscriber *s = subscribe(NULL);
        const struct event *e;
        char clock[CLOCK_TEXT];

        expect(s, EVENT_HELLO);
        change(CHANGE_CREATED, "a");
        expect_change(s, EVENT_CREATED, "a");
        journal_lost(server.journal);
        e = next(s);
        cr_assert_eq(e->kind, EVENT_FRESH);
        journal_clock(server.journal, clock);
        cr_assert_str_eq(e->clock, clock);
        change(CHANGE_CREATED, "b");
        expect_change(s, EVENT_CREATED, "b");
        subscriber_free(s);
}

Test(stream, touches_are_told_to_who_asks)
{
        struct subscriber *plain = subscribe(NULL);
        struct subscriber *all = subscribe_at("host", &(struct subscriber_wish){.touches = true});

        expect(plain, EVENT_HELLO);
        expect(all, EVENT_HELLO);
        change(CHANGE_TOUCHED, "a");
        settle(NULL);
        change(CHANGE_TOUCHED, "b");
        change(CHANGE_CREATED, "c");
        settle(NULL);
        expect_change(all, EVENT_TOUCHED, "a");
        expect(all, EVENT_SETTLED);
        expect_change(all, EVENT_TOUCHED, "b");
        expect_change(all, EVENT_CREATED, "c");
        /* Of the batch in which nothing but touches was, not even the end. */
        expect_change(plain, EVENT_CREATED, "c");
        cr_assert_eq(next(plain)->changes, 1);
        subscriber_free(plain);
        subscriber_free(all);
}

Test(stream, without_following_there_is_an_end)
{
        struct subscriber *s;
        char clock[CLOCK_TEXT];

        journal_clock(server.journal, clock);
        change(CHANGE_CREATED, "a");
        s = subscribe_at("host", &(struct subscriber_wish){.since = clock, .once = true});
        expect(s, EVENT_HELLO);
        expect_change(s, EVENT_CREATED, "a");
        cr_assert_str_eq(next(s)->why, "all");
        expect_hung_up(s);
        subscriber_free(s);
}

/* As `printf … | nc -NU` does it. */
Test(stream, who_has_finished_speaking_still_hears_what_there_is)
{
        CLEANUP_FD int fd = knock("host");
        static const char request[] = "{\"version\":1,\"follow\":false}\n";
        char text[1024];

        cr_assert_eq(send(fd, request, strlen(request), 0), (ssize_t)strlen(request));
        cr_assert_eq(shutdown(fd, SHUT_WR), 0);
        read_to_end(fd, text, sizeof(text));
        cr_assert(strstr(text, "\"hello\"") && strstr(text, "\"all\""), "%s", text);
}

Test(stream, the_end_comes_after_what_is_known)
{
        struct subscriber *s = subscribe(NULL);

        expect(s, EVENT_HELLO);
        change(CHANGE_CREATED, "a");
        end_server();
        expect_change(s, EVENT_CREATED, "a");
        cr_assert_str_eq(next(s)->why, "unmounted");
        expect_hung_up(s);
        subscriber_free(s);
}

Test(stream, where_nothing_is_known_one_is_told_so)
{
        server.why_not = "the source is not hashed";
        expect_refusal("{\"version\":1}\n", "the source is not hashed");
}

/*
 * Barriers
 */

static struct subscriber *ask_barrier(int timeout_ms)
{
        return subscribe_at("inside", &(struct subscriber_wish){.wait = true, .timeout_ms = timeout_ms});
}

static bool barrier_begun(void *arg)
{
        return atomic_load(&server.barriers) >= *(int *)arg;
}

/* Whoever asks while a barrier is under way gets the next, all of them the same. */
Test(stream, barriers_are_shared_by_those_who_asked_before)
{
        struct subscriber *first, *later[3];
        int one = 1;

        change(CHANGE_MODIFIED, "a");
        settle(NULL);
        atomic_store(&server.barriers_held, true);
        first = ask_barrier(PATIENCE_MS);
        cr_assert(wait_until(barrier_begun, &one, PATIENCE_MS / 1000));
        for (size_t i = 0; i < ARRAY_LEN(later); i++)
                later[i] = ask_barrier(PATIENCE_MS);
        atomic_store(&server.barriers_held, false);
        expect(first, EVENT_VISIBLE);
        for (size_t i = 0; i < ARRAY_LEN(later); i++) {
                expect(later[i], EVENT_VISIBLE);
                subscriber_free(later[i]);
        }
        cr_assert_leq(atomic_load(&server.barriers), 4);
        subscriber_free(first);
}

Test(stream, a_barrier_tells_the_clock_that_is_known)
{
        struct subscriber *s;
        const struct event *e;
        char clock[CLOCK_TEXT];

        change(CHANGE_MODIFIED, "a");
        settle(NULL);
        journal_clock(server.journal, clock);
        s = ask_barrier(PATIENCE_MS);
        e = next(s);
        cr_assert_eq(e->kind, EVENT_VISIBLE);
        cr_assert_str_eq(e->clock, clock);
        subscriber_free(s);
}

Test(stream, who_has_waited_long_enough_is_told)
{
        struct subscriber *s;

        atomic_store(&server.barrier_rc, -ETIMEDOUT);
        s = ask_barrier(SLOW_MS);
        expect(s, EVENT_REFUSED);
        subscriber_free(s);
        atomic_store(&server.barrier_rc, -ENODATA);
        s = ask_barrier(PATIENCE_MS);
        expect(s, EVENT_REFUSED);
        subscriber_free(s);
        atomic_store(&server.barrier_rc, 0);
}

/* The server ends, or the one who waits goes, while the barrier is under way: neither is waited for by anybody. */
Test(stream, ends_in_the_midst_of_a_barrier)
{
        struct subscriber *gone, *stays;
        int one = 1;

        atomic_store(&server.barriers_held, true);
        gone = ask_barrier(PATIENCE_MS);
        cr_assert(wait_until(barrier_begun, &one, PATIENCE_MS / 1000));
        stays = ask_barrier(PATIENCE_MS);
        subscriber_free(gone);
        journal_on_news(server.journal, NULL, NULL);
        (void)uv_async_send(&server.stop);
        /* If it was heard at all. */
        {
                CLEANUP_FREE char *why = NULL;
                const struct event *e = NULL;
                int rc = subscriber_next(stays, PATIENCE_MS, &e, &why);

                cr_assert(rc == -EPIPE || (rc == 0 && e->kind == EVENT_REFUSED), "%s", rc ? strerror(-rc) : e->line);
        }
        subscriber_free(stays);
        atomic_store(&server.barriers_held, false);
        cr_assert_eq(pthread_join(server.thread, NULL), 0);
        server.thread = 0;
}
