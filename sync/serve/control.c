#include "sync/serve/control.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "sync/serve/socket.h"
#include "sync/serve/why.h"

#define CLIENTS_MAX 64
#define UNREAD_MAX (4 * 1024 * 1024) /* answers that a client leaves unread before it is dropped */
#define ANSWER_MAX UNREAD_MAX
#define READ_FIRST 512
/* Of libuv's four worker threads one stays free for what is urgent. */
#define BLOCKING_MAX 3

/*
 * A client is READING until a whole line is there; then BUSY with that one request (what it sends meanwhile waits in the socket and in
 * `input`), then READING again. CLOSING from any state, once; while a worker still runs its request it stays in memory.
 */
enum client_state {
        READING,
        BUSY,
        CLOSING,
};

struct client {
        struct control *control;
        struct client *next;
        struct client *next_waiting;
        uv_pipe_t pipe;
        enum client_state state;
        bool closed;     /* libuv has let go of the pipe */
        bool running;    /* a worker has it */
        bool last_words; /* to be dropped once its answers are written */
        char *input;     /* owned */
        size_t input_len, input_size;
        /* The request that it is busy with. A worker has these while running. */
        struct request request;
        uv_work_t work;
        json_t *result;
        char *why;
        int rc;
};

struct control {
        uv_loop_t *loop;
        uv_pipe_t listener;
        struct registry registry;
        int dirfd;
        char *name;
        struct client *clients;
        size_t client_count;
        /* Requests that wait for a worker, first come first. */
        struct client *waiting;
        int blocking;
        bool listening;
        bool closing;
        bool knocking; /* somebody is to be accepted as soon as there is room; until then libuv looks for no more */
};

static void serve_input(struct client *cl);
static void start_waiting(struct control *c);
static void accept_client(struct control *c);

static void control_free_if_done(struct control *c)
{
        if (!c->closing || c->listening || c->clients)
                return;
        fd_close(&c->dirfd);
        free(c->name);
        free(c);
}

static void client_free_if_done(struct client *cl)
{
        struct control *c = cl->control;

        if (!cl->closed || cl->running)
                return;
        for (struct client **p = &c->clients; *p; p = &(*p)->next) {
                if (*p == cl) {
                        *p = cl->next;
                        break;
                }
        }
        c->client_count--;
        request_release(&cl->request);
        json_decref(cl->result);
        free(cl->why);
        free(cl->input);
        free(cl);
        if (c->knocking && !c->closing)
                accept_client(c);
        control_free_if_done(c);
}

static void client_closed(uv_handle_t *h)
{
        struct client *cl = h->data;

        cl->closed = true;
        client_free_if_done(cl);
}

static void leave_queue(struct client *cl)
{
        for (struct client **p = &cl->control->waiting; *p; p = &(*p)->next_waiting) {
                if (*p == cl) {
                        *p = cl->next_waiting;
                        break;
                }
        }
}

static void client_drop(struct client *cl)
{
        if (cl->state == CLOSING)
                return;
        cl->state = CLOSING;
        leave_queue(cl);
        uv_close((uv_handle_t *)&cl->pipe, client_closed);
}

struct answer {
        uv_write_t write;
        struct client *client;
        char *text;
};

static void answer_written(uv_write_t *w, int status)
{
        struct answer *a = w->data;
        struct client *cl = a->client;

        if (status < 0 || (cl->last_words && uv_stream_get_write_queue_size((uv_stream_t *)&cl->pipe) == 0))
                client_drop(cl);
        free(a->text);
        free(a);
}

/* Takes `text`. */
static void client_send(struct client *cl, char *text)
{
        struct answer *a = calloc(1, sizeof(*a));
        uv_buf_t buf;

        if (!a || !text) {
                free(a);
                free(text);
                client_drop(cl);
                return;
        }
        a->write.data = a;
        a->client = cl;
        a->text = text;
        buf = uv_buf_init(text, (unsigned)strlen(text));
        if (uv_write(&a->write, (uv_stream_t *)&cl->pipe, &buf, 1, answer_written) < 0) {
                free(text);
                free(a);
                client_drop(cl);
                return;
        }
        if (uv_stream_get_write_queue_size((uv_stream_t *)&cl->pipe) > UNREAD_MAX) {
                log_warn("control: a client leaves its answers unread; it is dropped");
                client_drop(cl);
        }
}

