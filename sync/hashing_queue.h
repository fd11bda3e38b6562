/*
 * From the watch's thread to the one that hashes: what was touched, bounded, with no lock. One puts, one takes; anybody may say "all".
 */
#pragma once

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/base/ident.h"

/* A power of two: what a busy file system brings while everything is being looked at. */
#define HASHING_QUEUE_MAX 16384U

/* An entry of a directory, which is known by its path or by its identity. */
struct hashing_touch {
        bool by_path;
        uint8_t by; /* enum watch_by */
        struct ident dir;
        uint16_t path_len, name_len;
        char text[]; /* the path, if by_path, then the name; not terminated */
};

struct hashing_queue {
        struct hashing_touch **ring; /* owned */
        _Atomic size_t put, taken;   /* ever */
        atomic_bool all;             /* more than fits in: everything was touched */
        _Atomic uint8_t all_by;      /* by whom, all of them */
        /* The put-ter's: what it put last. While that has not been taken it needs not be put again. */
        struct ident last_dir;
        uint8_t last_by;
        char last_name[NAME_MAX + 1];
};

/* 0 or -ENOMEM. */
int hashing_queue_init(struct hashing_queue *q);
void hashing_queue_release(struct hashing_queue *q);

/* Put it in; what doesn't fit becomes "all". `path` may be NULL: `dir` says where. One thread. */
void hashing_queue_put(struct hashing_queue *q, uint8_t by, const struct ident *dir, const char *path, const char *name, size_t len);

/* By nobody knows whom. Any thread. */
void hashing_queue_put_all(struct hashing_queue *q);

/* Whether "all" was said since the last time, and by whom; then what is in the queue says nothing more. The taker's thread. */
bool hashing_queue_take_all(struct hashing_queue *q, uint8_t *by);

/* The next one, which the caller frees; NULL when there is none. The taker's thread. */
struct hashing_touch *hashing_queue_take(struct hashing_queue *q);

/* Any thread. */
bool hashing_queue_is_empty(const struct hashing_queue *q);
size_t hashing_queue_count(const struct hashing_queue *q);
