/*
 * Reading HTTP requests, and the server that answers them.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
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
#include "sync/serve/http.h"
#include "sync/serve/http_request.h"
#include "tests/lib/child.h"

#define PATIENCE_MS 60000
#define POST "POST /VolumeDriver.Get HTTP/1.1\r\nHost: d\r\n"

static struct http_request r;

/* Feed it in pieces of `step`; how much was taken. */
static size_t feed(const char *text, size_t len, size_t step)
{
        size_t at = 0;

        http_request_begin(&r);
        while (at < len && r.state != HTTP_WHOLE && r.state != HTTP_REFUSED) {
                size_t n = len - at < step ? len - at : step;

                at += http_request_take(&r, text + at, n);
        }
        return at;
}

static void expect_body(const char *text, const char *body, bool keep)
{
        for (size_t step = 1; step <= strlen(text); step++) {
                cr_assert_eq(feed(text, strlen(text), step), strlen(text));
                cr_assert_eq(r.state, HTTP_WHOLE, "%s: %s", text, r.why);
                cr_assert_str_eq(r.target, "/VolumeDriver.Get");
                cr_assert_str_eq(r.body, body);
                cr_assert_eq(r.body_len, strlen(body));
                cr_assert_eq(r.keep, keep, "%s", text);
        }
}

static void expect_refused(const char *text, int status)
{
        for (size_t step = 1; step <= strlen(text); step++) {
                (void)feed(text, strlen(text), step);
                cr_assert_eq(r.state, HTTP_REFUSED, "not refused: %s", text);
                cr_assert_eq(r.status, status, "%d (%s): %s", r.status, r.why, text);
                cr_assert(r.why && *r.why);
        }
}

Test(http_request, bodies_have_a_length_or_chunks_or_are_empty)
{
        expect_body(POST "Content-Length: 2\r\n\r\n{}", "{}", true);
        expect_body(POST "content-length:2  \r\nUser-Agent: Go-http-client/1.1\r\n\r\n{}", "{}", true);
        expect_body(POST "Content-Length: 0\r\n\r\n", "", true);
        expect_body(POST "\r\n", "", true);
        expect_body(POST "Transfer-Encoding: Chunked\r\n\r\n1\r\n{\r\n01;x=y\r\n}\r\n0\r\n\r\n", "{}", true);
        expect_body(POST "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n", "", true);
}

Test(http_request, connections_are_kept_unless_the_client_says_otherwise)
{
        expect_body(POST "Connection: keep-alive\r\n\r\n", "", true);
        expect_body(POST "Connection: close\r\n\r\n", "", false);
        expect_body(POST "Connection: foo ,\tCLOSE\r\n\r\n", "", false);
        expect_body("POST /VolumeDriver.Get HTTP/1.0\r\n\r\n", "", false);
}

Test(http_request, docker_is_known_by_what_it_accepts)
{
        expect_body(POST "\r\n", "", true);
        cr_assert_not(r.from_docker);
        expect_body(POST "Accept: */*\r\n\r\n", "", true);
        cr_assert_not(r.from_docker);
        expect_body(POST "Accept: application/vnd.docker.plugins.v1.2+json\r\n\r\n", "", true);
        cr_assert(r.from_docker);
}

