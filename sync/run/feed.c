#include "sync/run/feed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache/base/err.h"
#include "sync/serve/subscriber.h"
#include "sync/serve/why.h"

#define CLOCK_MAX 128U
/* Between one try to connect and the next. */
#define RETRY_MIN_MS 20
#define RETRY_MAX_MS 1000
/* For so long a place may look as if it were gone for good: somebody is mounting it again. */
#define OVER_MS 5000
#define CATCH_UP_MS 10000
#define NEVER (-1)

struct feed {
        const struct feed_place *place;
        struct subscriber *subscriber; /* owned; NULL: nobody is there */
        char since[CLOCK_MAX];         /* what we have seen; empty: nothing yet */
        bool greeted;                  /* the server has said hello on this connection */
        bool followed;                 /* ... and has on an earlier one, or this */
        bool away;                     /* that nobody is there was told */
        bool over;
        int64_t retry_at;
        int retry_ms;
        int64_t over_since;          /* it looks as if nobody will come back; below 0: it doesn't */
        struct subscriber *catching; /* owned: asked when all changes until now are known; NULL: not asked */
        bool caught_up;              /* ... and it is to be told that they are */
        char known[CLOCK_MAX];       /* changes up to this clock aren't told; empty: all are */
        char *why;                   /* owned: what `text` is */
};

static int connect_to(struct feed *f)
{
        struct subscriber_wish wish = {.since = *f->since ? f->since : NULL};

        free(steal_ptr(&f->why));
        f->greeted = false;
        return subscriber_new(f->place->socket, &wish, &f->subscriber, &f->why);
}

int feed_new(const struct feed_place *place, struct feed **ret, char **why)
{
        struct feed *f = calloc(1, sizeof(*f));
        int rc;

        if (!f)
                return why_set(why, -ENOMEM, "out of memory");
        f->place = place;
        f->retry_at = NEVER;
        f->retry_ms = RETRY_MIN_MS;
        f->over_since = NEVER;
        rc = connect_to(f);
        if (rc) {
                *why = steal_ptr(&f->why);
                feed_free(f);
                return rc;
        }
        *ret = f;
        return 0;
}

void feed_free(struct feed *f)
{
        if (!f)
                return;
        subscriber_free(f->subscriber);
        subscriber_free(f->catching);
        free(f->why);
        free(f);
}

int feed_fd(const struct feed *f)
{
        return f->subscriber ? subscriber_fd(f->subscriber) : -1;
}

int64_t feed_deadline(const struct feed *f)
{
        if (f->caught_up)
                return 0;
        return f->subscriber || f->over ? NEVER : f->retry_at;
}

static bool say(struct feed_news *ret, enum feed_kind kind, const char *text)
{
        *ret = (struct feed_news){.kind = kind, .text = text};
        return true;
}

/* The connection is of no use any more. */
static void hang_up(struct feed *f, int64_t now)
{
        subscriber_free(steal_ptr(&f->subscriber));
        f->retry_at = now;
}

/*
 * Catching up
 */

int feed_catching_fd(const struct feed *f)
{
        return f->catching ? subscriber_fd(f->catching) : -1;
}

void feed_catch_up(struct feed *f)
{
        struct subscriber_wish wish = {.wait = true, .timeout_ms = CATCH_UP_MS};
        CLEANUP_FREE char *why = NULL;

        subscriber_free(steal_ptr(&f->catching));
        f->caught_up = subscriber_new(f->place->socket, &wish, &f->catching, &why) != 0;
}

/* Whether FEED_CAUGHT_UP is due. */
static bool catch_up(struct feed *f)
{
        CLEANUP_FREE char *why = NULL;
        const struct event *e;
        int rc;

        do
                rc = f->catching ? subscriber_next(f->catching, 0, &e, &why) : -EAGAIN;
        while (rc == 0 && (e->kind == EVENT_HELLO || e->kind == EVENT_OTHER));
        if (rc == 0 && e->kind == EVENT_VISIBLE)
                snprintf(f->known, sizeof(f->known), "%s", e->clock);
        if (rc != -EAGAIN && rc != -EINTR) {
                subscriber_free(steal_ptr(&f->catching));
                f->caught_up = true;
        }
        if (!f->caught_up)
                return false;
        f->caught_up = false;
        return true;
}

