/*
 * What cache/ says, worked out the plain way from the definition in cache/cache.h and from nothing else: read everything, remember nothing.
 */
#pragma once

#include <stddef.h>

#include "cache/cache.h"

struct naive_entry {
        char *path; /* owned; relative, "" is the root */
        enum content_kind kind;
        struct content hash;
};

struct naive {
        struct naive_entry *entries; /* owned; in order of their paths' bytes */
        size_t count, room;
};

/* The root and everything below it, `.git`s left out; must() work, so nothing may change meanwhile. */
void naive_tree(const char *root, struct naive *ret);
void naive_release(struct naive *n);

/* NULL if there is none. */
const struct naive_entry *naive_find(const struct naive *n, const char *path);

/* The root's hash alone. */
struct content naive_root(const char *root);

/* XXH3-128 of bytes, as `xxhsum -H128` prints it. */
struct content naive_hash(const void *bytes, size_t len);
