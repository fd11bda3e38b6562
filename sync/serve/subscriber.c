#include "sync/serve/subscriber.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "sync/serve/json.h"
#include "sync/serve/why.h"

#define NS_PER_MS 1000000ULL

struct subscriber {
        int fd;
        bool ended; /* nothing more comes */
        /* What was received: the lines in [at, len) are still to be given out. */
        char *input;
        size_t at, len;
        size_t looked; /* there is no newline before this */
        struct event event;
        bool has_event;
};

/*
 * Lines
 */

static const char *const kinds[] = {
        [EVENT_HELLO] = "hello",     [EVENT_CREATED] = "created", [EVENT_MODIFIED] = "modified", [EVENT_DELETED] = "deleted",
        [EVENT_TOUCHED] = "touched", [EVENT_SETTLED] = "settled", [EVENT_FRESH] = "fresh",       [EVENT_CUT] = "cut",
        [EVENT_REFUSED] = "refused", [EVENT_END] = "end",         [EVENT_VISIBLE] = "visible",
};

static enum event_kind kind_of(const char *text)
{
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
                if (strcmp(kinds[i], text) == 0)
                        return (enum event_kind)i;
        }
        return EVENT_OTHER;
}

bool event_is_change(const struct event *e)
{
        return e->kind == EVENT_CREATED || e->kind == EVENT_MODIFIED || e->kind == EVENT_DELETED || e->kind == EVENT_TOUCHED;
}

/* A member that may be missing. False when it is there and is something else. */
static bool take_text(const json_t *from, const char *name, const char **ret)
{
        const json_t *value = json_object_get(from, name);

        *ret = json_string_value(value);
        return !value || *ret;
}

static bool take_count(const json_t *from, const char *name, uint64_t *ret)
{
        const json_t *value = json_object_get(from, name);
        json_int_t n = json_integer_value(value);

        *ret = n > 0 ? (uint64_t)n : 0;
        return !value || (json_is_integer(value) && n >= 0);
}

static bool take_path(const json_t *from, struct event *e)
{
        const json_t *value = json_object_get(from, "path");

        if (!value)
                return !event_is_change(e);
        if (bytes_from_json(value, &e->path_memory, &e->path_len) || e->path_len == 0 || strlen(e->path_memory) != e->path_len)
                return false;
        e->path = e->path_memory;
        return true;
}

static bool take_source(const json_t *from, struct event *e)
{
        const json_t *value = json_object_get(from, "source");

        e->source = e->source_memory = value ? path_from_json(value) : NULL;
        return !value || e->source;
}

static bool take_git(const json_t *from, struct event *e)
{
        const json_t *git = json_object_get(from, "git");

        if (!git)
                return true;
        return json_is_object(git) && take_text(git, "operation", &e->operation) && take_text(git, "head_was", &e->head_was) &&
               take_text(git, "head_is", &e->head_is);
}

static bool take_members(const json_t *from, struct event *e)
{
        const json_t *fresh = json_object_get(from, "fresh");

        e->fresh = json_is_true(fresh);
        e->time = json_number_value(json_object_get(from, "time"));
        return (!fresh || json_is_boolean(fresh)) && take_text(from, "clock", &e->clock) && take_count(from, "batch", &e->batch) &&
               take_count(from, "changes", &e->changes) && take_path(from, e) && take_source(from, e) && take_git(from, e) &&
               take_text(from, "type", &e->type) && take_text(from, "origin", &e->origin) && take_text(from, "old_hash", &e->old_hash) &&
               take_text(from, e->kind == EVENT_SETTLED ? "root_hash" : "new_hash", &e->new_hash) && take_text(from, "name", &e->name) &&
               take_text(from, "error", &e->error) && take_text(from, "why", &e->why);
}

/* What every line of its kind has. */
static bool is_whole(const struct event *e)
{
        switch (e->kind) {
        case EVENT_CUT:
        case EVENT_REFUSED:
                return e->error;
        case EVENT_END:
                return e->why;
        case EVENT_OTHER:
                return true;
        default:
                return e->clock;
        }
}

