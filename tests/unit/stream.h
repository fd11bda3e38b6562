/*
 * For tests of the event stream: a server on a loop of its own, a journal that the test writes, and what subscribers expect.
 */
#pragma once

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

static inline void stop_came(uv_async_t *async)
{
        stream_close(server.stream);
        uv_close((uv_handle_t *)async, NULL);
}

static inline void *serve(void *arg)
{
        (void)uv_run(&server.loop, UV_RUN_DEFAULT);
        return arg;
}

static inline void news_came(void *arg)
{
        stream_news(arg);
}

static inline const char *why_not(void *arg)
{
        (void)arg;
        return server.why_not;
}

static inline bool is_let_on(void *arg)
{
        (void)arg;
        return !atomic_load(&server.barriers_held);
}

static inline int barrier(void *arg, int timeout_ms)
{
        (void)arg;
        cr_assert_gt(timeout_ms, 0);
        atomic_fetch_add(&server.barriers, 1);
        (void)wait_until(is_let_on, NULL, PATIENCE_MS / 1000);
        return atomic_load(&server.barrier_rc);
}

static inline struct stream_door *offer(const char *name, bool anyone)
{
        const struct stream_offer offered = {.name = "app", .source = anyone ? NULL : "/home/me/app", .anyone = anyone};
        CLEANUP_FD int dirfd = open(server.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct stream_door *door;
        int fd = socket_listen(dirfd, name);

        cr_assert_geq(fd, 0);
        cr_assert_eq(stream_open(server.stream, fd, &offered, &door), 0);
        return door;
}

static inline void start(void)
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

static inline void end_server(void)
{
        journal_on_news(server.journal, NULL, NULL);
        (void)uv_async_send(&server.stop);
        cr_assert_eq(pthread_join(server.thread, NULL), 0);
        server.thread = 0;
}

/* Everything the server had is given back: the loop ends and has no handle left. */
static inline void stop(void)
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

static inline void change(enum change_kind kind, const char *path)
{
        struct change c = {.kind = kind, .origin = ORIGIN_HOST, .type = CONTENT_FILE, .path = path, .has_new = true};

        memset(&c.new_hash, 0xab, sizeof(c.new_hash));
        journal_append(server.journal, &c);
}

static inline void settle(const char *operation)
{
        struct settled s = {.operation = operation, .head_was = operation ? "main" : NULL, .head_is = operation ? "topic" : NULL};

        journal_settle(server.journal, &s);
}

/*
 * Subscribers
 */

static inline struct subscriber *subscribe_at(const char *socket, const struct subscriber_wish *wish)
{
        CLEANUP_FREE char *why = NULL;
        struct subscriber *s = NULL;
        char path[128];

        snprintf(path, sizeof(path), "%s/%s", server.dir, socket);
        cr_assert_eq(subscriber_new(path, wish, &s, &why), 0, "%s", why ? why : "?");
        return s;
}

static inline struct subscriber *subscribe(const char *since)
{
        return subscribe_at("host", &(struct subscriber_wish){.since = since});
}

static inline const struct event *next(struct subscriber *s)
{
        CLEANUP_FREE char *why = NULL;
        const struct event *e = NULL;
        int rc = subscriber_next(s, PATIENCE_MS, &e, &why);

        cr_assert_eq(rc, 0, "%s: %s", strerror(-rc), why ? why : "?");
        return e;
}

static inline void expect(struct subscriber *s, enum event_kind kind)
{
        const struct event *e = next(s);

        cr_assert_eq(e->kind, kind, "it is %.*s", (int)e->line_len, e->line);
}

static inline void expect_change(struct subscriber *s, enum event_kind kind, const char *path)
{
        const struct event *e = next(s);

        cr_assert(e->kind == kind && e->path && strcmp(e->path, path) == 0, "not %s: %.*s", path, (int)e->line_len, e->line);
}

static inline void expect_hung_up(struct subscriber *s)
{
        CLEANUP_FREE char *why = NULL;
        const struct event *e;
        int rc = subscriber_next(s, PATIENCE_MS, &e, &why);

        cr_assert_eq(rc, -EPIPE, "%s", rc ? strerror(-rc) : e->line);
}

static inline void stats(struct stream_stats *ret)
{
        stream_stats(server.stream, ret);
}

/* A connection that has asked for nothing yet. */
static inline int knock(const char *socket_name)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", server.dir, socket_name);
        cr_assert_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0, "%s", strerror(errno));
        return fd;
}

/* What comes until the end. */
static inline void read_to_end(int fd, char *text, size_t size)
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

static inline void expect_refusal_of(const char *request, size_t len, const char *reason)
{
        CLEANUP_FD int fd = knock("host");
        char text[EVENTS_REQUEST_MAX];

        (void)send(fd, request, len, MSG_NOSIGNAL);
        read_to_end(fd, text, sizeof(text));
        cr_assert(strstr(text, "\"refused\"") && strstr(text, reason), "%.100s is answered: %s", request, text);
}
#define expect_refusal(request, reason) expect_refusal_of(request, strlen(request), reason)
