/*
 * The event stream: a server on a loop of its own, a journal that the test writes, and every kind of subscriber.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "sync/journal.h"
#include "sync/serve/socket.h"
#include "sync/serve/stream.h"
#include "sync/serve/subscriber.h"
#include "tests/lib/child.h"

#define PATIENCE_MS 60000
/* Small, so that the tests needn't wait, and the journal is soon full. */
#define REQUEST_MS 500
#define SLOW_MS 400
#define PLACES 8
#define JOURNAL_SMALL ((size_t)256 * 1024)

static struct {
        char dir[64];
        uv_loop_t loop;
        uv_async_t stop;
        struct stream *stream;
        struct stream_door *door, *inside;
        struct journal *journal;
        const char *why_not;
        pthread_t thread;
        /* Barriers: how many have begun, whether they may end, and how. */
        atomic_int barriers, barrier_rc;
        atomic_bool barriers_held;
} server;

static void stop_came(uv_async_t *async)
{
        stream_close(server.stream);
        uv_close((uv_handle_t *)async, NULL);
}

static void *serve(void *arg)
{
        (void)uv_run(&server.loop, UV_RUN_DEFAULT);
        return arg;
}

static void news_came(void *arg)
{
        stream_news(arg);
}

static const char *why_not(void *arg)
{
        (void)arg;
        return server.why_not;
}

static bool is_let_on(void *arg)
{
        (void)arg;
        return !atomic_load(&server.barriers_held);
}

static int barrier(void *arg, int timeout_ms)
{
        (void)arg;
        cr_assert_gt(timeout_ms, 0);
        atomic_fetch_add(&server.barriers, 1);
        (void)wait_until(is_let_on, NULL, PATIENCE_MS / 1000);
        return atomic_load(&server.barrier_rc);
}

static struct stream_door *offer(const char *name, bool anyone)
{
        const struct stream_offer offered = {.name = "app", .source = anyone ? NULL : "/home/me/app", .anyone = anyone};
        CLEANUP_FD int dirfd = open(server.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct stream_door *door;
        int fd = socket_listen(dirfd, name);

        cr_assert_geq(fd, 0);
        cr_assert_eq(stream_open(server.stream, fd, &offered, &door), 0);
        return door;
}

static void start(void)
{
        struct stream_options options = {
                .request_ms = REQUEST_MS, .patience_ms = SLOW_MS, .subscribers_max = PLACES, .why_not = why_not, .barrier = barrier};
        const char *tmp = getenv("TMPDIR");

        snprintf(server.dir, sizeof(server.dir), "%s/str.XXXXXX", tmp ? tmp : "/tmp");
        cr_assert(mkdtemp(server.dir));
        cr_assert_eq(journal_new(JOURNAL_SMALL, &server.journal), 0);
        cr_assert_eq(uv_loop_init(&server.loop), 0);
        cr_assert_eq(uv_async_init(&server.loop, &server.stop, stop_came), 0);
        options.journal = server.journal;
        server.why_not = NULL;
        cr_assert_eq(stream_new(&server.loop, &options, &server.stream), 0);
        server.door = offer("host", false);
        server.inside = offer("inside", true);
        journal_on_news(server.journal, news_came, server.stream);
        cr_assert_eq(thread_start(&server.thread, "server", serve, NULL), 0);
}

static void end_server(void)
{
        journal_on_news(server.journal, NULL, NULL);
        (void)uv_async_send(&server.stop);
        cr_assert_eq(pthread_join(server.thread, NULL), 0);
        server.thread = 0;
}

/* Everything the server had is given back: the loop ends and has no handle left. */
static void stop(void)
{
        char path[128];

        if (server.thread)
                end_server();
        cr_assert_eq(uv_loop_close(&server.loop), 0);
        journal_free(server.journal);
        snprintf(path, sizeof(path), "%s/host", server.dir);
        (void)unlink(path);
        snprintf(path, sizeof(path), "%s/inside", server.dir);
        (void)unlink(path);
        cr_assert_eq(rmdir(server.dir), 0);
}

TestSuite(stream, .init = start, .fini = stop, .timeout = 240);

/*
 * What is journalled
 */

static void change(enum change_kind kind, const char *path)
{
        struct change c = {.kind = kind, .origin = ORIGIN_HOST, .type = CONTENT_FILE, .path = path, .has_new = true};

        memset(&c.new_hash, 0xab, sizeof(c.new_hash));
        journal_append(server.journal, &c);
}

static void settle(const char *operation)
{
        struct settled s = {.operation = operation, .head_was = operation ? "main" : NULL, .head_is = operation ? "topic" : NULL};

        journal_settle(server.journal, &s);
}

/*
 * Subscribers
 */

static struct subscriber *subscribe_at(const char *socket, const struct subscriber_wish *wish)
{
        CLEANUP_FREE char *why = NULL;
        struct subscriber *s = NULL;
        char path[128];