Test(http_request, what_is_doubtful_is_refused)
{
        static const struct {
                const char *text;
                int status;
        } wrong[] = {
                {"\r\n\r\n", 400},
                {"POST /a HTTP/1.1\n\r\n\r\n", 400},
                {"POST  /a HTTP/1.1\r\n\r\n", 400},
                {"POST /a  HTTP/1.1\r\n\r\n", 505},
                {"POST a HTTP/1.1\r\n\r\n", 400},
                {"POST /a\r\n\r\n", 400},
                {"POST /\x01 HTTP/1.1\r\n\r\n", 400},
                {"P(ST /a HTTP/1.1\r\n\r\n", 400},
                {"post /a HTTP/1.1\r\n\r\n", 405},
                {"GET /a HTTP/1.1\r\n\r\n", 405},
                {"POST /a HTTP/2.0\r\n\r\n", 505},
                {"POST /a http/1.1\r\n\r\n", 505},
                {POST ": x\r\n\r\n", 400},
                {POST "A : x\r\n\r\n", 400},
                {POST " folded\r\n\r\n", 400},
                {POST "A: x\ry\r\n\r\n", 400},
                {POST "A: \x7f\r\n\r\n", 400},
                {POST "nothing\r\n\r\n", 400},
                {POST "Content-Length:\r\n\r\n", 400},
                {POST "Content-Length: -1\r\n\r\n", 400},
                {POST "Content-Length: +1\r\n\r\n", 400},
                {POST "Content-Length: 1, 1\r\n\r\n", 400},
                {POST "Content-Length: 0x1\r\n\r\n", 400},
                {POST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
                {POST "Content-Length: 65537\r\n\r\n", 413},
                {POST "Content-Length: 99999999999999999999999999999999\r\n\r\n", 413},
                {POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
                {POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501},
                {POST "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
                {"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
                {POST "Expect: 100-continue\r\n\r\n", 417},
                {POST "Transfer-Encoding: chunked\r\n\r\nx\r\n", 400},
                {POST "Transfer-Encoding: chunked\r\n\r\n1x\r\n", 400},
                {POST "Transfer-Encoding: chunked\r\n\r\n1\n", 400},
                {POST "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 400},
                {POST "Transfer-Encoding: chunked\r\n\r\n10001\r\n", 413},
                {POST "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffffff\r\n", 413},
                {POST "Transfer-Encoding: chunked\r\n\r\n0\r\nnothing\r\n", 400},
        };

        for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
                expect_refused(wrong[i].text, wrong[i].status);
}

static void expect_limit(size_t pad, size_t body, int status)
{
        static char text[HTTP_HEAD_MAX + HTTP_BODY_MAX + 64];
        size_t n = (size_t)sprintf(text, POST "Content-Length: %zu\r\nX: ", body);

        while (n < pad)
                text[n++] = 'x';
        n += (size_t)sprintf(text + n, "\r\n\r\n");
        memset(text + n, 'y', body);
        (void)feed(text, n + body, 1000);
        cr_assert_eq(r.status, status, "%zu and %zu: %d", pad, body, r.status);
        cr_assert_eq(r.state, status ? HTTP_REFUSED : HTTP_WHOLE);
}

Test(http_request, the_limits_are_as_documented)
{
        expect_limit(HTTP_HEAD_MAX - 4, HTTP_BODY_MAX, 0);
        expect_limit(HTTP_HEAD_MAX - 3, 0, 431);
}

Test(http_request, what_follows_is_left)
{
        static const char two[] = POST "Content-Length: 1\r\n\r\n1" POST "\r\n";

        cr_assert_eq(feed(two, sizeof(two) - 1, sizeof(two)), strlen(POST "Content-Length: 1\r\n\r\n1"));
        cr_assert_str_eq(r.body, "1");
}

/*
 * The server
 */

static struct server {
        char path[108];
        uv_loop_t loop;
        uv_async_t stop, let_go;
        struct http_server *http;
        struct http_exchange *held;
        bool stopping;
        pthread_t thread;
} server;

/* /hold is answered once somebody lets go; all else with its own body. */
static void handle(void *arg, struct http_exchange *x, const char *target, const char *body, size_t len)
{
        (void)arg;
        (void)len;
        if (strcmp(target, "/hold") == 0 && !server.stopping)
                server.held = x;
        else
                http_answer(x, 200, strdup(body));
}

static void let_go_came(uv_async_t *a)
{
        (void)a;
        if (server.held)
                http_answer(server.held, 200, strdup("held"));
        server.held = NULL;
}

static void stop_came(uv_async_t *a)
{
        server.stopping = true;
        let_go_came(&server.let_go);
        http_server_close(server.http, NULL, NULL);
        uv_close((uv_handle_t *)&server.let_go, NULL);
        uv_close((uv_handle_t *)a, NULL);
}

static void *serve(void *arg)
{
        (void)uv_run(&server.loop, UV_RUN_DEFAULT);
        return arg;
}

static void start(void)
{
        const char *tmp = getenv("TMPDIR");
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        snprintf(server.path, sizeof(server.path), "%s/http.%d", tmp ? tmp : "/tmp", (int)getpid());
        strcpy(addr.sun_path, server.path);
        cr_assert_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
        cr_assert_eq(uv_loop_init(&server.loop), 0);
        cr_assert_eq(uv_async_init(&server.loop, &server.stop, stop_came), 0);
        cr_assert_eq(uv_async_init(&server.loop, &server.let_go, let_go_came), 0);
        cr_assert_eq(http_server_new(&server.loop, fd, handle, NULL, &server.http), 0);
        cr_assert_eq(thread_start(&server.thread, "server", serve, NULL), 0);
}

static void stop(void)
{
        (void)uv_async_send(&server.stop);
        cr_assert_eq(pthread_join(server.thread, NULL), 0);
        cr_assert_eq(uv_loop_close(&server.loop), 0);
        (void)unlink(server.path);
}

TestSuite(http, .init = start, .fini = stop, .timeout = 240);

static int join(void)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        strcpy(addr.sun_path, server.path);
        cr_assert_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0, "%s", strerror(errno));
        return fd;
}

static void say(int fd, const char *text)
{
        cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Read until what was read ends so, or the connection does. */
static void expect(int fd, const char *end)
{
        char text[4096] = "";
        size_t len = 0;

        for (;;) {
                struct pollfd p = {.fd = fd, .events = POLLIN};
                ssize_t n;

                if (len >= strlen(end) && strcmp(text + len - strlen(end), end) == 0)
                        return;
                cr_assert_gt(poll(&p, 1, PATIENCE_MS), 0, "no more than: %s", text);
                n = recv(fd, text + len, sizeof(text) - 1 - len, 0);
                cr_assert_gt(n, 0, "it hung up after: %s", text);
                len += (size_t)n;
                text[len] = '\0';
        }
}

static void expect_end(int fd)
{
        struct pollfd p = {.fd = fd, .events = POLLIN};
        char c;

        cr_assert_gt(poll(&p, 1, PATIENCE_MS), 0);
        cr_assert_leq(recv(fd, &c, 1, 0), 0);
}

Test(http, several_requests_on_one_connection_in_any_pieces)
{
        CLEANUP_FD int fd = join();
        const char *text = "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nfirst";

        for (; *text; text++) {
                char c[2] = {*text};

                say(fd, c);
        }
        expect(fd, "\r\n\r\nfirst");
        say(fd, "POST /a HTTP/1.1\r\nContent-Length: 6\r\n\r\nsecond");
        expect(fd, "\r\n\r\nsecond");
}

Test(http, requests_sent_at_once_are_served_one_after_the_other)
{
        CLEANUP_FD int fd = join();

        say(fd, "POST /hold HTTP/1.1\r\n\r\nPOST /a HTTP/1.1\r\nContent-Length: 1\r\n\r\n1POST /a HTTP/1.1\r\nContent-Length: 1\r\n\r\n2");
        /* It may not be held yet. */
        for (bool done = false; !done;) {
                struct pollfd p = {.fd = fd, .events = POLLIN};

                done = poll(&p, 1, 10) > 0;
                (void)uv_async_send(&server.let_go);
        }
        expect(fd, "\r\n\r\n2");
}

Test(http, a_refusal_is_answered_and_ends_the_connection)
{
        CLEANUP_FD int fd = join();

        say(fd, "GET / HTTP/1.1\r\n\r\nPOST /a HTTP/1.1\r\n\r\n");
        expect(fd, "{\"Err\":\"requests are made by POST\"}");
        expect_end(fd);
}

Test(http, one_that_waits_holds_nobody_up)
{
        CLEANUP_FD int waits = join();
        CLEANUP_FD int fd = join();

        say(waits, "POST /hold HTTP/1.1\r\n\r\n");
        say(fd, "POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nok");
        expect(fd, "\r\n\r\nok");
}

Test(http, a_client_may_leave_while_it_waits)
{
        int fd = join();

        say(fd, "POST /hold HTTP/1.1\r\n\r\n");
        close(fd);
        fd = join();
        say(fd, "POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nok");
        expect(fd, "\r\n\r\nok");
        close(fd);
}

Test(http, idle_clients_do_not_lock_others_out)
{
        int idle[100];
        CLEANUP_FD int fd = -1;

        for (size_t i = 0; i < ARRAY_LEN(idle); i++)
                idle[i] = join();
        fd = join();
        say(fd, "POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nok");
        expect(fd, "\r\n\r\nok");
        expect_end(idle[0]);
        for (size_t i = 0; i < ARRAY_LEN(idle); i++)
                close(idle[i]);
}

static int try_as_other(void *arg)
{
        struct pollfd p = {.fd = join(), .events = POLLIN};
        char c;

        (void)arg;
        return poll(&p, 1, PATIENCE_MS) > 0 && recv(p.fd, &c, 1, 0) <= 0 ? 0 : 1;
}

Test(http, other_users_are_not_served)
{
        struct who other = {.uid = 12345, .gid = 12345};

        if (geteuid() != 0)
                cr_assert_fail("run as root: it takes two users");
        cr_assert_eq(chmod(server.path, 0666), 0);
        cr_assert_eq(child_run(&other, try_as_other, NULL), 0);
}