/* Whether `clock` is one of the same agent's as `known`, and not after it. */
static bool is_known(const char *clock, const char *known)
{
        const char *a = strrchr(clock, ':'), *b = strrchr(known, ':');

        return a && b && a - clock == b - known && memcmp(clock, known, (size_t)(a - clock)) == 0 &&
               strtoull(a + 1, NULL, 10) <= strtoull(b + 1, NULL, 10);
}

static bool hello(struct feed *f, const struct event *e, struct feed_news *ret)
{
        bool anything = e->fresh && f->followed;
        bool back = f->away;

        f->greeted = f->followed = true;
        f->away = false;
        f->retry_ms = RETRY_MIN_MS;
        snprintf(f->since, sizeof(f->since), "%s", e->clock);
        return anything ? say(ret, FEED_ANYTHING, NULL) : back && say(ret, FEED_BACK, NULL);
}

/* Try again in a while, each time a longer one. Whether there is something to say: the first time. */
static bool later(struct feed *f, int64_t now, struct feed_news *ret)
{
        f->retry_at = now + f->retry_ms;
        f->retry_ms = f->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : f->retry_ms * 2;
        if (f->away)
                return false;
        f->away = true;
        return say(ret, FEED_AWAY, why_text(f->why));
}

/* False: it says nothing to us. */
static bool take(struct feed *f, const struct event *e, int64_t now, struct feed_news *ret)
{
        if (e->kind == EVENT_HELLO)
                return hello(f, e, ret);
        if (e->clock)
                snprintf(f->since, sizeof(f->since), "%s", e->clock);
        switch (e->kind) {
        case EVENT_CREATED:
        case EVENT_MODIFIED:
        case EVENT_DELETED:
                if (is_known(e->clock, f->known))
                        return false;
                *ret = (struct feed_news){
                        .kind = FEED_CHANGE,
                        .path = e->path,
                        .is_dir = e->type && strcmp(e->type, "directory") == 0,
                        .deleted = e->kind == EVENT_DELETED,
                        .from_mount = e->origin && strcmp(e->origin, "container") == 0,
                };
                return true;
        case EVENT_SETTLED:
                return say(ret, FEED_SETTLED, NULL);
        case EVENT_FRESH:
                return say(ret, FEED_ANYTHING, NULL);
        case EVENT_CUT:
                hang_up(f, now);
                return false;
        case EVENT_REFUSED:
                free(f->why);
                f->why = strdup(e->error);
                hang_up(f, now);
                /* Whom we have followed before, we may later: it may only be full. */
                if (f->followed)
                        return later(f, now, ret);
                f->over = true;
                return say(ret, FEED_REFUSED, why_text(f->why));
        case EVENT_END:
                free(f->why);
                f->why = strdup(e->why);
                hang_up(f, now);
                f->over = true;
                return say(ret, FEED_OVER, f->why);
        default:
                return false;
        }
}

/* Nobody is there: try, or wait. */
static bool retry(struct feed *f, int64_t now, struct feed_news *ret)
{
        if (now < f->retry_at)
                return false;
        if (connect_to(f) == 0) {
                f->over_since = NEVER;
                return false;
        }
        if (!f->place->is_over || !f->place->is_over(f->place->arg))
                f->over_since = NEVER;
        else if (f->over_since < 0)
                f->over_since = now;
        if (f->over_since >= 0 && now - f->over_since >= OVER_MS) {
                f->over = true;
                return say(ret, FEED_OVER, "the mount is gone");
        }
        return later(f, now, ret);
}

bool feed_next(struct feed *f, int64_t now, struct feed_news *ret)
{
        if (catch_up(f))
                return say(ret, FEED_CAUGHT_UP, NULL);
        while (!f->over) {
                const struct event *e;
                int rc;

                if (!f->subscriber) {
                        if (retry(f, now, ret))
                                return true;
                        if (!f->subscriber)
                                return false;
                }
                free(steal_ptr(&f->why));
                rc = subscriber_next(f->subscriber, 0, &e, &f->why);
                if (rc == -EAGAIN || rc == -EINTR)
                        return false;
                if (rc == 0) {
                        if (take(f, e, now, ret))
                                return true;
                        continue;
                }
                hang_up(f, now);
                /* Who hangs up without a word is not asked again at once. */
                if (!f->greeted && later(f, now, ret))
                        return true;
        }
        return false;
}
