#include "sync/serve/http.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "sync/serve/http_request.h"
#include "sync/serve/why.h"

#define CLIENTS_MAX 64
#define BACKLOG 64
#define INPUT_SIZE (16 * 1024)
#define STALL_MS 30000

/*
 * READING until a request is whole; HANDLED by the owner until he answers; WRITING the answer, then READING again, or CLOSING, which any
 * state leads to, but from HANDLED only once the answer is there.
 */
enum client_state {
        READING,
        HANDLED,
        WRITING,
        CLOSING,
};

struct http_exchange {
        struct http_server *server;
        struct http_exchange *next;
        uv_pipe_t pipe;
        uv_timer_t stall; /* runs while the other side has to do something */
        unsigned handles; /* of libuv, to be closed */
        enum client_state state;
        bool keep;
        struct http_request request;
        char input[INPUT_SIZE]; /* what was read: */
        size_t input_len, taken;
        uv_write_t write;
        char *head, *json; /* owned, while WRITING */
};

struct http_server {
        uv_loop_t *loop;
        uv_pipe_t listener;
        http_handler *handle;
        void *arg;
        struct http_exchange *clients; /* the youngest first */
        size_t client_count;
        bool listening, closing;
        bool knocking; /* somebody is to be accepted as soon as there is room */
        void (*done)(void *arg);
        void *done_arg;
};

static void serve(struct http_exchange *x);
static void accept_client(struct http_server *s);

static void free_if_done(struct http_server *s)
{
        void (*done)(void *arg) = s->done;
        void *arg = s->done_arg;

        if (!s->closing || s->listening || s->clients)
                return;
        free(s);
        if (done)
                done(arg);
}

static void client_closed(uv_handle_t *h)
{
        struct http_exchange *x = h->data;
        struct http_server *s = x->server;

        if (--x->handles)
                return;
        for (struct http_exchange **p = &s->clients; *p; p = &(*p)->next) {
                if (*p == x) {
                        *p = x->next;
                        break;
                }
        }
        s->client_count--;
        free(x->head);
        free(x->json);
        free(x);
        if (s->knocking && !s->closing)
                accept_client(s);
        free_if_done(s);
}

static void drop(struct http_exchange *x)
{
        if (x->state == CLOSING)
                return;
        x->state = CLOSING;
        uv_close((uv_handle_t *)&x->pipe, client_closed);
        uv_close((uv_handle_t *)&x->stall, client_closed);
}

static void stalled(uv_timer_t *t)
{
        drop(t->data);
}

/*
 * Answers
 */

