/*
 * What the loop does with seats: begins what follows a mount that serves, ends the one that has ended, frees the one that is gone.
 */
#include <string.h>
#include <unistd.h>

#include "cache/base/log.h"
#include "sync/agent/events.h"
#include "sync/agent/holding.h"
#include "sync/agent/place.h"
#include "sync/agent/prewarm.h"
#include "sync/agent/seat_self.h"

/* A thread of its own, for it waits: for who holds the seat, for the kernel, for threads of the mount. */
static void *take_away(void *arg)
{
        struct seat *s = arg;
        struct agent *a = s->agent;
        unsigned connection;
        bool others;
        int rc = 0;

        prewarm_quit(s->prewarm);
        mutex_lock(&a->lock);
        while (s->holders)
                cond_wait(&a->changed, &a->lock);
        mutex_unlock(&a->lock);
        engine_remove_mount(a->engine, s->mount);
        connection = fs_mount_connection(s->mount);
        fs_mount_free(s->mount);
        holding_say(a->holding, HOLD_GONE, connection);
        if (place_peel(s->mountpoint))
                log_warn("what dead agents left at %s can't be removed; `dsfs umount %s`", s->mountpoint, s->mountpoint);
        if (s->own_place)
                (void)rmdir(s->mountpoint);
        mutex_lock(&a->lock);
        s->mount = NULL;
        (void)seat_in_sight_locked(a, s->serial, &others);
        others = others || seat_is_abroad_locked(a, ANY_SERIAL);
        mutex_unlock(&a->lock);
        /* The last one's record is dropped with the agent: its source counts as mounted until the process is about to be gone. */
        if (others)
                rc = agent_record(a);
        if (rc)
                log_warn("%s can't be written to: %s; %s stays listed", a->run, strerror(-rc), s->mountpoint);
        mutex_lock(&a->lock);
        seat_set_state_locked(a, s, SEAT_GONE);
        mutex_unlock(&a->lock);
        return NULL;
}

/* The loop's thread. */
static void begin_end(struct seat *s)
{
        log_info("%s is unmounted", s->mountpoint);
        s->ender_started = thread_start(&s->ender, "dsfs-end", take_away, s) == 0;
        if (s->ender_started)
                return;
        /* No thread to be had: nobody may wait for the loop then. */
        prewarm_close(steal_ptr(&s->prewarm));
        take_away(s);
}

/* Not before: they would read the same disk, and the mount's users wait for that. */
static void prewarmed(void *arg)
{
        struct agent *a = arg;

        hashing_go(a->hashing);
}

static void look_at(struct agent *a, struct seat *s)
{
        bool begin, open, over;

        mutex_lock(&a->lock);
        if (s->fresh && s->state == SEAT_SERVING && !s->stopping && !s->ended &&
            prewarm_start(&a->loop, s->mountpoint, prewarmed, a, &s->prewarm)) {
                log_warn("pre-warming can't start; nothing is lost but speed");
                hashing_go(a->hashing);
        }
        s->fresh = s->fresh && s->state == SEAT_MAKING;
        open = s->state == SEAT_SERVING && !s->ended;
        over = s->state != SEAT_MAKING && !open;
        begin = s->ended && (s->state == SEAT_SERVING || s->state == SEAT_DETACHED);
        if (begin)
                seat_set_state_locked(a, s, SEAT_ENDING);
        mutex_unlock(&a->lock);
        if (open)
                events_open(a->events, s);
        if (over)
                events_let_go(s);
        if (begin)
                begin_end(s);
}

static void sweep(struct agent *a, struct seat *s)
{
        bool gone;

        look_at(a, s);
        mutex_lock(&a->lock);
        gone = s->state == SEAT_GONE;
        for (size_t i = 0; i < ENGINE_MOUNTS_MAX && gone; i++) {
                if (a->seats[i] == s)
                        a->seats[i] = NULL;
        }
        mutex_unlock(&a->lock);
        if (!gone)
                return;
        if (s->ender_started)
                pthread_join(s->ender, NULL);
        prewarm_close(s->prewarm);
        seat_free(s);
}

bool seats_look(struct agent *a)
{
        bool left = false;

        for (size_t i = 0; i < ENGINE_MOUNTS_MAX; i++) {
                struct seat *s;

                mutex_lock(&a->lock);
                s = a->seats[i];
                mutex_unlock(&a->lock);
                /* Only this thread frees seats. */
                if (s)
                        sweep(a, s);
        }
        mutex_lock(&a->lock);
        for (size_t i = 0; i < ENGINE_MOUNTS_MAX; i++)
                left = left || (a->seats[i] && (a->seats[i]->state != SEAT_DETACHED || a->seats[i]->abroad));
        /* From here on nobody takes a seat. */
        a->ended = a->ended || !left;
        mutex_unlock(&a->lock);
        return !left;
}

void seats_close(struct agent *a)
{
        mutex_lock(&a->lock);
        for (size_t i = 0; i < ENGINE_MOUNTS_MAX; i++) {
                if (a->seats[i])
                        prewarm_close(steal_ptr(&a->seats[i]->prewarm));
        }
        mutex_unlock(&a->lock);
}
