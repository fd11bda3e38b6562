/*
 * Hashing from inside: what others' threads (sync/hashing.c) and its own (sync/hashing_run.c: when; sync/hashing_look.c: what) share.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "cache/base/thread.h"
#include "sync/hashing.h"
#include "sync/hashing_found.h"
#include "sync/hashing_place.h"
#include "sync/hashing_queue.h"
#include "sync/settle.h"

struct journal;

#define NS_PER_MS 1000000ULL

/* What was touched and has not been settled yet: a batch of the journal, perhaps of no changes. Its own thread's. */
struct unsettled {
        bool any;
        unsigned long long since_ns, touched_ns; /* first and last time */
        bool git;                                /* git was at it, or touched its own */
        bool changed;                            /* something of the source was touched, too */
        uint64_t seen, seen_in_git;              /* of the places' counts */
};

struct hashing {
        /* Set at init, read anywhere. */
        char *source, *dir; /* owned */
        int wake;           /* eventfd */
        pthread_t thread;
        bool started;
        struct hashing_queue queue;
        /* Set before hashing_go(), constant then. */
        struct journal *journal; /* borrowed; NULL: nobody wants to know */
        void (*began)(void *arg);
        void *began_arg;
        bool (*leave_out)(void *arg, const char *path, bool is_directory);
        void *leave_out_arg;

        atomic_bool go, stop, off, asleep;
        _Atomic(struct cache *) cache; /* owned; NULL until it is ours */
        atomic_bool busy;              /* something that was queued is not in the root hash yet, though it isn't queued any more */
        atomic_size_t taken;           /* how much, about */
        atomic_bool scanning, waits;
        _Atomic uint64_t entries, files, bytes;
        /* Its own thread's. */
        struct hashing_places places;
        struct found found;
        struct settle settle;
        struct unsettled unsettled;
        bool looked;                   /* what is remembered is of this life */
        unsigned long long look_ns[2]; /* what the last one took: of places, of everything */

        struct mutex step_lock; /* held while wait_in_step() is called */
        void (*wait_in_step)(void *arg) GUARDED_BY(step_lock);
        void *wait_arg GUARDED_BY(step_lock);

        struct mutex lock; /* innermost */
        struct cond changed;
        uint64_t asked GUARDED_BY(lock), answered GUARDED_BY(lock);
        bool has_root GUARDED_BY(lock);
        struct content root GUARDED_BY(lock);
        uint64_t scans GUARDED_BY(lock), updates GUARDED_BY(lock);
        unsigned long long took_ns GUARDED_BY(lock);
        bool failed GUARDED_BY(lock);                             /* it was on, or should have been */
        char *notice GUARDED_BY(lock), *why_off GUARDED_BY(lock); /* owned */
};

/* The thread. */
void *hashing_run(void *h);

/* Nothing is hashed any more, for this reason; `failed`: it was, or should have been. Any thread. */
void hashing_end(struct hashing *h, const char *why, bool failed);

/*
 * Its own thread
 */

/* Sleep for so long (below 0: for ever), or until woken. */
void hashing_doze(struct hashing *h, int ms);

/* Take what is queued. */
void hashing_take(struct hashing *h);

/* Make the memory ours, however long another process keeps it. NULL: nothing can be remembered, or it is over. */
struct cache *hashing_own(struct hashing *h);

/* Look at what was touched, and tell the journal. */
void hashing_look(struct hashing *h, struct cache *c);

/* The batch ends. */
void hashing_settle(struct hashing *h);