static const struct {
        int status;
        const char *text;
} reasons[] = {
        {200, "OK"},
        {400, "Bad Request"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {413, "Content Too Large"},
        {417, "Expectation Failed"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {505, "HTTP Version Not Supported"},
};

static const char *reason(int status)
{
        for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
                if (reasons[i].status == status)
                        return reasons[i].text;
        }
        return "Failed";
}

static void written(uv_write_t *w, int status)
{
        struct http_exchange *x = w->data;

        if (x->state == CLOSING)
                return;
        free(steal_ptr(&x->head));
        free(steal_ptr(&x->json));
        if (status < 0 || !x->keep || x->server->closing) {
                drop(x);
                return;
        }
        (void)uv_timer_stop(&x->stall);
        http_request_begin(&x->request);
        x->state = READING;
        serve(x);
}

bool http_is_docker(const struct http_exchange *x)
{
        return x->request.from_docker;
}

void http_answer(struct http_exchange *x, int status, char *json)
{
        uv_buf_t bufs[2];

        x->state = WRITING;
        x->json = json;
        x->head =
                json ? text_new("HTTP/1.1 %d %s\r\nContent-Type: application/vnd.docker.plugins.v1.1+json\r\nContent-Length: %zu\r\n%s\r\n",
                                status, reason(status), strlen(json), x->keep ? "" : "Connection: close\r\n")
                     : NULL;
        if (!x->head) {
                drop(x);
                return;
        }
        bufs[0] = uv_buf_init(x->head, (unsigned)strlen(x->head));
        bufs[1] = uv_buf_init(x->json, (unsigned)strlen(x->json));
        x->write.data = x;
        (void)uv_timer_start(&x->stall, stalled, STALL_MS, 0);
        if (uv_write(&x->write, (uv_stream_t *)&x->pipe, bufs, ARRAY_LEN(bufs), written) < 0)
                drop(x);
}

/* It made no sense: what else the client says is of no account. The sentences are ours, and need no escaping. */
static void refuse(struct http_exchange *x)
{
        x->keep = false;
        log_warn("a request is refused: %s", x->request.why);
        http_answer(x, x->request.status, text_new("{\"Err\":\"%s\"}", x->request.why));
}

/*
 * Requests
 */

static void input_space(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
        struct http_exchange *x = h->data;

        (void)suggested;
        *buf = uv_buf_init(x->input, sizeof(x->input));
}

static void input_came(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
        struct http_exchange *x = stream->data;

        (void)buf;
        if (n < 0) {
                drop(x);
                return;
        }
        x->input_len = (size_t)n;
        x->taken = 0;
        if (n > 0 && !http_request_begun(&x->request))
                (void)uv_timer_start(&x->stall, stalled, STALL_MS, 0);
        serve(x);
}

/* Go on with what has come, until a request is whole; then look for more only once it is answered. */
static void serve(struct http_exchange *x)
{
        x->taken += http_request_take(&x->request, x->input + x->taken, x->input_len - x->taken);
        if (x->request.state != HTTP_WHOLE && x->request.state != HTTP_REFUSED) {
                int rc = uv_read_start((uv_stream_t *)&x->pipe, input_space, input_came);

                if (rc < 0 && rc != UV_EALREADY)
                        drop(x);
                return;
        }
        (void)uv_read_stop((uv_stream_t *)&x->pipe);
        (void)uv_timer_stop(&x->stall);
        x->keep = x->request.keep;
        x->state = HANDLED;
        if (x->request.state == HTTP_REFUSED)
                refuse(x);
        else
                x->server->handle(x->server->arg, x, x->request.target, x->request.body, x->request.body_len);
}

/*
 * Clients
 */

static bool is_allowed(uv_pipe_t *pipe)
{
        struct ucred peer;
        socklen_t len = sizeof(peer);
        uv_os_fd_t fd;

        if (uv_fileno((uv_handle_t *)pipe, &fd) < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
                return false;
        return peer.uid == 0 || peer.uid == geteuid();
}

/* The place is taken from the client that came first, of those that ask for nothing right now. */
static void make_room(struct http_server *s)
{
        struct http_exchange *idle = NULL;

        for (struct http_exchange *x = s->clients; x; x = x->next) {
                if (x->state == CLOSING)
                        return; /* it is on its way out */
                if (x->state == READING)
                        idle = x;
        }
        if (idle)
                drop(idle);
}

static void accept_client(struct http_server *s)
{
        /* Without clearing the buffers. */
        struct http_exchange *x = malloc(sizeof(*x));

        s->knocking = !x;
        if (!x)
                return;
        x->server = s;
        x->handles = 2;
        x->state = READING;
        x->keep = true;
        x->input_len = x->taken = 0;
        x->head = x->json = NULL;
        http_request_begin(&x->request);
        (void)uv_pipe_init(s->loop, &x->pipe, 0);
        (void)uv_timer_init(s->loop, &x->stall);
        x->pipe.data = x->stall.data = x;
        x->next = s->clients;
        s->clients = x;
        s->client_count++;
        if (uv_accept((uv_stream_t *)&s->listener, (uv_stream_t *)&x->pipe) < 0 || !is_allowed(&x->pipe))
                drop(x);
        else
                serve(x);
}

static void client_came(uv_stream_t *listener, int status)
{
        struct http_server *s = listener->data;

        if (status < 0 || s->closing)
                return;
        if (s->client_count < CLIENTS_MAX) {
                accept_client(s);
                return;
        }
        s->knocking = true;
        make_room(s);
}

static void listener_closed(uv_handle_t *h)
{
        struct http_server *s = h->data;

        s->listening = false;
        free_if_done(s);
}

int http_server_new(uv_loop_t *loop, int fd, http_handler *handle, void *arg, struct http_server **ret)
{
        struct http_server *s = calloc(1, sizeof(*s));
        int rc;

        if (!s)
                return -ENOMEM;
        s->loop = loop;
        s->handle = handle;
        s->arg = arg;
        s->listening = true;
        (void)uv_pipe_init(loop, &s->listener, 0);
        s->listener.data = s;
        rc = uv_pipe_open(&s->listener, fd);
        if (rc == 0)
                rc = uv_listen((uv_stream_t *)&s->listener, BACKLOG, client_came);
        else
                close(fd);
        if (rc < 0) {
                http_server_close(s, NULL, NULL);
                return rc;
        }
        *ret = s;
        return 0;
}

void http_server_close(struct http_server *s, void (*done)(void *arg), void *arg)
{
        s->closing = true;
        s->done = done;
        s->done_arg = arg;
        uv_close((uv_handle_t *)&s->listener, listener_closed);
        for (struct http_exchange *x = s->clients, *next; x; x = next) {
                next = x->next;
                if (x->state == READING)
                        drop(x);
        }
}
