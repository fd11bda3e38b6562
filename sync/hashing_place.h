/*
 * Where in the source is what was touched: the paths to look at, each at most once or so, a bounded number of them. One thread.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/base/ident.h"

struct hashing_queue;

struct hashing_places {
        const char *source;
        int root;           /* the source, open */
        bool all;           /* look at everything; there are no paths then */
        const char **paths; /* owned, each too; relative to the source */
        size_t count;
        uint64_t found; /* ever: to see whether more comes */
        /* The directory found last, of those taken in one go. */
        bool has_dir, dir_inside;
        struct ident dir;
        char dir_path[PATH_MAX]; /* relative to the source */
};

/* `source` is borrowed. 0 or -errno. */
int hashing_places_init(struct hashing_places *p, const char *source);
void hashing_places_release(struct hashing_places *p);

/* Take all that is queued. What isn't in the source, or in a `.git`, is left out. */
void hashing_places_take(struct hashing_places *p, struct hashing_queue *q);

bool hashing_places_is_empty(const struct hashing_places *p);
void hashing_places_clear(struct hashing_places *p);
