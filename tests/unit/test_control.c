/*
 * The control socket: a server on a loop of its own, and every kind of client.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "sync/serve/client.h"
#include "sync/serve/control.h"
#include "tests/lib/child.h"

#define PATIENCE_MS 60000
#define SOCKET "0123456789abcdef.sock"

static struct server {
        char dir[64];
        uv_loop_t loop;
        uv_async_t stop;
        struct control *control;
        pthread_t thread;
        struct mutex lock;
        struct cond changed;
        unsigned held; /* calls of hold that wait */
        bool let_go;
} server;

static int run_echo(void *arg, const json_t *args, json_t **ret, char **why)
{
        (void)arg;
        (void)why;
        *ret = json_deep_copy(args);
        return 0;
}

static int run_fail(void *arg, const json_t *args, json_t **ret, char **why)
{
        (void)arg;
        (void)args;
        (void)ret;
        *why = strdup("it is in use");
        return -EBUSY;
}

static int run_flood(void *arg, const json_t *args, json_t **ret, char **why)
{
        CLEANUP_FREE char *text = malloc(512 * 1024);

        (void)arg;
        (void)args;
        (void)why;
        memset(text, 'x', 512 * 1024 - 1);
        text[512 * 1024 - 1] = '\0';
        *ret = json_pack("{s:s}", "text", text);
        return 0;
}

/* More than an answer may be. */
static int run_drown(void *arg, const json_t *args, json_t **ret, char **why)
{
        size_t len = 5 * 1024 * 1024;
        CLEANUP_FREE char *text = malloc(len);

        (void)arg;
        (void)args;
        (void)why;
        memset(text, 'x', len - 1);
        text[len - 1] = '\0';
        *ret = json_pack("{s:s}", "text", text);
        return 0;
}

static int run_hold(void *arg, const json_t *args, json_t **ret, char **why)
{
        struct server *s = arg;

        (void)args;
        (void)why;
        mutex_lock(&s->lock);
        s->held++;
        cond_broadcast(&s->changed);
        while (!s->let_go)
                cond_wait(&s->changed, &s->lock);
        mutex_unlock(&s->lock);
        *ret = json_object();
        return 0;
}

static const struct verb verbs[] = {
        {"echo", "{…}", VERB_QUICK, run_echo},   {"fail", "{}", VERB_QUICK, run_fail},  {"flood", "{}", VERB_QUICK, run_flood},
        {"hold", "{}", VERB_BLOCKING, run_hold}, {"now", "{…}", VERB_URGENT, run_echo}, {"drown", "{}", VERB_QUICK, run_drown},
};

static void stop_came(uv_async_t *async)
{
        control_close(server.control);
        uv_close((uv_handle_t *)async, NULL);
}

static void *serve(void *arg)
{
        (void)uv_run(&server.loop, UV_RUN_DEFAULT);
        return arg;
}

static void let_go(void)
{
        mutex_lock(&server.lock);
        server.let_go = true;
        cond_broadcast(&server.changed);
        mutex_unlock(&server.lock);
}

static void start(void)
{
        struct registry r = {.verbs = verbs, .count = ARRAY_LEN(verbs), .arg = &server};
        const char *tmp = getenv("TMPDIR");

        snprintf(server.dir, sizeof(server.dir), "%s/ctl.XXXXXX", tmp ? tmp : "/tmp");
        cr_assert(mkdtemp(server.dir));
        mutex_init(&server.lock);
        cond_init(&server.changed);
        cr_assert_eq(uv_loop_init(&server.loop), 0);
        cr_assert_eq(uv_async_init(&server.loop, &server.stop, stop_came), 0);
        cr_assert_eq(control_new(&server.loop, server.dir, SOCKET, &r, &server.control), 0);
        cr_assert_eq(thread_start(&server.thread, "server", serve, NULL), 0);
}

/* Everything the server had is given back: the loop ends and has no handle left. */
static void stop(void)
{
        let_go();
        (void)uv_async_send(&server.stop);
        cr_assert_eq(pthread_join(server.thread, NULL), 0);
        cr_assert_eq(uv_loop_close(&server.loop), 0);
        cr_assert_eq(rmdir(server.dir), 0, "the socket is still there");
}

TestSuite(control, .init = start, .fini = stop, .timeout = 240);

static int join(void)
{
        pid_t pid;
        int fd = client_connect(server.dir, SOCKET, &pid);

        cr_assert_geq(fd, 0, "%s", strerror(-fd));
        cr_assert_eq(pid, getpid());
        return fd;
}

static int ask(int fd, const char *verb, json_t *args, json_t **ret, char **why)
{
        bool answered;

        return client_ask(fd, verb, args, PATIENCE_MS, ret, &answered, why);
}

static void expect_echo(int fd, const char *verb)
{
        CLEANUP_FREE char *why = NULL;
        json_t *answer = NULL;

        cr_assert_eq(ask(fd, verb, json_pack("{s:i}", "n", 7), &answer, &why), 0, "%s", why ? why : "?");
        cr_assert_eq(json_integer_value(json_object_get(answer, "n")), 7);
        json_decref(answer);
}

