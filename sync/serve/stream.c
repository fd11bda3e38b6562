/*
 * The stream itself: what is one for all doors. It passes on that there is news, runs the barrier, keeps the time, begins and ends.
 */
#include "sync/serve/stream.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "cache/base/thread.h"
#include "sync/serve/stream_self.h"

#define SUBSCRIBERS_MAX 64
#define REQUEST_MS 10000U
#define PATIENCE_MS 30000U
/* One barrier; who waits longer waits for several. */
#define BARRIER_MS 5000
#define TICKS_PER_PATIENCE 4U
#define TICK_MAX_MS 1000U

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
void stream_close_if_done(struct stream *s)
{
        if (s->closing && !s->doors)
                uv_close((uv_handle_t *)&s->tick, handle_closed);
}

/*
 * Time
 */

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
                        needed = subscription_look_at_deadline(sub, now) || needed;
                }
                if (d->knocking && !d->closing) {
                        needed = true;
                        stream_door_accept(d);
                }
        }
        s->ticking = needed;
        if (!needed)
                (void)uv_timer_stop(&s->tick);
}

void stream_start_ticking(struct stream *s)
{
        if (!s->ticking)
                (void)uv_timer_start(&s->tick, ticked, s->tick_ms, s->tick_ms);
        s->ticking = true;
}

/*
 * News
 */

static void news_came(uv_async_t *a)
{
        struct stream *s = a->data;

        for (struct stream_door *d = s->doors; d; d = d->next) {
                for (struct subscription *sub = d->subscriptions, *next; sub; sub = next) {
                        next = sub->next;
                        if (sub->state == FOLLOWING)
                                subscription_pump(sub);
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

static void barrier_runs(uv_work_t *w)
{
        struct stream *s = w->data;

        s->barrier_rc = s->options.barrier(s->options.arg, BARRIER_MS);
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
                        subscription_answer_waiting(sub);
                }
        }
        stream_start_barrier(s);
        stream_let_go(s);
}

void stream_start_barrier(struct stream *s)
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
