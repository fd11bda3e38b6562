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
        const char *git;    /* where git keeps its own, if that isn't in the source; borrowed, may change; "": nowhere */
        int root;           /* the source, open */
        bool all;           /* look at everything; there are no paths then */
        const char **paths; /* owned, each too; relative to the source */
        uint8_t *by;        /* owned; of each path, who changed it: enum watch_by */
        uint8_t all_by;     /* who changed anything */
        uint16_t *order;    /* owned; of the paths, by their bytes: for hashing_places_by() */
        size_t ordered;
        size_t count;
        uint64_t found;  /* ever: to see whether more comes */
        uint64_t in_git; /* ever, of what git keeps of the source */
        /* The directory found last, of those taken in one go. */
        bool has_dir, dir_inside, dir_git;
        struct ident dir;
        char dir_path[PATH_MAX]; /* relative to the source */
};

/* `source` and `git` are borrowed. 0 or -errno. */
int hashing_places_init(struct hashing_places *p, const char *source, const char *git);
void hashing_places_release(struct hashing_places *p);

/* Take all that is queued. What isn't in the source, or in a `.git`, is left out; though what git does is counted. */
void hashing_places_take(struct hashing_places *p, struct hashing_queue *q);

/* Who changed what is at this path, as enum watch_by: who touched it, else a directory above it; when everything is to be looked at,
 * anything. 0: nobody is known. */
uint8_t hashing_places_by(struct hashing_places *p, const char *path);

bool hashing_places_is_empty(const struct hashing_places *p);
void hashing_places_clear(struct hashing_places *p);
