/*
 * The store from inside, for the two files that make it: cache/store.c reads, cache/store_write.c writes.
 */
#pragma once

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "cache/base/thread.h"
#include "cache/guard.h"
#include "cache/store.h"

struct change;

struct store {
        /* Set at init, read anywhere. */
        bool readonly;
        bool writing; /* there is a writer thread */
        MDB_env *env;
        MDB_dbi dbi;
        pthread_t writer;

        struct guard guard; /* at init, then the writer's */
        /* Held shared by who reads, alone by who enlarges the map. */
        pthread_rwlock_t map_lock;
        const char *_Atomic off;
        _Atomic dir_id next_dir;
        dir_id written_next; /* the writer's */

        struct mutex lock;
        struct cond wake; /* for the writer */
        struct cond room; /* for who waits for room, or for a flush */
        struct change *head GUARDED_BY(lock);
        struct change **tail GUARDED_BY(lock);
        size_t queued GUARDED_BY(lock);
        uint64_t asked GUARDED_BY(lock), done GUARDED_BY(lock); /* flushes */
        bool stop GUARDED_BY(lock);
};

/* From now on nothing is written. Any thread. */
void store_turn_off(struct store *s, int rc);

/* The number that the next directory gets, from the environment. 0, or an LMDB or errno code. */
int store_read_next(struct store *s, MDB_txn *txn);

int store_start_writer(struct store *s);
void store_stop_writer(struct store *s);
