/*
 * How far a long scan is, on standard error: one line redrawn in place on a terminal, else a plain line every few seconds. Nothing is said
 * of short ones.
 */
#pragma once

#include "cache/cache.h"

struct hash_progress;

/* For a scan of `source` that begins now; with `fresh` every file has to be read, so how much that is gets counted meanwhile, for the time
 * that is left to be known. NULL without memory: nothing is shown then. */
struct hash_progress *hash_progress_new(const char *source, bool fresh);

/* A struct scan_watcher's progress(). `arg` is the progress. */
void hash_progress_show(void *arg, const struct scan_progress *p);

/* Take the line away. Takes NULL. */
void hash_progress_free(struct hash_progress *h);
