/*
 * The thread that hashes: when it looks, and when a batch ends. Woken by a touch it waits for a moment of quiet, for things come in bursts;
 * while git is at work, until that has done. A look is followed by another if more was touched meanwhile; once nothing is left to look at,
 * the batch is settled. If git had a hand in it, only when nothing has been touched for a little longer, in the source or where git keeps
 * its own: for HEAD moves after the tree has changed (a checkout, a merge), or what is stashed is noted before it is put away.
 */
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "sync/hashing_self.h"

#define NICENESS 10
/* How long nobody is woken again after something that is none of ours: the rest of the file system may be busy. */
#define PACE_MS 10
/* It is quiet when nothing came for so long ... */
#define QUIET_MS 30
/* ... or has to do after so long; both longer when a look takes long. */
#define PATIENCE_MS 500
/* So much at once is a storm (a checkout, an unpacked archive): who makes it needs the processors more than we do. */
#define STORM_FOUND 128
#define STORM_QUIET_MS 300
#define STORM_PATIENCE_MS 10000
#define QUIET_PER_LOOK 2
#define PATIENCE_PER_LOOK 8
#define QUIET_MAX_MS 2000
#define PATIENCE_MAX_MS 10000
/* What git had part in has settled after so long; what only git has touched, a little later. */
#define GIT_QUIET_MS 150
#define GIT_ALONE_MS 300
/* How often git is looked at while it is busy, and how long a batch is kept open for it. */
#define GIT_STEP_MS 50
#define GIT_PATIENCE_MS 30000

static bool is_asked(struct hashing *h)
{
        bool asked;

        mutex_lock(&h->lock);
        asked = h->asked != h->answered;
        mutex_unlock(&h->lock);
        return asked;
}

void hashing_doze(struct hashing *h, int ms)
{
        struct pollfd p = {.fd = h->wake, .events = POLLIN};
        uint64_t count;

        if (poll(&p, 1, ms) > 0)
                (void)!read(h->wake, &count, sizeof(count));
}

void hashing_take(struct hashing *h)
{
        struct unsettled *u = &h->unsettled;
        struct hashing_places *p = &h->places;

        hashing_places_take(p, &h->queue);
        atomic_store_explicit(&h->taken, p->count + p->all, memory_order_relaxed);
        if (p->found == u->seen && p->in_git == u->seen_in_git)
                return;
        if (!u->any)
                *u = (struct unsettled){.any = true, .since_ns = clock_now_ns(), .seen = u->seen, .seen_in_git = u->seen_in_git};
        u->touched_ns = clock_now_ns();
        u->git = u->git || p->in_git != u->seen_in_git;
        u->changed = u->changed || p->found != u->seen;
        u->seen = p->found;
        u->seen_in_git = p->in_git;
}

static bool git_is_busy(struct hashing *h)
{
        bool busy = settle_git_is_busy(&h->settle, (clock_now_ns() - h->unsettled.touched_ns) / NS_PER_MS);

        h->unsettled.git = h->unsettled.git || busy;
        return busy;
}

/*
 * When to look
 */

static int longer(unsigned long long look_ns, int times, int least_ms, int most_ms)
{
        unsigned long long ms = look_ns / NS_PER_MS * (unsigned long long)times;

        if (ms < (unsigned long long)least_ms)
                return least_ms;
        return ms > (unsigned long long)most_ms ? most_ms : (int)ms;
}

/* Wait for a pause, unless somebody asks: a look at a file that is being written is wasted. */
static void wait_for_quiet(struct hashing *h)
{
        unsigned long long look_ns = h->look_ns[h->places.all];
        int quiet = longer(look_ns, QUIET_PER_LOOK, QUIET_MS, QUIET_MAX_MS);
        int patience = longer(look_ns, PATIENCE_PER_LOOK, PATIENCE_MS, PATIENCE_MAX_MS);
        unsigned long long began = clock_now_ns(), until = began + (unsigned long long)patience * NS_PER_MS;
        uint64_t first = h->places.found, found;
        bool busy = git_is_busy(h), was_busy;

        do {
                if (is_asked(h))
                        return;
                found = h->places.found;
                hashing_doze(h, busy && quiet > GIT_STEP_MS ? GIT_STEP_MS : quiet);
                hashing_take(h);
                was_busy = busy;
                busy = git_is_busy(h);
                if (busy || h->places.found - first >= STORM_FOUND)
                        until = began + STORM_PATIENCE_MS * NS_PER_MS;
                if (h->places.found - first >= STORM_FOUND && quiet < STORM_QUIET_MS)
                        quiet = STORM_QUIET_MS;
                /* That was it. */
                if (was_busy && !busy)
                        quiet = QUIET_MS;
        } while (!atomic_load(&h->stop) && (busy || h->places.found != found) && clock_now_ns() < until);
}

