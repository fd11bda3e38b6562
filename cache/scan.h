/*
 * Looking at a source: all of it, or what a scope names. Directories are work for several threads; a directory whose entries are all
 * known makes its own hash, and is then one entry less that its parent waits for.
 */
#pragma once

#include <stdatomic.h>

#include "cache/cache.h"
#include "cache/scope.h"
#include "cache/store.h"

struct scan_job {
        const char *source;
        struct store *store;       /* NULL: nothing is remembered */
        const struct scope *scope; /* NULL: everything */
        const struct cache_options *options;
        const struct scan_watcher *watcher; /* or NULL */
        unsigned threads;
        const atomic_bool *cancel;
};

/* 0, -ECANCELED or -errno. */
int scan_run(const struct scan_job *job, struct scan_report *ret);