        snprintf(path, sizeof(path), "%s/%s", server.dir, socket);
        cr_assert_eq(subscriber_new(path, wish, &s, &why), 0, "%s", why ? why : "?");
        return s;
}

static struct subscriber *subscribe(const char *since)
{
        return subscribe_at("host", &(struct subscriber_wish){.since = since});
}

static const struct event *next(struct subscriber *s)
{
        CLEANUP_FREE char *why = NULL;
        const struct event *e = NULL;
        int rc = subscriber_next(s, PATIENCE_MS, &e, &why);

        cr_assert_eq(rc, 0, "%s: %s", strerror(-rc), why ? why : "?");
        return e;
}

static void expect(struct subscriber *s, enum event_kind kind)
{
        const struct event *e = next(s);

        cr_assert_eq(e->kind, kind, "it is %.*s", (int)e->line_len, e->line);
}

static void expect_change(struct subscriber *s, enum event_kind kind, const char *path)
{
        const struct event *e = next(s);

        cr_assert(e->kind == kind && e->path && strcmp(e->path, path) == 0, "not %s: %.*s", path, (int)e->line_len, e->line);
}

static void expect_hung_up(struct subscriber *s)
{
        CLEANUP_FREE char *why = NULL;
        const struct event *e;
        int rc = subscriber_next(s, PATIENCE_MS, &e, &why);

        cr_assert_eq(rc, -EPIPE, "%s", rc ? strerror(-rc) : e->line);
}

static void stats(struct stream_stats *ret)
{
        stream_stats(server.stream, ret);
}

/* A connection that has asked for nothing yet. */
static int knock(const char *socket_name)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", server.dir, socket_name);
        cr_assert_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0, "%s", strerror(errno));
        return fd;
}

/* What comes until the end. */
static void read_to_end(int fd, char *text, size_t size)
{
        size_t len = 0;

        for (;;) {
                struct pollfd p = {.fd = fd, .events = POLLIN};
                ssize_t n;

                cr_assert_gt(poll(&p, 1, PATIENCE_MS), 0, "the server keeps the connection");
                n = recv(fd, text + len, size - len - 1, 0);
                if (n <= 0)
                        break;
                len += (size_t)n;
        }
        text[len] = '\0';
}

static void expect_refusal_of(const char *request, size_t len, const char *reason)
{
        CLEANUP_FD int fd = knock("host");
        char text[EVENTS_REQUEST_MAX];

        (void)send(fd, request, len, MSG_NOSIGNAL);
        read_to_end(fd, text, sizeof(text));
        cr_assert(strstr(text, "\"refused\"") && strstr(text, reason), "%.100s is answered: %s", request, text);
}
#define expect_refusal(request, reason) expect_refusal_of(request, strlen(request), reason)

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

/*
 * The subscriber's side: a server that is not ours
 */

static int serve_lines(const char *text, struct subscriber **ret)
{
        CLEANUP_FREE char *why = NULL;
        int ends[2];

        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        cr_assert_eq(subscriber_new_fd(ends[0], &(struct subscriber_wish){0}, ret, &why), 0);
        cr_assert_eq(send(ends[1], text, strlen(text), 0), (ssize_t)strlen(text));
        return ends[1];
}

Test(stream, half_a_line_is_waited_for)
{
        struct subscriber *s;
        CLEANUP_FREE char *why = NULL;
        const struct event *e;
        CLEANUP_FD int fd = serve_lines("{\"kind\":\"fresh\",\"clo", &s);

        cr_assert_eq(subscriber_next(s, 0, &e, &why), -EAGAIN);
        cr_assert_gt(send(fd, "ck\":\"c:1\"}\n{", 13, 0), 0);
        cr_assert_str_eq(next(s)->clock, "c:1");
        cr_assert_eq(subscriber_next(s, 0, &e, &why), -EAGAIN);
        fd_close(&fd);
        expect_hung_up(s);
        subscriber_free(s);
}

Test(stream, kinds_to_come_are_passed_over)
{
        struct subscriber *s;
        CLEANUP_FD int fd = serve_lines("{\"kind\":\"later\",\"n\":1}\n{\"kind\":\"end\",\"why\":\"all\",\"more\":{}}\n", &s);

        cr_assert_geq(fd, 0);
        expect(s, EVENT_OTHER);
        expect(s, EVENT_END);
        subscriber_free(s);
}

Test(stream, a_server_that_talks_nonsense_is_not_believed)
{
        static const char *const lines[] = {
                "nonsense\n",
                "{}\n",
                "{\"kind\":1}\n",
                "{\"kind\":\"created\",\"clock\":\"c\"}\n",
                "{\"kind\":\"created\",\"clock\":\"c\",\"path\":\"\\\\x\"}\n",
                "{\"kind\":\"created\",\"clock\":\"c\",\"path\":\"\"}\n",
                "{\"kind\":\"created\",\"path\":\"a\"}\n",
                "{\"kind\":\"settled\",\"clock\":\"c\",\"changes\":-1}\n",
                "{\"kind\":\"settled\",\"clock\":\"c\",\"git\":7}\n",
                "{\"kind\":\"cut\"}\n",
        };

        for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
                struct subscriber *s;
                CLEANUP_FREE char *why = NULL;
                const struct event *e;
                CLEANUP_FD int fd = serve_lines(lines[i], &s);

                cr_assert_geq(fd, 0);
                cr_assert_eq(subscriber_next(s, PATIENCE_MS, &e, &why), -EPROTO, "%s", lines[i]);
                cr_assert(why);
                subscriber_free(s);
        }
}

Test(stream, a_server_that_never_ends_a_line_is_left)
{
        struct subscriber *s;
        CLEANUP_FREE char *why = NULL;
        CLEANUP_FREE char *flood = malloc(EVENT_LINE_MAX + 1);
        const struct event *e;
        CLEANUP_FD int fd = -1;

        memset(flood, ' ', EVENT_LINE_MAX);
        flood[EVENT_LINE_MAX] = '\0';
        fd = serve_lines(flood, &s);
        cr_assert_eq(subscriber_next(s, PATIENCE_MS, &e, &why), -EPROTO);
        subscriber_free(s);
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
