/*
 * What the engine's parts share: engine.c (its life, its mounts, barriers), engine_sink.c (what the watch sees, told to them) and
 * engine_artifacts.c (what one mount does to artifacts, told to the others).
 */
#pragma once

#include <stdatomic.h>

#include "cache/base/thread.h"
#include "sync/engine.h"

struct hashing;

#define ENGINE_LOSSES (WATCH_ROOT + 1)

/* The watch's thread reads these with no lock, and none is held while a mount is told: who uses the mount counts himself first, then looks
 * whether it is still there. Who removes it clears it first, then waits for the count. */
struct engine_place {
        struct fs_mount *_Atomic mount;
        atomic_uint users;
};

struct engine {
        /* Set at init, read anywhere. */
        enum fs_coherence coherence;
        const char *strict_because;
        struct watch *watch; /* NULL under strict coherence */
        struct engine_place places[ENGINE_MOUNTS_MAX];
        atomic_uint removing; /* how many wait for a place to be unused */
        atomic_bool shut;
        struct hashing *hashing;         /* borrowed; or NULL */
        struct overlay *_Atomic overlay; /* borrowed; NULL: there are no artifacts */
        struct mutex lock;               /* innermost */
        struct cond unused;
        char *warnings[ENGINE_LOSSES] GUARDED_BY(lock); /* the latest of each kind, owned */

        unsigned long long taken_ns; /* when the watch read what it tells now; its thread only, as the next */
        uint64_t told_sum;
        struct latency latency;
        /* Whose thread it was, perhaps: what is told now may be of its number's last owner. The watch's thread only. */
        const struct fs_mount *perhaps;
        /* What was told last may have been done in a mount with no request to us. (What only repeats it is not told.) The watch's thread
         * only. */
        bool written_past;

        struct mutex touch_lock; /* held while `touch` is called */
        struct engine_touch touch GUARDED_BY(touch_lock);
        void (*gone)(void *arg) GUARDED_BY(touch_lock);
        void *gone_arg GUARDED_BY(touch_lock);
};

/* The mount of a place, to be given back; NULL when there is none. */
struct fs_mount *engine_place_use(struct engine *e, struct engine_place *p);
void engine_place_leave(struct engine *e, struct engine_place *p);

#define FOR_EACH_MOUNT(e, m)                                                                                                               \
        for (struct engine_place *at_ = (e)->places; at_ < (e)->places + ENGINE_MOUNTS_MAX; at_++)                                         \
                for (struct fs_mount *m = engine_place_use(e, at_); m; engine_place_leave(e, at_), m = NULL)

extern const struct watch_sink engine_sink;
extern const struct overlay_listener engine_artifacts;
