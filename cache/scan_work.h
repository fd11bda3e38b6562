/*
 * A scan from inside: what its threads share (cache/scan.c), and what they do with a piece of work (cache/scan_look.c).
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "cache/base/thread.h"
#include "cache/scan.h"
#include "cache/scan_dir.h"

#define ROOT_NAME "root"
#define THREADS_MAX 64U

struct scan {
        const struct scan_job *job;
        int source; /* the source, open */
        struct store *store;
        uint32_t dev_major, dev_minor;
        bool tells; /* there is something to differ from, and somebody who wants to know */
        unsigned long long began_ns;
        _Atomic uint64_t entries, files, bytes, reused, unstable, unread;
        atomic_int rc;
        _Atomic size_t open_dirs;
        size_t open_dirs_max; /* above, directories don't wait open for those in them */
        /* Directories that were visited, by number, below `known_ids`: for the sweep. NULL: not kept. */
        _Atomic uint8_t *visited;
        dir_id known_ids;
        struct content root;

        struct mutex lock;
        struct cond wake;
        struct task *stack GUARDED_BY(lock);
        size_t waiting GUARDED_BY(lock); /* tasks */
        size_t idle GUARDED_BY(lock);    /* threads */
        bool over GUARDED_BY(lock);
        pthread_t threads[THREADS_MAX] GUARDED_BY(lock);
        unsigned started GUARDED_BY(lock);

        struct mutex tell_lock; /* one difference is told at a time */
};

/* What one thread works with. */
struct worker {
        struct scan *scan;
        struct hasher *hasher;
        struct path_room path;
};

static inline bool scan_cancelled(const struct scan *s)
{
        return (s->job->cancel && atomic_load_explicit(s->job->cancel, memory_order_relaxed)) || atomic_load(&s->rc) != 0;
}

/* Give up; the first reason counts. Any of the scan's threads. */
static inline void scan_fail(struct scan *s, int rc)
{
        int none = 0;

        atomic_compare_exchange_strong(&s->rc, &none, rc);
}

/* One more piece of work, for whoever is free. */
void scan_push(struct scan *s, struct task *t);

/* The source's own hash is made: there is no work left. */
void scan_over(struct scan *s);

/* Do a piece of work, and what it completes. */
void scan_do(struct worker *w, struct task *t);
