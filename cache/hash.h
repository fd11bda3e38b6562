/*
 * Hashing bytes: of files, so that what comes out belongs to one state of the file or is known not to, and of directories.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "cache/record.h"

#define HASH_BUFFER_BYTES (128U * 1024U)

/* What one thread hashes with: aligned, so on the heap. Reading a file ends early, with -ECANCELED, when *cancel (or NULL) is set. */
struct hasher;
struct hasher *hasher_new(const atomic_bool *cancel);
void hasher_free(struct hasher *h);

struct hashed {
        struct content hash;
        struct tuple tuple; /* the file's, of the state that was hashed */
        uint8_t kind;
        bool racy;   /* see struct record */
        bool steady; /* false: it changed each time that it was read */
        uint64_t bytes;
};

/* Hash the file or symlink `name` in `dirfd`. 0 or -errno: -ENOENT also when it is neither any more. */
int hash_entry(struct hasher *h, int dirfd, const char *name, struct hashed *ret);

/* The hash of a directory, entry by entry in order. */
void hash_dir_begin(struct hasher *h);
void hash_dir_add(struct hasher *h, const char *name, size_t len, uint8_t kind, const struct content *hash);
void hash_dir_end(struct hasher *h, struct content *ret);

/* The kind of an object by its mode; CONTENT_NONE for what is left out. */
enum content_kind content_kind_of(uint32_t mode);
