/*
 * Many globs at once: which of them match a name? The last one counts. Literals are found by hash, suffixes by their last byte, what else
 * begins with a byte by that; only the rest is tried one by one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "fs/glob.h"

struct finder;

struct finder_item {
        int index; /* what is found: the highest that matches */
        bool dirs_only;
        const struct glob *glob; /* borrowed; NULL matches everything */
};

/* NULL without memory. */
struct finder *finder_new(const struct finder_item *items, size_t count);
void finder_free(struct finder *f);

/* The highest index above `best` that matches, else `best`. Any thread, no lock. */
int finder_find(const struct finder *f, const char *name, size_t len, bool is_dir, int best);