int event_parse(const char *line, size_t len, struct event *ret, char **why)
{
        struct event e = {.line = line, .line_len = len};
        json_error_t error;
        const char *kind;

        e.json = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
        if (!e.json)
                return why_set(why, -EINVAL, "a line of the event stream is no JSON: %s", error.text);
        kind = json_string_value(json_object_get(e.json, "kind"));
        e.kind = kind ? kind_of(kind) : EVENT_OTHER;
        if (!kind || !take_members(e.json, &e) || !is_whole(&e)) {
                e.kind = kind ? e.kind : EVENT_OTHER;
                (void)why_set(why, -EINVAL, "a line of the event stream is none that this version understands%s%s",
                              e.kind == EVENT_OTHER ? "" : ": kind ", e.kind == EVENT_OTHER ? "" : kinds[e.kind]);
                event_release(&e);
                return -EINVAL;
        }
        *ret = e;
        return 0;
}

void event_release(struct event *e)
{
        json_decref(e->json);
        free(e->path_memory);
        free(e->source_memory);
        *e = (struct event){0};
}

/*
 * The connection
 */

/* A path that is longer than an address can be goes through the directory's descriptor; that needs /proc, which not every container has.
 * *dirfd has to stay open meanwhile. */
static int address_of(const char *path, struct sockaddr_un *ret, int *dirfd)
{
        const char *slash = strrchr(path, '/');
        CLEANUP_FREE char *dir = NULL;

        *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
        if ((size_t)snprintf(ret->sun_path, sizeof(ret->sun_path), "%s", path) < sizeof(ret->sun_path))
                return 0;
        dir = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
        if (!dir)
                return -ENOMEM;
        *dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (*dirfd < 0)
                return -errno;
        if ((size_t)snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/%s", fd_proc_path(*dirfd).text, slash ? slash + 1 : path) >=
            sizeof(ret->sun_path))
                return -ENAMETOOLONG;
        return 0;
}

static int connect_to(const char *path)
{
        CLEANUP_FD int dirfd = -1;
        CLEANUP_FD int fd = -1;
        struct sockaddr_un addr;
        int rc = address_of(path, &addr, &dirfd);

        if (rc)
                return rc;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
                return -errno;
        return fd_steal(&fd);
}

static json_t *request_of(const struct subscriber_wish *w)
{
        json_t *request;

        if (w->wait)
                return json_pack("{s:i, s:b, s:i}", "version", EVENTS_VERSION, "wait", 1, "timeout_ms", w->timeout_ms);
        request = json_pack("{s:i, s:b, s:b}", "version", EVENTS_VERSION, "touches", (int)w->touches, "follow", (int)!w->once);

        if (request && w->since && json_object_set_new(request, "since", json_string(w->since))) {
                json_decref(request);
                return NULL;
        }
        return request;
}

static int send_request(int fd, const struct subscriber_wish *w, char **why)
{
        json_t *request = request_of(w);
        CLEANUP_FREE char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
        CLEANUP_FREE char *line = text ? text_new("%s\n", text) : NULL;
        size_t len = line ? strlen(line) : 0;

        json_decref(request);
        if (!line)
                return why_set(why, -EINVAL, "the clock to begin at is no text");
        if (len > EVENTS_REQUEST_MAX)
                return why_set(why, -EINVAL, "the clock to begin at is too long");
        for (size_t done = 0; done < len;) {
                ssize_t n = send(fd, line + done, len - done, MSG_NOSIGNAL);

                /* Who is refused before he has asked is told why: what was received says more than this does. */
                if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
                        return 0;
                if (n < 0 && errno != EINTR)
                        return why_set(why, -errno, "the event stream can't be asked: %s", strerror(errno));
                if (n > 0)
                        done += (size_t)n;
        }
        return 0;
}

