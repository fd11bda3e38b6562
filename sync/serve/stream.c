#include "sync/serve/stream.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "cache/base/thread.h"
#include "sync/journal.h"
#include "sync/serve/socket.h"
#include "sync/serve/stream_lines.h"
#include "sync/serve/subscriber.h"
#include "sync/serve/why.h"

#define SUBSCRIBERS_MAX 64
#define REQUEST_MS 10000U
#define PATIENCE_MS 30000U
#define LINGER_MS 1000U
/* One barrier; who waits longer waits for several. */
#define BARRIER_MS 5000
#define TICKS_PER_PATIENCE 4U
#define TICK_MAX_MS 1000U
/* Connections that are turned away at once; more wait for the next tick, so that who does nothing but connect doesn't keep the loop busy.
 */
#define TURNED_AWAY_PER_TICK 32
/* A piece of the journal is written when it has this size; a line more fits in. */
#define PIECE_BYTES ((size_t)32 * 1024)
#define PIECE_MAX (PIECE_BYTES + (size_t)EVENT_LINE_MAX / 2)
#define NS_PER_MS 1000000ULL

/*
 *     ASKING --> FOLLOWING --> ENDING --+
 *        |           |                  +--> LAST_WORDS --> CLOSING
 *        +-----------+------------------+
 *        |                              |
 *        +--------> WAITING ------------+
 *
 * ASKING      the request isn't whole yet.
 * FOLLOWING   gets what the journal has, and what comes.
 * WAITING     for the barrier: the one under way if it came before that began, else the next.
 * ENDING      gets what the journal has up to `upto`, then the end.
 * LAST_WORDS  what is on the way is the last of it.
 * CLOSING     from any state, once.
 */
enum subscription_state {
        ASKING,
        FOLLOWING,
        WAITING,
        ENDING,
        LAST_WORDS,
        CLOSING,
};

struct subscription {
        struct stream_door *door;
        struct subscription *next;
        uv_pipe_t pipe;
        enum subscription_state state;
        bool touches;
        bool before_barrier; /* WAITING: the barrier under way is one for it */
        /* All that is known of it is from before `seq`; what was there when it came ends with `came_at`. */
        uint64_t seq, came_at, upto;
        const char *why; /* of the end; ENDING */
        char *piece;     /* on the way, owned; NULL: nothing is */
        char *last;      /* the last words, that follow it; owned */
        size_t left;     /* of what is on the way, when last looked at */
        uv_write_t write, write_last;
        bool more;                   /* the piece ended because it was full */
        unsigned long long deadline; /* 0: none */
        size_t request_len;
        char request[EVENTS_REQUEST_MAX];
};

struct stream_door {
        struct stream *stream;
        struct stream_door *next;
        uv_pipe_t listener;
        char *name, *source;
        bool anyone;
        struct subscription *subscriptions;
        size_t count;
        unsigned turned_away; /* since the last tick */
        bool knocking;        /* somebody is to be accepted at the next tick; until then libuv looks for no more */
        bool closing, listener_closed;
        void (*closed)(void *arg);
        void *closed_arg;
};

struct stream {
        uv_loop_t *loop;
        struct stream_options options;
        uv_async_t news;
        uv_timer_t tick; /* runs while somebody has a deadline */
        unsigned tick_ms;
        bool ticking;
        unsigned handles; /* of news and tick that libuv still has, and the barrier that is under way */
        uv_work_t barrier;
        bool at_barrier;
        int barrier_rc;
        struct stream_door *doors;
        bool closing;
        struct stream_stats stats;
        /* The record that is being copied out of the journal. */
        struct journal_record record;
        char *path; /* owned, as large as any so far */
        size_t path_size;
        bool no_memory;
        char texts[3][JOURNAL_TEXT_MAX + 1];
};

static void accept_one(struct stream_door *d);
static void pump(struct subscription *sub);

/*
 * Ends
 */

static void stream_let_go(struct stream *s)
{
        if (--s->handles)
                return;
        free(s->path);
        free(s);
}

static void handle_closed(uv_handle_t *h)
{
        stream_let_go(h->data);
}

/* The doors need the time to the last. */
static void stream_close_if_done(struct stream *s)
{
        if (s->closing && !s->doors)
                uv_close((uv_handle_t *)&s->tick, handle_closed);
}