/*
 * When a batch ends
 */

/* In how many milliseconds to see whether it has settled; 0: it has. */
static int settles_in(struct hashing *h)
{
        const struct unsettled *u = &h->unsettled;
        unsigned long long now = clock_now_ns(), until;

        /* What is there now holds up no other batch. */
        if (now - u->since_ns >= GIT_PATIENCE_MS * NS_PER_MS) {
                (void)settle_git_is_busy(&h->settle, SETTLE_STALE_MS);
                return 0;
        }
        if (git_is_busy(h))
                return GIT_STEP_MS;
        if (!u->git)
                return 0;
        until = u->touched_ns + (u->changed ? GIT_QUIET_MS : GIT_ALONE_MS) * NS_PER_MS;
        return now >= until ? 0 : (int)((until - now) / NS_PER_MS) + 1;
}

/* Until something is touched, or asked; or it is time to see whether the batch has settled. */
static void sleep_until_touched(struct hashing *h)
{
        bool timed = h->unsettled.any;

        for (;;) {
                atomic_store(&h->asleep, true);
                if (atomic_load(&h->stop) || is_asked(h) || !hashing_queue_is_empty(&h->queue) || !hashing_places_is_empty(&h->places))
                        break;
                hashing_doze(h, timed ? settles_in(h) : -1);
                if (timed)
                        break;
        }
        atomic_store(&h->asleep, false);
}

/* What is queued may be none of ours: the rest of the file system is never quiet. */
static void settle_if_due(struct hashing *h)
{
        hashing_take(h);
        if (h->unsettled.any && hashing_places_is_empty(&h->places) && settles_in(h) == 0)
                hashing_settle(h);
}

/*
 * What it does
 */

/* Everything that was queued, and everybody who asked, up to now. */
static void look_and_answer(struct hashing *h, struct cache *c)
{
        bool first = !h->looked;
        uint64_t upto;

        atomic_store(&h->busy, !hashing_places_is_empty(&h->places));
        if (h->began && !hashing_places_is_empty(&h->places))
                h->began(h->began_arg);
        if (!hashing_places_is_empty(&h->places))
                wait_for_quiet(h);
        mutex_lock(&h->lock);
        upto = h->asked;
        mutex_unlock(&h->lock);
        hashing_take(h);
        if (!hashing_places_is_empty(&h->places))
                hashing_look(h, c);
        atomic_store(&h->busy, false);
        atomic_store_explicit(&h->taken, 0, memory_order_relaxed);
        if (atomic_load(&h->stop))
                return;
        /* What had changed before there was an agent is nothing that goes with what changes now. */
        if (first)
                hashing_settle(h);
        settle_if_due(h);
        mutex_lock(&h->lock);
        h->answered = upto;
        cond_broadcast(&h->changed);
        mutex_unlock(&h->lock);
}

static void take_turn(struct hashing *h, struct cache *c)
{
        hashing_take(h);
        if (!hashing_places_is_empty(&h->places) || is_asked(h))
                look_and_answer(h, c);
        else
                hashing_doze(h, PACE_MS); /* What isn't in the source is none of ours: then there is nothing to wait for. */
        settle_if_due(h);
}

void *hashing_run(void *arg)
{
        struct hashing *h = arg;
        struct cache *c;

        (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICENESS);
        while (!atomic_load(&h->stop) && !atomic_load(&h->go))
                hashing_doze(h, -1);
        c = atomic_load(&h->off) ? NULL : hashing_own(h);
        if (!c)
                return NULL;
        atomic_store(&h->cache, c);
        hashing_queue_put_all(&h->queue);
        while (!atomic_load(&h->stop) && !atomic_load(&h->off)) {
                sleep_until_touched(h);
                if (!atomic_load(&h->stop))
                        take_turn(h, c);
        }
        return NULL;
}