int subscriber_new_fd(int fd, const struct subscriber_wish *wish, struct subscriber **ret, char **why)
{
        CLEANUP_FD int own = fd;
        struct subscriber *s;
        int rc = send_request(fd, wish, why);

        if (rc)
                return rc;
        s = calloc(1, sizeof(*s));
        if (s)
                s->input = malloc(EVENT_LINE_MAX);
        if (!s || !s->input) {
                free(s);
                return why_set(why, -ENOMEM, "out of memory");
        }
        s->fd = fd_steal(&own);
        *ret = s;
        return 0;
}

int subscriber_new(const char *path, const struct subscriber_wish *wish, struct subscriber **ret, char **why)
{
        int fd = connect_to(path);

        if (fd < 0)
                return why_set(why, fd, "nobody offers events at %s: %s", path, strerror(-fd));
        return subscriber_new_fd(fd, wish, ret, why);
}

void subscriber_free(struct subscriber *s)
{
        if (!s)
                return;
        if (s->has_event)
                event_release(&s->event);
        fd_close(&s->fd);
        free(s->input);
        free(s);
}

int subscriber_fd(const struct subscriber *s)
{
        return s->fd;
}

/*
 * Receiving
 */

/* The next whole line in what was received, if there is one. */
static bool next_line(struct subscriber *s, const char **ret, size_t *len)
{
        char *end = s->looked < s->len ? memchr(s->input + s->looked, '\n', s->len - s->looked) : NULL;

        if (!end) {
                s->looked = s->len;
                return false;
        }
        *ret = s->input + s->at;
        *len = (size_t)(end - *ret);
        s->at = s->looked = (size_t)(end - s->input) + 1;
        return true;
}

/* Receive what is there without waiting. 0 or -errno as subscriber_next(). */
static int receive(struct subscriber *s, char **why)
{
        ssize_t n;

        memmove(s->input, s->input + s->at, s->len - s->at);
        s->len -= s->at;
        s->looked -= s->at;
        s->at = 0;
        if (s->len == EVENT_LINE_MAX)
                return why_set(why, -EPROTO, "a line of the event stream is longer than %d bytes", EVENT_LINE_MAX);
        n = s->ended ? 0 : recv(s->fd, s->input + s->len, EVENT_LINE_MAX - s->len, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return -errno;
        if (n < 0 && errno != ECONNRESET)
                return why_set(why, -errno, "the event stream can't be read: %s", strerror(errno));
        if (n <= 0) {
                s->ended = true;
                return -EPIPE;
        }
        s->len += (size_t)n;
        return 0;
}

static int wait_readable(const struct subscriber *s, unsigned long long deadline, bool forever)
{
        struct pollfd p = {.fd = s->fd, .events = POLLIN};
        unsigned long long now = clock_now_ns();
        int left = forever ? -1 : now >= deadline ? 0 : (int)((deadline - now) / NS_PER_MS) + 1;
        int n = left == 0 ? 0 : poll(&p, 1, left);

        return n > 0 ? 0 : n == 0 ? -EAGAIN : -errno;
}

int subscriber_next(struct subscriber *s, int timeout_ms, const struct event **ret, char **why)
{
        unsigned long long deadline = clock_now_ns() + (unsigned long long)(timeout_ms > 0 ? timeout_ms : 0) * NS_PER_MS;
        const char *line;
        size_t len;
        int rc;

        if (s->has_event)
                event_release(&s->event);
        s->has_event = false;
        while (!next_line(s, &line, &len)) {
                rc = receive(s, why);
                if (rc == -EAGAIN)
                        rc = wait_readable(s, deadline, timeout_ms < 0);
                if (rc)
                        return rc;
        }
        rc = event_parse(line, len, &s->event, why);
        if (rc)
                return rc == -EINVAL ? -EPROTO : rc;
        s->has_event = true;
        *ret = &s->event;
        return 0;
}
