/*
 * The agent of a source: one process that watches it, serves its mounts and answers on the control socket until the last of them ends.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

#include "cache/base/thread.h"
#include "sync/agent/figures.h"
#include "sync/agent/options.h"
#include "sync/agent/paths.h"
#include "sync/agent/seat.h"
#include "sync/engine.h"
#include "sync/hashing.h"
#include "sync/serve/control.h"

struct board;
struct config;
struct daemon;
struct events;
struct journal;
struct heritage;
struct comeback;
struct holding;
struct reload;

struct agent {
        /* Set before serving, read anywhere. */
        const char *source;
        const char *run; /* the runtime directory */
        const char *id;  /* the source's */
        const struct config *config;
        const struct daemon *daemon;
        struct holding *holding; /* NULL: there is no holder */
        const struct heritage *heritage;
        struct engine *engine;
        struct hashing *hashing;
        struct journal *journal;
        struct reload *reload;
        struct overlay *overlay; /* NULL without rules */
        struct events *events;
        struct board *board;
        struct comeback *comeback;
        /* What the source has where its mounts show what is their own. */
        atomic_bool shadows_own;
        struct figures figures;
        /* Loop thread only. */
        uv_loop_t loop;
        uv_signal_t terminate, interrupt;
        uv_poll_t holder;
        uv_work_t stop_work;
        bool stop_queued;
        struct control *control;
        /* Rung by anybody who holds `lock` and sees that the agent has not ended. */
        uv_async_t news;

        /* No file, no mount and no prewarm is touched under it, but that the loop starts one. */
        struct mutex lock;
        struct cond changed; /* a seat's state, its holders, `stopping` */
        struct seat *seats[ENGINE_MOUNTS_MAX] GUARDED_BY(lock);
        unsigned long serials GUARDED_BY(lock);
        bool closing GUARDED_BY(lock); /* all are being unmounted: no more are taken */
        bool ended GUARDED_BY(lock);   /* the loop is being closed */

        /* Held while the record is written; before `lock`. */
        struct mutex recording;
        int *claim GUARDED_BY(recording); /* record_claim()'s */
};

/* What the control socket offers, with `a` as its argument. */
struct registry agent_verbs(struct agent *a);

/* Have the loop look at the seats. Under a->lock. */
void agent_ring_locked(struct agent *a) REQUIRES(a->lock);

/* Say in the record which mounts there are. 0 or -errno. Any thread. */
int agent_record(struct agent *a);

/* Be the agent until the last mount ends: all of `dsfs mount` once the command line is understood and the source is claimed. `a` has its
 * first four members, the heritage and the claim. What the source has one of goes by `shared`. 0, or -errno and *why when it came to none
 * of the mounts wished for. */
int agent_serve(struct agent *a, struct daemon *d, const struct mount_options *shared, const struct seat_wish *wishes, size_t count,
                char **why);