static void door_free_if_done(struct stream_door *d)
{
        struct stream *s = d->stream;

        if (!d->closing || !d->listener_closed || d->subscriptions)
                return;
        for (struct stream_door **p = &s->doors; *p; p = &(*p)->next) {
                if (*p == d) {
                        *p = d->next;
                        break;
                }
        }
        if (d->closed)
                d->closed(d->closed_arg);
        free(d->name);
        free(d->source);
        free(d);
        stream_close_if_done(s);
}

static void subscription_closed(uv_handle_t *h)
{
        struct subscription *sub = h->data;
        struct stream_door *d = sub->door;

        for (struct subscription **p = &d->subscriptions; *p; p = &(*p)->next) {
                if (*p == sub) {
                        *p = sub->next;
                        break;
                }
        }
        d->count--;
        free(sub->piece);
        free(sub->last);
        free(sub);
        door_free_if_done(d);
}

static void drop(struct subscription *sub)
{
        if (sub->state == CLOSING)
                return;
        if (sub->state == FOLLOWING || sub->state == ENDING)
                sub->door->stream->stats.subscribers--;
        sub->state = CLOSING;
        uv_close((uv_handle_t *)&sub->pipe, subscription_closed);
}

/*
 * Time
 */

static void ticked(uv_timer_t *t);

static void start_ticking(struct stream *s)
{
        if (!s->ticking)
                (void)uv_timer_start(&s->tick, ticked, s->tick_ms, s->tick_ms);
        s->ticking = true;
}

/* Once its door is being closed it has one that stands. */
static void set_deadline(struct subscription *sub, unsigned ms)
{
        if (sub->door->closing && sub->deadline)
                return;
        sub->deadline = clock_now_ns() + ms * NS_PER_MS;
        start_ticking(sub->door->stream);
}

static void clear_deadline(struct subscription *sub)
{
        if (!sub->door->closing)
                sub->deadline = 0;
}

/*
 * Writing
 */

static void last_written(uv_write_t *w, int status)
{
        (void)status;
        drop(w->data);
}

/* Say this line, behind what is on the way, and close. Takes `line`. */
static void say_last(struct subscription *sub, char *line)
{
        uv_buf_t buf;

        if (sub->state == FOLLOWING || sub->state == ENDING)
                sub->door->stream->stats.subscribers--;
        sub->state = LAST_WORDS;
        sub->last = line;
        (void)uv_read_stop((uv_stream_t *)&sub->pipe);
        sub->write_last.data = sub;
        if (line)
                buf = uv_buf_init(line, (unsigned)strlen(line));
        if (!line || uv_write(&sub->write_last, (uv_stream_t *)&sub->pipe, &buf, 1, last_written) < 0)
                drop(sub);
        else
                set_deadline(sub, LINGER_MS);
}

static void refuse(struct subscription *sub, const char *sentence)
{
        sub->door->stream->stats.refused++;
        say_last(sub, stream_line_refused(sentence));
}

static void cut(struct subscription *sub, const char *sentence)
{
        log_warn("events: a subscriber is cut off: %s", sentence);
        sub->door->stream->stats.cut++;
        say_last(sub, stream_line_cut(sentence));
}

static void piece_written(uv_write_t *w, int status)
{
        struct subscription *sub = w->data;

        free(steal_ptr(&sub->piece));
        if (status < 0)
                drop(sub);
        if (sub->state != FOLLOWING && sub->state != ENDING)
                return;
        clear_deadline(sub);
        pump(sub);
}

/* Takes `piece`. */
static void write_piece(struct subscription *sub, char *piece, size_t len)
{
        uv_buf_t buf = uv_buf_init(piece, (unsigned)len);

        sub->piece = piece;
        sub->write.data = sub;
        if (uv_write(&sub->write, (uv_stream_t *)&sub->pipe, &buf, 1, piece_written) < 0) {
                drop(sub);
                return;
        }
        sub->left = uv_stream_get_write_queue_size((uv_stream_t *)&sub->pipe);
        if (sub->left)
                set_deadline(sub, sub->door->stream->options.patience_ms);
}

/*
 * The journal
 */

static const char *keep_text(char *to, const char *from)
{
        size_t len = from ? strnlen(from, JOURNAL_TEXT_MAX) : 0;

        if (!from)
                return NULL;
        memcpy(to, from, len);
        to[len] = '\0';
        return to;
}