/* Wait for the end of the connection, reading what comes before: its length. */
static size_t read_to_end(int fd, char *text, size_t size)
{
        size_t len = 0;

        for (;;) {
                struct pollfd p = {.fd = fd, .events = POLLIN};
                char c[4096];
                ssize_t n;

                cr_assert_gt(poll(&p, 1, PATIENCE_MS), 0, "the server keeps the connection");
                n = recv(fd, c, sizeof(c), 0);
                if (n <= 0)
                        return len;
                for (ssize_t i = 0; i < n && len + 1 < size; i++)
                        text[len++] = c[i];
                text[len] = '\0';
        }
}

Test(control, an_answer_that_is_too_long_is_an_error_and_no_more)
{
        CLEANUP_FD int fd = join();
        CLEANUP_FREE char *why = NULL;
        json_t *answer = NULL;

        cr_assert_eq(ask(fd, "drown", NULL, &answer, &why), -EFBIG, "%s", why ? why : "?");
        cr_assert(strstr(why, "ask for less"), "%s", why);
        expect_echo(fd, "echo");
}

Test(control, answers)
{
        CLEANUP_FD int fd = join();

        expect_echo(fd, "echo");
        expect_echo(fd, "now");
        expect_echo(fd, "echo");
}

Test(control, a_failure_has_errno_and_reason)
{
        CLEANUP_FD int fd = join();
        CLEANUP_FREE char *why = NULL;
        json_t *answer = NULL;

        cr_assert_eq(ask(fd, "fail", NULL, &answer, &why), -EBUSY);
        cr_assert_str_eq(why, "it is in use");
        expect_echo(fd, "echo");
}

Test(control, only_the_owner_can_reach_the_socket)
{
        CLEANUP_FREE char *path = NULL;
        struct stat st;

        cr_assert_gt(asprintf(&path, "%s/%s", server.dir, SOCKET), 0);
        cr_assert_eq(stat(path, &st), 0);
        cr_assert_eq(st.st_mode & 07777, 0600);
}

/* Let in by the file system, somebody else is still not served. */
static int try_as_other(void *arg)
{
        pid_t pid;
        int fd = client_connect(server.dir, SOCKET, &pid);
        CLEANUP_FREE char *why = NULL;
        json_t *answer = NULL;
        bool answered = false;

        (void)arg;
        if (fd < 0)
                return 2;
        return client_ask(fd, "echo", NULL, PATIENCE_MS, &answer, &answered, &why) == 0 ? 0 : 1;
}

Test(control, other_users_are_not_served)
{
        CLEANUP_FREE char *path = NULL;
        struct who other = {.uid = 12345, .gid = 12345};

        if (geteuid() != 0)
                cr_assert_fail("run as root: it takes two users");
        cr_assert_gt(asprintf(&path, "%s/%s", server.dir, SOCKET), 0);
        cr_assert_eq(chmod(server.dir, 0755), 0);
        cr_assert_eq(chmod(path, 0666), 0);
        cr_assert_eq(child_run(&other, try_as_other, NULL), 1);
}

Test(control, garbage_is_answered_and_forgiven)
{
        CLEANUP_FD int fd = join();
        CLEANUP_FREE char *why = NULL;
        json_t *answer = NULL;

        cr_assert_eq(send(fd, "\0\xff{]\n", 5, MSG_NOSIGNAL), 5);
        cr_assert_eq(ask(fd, "echo", NULL, &answer, &why), -EINVAL);
        /* The echo's own answer comes next. */
        answer = NULL;
        free(why);
        why = NULL;
        cr_assert_eq(ask(fd, "echo", NULL, &answer, &why), 0);
        json_decref(answer);
}

Test(control, requests_come_in_any_pieces)
{
        static const char line[] = "{\"verb\":\"echo\",\"args\":{\"n\":1}}\n{\"verb\":\"echo\",\"args\":{\"n\":2}}\n";
        CLEANUP_FD int fd = join();
        char text[256];

        for (size_t i = 0; i + 1 < sizeof(line); i++)
                cr_assert_eq(send(fd, &line[i], 1, MSG_NOSIGNAL), 1);
        cr_assert_eq(shutdown(fd, SHUT_WR), 0);
        (void)read_to_end(fd, text, sizeof(text));
        cr_assert_str_eq(text, "{\"ok\":true,\"result\":{\"n\":1}}\n{\"ok\":true,\"result\":{\"n\":2}}\n");
}

Test(control, a_line_without_end_is_told_and_dropped)
{
        CLEANUP_FD int fd = join();
        CLEANUP_FREE char *line = malloc(REQUEST_MAX);
        char text[256] = "";

        memset(line, 'x', REQUEST_MAX);
        cr_assert_eq(fd_write_full(fd, line, REQUEST_MAX), 0);
        (void)read_to_end(fd, text, sizeof(text));
        cr_assert(strstr(text, "at most 64 KiB"), "%s", text);
}

