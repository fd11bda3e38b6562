/*
 * The event stream's limits: nonsense, strangers, those who are too many, and those who are too slow.
 */
#include "tests/unit/stream.h"

/*
 * Those who can't ask
 */

Test(stream, nonsense_is_refused)
{
        expect_refusal("\n", "one line of JSON");
        expect_refusal("garbage\n", "one line of JSON");
        expect_refusal("[1]\n", "one line of JSON");
        expect_refusal("{}\n", "version");
        expect_refusal("{\"version\":2}\n", "version");
        expect_refusal("{\"version\":1,\"version\":1}\n", "one line of JSON");
        expect_refusal("{\"version\":1,\"path\":\"x\"}\n", "path");
        expect_refusal("{\"version\":1,\"follow\":1}\n", "follow");
        expect_refusal("{\"version\":1,\"since\":7}\n", "since");
        expect_refusal("{\"version\":1,\"since\":\"now\"}\n", "clock");
        expect_refusal("{\"version\":1,\"since\":\"c:0123456789abcdef:x\"}\n", "clock");
        expect_refusal("{\"version\":1}\n{\"version\":1}\n", "one line");
        expect_refusal_of("{\"version\":1}\0\n", 15, "one line of JSON");
}

Test(stream, an_endless_line_is_refused)
{
        char flood[2 * EVENTS_REQUEST_MAX];

        memset(flood, ' ', sizeof(flood));
        expect_refusal_of(flood, sizeof(flood), "4 KiB");
}

Test(stream, who_says_nothing_or_half_of_it_is_dropped)
{
        expect_refusal("", "in time");
        expect_refusal("{\"version\":", "in time");
}

Test(stream, who_talks_on_is_refused)
{
        CLEANUP_FD int fd = knock("host");
        static const char request[] = "{\"version\":1}\n";
        char text[1024];
        ssize_t n;

        cr_assert_gt(send(fd, request, strlen(request), 0), 0);
        n = recv(fd, text, sizeof(text), 0);
        cr_assert_gt(n, 0);
        cr_assert_gt(send(fd, "more", 4, 0), 0);
        read_to_end(fd, text, sizeof(text));
        cr_assert(strstr(text, "nothing is read after it"), "%s", text);
}

static int knock_as_nobody(void *arg)
{
        const char *name = arg;
        struct subscriber *s = NULL;
        const struct event *e;
        char *why = NULL;
        char path[128];

        snprintf(path, sizeof(path), "%s/%s", server.dir, name);
        if (subscriber_new(path, &(struct subscriber_wish){0}, &s, &why) || subscriber_next(s, PATIENCE_MS, &e, &why))
                return 1;
        return e->kind == EVENT_HELLO ? 0 : e->kind == EVENT_REFUSED ? 2 : 3;
}

Test(stream, others_are_served_in_a_mount_only)
{
        const struct who nobody = {.uid = 4242, .gid = 4242};
        char path[128];

        if (geteuid() != 0)
                cr_assert_fail("run as root: it takes other users");
        /* What keeps them off is then only who they are. */
        cr_assert_eq(chmod(server.dir, 0755), 0);
        snprintf(path, sizeof(path), "%s/host", server.dir);
        cr_assert_eq(chmod(path, 0666), 0);
        snprintf(path, sizeof(path), "%s/inside", server.dir);
        cr_assert_eq(chmod(path, 0666), 0);
        cr_assert_eq(child_run(&nobody, knock_as_nobody, "host"), 2);
        cr_assert_eq(child_run(&nobody, knock_as_nobody, "inside"), 0);
}

/*
 * Those who are too many, or too slow
 */