/* Under the journal's lock. */
static void copy_record(void *arg, const struct journal_record *r)
{
        struct stream *s = arg;
        size_t size;

        s->record = *r;
        s->no_memory = false;
        if (r->is_settled) {
                s->record.settled.operation = keep_text(s->texts[0], r->settled.operation);
                s->record.settled.head_was = keep_text(s->texts[1], r->settled.head_was);
                s->record.settled.head_is = keep_text(s->texts[2], r->settled.head_is);
                return;
        }
        size = strlen(r->change.path) + 1;
        if (size > s->path_size) {
                char *grown = realloc(s->path, size * 2);

                s->no_memory = !grown;
                if (!grown)
                        return;
                s->path = grown;
                s->path_size = size * 2;
        }
        memcpy(s->path, r->change.path, size);
        s->record.change.path = s->path;
}

/* Is the record one that this subscriber is told? */
static bool is_wanted(const struct subscription *sub, const struct journal_record *r)
{
        if (sub->touches)
                return true;
        return r->is_settled ? r->settled.changes || r->settled.operation : r->change.kind != CHANGE_TOUCHED;
}

/* Continuity is lost: say so, and go on from now. The line, or NULL without memory. */
static char *start_afresh(struct subscription *sub)
{
        struct journal *j = sub->door->stream->options.journal;
        char clock[CLOCK_TEXT];

        journal_clock(j, clock);
        /* The newest is never forgotten by the time it is asked for; if it is, this is said once more. */
        if (journal_clock_parse(j, clock, &sub->seq))
                return NULL;
        return stream_line_fresh(clock);
}

/* The next line for this subscriber, if any. 0 and *ret; or -EAGAIN, -ENOMEM, or -ESTALE: it was overtaken. */
static int next_line(struct subscription *sub, char **ret)
{
        struct stream *s = sub->door->stream;

        for (;;) {
                int rc = sub->state == ENDING && sub->seq >= sub->upto ? -EAGAIN
                                                                       : journal_next(s->options.journal, sub->seq, copy_record, s);

                if (rc == -ESTALE && sub->more)
                        return rc;
                /* It had all there was: it isn't its fault. */
                if (rc == -ESTALE) {
                        *ret = start_afresh(sub);
                        return *ret ? 0 : -ENOMEM;
                }
                if (rc)
                        return rc;
                if (s->no_memory)
                        return -ENOMEM;
                sub->seq = s->record.seq;
                if (!is_wanted(sub, &s->record))
                        continue;
                *ret = stream_line_record(s->options.journal, &s->record);
                s->stats.sent++;
                s->stats.replayed += s->record.seq <= sub->came_at;
                return *ret ? 0 : -ENOMEM;
        }
}

/* Give it what the journal has, a piece at a time. */
static void pump(struct subscription *sub)
{
        char *piece = NULL;
        size_t len = 0;
        int rc = 0;

        if (sub->piece)
                return;
        while (rc == 0 && len < PIECE_BYTES) {
                CLEANUP_FREE char *line = NULL;
                size_t n;

                rc = next_line(sub, &line);
                if (rc)
                        break;
                n = strlen(line);
                if (!piece)
                        piece = malloc(PIECE_MAX);
                if (!piece || len + n > PIECE_MAX) {
                        rc = -ENOMEM;
                        break;
                }
                memcpy(piece + len, line, n);
                len += n;
        }
        sub->more = rc == 0;
        if (len)
                write_piece(sub, steal_ptr(&piece), len);
        free(piece);
        if (sub->state != FOLLOWING && sub->state != ENDING)
                return;
        if (rc == -ESTALE)
                cut(sub, "more has changed than is kept for those who read slowly; ask again, and look at everything");
        else if (rc == -ENOMEM)
                cut(sub, "the agent is out of memory");
        else if (rc == -EAGAIN && sub->state == ENDING)
                say_last(sub, stream_line_end(sub->why));
}

static void news_came(uv_async_t *a)
{
        struct stream *s = a->data;

        for (struct stream_door *d = s->doors; d; d = d->next) {
                for (struct subscription *sub = d->subscriptions, *next; sub; sub = next) {
                        next = sub->next;
                        if (sub->state == FOLLOWING)
                                pump(sub);
                }
        }
}

void stream_news(struct stream *s)
{
        (void)uv_async_send(&s->news);
}

/*
 * Barriers: one at a time, whoever asks, and for all who asked before it began
 */

static void start_barrier(struct stream *s);

static void barrier_runs(uv_work_t *w)
{
        struct stream *s = w->data;

        s->barrier_rc = s->options.barrier(s->options.arg, BARRIER_MS);
}