Test(control, the_longest_line_is_served)
{
        CLEANUP_FD int fd = join();
        CLEANUP_FREE char *pad = malloc(REQUEST_MAX);
        CLEANUP_FREE char *why = NULL;
        json_t *answer = NULL;
        size_t frame = strlen("{\"verb\": \"echo\", \"args\": {\"x\": \"\"}}\n");

        memset(pad, 'x', REQUEST_MAX);
        pad[REQUEST_MAX - frame] = '\0';
        cr_assert_eq(ask(fd, "echo", json_pack("{s:s}", "x", pad), &answer, &why), 0, "%s", why ? why : "?");
        cr_assert_eq(json_string_length(json_object_get(answer, "x")), REQUEST_MAX - frame);
        json_decref(answer);
}

Test(control, a_client_that_never_reads_is_dropped_and_others_served)
{
        static const char line[] = "{\"verb\":\"flood\"}\n";
        CLEANUP_FD int slow = join();
        CLEANUP_FD int other = join();
        bool dropped = false;

        for (int i = 0; i < 100000 && !dropped; i++) {
                struct pollfd p = {.fd = slow, .events = POLLOUT};

                cr_assert_gt(poll(&p, 1, PATIENCE_MS), 0, "neither dropped nor read from");
                dropped = send(slow, line, sizeof(line) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN;
        }
        cr_assert(dropped);
        expect_echo(other, "echo");
}

static void wait_held(unsigned n)
{
        unsigned long long deadline = clock_now_ns() + PATIENCE_MS * 1000000ULL;

        mutex_lock(&server.lock);
        while (server.held < n)
                cr_assert_eq(cond_wait_until(&server.changed, &server.lock, deadline), 0, "%u are held, not %u", server.held, n);
        mutex_unlock(&server.lock);
}

Test(control, blocked_verbs_hold_up_neither_quick_nor_urgent_ones)
{
        static const char line[] = "{\"verb\":\"hold\"}\n";
        int holding[8];
        CLEANUP_FD int fd = -1;
        char text[64];

        for (size_t i = 0; i < ARRAY_LEN(holding); i++) {
                holding[i] = join();
                cr_assert_eq(fd_write_full(holding[i], line, sizeof(line) - 1), 0);
        }
        wait_held(3);
        fd = join();
        expect_echo(fd, "echo");
        expect_echo(fd, "now");
        let_go();
        for (size_t i = 0; i < ARRAY_LEN(holding); i++) {
                cr_assert_eq(shutdown(holding[i], SHUT_WR), 0);
                (void)read_to_end(holding[i], text, sizeof(text));
                cr_assert_str_eq(text, "{\"ok\":true,\"result\":{}}\n");
                close(holding[i]);
        }
}

Test(control, a_client_may_leave_while_it_waits)
{
        static const char line[] = "{\"verb\":\"hold\"}\n";
        int fd[8];

        for (size_t i = 0; i < ARRAY_LEN(fd); i++) {
                fd[i] = join();
                cr_assert_eq(fd_write_full(fd[i], line, sizeof(line) - 1), 0);
        }
        wait_held(3);
        for (size_t i = 0; i < ARRAY_LEN(fd); i++)
                close(fd[i]);
        let_go();
        fd[0] = join();
        expect_echo(fd[0], "echo");
        close(fd[0]);
}

Test(control, many_idle_clients_do_not_lock_others_out)
{
        int idle[200];
        CLEANUP_FD int fd = -1;
        char text[256] = "";

        for (size_t i = 0; i < ARRAY_LEN(idle); i++)
                idle[i] = join();
        fd = join();
        expect_echo(fd, "echo");
        (void)read_to_end(idle[0], text, sizeof(text));
        cr_assert(strstr(text, "too many clients"), "%s", text);
        for (size_t i = 0; i < ARRAY_LEN(idle); i++)
                close(idle[i]);
}

/* Random bytes in random pieces from many clients; the server is there afterwards. */
Test(control, survives_noise)
{
        struct dice d = {.state = 99};

        for (int round = 0; round < 300; round++) {
                CLEANUP_FD int fd = join();
                unsigned pieces = dice_roll(&d, 4);

                for (unsigned i = 0; i < pieces; i++) {
                        char noise[512];
                        size_t len = 1 + dice_roll(&d, sizeof(noise));

                        for (size_t j = 0; j < len && j < sizeof(noise); j++)
                                noise[j] = dice_roll(&d, 8) ? (char)dice_roll(&d, 256) : '\n';
                        (void)send(fd, noise, len < sizeof(noise) ? len : sizeof(noise), MSG_NOSIGNAL);
                }
        }
        {
                CLEANUP_FD int fd = join();

                expect_echo(fd, "echo");
        }
}