Test(stream, one_too_many_is_told)
{
        struct subscriber *s[PLACES + 1];
        struct stream_stats st;

        for (int i = 0; i <= PLACES; i++) {
                s[i] = subscribe(NULL);
                expect(s[i], i < PLACES ? EVENT_HELLO : EVENT_REFUSED);
        }
        stats(&st);
        cr_assert_eq(st.subscribers, PLACES);
        cr_assert_eq(st.refused, 1);
        /* The place of who goes is free. */
        subscriber_free(s[PLACES]);
        subscriber_free(s[0]);
        do {
                s[0] = subscribe(NULL);
                if (next(s[0])->kind == EVENT_HELLO)
                        break;
                subscriber_free(s[0]);
        } while (true);
        change(CHANGE_CREATED, "a");
        for (int i = 0; i < PLACES; i++) {
                expect_change(s[i], EVENT_CREATED, "a");
                subscriber_free(s[i]);
        }
}

Test(stream, who_asks_for_nothing_makes_room)
{
        int silent[PLACES];
        struct subscriber *s;

        for (int i = 0; i < PLACES; i++)
                silent[i] = knock("host");
        s = subscribe(NULL);
        expect(s, EVENT_HELLO);
        subscriber_free(s);
        for (int i = 0; i < PLACES; i++)
                (void)close(silent[i]);
}

Test(stream, thousands_of_connections_do_no_harm)
{
        struct subscriber *s = subscribe(NULL);

        expect(s, EVENT_HELLO);
        for (int i = 0; i < 2000; i++) {
                CLEANUP_FD int fd = knock("inside");

                if (i % 3 == 0)
                        (void)send(fd, "{\"version\":1}\n", 14, MSG_NOSIGNAL);
        }
        change(CHANGE_CREATED, "a");
        expect_change(s, EVENT_CREATED, "a");
        subscriber_free(s);
}

/* Fill the journal once over: more than the socket takes. */
static void overtake(void)
{
        char path[2048];

        for (int i = 0; i < 1000; i++) {
                snprintf(path, sizeof(path), "%02000d", i);
                change(CHANGE_CREATED, path);
        }
}

static bool one_is_cut(void *arg)
{
        struct stream_stats st;

        (void)arg;
        stats(&st);
        return st.cut == 1 && st.subscribers == 1;
}

Test(stream, who_does_not_read_is_cut_off_and_nobody_waits)
{
        struct subscriber *slow = subscribe(NULL);
        struct subscriber *quick = subscribe(NULL);
        char path[2048];

        expect(slow, EVENT_HELLO);
        expect(quick, EVENT_HELLO);
        for (int i = 0; i < 1000; i++) {
                snprintf(path, sizeof(path), "%02000d", i);
                change(CHANGE_CREATED, path);
                expect_change(quick, EVENT_CREATED, path);
        }
        cr_assert(wait_until(one_is_cut, NULL, 60));
        change(CHANGE_CREATED, "last");
        expect_change(quick, EVENT_CREATED, "last");
        /* What was sent in time is there, then it has ended. */
        for (;;) {
                CLEANUP_FREE char *why = NULL;
                const struct event *e;

                if (subscriber_next(slow, PATIENCE_MS, &e, &why) || e->kind == EVENT_CUT)
                        break;
                cr_assert_eq(e->kind, EVENT_CREATED);
        }
        subscriber_free(slow);
        subscriber_free(quick);
}

Test(stream, who_is_overtaken_is_told)
{
        struct subscriber *s = subscribe(NULL);
        const struct event *e;
        size_t told = 0;

        expect(s, EVENT_HELLO);
        overtake();
        /* Reading now, it is given what is on the way. */
        do {
                e = next(s);
                told += e->kind == EVENT_CREATED;
        } while (e->kind == EVENT_CREATED);
        cr_assert(e->kind == EVENT_CUT || e->kind == EVENT_FRESH, "%.*s", (int)e->line_len, e->line);
        cr_assert_lt(told, 1000);
        subscriber_free(s);
}

Test(stream, who_does_not_read_does_not_keep_the_end_from_coming)
{
        struct subscriber *s = subscribe(NULL);

        expect(s, EVENT_HELLO);
        overtake();
        end_server();
        subscriber_free(s);
}