/* What follows a barrier that wasn't reached in time is the next, until the subscriber's own time is over. */
static void answer_waiting(struct subscription *sub)
{
        struct stream *s = sub->door->stream;
        char clock[CLOCK_TEXT];

        if (sub->state != WAITING || !sub->before_barrier)
                return;
        sub->before_barrier = false;
        journal_clock(s->options.journal, clock);
        if (s->barrier_rc == 0)
                say_last(sub, stream_line_visible(clock));
        else if (s->barrier_rc != -ETIMEDOUT)
                refuse(sub, "that everything is visible can't be found out: the mount ends, or its source can't be hashed");
}

static void barrier_ended(uv_work_t *w, int status)
{
        struct stream *s = w->data;

        if (status < 0)
                s->barrier_rc = status;
        s->at_barrier = false;
        for (struct stream_door *d = s->doors; d; d = d->next) {
                for (struct subscription *sub = d->subscriptions, *next; sub; sub = next) {
                        next = sub->next;
                        answer_waiting(sub);
                }
        }
        start_barrier(s);
        stream_let_go(s);
}

static void start_barrier(struct stream *s)
{
        bool wanted = false;

        if (s->at_barrier || s->closing)
                return;
        for (struct stream_door *d = s->doors; d; d = d->next) {
                for (struct subscription *sub = d->subscriptions; sub; sub = sub->next) {
                        sub->before_barrier = sub->state == WAITING;
                        wanted = wanted || sub->before_barrier;
                }
        }
        s->barrier.data = s;
        if (!wanted || uv_queue_work(s->loop, &s->barrier, barrier_runs, barrier_ended) < 0)
                return;
        s->at_barrier = true;
        s->handles++;
}

static void start_waiting(struct subscription *sub, unsigned timeout_ms)
{
        struct stream *s = sub->door->stream;

        if (!s->options.barrier) {
                refuse(sub, "nobody can wait here");
                return;
        }
        sub->state = WAITING;
        set_deadline(sub, timeout_ms);
        start_barrier(s);
}

/*
 * Asking
 */

/* From where on it is told. 0; or -EINVAL and *why. */
static int place_subscription(struct subscription *sub, const struct stream_request *q, bool *fresh, char clock[CLOCK_TEXT], char **why)
{
        struct journal *j = sub->door->stream->options.journal;
        int rc = q->since ? journal_clock_parse(j, q->since, &sub->seq) : -ESTALE;

        journal_clock(j, clock);
        if (journal_clock_parse(j, clock, &sub->came_at))
                return why_set(why, -EAGAIN, "the journal has just lost its place; ask again");
        if (rc == -EINVAL)
                return why_set(why, rc, "\"since\" is a clock that was told before, such as %s", clock);
        *fresh = rc != 0;
        if (*fresh)
                sub->seq = sub->came_at;
        else
                journal_clock_of(j, sub->seq, clock);
        return 0;
}

static void start_following(struct subscription *sub, const struct stream_request *q)
{
        const struct stream_door *d = sub->door;
        CLEANUP_FREE char *why = NULL;
        char clock[CLOCK_TEXT];
        char *hello = NULL;
        bool fresh = true;

        if (place_subscription(sub, q, &fresh, clock, &why)) {
                refuse(sub, why_text(why));
                return;
        }
        sub->touches = q->touches;
        sub->state = q->follow ? FOLLOWING : ENDING;
        sub->upto = sub->came_at;
        sub->why = "all";
        clear_deadline(sub);
        d->stream->stats.subscribers++;
        hello = stream_line_hello(d->name, d->source, clock, fresh);
        if (hello)
                write_piece(sub, hello, strlen(hello));
        else
                cut(sub, "the agent is out of memory");
}

static void request_came(struct subscription *sub, size_t len)
{
        const struct stream_options *o = &sub->door->stream->options;
        const char *why_not = o->why_not ? o->why_not(o->arg) : NULL;
        struct stream_request q CLEANUP(stream_request_release) = {0};
        CLEANUP_FREE char *why = NULL;

        if (stream_request_parse(sub->request, len, &q, &why))
                refuse(sub, why_text(why));
        else if (why_not)
                refuse(sub, why_not);
        else if (len + 1 < sub->request_len)
                refuse(sub, "a request is one line, and nothing is read after it");
        else if (q.wait)
                start_waiting(sub, q.timeout_ms);
        else
                start_following(sub, &q);
}

static void request_space(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
        struct subscription *sub = h->data;

        (void)suggested;
        *buf = uv_buf_init(sub->request + sub->request_len, (unsigned)(sizeof(sub->request) - sub->request_len));
}

