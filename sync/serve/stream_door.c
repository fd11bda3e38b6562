/*
 * A door of the event stream: a socket that listens. Whoever may come in and finds a place becomes a subscription; the others are told why
 * not. What a subscription does then is sync/serve/stream_sub.c's.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache/base/err.h"
#include "cache/base/fd.h"
#include "sync/serve/socket.h"
#include "sync/serve/stream_self.h"
#include "sync/serve/why.h"

/* Connections that are turned away at once; more wait for the next tick, so that who does nothing but connect doesn't keep the loop busy.
 */
#define TURNED_AWAY_PER_TICK 32

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
                subscription_drop(oldest);
        return oldest;
}

void stream_door_accept(struct stream_door *d)
{
        struct stream *s = d->stream;
        struct subscription *sub = calloc(1, sizeof(*sub));
        CLEANUP_FREE char *full = NULL;
        bool room;

        d->knocking = !sub;
        if (!sub) {
                stream_start_ticking(s);
                return;
        }
        room = make_room(d);
        sub->door = d;
        sub->state = ASKING;
        (void)uv_pipe_init(s->loop, &sub->pipe, 0);
        sub->pipe.data = sub;
        sub->next = d->subscriptions;
        d->subscriptions = sub;
        if (uv_accept((uv_stream_t *)&d->listener, (uv_stream_t *)&sub->pipe) < 0) {
                subscription_drop(sub);
                return;
        }
        if (!room || !peer_allowed(sub)) {
                d->turned_away++;
                if (room)
                        full = text_new("only the user whose mount it is may ask here");
                else
                        full = text_new("there are %u subscribers already, which is as many as can be", s->options.subscribers_max);
                subscription_refuse(sub, why_text(full));
                return;
        }
        subscription_start(sub);
}

static void somebody_came(uv_stream_t *listener, int status)
{
        struct stream_door *d = listener->data;

        if (status < 0)
                return;
        if (d->turned_away < TURNED_AWAY_PER_TICK) {
                stream_door_accept(d);
                return;
        }
        d->knocking = true;
        stream_start_ticking(d->stream);
}

/*
 * Beginning and end
 */

void stream_door_free_if_done(struct stream_door *d)
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
        stream_door_free_if_done(d);
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
                subscription_see_off(sub);
        }
}
