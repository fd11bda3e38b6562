/*
 * One subscription: its request, what follows of it, how long it may take, and its last words. What it gets of the journal is
 * sync/serve/stream_pump.c's.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "cache/base/err.h"
#include "cache/base/log.h"
#include "cache/base/thread.h"
#include "sync/serve/stream_lines.h"
#include "sync/serve/stream_self.h"
#include "sync/serve/why.h"

#define LINGER_MS 1000U
#define NS_PER_MS 1000000ULL

/*
 * Ends
 */

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
        free(sub->piece);
        free(sub->last);
        free(sub);
        stream_door_free_if_done(d);
}

void subscription_drop(struct subscription *sub)
{
        if (sub->state == CLOSING)
                return;
        if (sub->state == FOLLOWING || sub->state == ENDING)
                sub->door->stream->stats.subscribers--;
        sub->state = CLOSING;
        uv_close((uv_handle_t *)&sub->pipe, subscription_closed);
}

static void last_written(uv_write_t *w, int status)
{
        (void)status;
        subscription_drop(w->data);
}

void subscription_say_last(struct subscription *sub, char *line)
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
                subscription_drop(sub);
        else
                subscription_set_deadline(sub, LINGER_MS);
}

void subscription_refuse(struct subscription *sub, const char *sentence)
{
        sub->door->stream->stats.refused++;
        subscription_say_last(sub, stream_line_refused(sentence));
}

void subscription_cut(struct subscription *sub, const char *sentence)
{
        log_warn("events: a subscriber is cut off: %s", sentence);
        sub->door->stream->stats.cut++;
        subscription_say_last(sub, stream_line_cut(sentence));
}

void subscription_see_off(struct subscription *sub)
{
        struct journal *j = sub->door->stream->options.journal;
        char clock[CLOCK_TEXT];

        if (sub->state == ASKING)
                subscription_drop(sub);
        if (sub->state == WAITING)
                subscription_refuse(sub, "the mount ends");
        if (sub->state != FOLLOWING && sub->state != ENDING)
                return;
        journal_clock(j, clock);
        sub->state = ENDING;
        sub->why = "unmounted";
        if (journal_clock_parse(j, clock, &sub->upto))
                sub->upto = sub->seq;
        sub->deadline = 0;
        subscription_set_deadline(sub, LINGER_MS);
        subscription_pump(sub);
}

/*
 * Time
 */

void subscription_set_deadline(struct subscription *sub, unsigned ms)
{
        if (sub->door->closing && sub->deadline)
                return;
        sub->deadline = clock_now_ns() + ms * NS_PER_MS;
        stream_start_ticking(sub->door->stream);
}

void subscription_clear_deadline(struct subscription *sub)
{
        if (!sub->door->closing)
                sub->deadline = 0;
}

bool subscription_look_at_deadline(struct subscription *sub, unsigned long long now)
{
        size_t left;

        if (!sub->deadline || sub->state == CLOSING)
                return false;
        left = uv_stream_get_write_queue_size((uv_stream_t *)&sub->pipe);
        if (sub->piece && left < sub->left && sub->state != LAST_WORDS) {
                sub->left = left;
                subscription_set_deadline(sub, sub->door->stream->options.patience_ms);
        }
        if (now < sub->deadline)
                return true;
        if (sub->state == LAST_WORDS || sub->door->closing)
                subscription_drop(sub);
        else if (sub->state == ASKING)
                subscription_refuse(sub, "nothing was asked for in time");
        else if (sub->state == WAITING)
                subscription_refuse(sub, "not everything is visible yet; wait longer");
        else
                subscription_cut(sub, "what was sent is not being read");
        return sub->state != CLOSING;
}

/*
 * Waiting for the barrier
 */

static void start_waiting(struct subscription *sub, unsigned timeout_ms)
{
        struct stream *s = sub->door->stream;

        if (!s->options.barrier) {
                subscription_refuse(sub, "nobody can wait here");
                return;
        }
        sub->state = WAITING;
        subscription_set_deadline(sub, timeout_ms);
        stream_start_barrier(s);
}

/* What follows a barrier that wasn't reached in time is the next, until the subscriber's own time is over. */
void subscription_answer_waiting(struct subscription *sub)
{
        struct stream *s = sub->door->stream;
        char clock[CLOCK_TEXT];

        if (sub->state != WAITING || !sub->before_barrier)
                return;
        sub->before_barrier = false;
        journal_clock(s->options.journal, clock);
        if (s->barrier_rc == 0)
                subscription_say_last(sub, stream_line_visible(clock));
        else if (s->barrier_rc != -ETIMEDOUT)
                subscription_refuse(sub, "that everything is visible can't be found out: the mount ends, or its source can't be hashed");
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
                subscription_refuse(sub, why_text(why));
                return;
        }
        sub->touches = q->touches;
        sub->state = q->follow ? FOLLOWING : ENDING;
        sub->upto = sub->came_at;
        sub->why = "all";
        subscription_clear_deadline(sub);
        d->stream->stats.subscribers++;
        hello = stream_line_hello(d->name, d->source, clock, fresh);
        if (hello)
                subscription_write(sub, hello, strlen(hello));
        else
                subscription_cut(sub, "the agent is out of memory");
}

static void request_came(struct subscription *sub, size_t len)
{
        const struct stream_options *o = &sub->door->stream->options;
        const char *why_not = o->why_not ? o->why_not(o->arg) : NULL;
        struct stream_request q CLEANUP(stream_request_release) = {0};
        CLEANUP_FREE char *why = NULL;

        if (stream_request_parse(sub->request, len, &q, &why))
                subscription_refuse(sub, why_text(why));
        else if (why_not)
                subscription_refuse(sub, why_not);
        else if (len + 1 < sub->request_len)
                subscription_refuse(sub, "a request is one line, and nothing is read after it");
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
                        subscription_drop(sub);
                return;
        }
        if (sub->state != ASKING) {
                subscription_refuse(sub, "a request is one line, and nothing is read after it");
                return;
        }
        if (n > 0)
                sub->request_len += (size_t)n;
        end = memchr(sub->request, '\n', sub->request_len);
        if (end)
                request_came(sub, (size_t)(end - sub->request));
        else if (sub->request_len == sizeof(sub->request))
                subscription_refuse(sub, "a request is one line of at most 4 KiB");
}

void subscription_start(struct subscription *sub)
{
        subscription_set_deadline(sub, sub->door->stream->options.request_ms);
        if (uv_read_start((uv_stream_t *)&sub->pipe, request_space, input_came) < 0)
                subscription_drop(sub);
}