/* Has the other end gone, or only finished speaking? */
static bool is_gone(const struct subscription *sub)
{
        struct pollfd p = {0};

        return uv_fileno((const uv_handle_t *)&sub->pipe, &p.fd) < 0 || (poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR)));
}

static void input_came(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
        struct subscription *sub = stream->data;
        const char *end;

        (void)buf;
        if (n == 0)
                return;
        if (n < 0 && n != UV_ENOBUFS) {
                /* Who goes on following without a word more could not be seen to leave. */
                if (sub->state == ENDING && !is_gone(sub))
                        (void)uv_read_stop(stream);
                else
                        drop(sub);
                return;
        }
        if (sub->state != ASKING) {
                refuse(sub, "a request is one line, and nothing is read after it");
                return;
        }
        if (n > 0)
                sub->request_len += (size_t)n;
        end = memchr(sub->request, '\n', sub->request_len);
        if (end)
                request_came(sub, (size_t)(end - sub->request));
        else if (sub->request_len == sizeof(sub->request))
                refuse(sub, "a request is one line of at most 4 KiB");
}

/*
 * Coming
 */

static bool peer_allowed(const struct subscription *sub)
{
        uv_os_fd_t fd;

        return sub->door->anyone || (uv_fileno((const uv_handle_t *)&sub->pipe, &fd) == 0 && socket_peer_is_owner(fd));
}

/* Is there a place for one more, if need be that of the one that has been longest without asking for anything? */
static bool make_room(struct stream_door *d)
{
        struct subscription *oldest = NULL;
        size_t count = 0;

        for (struct subscription *sub = d->subscriptions; sub; sub = sub->next) {
                count += sub->state < LAST_WORDS;
                if (sub->state == ASKING)
                        oldest = sub;
        }
        if (count < d->stream->options.subscribers_max)
                return true;
        if (oldest)
                drop(oldest);
        return oldest;
}

static void accept_one(struct stream_door *d)
{
        struct stream *s = d->stream;
        struct subscription *sub = calloc(1, sizeof(*sub));
        CLEANUP_FREE char *full = NULL;
        bool room;

        d->knocking = !sub;
        if (!sub) {
                start_ticking(s);
                return;
        }
        room = make_room(d);
        sub->door = d;
        sub->state = ASKING;
        (void)uv_pipe_init(s->loop, &sub->pipe, 0);
        sub->pipe.data = sub;
        sub->next = d->subscriptions;
        d->subscriptions = sub;
        d->count++;
        if (uv_accept((uv_stream_t *)&d->listener, (uv_stream_t *)&sub->pipe) < 0) {
                drop(sub);
                return;
        }
        if (!room || !peer_allowed(sub)) {
                d->turned_away++;
                if (room)
                        full = text_new("only the user whose mount it is may ask here");
                else
                        full = text_new("there are %u subscribers already, which is as many as can be", s->options.subscribers_max);
                refuse(sub, why_text(full));
                return;
        }
        set_deadline(sub, s->options.request_ms);
        if (uv_read_start((uv_stream_t *)&sub->pipe, request_space, input_came) < 0)
                drop(sub);
}

static void somebody_came(uv_stream_t *listener, int status)
{
        struct stream_door *d = listener->data;

        if (status < 0)
                return;
        if (d->turned_away < TURNED_AWAY_PER_TICK) {
                accept_one(d);
                return;
        }
        d->knocking = true;
        start_ticking(d->stream);
}

/* What has come to its time. True when it still has one. */
static bool look_at_deadline(struct subscription *sub, unsigned long long now)
{
        size_t left;

        if (!sub->deadline || sub->state == CLOSING)
                return false;
        left = uv_stream_get_write_queue_size((uv_stream_t *)&sub->pipe);
        if (sub->piece && left < sub->left && sub->state != LAST_WORDS) {
                sub->left = left;
                set_deadline(sub, sub->door->stream->options.patience_ms);
        }
        if (now < sub->deadline)
                return true;
        if (sub->state == LAST_WORDS || sub->door->closing)
                drop(sub);
        else if (sub->state == ASKING)
                refuse(sub, "nothing was asked for in time");
        else if (sub->state == WAITING)
                refuse(sub, "not everything is visible yet; wait longer");
        else
                cut(sub, "what was sent is not being read");
        return sub->state != CLOSING;
}

