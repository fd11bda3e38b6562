/*
 * What is remembered of one entry, as bytes: a key, (the directory's number, the name), and a value with a check over both, so that no
 * damage of the file passes for a record. All numbers are little endian but the key's, which sorts.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "cache/cache.h"

#define RECORD_VERSION 1

/* Numbers of directories belong to paths: a directory that is replaced by another keeps its number. */
typedef uint64_t dir_id;
#define DIR_ID_META ((dir_id)0) /* what isn't in any directory: the root's own record, and the store's */
#define DIR_ID_ROOT ((dir_id)1)

#define RECORD_KEY_MAX (sizeof(dir_id) + NAME_MAX)
#define RECORD_BYTES 80

/* What tells that an object is the one that was hashed, untouched. */
struct tuple {
        uint64_t size, ino;
        int64_t mtime_s, ctime_s;
        uint32_t mtime_ns, ctime_ns;
        uint32_t mode;
};

void tuple_of(const struct statx *stx, struct tuple *ret);
bool tuple_equal(const struct tuple *a, const struct tuple *b);

struct record {
        uint8_t kind; /* enum content_kind */
        bool racy;    /* hashed so soon after its last change that another one would not show: to be hashed again */
        struct tuple tuple;
        struct content hash;
        dir_id child; /* of a directory: its own number */
};

/* The key's length. `len` is at most NAME_MAX. */
size_t record_key(dir_id dir, const char *name, size_t len, uint8_t ret[RECORD_KEY_MAX]);

void record_encode(const struct record *r, const uint8_t *key, size_t key_len, uint8_t ret[RECORD_BYTES]);

/* False if that is no record that record_encode() made for this key. */
bool record_decode(const void *value, size_t len, const uint8_t *key, size_t key_len, struct record *ret);

/* The directory's number and the name in a key. False if it is none. */
bool record_key_parse(const void *key, size_t len, dir_id *dir, const char **name, size_t *name_len);