/* A failure that ends the conversation. */
static void client_refuse(struct client *cl, int rc, const char *why)
{
        if (uv_stream_get_write_queue_size((uv_stream_t *)&cl->pipe) > 0) {
                client_drop(cl); /* it doesn't read: it would not read this either */
                return;
        }
        cl->last_words = true;
        leave_queue(cl);
        uv_read_stop((uv_stream_t *)&cl->pipe);
        client_send(cl, answer_line(rc, NULL, why));
}

/* The request is done: answer, and go on with what else was sent. */
static void client_answer(struct client *cl)
{
        char *text = answer_line(cl->rc, cl->result, cl->why);

        /* Whoever reads it could only be dropped for not reading it. */
        if (text && strlen(text) > ANSWER_MAX) {
                free(text);
                text = answer_line(-EFBIG, NULL, "the answer is longer than 4 MiB; ask for less of it");
        }
        cl->result = NULL;
        free(cl->why);
        cl->why = NULL;
        request_release(&cl->request);
        if (cl->state == CLOSING) {
                free(text);
                return;
        }
        cl->state = READING;
        cl->last_words = cl->last_words || cl->control->closing;
        client_send(cl, text);
}

static void run_request(struct client *cl)
{
        cl->rc = cl->request.verb->run(cl->control->registry.arg, cl->request.args, &cl->result, &cl->why);
}

static void work_run(uv_work_t *w)
{
        run_request(w->data);
}

static void work_done(uv_work_t *w, int status)
{
        struct client *cl = w->data;
        struct control *c = cl->control;

        (void)status;
        cl->running = false;
        if (cl->request.verb->kind == VERB_BLOCKING)
                c->blocking--;
        client_answer(cl);
        if (cl->state == READING && !cl->last_words)
                serve_input(cl);
        start_waiting(c);
        client_free_if_done(cl);
}

static void start_work(struct client *cl)
{
        cl->work.data = cl;
        cl->running = true;
        if (cl->request.verb->kind == VERB_BLOCKING)
                cl->control->blocking++;
        /* Fails only without a callback. */
        (void)uv_queue_work(cl->control->loop, &cl->work, work_run, work_done);
}

static void start_waiting(struct control *c)
{
        while (c->waiting && c->blocking < BLOCKING_MAX) {
                struct client *cl = c->waiting;

                c->waiting = cl->next_waiting;
                start_work(cl);
        }
}

static void enqueue_waiting(struct client *cl)
{
        struct client **p = &cl->control->waiting;

        while (*p)
                p = &(*p)->next_waiting;
        cl->next_waiting = NULL;
        *p = cl;
        start_waiting(cl->control);
}

static void serve_line(struct client *cl, const char *line, size_t len)
{
        CLEANUP_FREE char *why = NULL;
        int rc = request_parse(&cl->control->registry, line, len, &cl->request, &why);

        if (rc) {
                client_send(cl, answer_line(rc, NULL, why));
                return;
        }
        cl->state = BUSY;
        if (cl->request.verb->kind == VERB_QUICK) {
                run_request(cl);
                client_answer(cl);
        } else if (cl->request.verb->kind == VERB_URGENT) {
                start_work(cl);
        } else {
                enqueue_waiting(cl);
        }
}

static void input_space(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
        struct client *cl = h->data;

        (void)suggested;
        if (cl->input_len == cl->input_size) {
                size_t size = cl->input_size ? cl->input_size * 2 : READ_FIRST;
                char *grown = size <= REQUEST_MAX ? realloc(cl->input, size) : NULL;

                if (grown) {
                        cl->input = grown;
                        cl->input_size = size;
                }
        }
        *buf = uv_buf_init(cl->input + cl->input_len, (unsigned)(cl->input_size - cl->input_len));
}

static void input_came(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
        struct client *cl = s->data;

        (void)buf;
        if (n == UV_ENOBUFS) {
                client_refuse(cl, -EMSGSIZE, "a request is one line of at most 64 KiB");
                return;
        }
        if (n < 0) {
                client_drop(cl);
                return;
        }
        cl->input_len += (size_t)n;
        serve_input(cl);
}

/* Serve whole lines until one keeps the client busy, then look for more. */
static void serve_input(struct client *cl)
{
        while (cl->state == READING && !cl->last_words) {
                char *end = cl->input_len ? memchr(cl->input, '\n', cl->input_len) : NULL;
                size_t len = end ? (size_t)(end - cl->input) : 0;

                if (!end) {
                        int rc = uv_read_start((uv_stream_t *)&cl->pipe, input_space, input_came);

                        if (rc < 0 && rc != UV_EALREADY)
                                client_drop(cl);
                        return;
                }
                serve_line(cl, cl->input, len);
                cl->input_len -= len + 1;
                memmove(cl->input, end + 1, cl->input_len);
        }
        if (cl->state != CLOSING)
                uv_read_stop((uv_stream_t *)&cl->pipe);
}