static void ticked(uv_timer_t *t)
{
        struct stream *s = t->data;
        unsigned long long now = clock_now_ns();
        bool needed = false;

        for (struct stream_door *d = s->doors; d; d = d->next) {
                needed = needed || d->turned_away;
                d->turned_away = 0;
                for (struct subscription *sub = d->subscriptions, *next; sub; sub = next) {
                        next = sub->next;
                        needed = look_at_deadline(sub, now) || needed;
                }
                if (d->knocking && !d->closing) {
                        needed = true;
                        accept_one(d);
                }
        }
        s->ticking = needed;
        if (!needed)
                (void)uv_timer_stop(&s->tick);
}

/*
 * Beginning and end
 */

static unsigned or_default(unsigned value, unsigned otherwise)
{
        return value ? value : otherwise;
}

int stream_new(uv_loop_t *loop, const struct stream_options *options, struct stream **ret)
{
        struct stream *s = calloc(1, sizeof(*s));
        int rc;

        if (!s)
                return -ENOMEM;
        s->loop = loop;
        s->options = *options;
        s->options.request_ms = or_default(options->request_ms, REQUEST_MS);
        s->options.patience_ms = or_default(options->patience_ms, PATIENCE_MS);
        s->options.subscribers_max = or_default(options->subscribers_max, SUBSCRIBERS_MAX);
        s->tick_ms = s->options.patience_ms / TICKS_PER_PATIENCE;
        if (s->tick_ms > TICK_MAX_MS)
                s->tick_ms = TICK_MAX_MS;
        s->news.data = s->tick.data = s;
        rc = uv_async_init(loop, &s->news, news_came);
        if (rc < 0) {
                free(s);
                return rc;
        }
        (void)uv_timer_init(loop, &s->tick);
        s->handles = 2;
        *ret = s;
        return 0;
}

int stream_open(struct stream *s, int fd, const struct stream_offer *offer, struct stream_door **ret)
{
        CLEANUP_FD int own = fd;
        struct stream_door *d = calloc(1, sizeof(*d));
        int rc;

        if (!d)
                return -ENOMEM;
        d->stream = s;
        d->name = strdup(offer->name);
        d->source = offer->source ? strdup(offer->source) : NULL;
        d->anyone = offer->anyone;
        (void)uv_pipe_init(s->loop, &d->listener, 0);
        d->listener.data = d;
        d->next = s->doors;
        s->doors = d;
        rc = d->name && (d->source || !offer->source) ? uv_pipe_open(&d->listener, own) : -ENOMEM;
        if (rc == 0) {
                (void)fd_steal(&own);
                rc = uv_listen((uv_stream_t *)&d->listener, SOCKET_BACKLOG, somebody_came);
        }
        if (rc < 0) {
                stream_door_close(d, NULL, NULL);
                return rc;
        }
        *ret = d;
        return 0;
}

static void listener_closed(uv_handle_t *h)
{
        struct stream_door *d = h->data;

        d->listener_closed = true;
        door_free_if_done(d);
}

/* It gets what there is, and then the end. */
static void see_off(struct subscription *sub)
{
        struct journal *j = sub->door->stream->options.journal;
        char clock[CLOCK_TEXT];

        if (sub->state == ASKING)
                drop(sub);
        if (sub->state == WAITING)
                refuse(sub, "the mount ends");
        if (sub->state != FOLLOWING && sub->state != ENDING)
                return;
        journal_clock(j, clock);
        sub->state = ENDING;
        sub->why = "unmounted";
        if (journal_clock_parse(j, clock, &sub->upto))
                sub->upto = sub->seq;
        sub->deadline = 0;
        set_deadline(sub, LINGER_MS);
        pump(sub);
}

void stream_door_close(struct stream_door *d, void (*closed)(void *arg), void *arg)
{
        if (!d)
                return;
        assert(!d->closing);
        d->closing = true;
        d->closed = closed;
        d->closed_arg = arg;
        uv_close((uv_handle_t *)&d->listener, listener_closed);
        for (struct subscription *sub = d->subscriptions, *next; sub; sub = next) {
                next = sub->next;
                see_off(sub);
        }
}

void stream_close(struct stream *s)
{
        if (!s)
                return;
        assert(!s->closing);
        s->closing = true;
        uv_close((uv_handle_t *)&s->news, handle_closed);
        if (!s->doors)
                stream_close_if_done(s);
        for (struct stream_door *d = s->doors; d; d = d->next) {
                if (!d->closing)
                        stream_door_close(d, NULL, NULL);
        }
}

void stream_stats(const struct stream *s, struct stream_stats *ret)
{
        *ret = s->stats;
}
