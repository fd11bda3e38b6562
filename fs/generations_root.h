/*
 * What the files of generations share: the roots that are known, and the state of each.
 */
#pragma once

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/base/ident.h"
#include "cache/base/thread.h"
#include "fs/generations.h"
#include "fs/generations_notes.h"
#include "fs/keys.h"
#include "fs/overlay.h"

#define ROOT_ID_TEXT 17
#define ROOT_BUCKETS 256U
#define MET_MARKS 8192U
#define TOUCHED_MAX 256U

/* One of a root's. */
struct kept {
        struct key key;
        uint64_t bytes;
        int64_t created_s, used_s;
        bool dirty; /* what is on disk of these is out of date */
};

struct root {
        struct root *next; /* of its bucket; guarded by g->table */
        char id[ROOT_ID_TEXT];

        /* Held while the root is looked at, switched, listed. Serving threads take it: nobody may wait for one, or tell the kernel, under
         * it. Before g->table. */
        struct mutex lock;
        char *path GUARDED_BY(lock); /* changed under g->table too, so either will do to read; owned */
        const struct rule *rule GUARDED_BY(lock);
        bool registered GUARDED_BY(lock); /* it is on disk, and `current` is what it says there */
        bool verified GUARDED_BY(lock);   /* a mount has met it */
        bool unsettled GUARDED_BY(lock);  /* … or will be, once kept_settle() has written it */
        bool stale GUARDED_BY(lock);      /* to be looked at though its key files are the same */
        struct key current GUARDED_BY(lock);
        struct key_files files GUARDED_BY(lock); /* of which `current` was made */
        unsigned put_off GUARDED_BY(lock);       /* how often it could not be told yet whose change it was */
        struct kept *list GUARDED_BY(lock);      /* all generations that have something, and the current one; owned */
        size_t count GUARDED_BY(lock);
};

/* A directory in which something was touched: of interest where keys are directories. */
struct touched {
        struct ident dir;
        char *path; /* relative to the source; NULL: to be found by its identity; owned */
};

struct generations {
        /* Set at init, read anywhere. */
        struct overlay *o;
        int tree_fd; /* tree/, by the mount that kept/ is reached by, so that things can be renamed between the two; owned */
        pthread_t runner, sweeper;
        bool running, sweeping;

        atomic_bool watched;
        atomic_bool directories; /* some key is a directory: changes below it have other names */
        _Atomic uint64_t met[MET_MARKS];
        _Atomic uint64_t switches, rekeys;
        struct notes notes;
        atomic_uint changing; /* changes of ours that may have been made and aren't noted yet */

        struct mutex table;
        struct root *buckets[ROOT_BUCKETS] GUARDED_BY(table); /* roots are added, never freed before the end; owned */
        size_t count GUARDED_BY(table);

        struct mutex lock; /* innermost */
        struct cond wake, settled, sweep;
        uint64_t asked GUARDED_BY(lock), done GUARDED_BY(lock); /* looks */
        unsigned long long first_ns GUARDED_BY(lock), last_ns GUARDED_BY(lock);
        struct touched touched[TOUCHED_MAX] GUARDED_BY(lock);
        size_t touched_count GUARDED_BY(lock); /* beyond TOUCHED_MAX: any may have been */
        bool stop GUARDED_BY(lock);
        bool dirt GUARDED_BY(lock); /* for the sweeper */
        unsigned long long dirt_ns GUARDED_BY(lock);
};

/* The root at `path`; NULL: none is known. With `add` it is, or NULL without memory. */
struct root *roots_find(struct generations *g, const char *path, bool add);

/* Visit each; `visit` may lock it. */
void roots_each(struct generations *g, void (*visit)(void *arg, struct root *r), void *arg);

/* The list's entry for `key`; NULL: there is none. With `add` it is, or NULL without memory. */
struct kept *root_kept_locked(struct root *r, const struct key *key, bool add) REQUIRES(r->lock);
void root_forget_locked(struct root *r, const struct key *key) REQUIRES(r->lock);

/* Have the root show what its key files ask for. Nobody is told: for one that no mount has met yet. */
void root_verify_locked(struct generations *g, struct root *r) REQUIRES(r->lock);

/* The same for one that has been met: all mounts are told. False: it has to be looked at once more, soon. The runner. */
bool root_look(struct generations *g, struct root *r);

/* Roots below `from` are below `to` now. */
void roots_rename(struct generations *g, const char *from, const char *to);

/* The current generation is about to lose its place: who has it open keeps it. */
void root_keep_locked(struct generations *g, struct root *r) REQUIRES(r->lock);

/* Where the kernel has the root, to be told when no lock is held. */
struct root_told {
        struct ident dir;
        char name[NAME_MAX + 1];
};
bool root_told_locked(struct generations *g, struct root *r, struct root_told *ret) REQUIRES(r->lock);
void root_tell(struct generations *g, const struct root_told *told);

/* What is current goes by `key` from now on. 0 or -errno. */
int root_relabel_locked(struct generations *g, struct root *r, const struct key *key) REQUIRES(r->lock);

/* Make `key` the current one. 0 or -errno. */
int root_switch_locked(struct generations *g, struct root *r, const struct key *key) REQUIRES(r->lock);

/* Are its key files as they were when they were looked at, as far as can be told without reading them? */
bool root_is_same_locked(struct generations *g, struct root *r) REQUIRES(r->lock);

/* Does the source have something there to begin with? */
bool root_has_seed(const struct generations *g, const char *path);

/* Keys may be others. Any thread. */
void generations_wake(struct generations *g);

/* Remove what was put into moving/ for that; with `all` what was never finished, too. */
void generations_remove_gone(struct generations *g, bool all);

/* There is something to count, remove or write down. Any thread. */
void generations_want_sweep(struct generations *g);

/* Is git changing the checkout, on the host or through a mount? Any thread. */
bool generations_git_is_busy(const struct generations *g);

/* End and join the threads. */
void generations_stop(struct generations *g);

/* The threads. */
void *generations_run(void *arg);
void *generations_sweep(void *arg);