static bool peer_allowed(const uv_pipe_t *pipe)
{
        uv_os_fd_t fd;

        return uv_fileno((const uv_handle_t *)pipe, &fd) == 0 && socket_peer_is_owner(fd);
}

/* The place is taken from the client that came first, of those that ask for nothing right now, else of those whose request has to wait. */
static void make_room(struct control *c)
{
        struct client *idle = NULL;
        struct client *queued = NULL;

        for (struct client *cl = c->clients; cl; cl = cl->next) {
                if (cl->last_words || cl->state == CLOSING)
                        return; /* it is on its way out */
                if (cl->state == READING)
                        idle = cl;
                else if (!cl->running)
                        queued = cl;
        }
        if (idle || queued)
                client_refuse(idle ? idle : queued, -EBUSY, "too many clients; the one that has been connected longest is dropped");
}

static void accept_client(struct control *c)
{
        struct client *cl = calloc(1, sizeof(*cl));

        c->knocking = !cl;
        if (!cl)
                return;
        cl->control = c;
        (void)uv_pipe_init(c->loop, &cl->pipe, 0);
        cl->pipe.data = cl;
        cl->next = c->clients;
        c->clients = cl;
        c->client_count++;
        if (uv_accept((uv_stream_t *)&c->listener, (uv_stream_t *)&cl->pipe) < 0 || !peer_allowed(&cl->pipe))
                client_drop(cl);
        else
                serve_input(cl);
}

static void client_came(uv_stream_t *listener, int status)
{
        struct control *c = listener->data;

        if (status < 0)
                return;
        if (c->client_count < CLIENTS_MAX) {
                accept_client(c);
                return;
        }
        c->knocking = true;
        make_room(c);
}

static int listen_at(uv_loop_t *loop, const char *dir, const char *name, const struct registry *r, int listener, struct control **ret)
{
        CLEANUP_FD int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CLEANUP_FD int fd = listener;
        CLEANUP_FREE char *own_name = strdup(name);
        struct control *c;
        int rc;

        if (dirfd < 0)
                return -errno;
        if (fd < 0)
                fd = socket_listen(dirfd, name);
        if (fd < 0)
                return fd;
        c = calloc(1, sizeof(*c));
        if (!c || !own_name) {
                free(c);
                return -ENOMEM;
        }
        c->loop = loop;
        c->registry = *r;
        (void)uv_pipe_init(loop, &c->listener, 0);
        c->listener.data = c;
        c->listening = true;
        c->dirfd = fd_steal(&dirfd);
        c->name = steal_ptr(&own_name);
        rc = uv_pipe_open(&c->listener, fd);
        if (rc == 0) {
                (void)fd_steal(&fd);
                rc = uv_listen((uv_stream_t *)&c->listener, SOCKET_BACKLOG, client_came);
        }
        if (rc < 0) {
                control_close(c);
                return rc;
        }
        *ret = c;
        return 0;
}

int control_new(uv_loop_t *loop, const char *dir, const char *name, const struct registry *r, struct control **ret)
{
        return listen_at(loop, dir, name, r, -1, ret);
}

int control_inherit(uv_loop_t *loop, const char *dir, const char *name, const struct registry *r, int listener, struct control **ret)
{
        return listen_at(loop, dir, name, r, listener, ret);
}

int control_listener(const struct control *c)
{
        uv_os_fd_t fd;

        return uv_fileno((const uv_handle_t *)&c->listener, &fd) == 0 ? fd : -1;
}

static void listener_closed(uv_handle_t *h)
{
        struct control *c = h->data;

        c->listening = false;
        control_free_if_done(c);
}

void control_close(struct control *c)
{
        if (!c)
                return;
        assert(!c->closing);
        c->closing = true;
        (void)unlinkat(c->dirfd, c->name, 0);
        uv_close((uv_handle_t *)&c->listener, listener_closed);
        for (struct client *cl = c->clients, *next; cl; cl = next) {
                next = cl->next;
                if (cl->state == READING && uv_stream_get_write_queue_size((uv_stream_t *)&cl->pipe) == 0)
                        client_drop(cl);
                else if (cl->state == READING)
                        cl->last_words = true;
        }
}
