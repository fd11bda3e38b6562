/*
 * What looks at the source have found to differ, gathered until a look ends, and then told to the journal in the order of paths. Bounded:
 * what would not fit into the journal is not kept.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/cache.h"

struct hashing_places;
struct journal;

struct finding {
        uint32_t path; /* in the texts */
        uint8_t was, is;
        bool touched;
        struct content old_hash, new_hash;
};

struct found {
        struct finding *list; /* owned */
        size_t count;
        char *texts; /* owned; each ends with a NUL */
        size_t texts_used;
        bool too_much; /* or there was no memory: nothing is kept */
};

/* Callers take turns. */
void found_add(struct found *f, const struct cache_change *c);

/* Tell the journal, then forget. Who changed what, the places say; NULL: nobody knows. `leave_out`, unless NULL, says of a path whether it
 * is none of the journal's. More than could be kept is told as lost. */
void found_tell(struct found *f, struct hashing_places *places, bool (*leave_out)(void *arg, const char *path, bool is_directory),
                void *arg, struct journal *j);

void found_release(struct found *f);
