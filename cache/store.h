/*
 * Where records are kept: an LMDB environment in a directory of its own, with one owner at a time. Whoever else opens it reads beside the
 * owner. Nothing in it is needed: what can't be trusted is thrown away, what can't be written is left, and store_off() says why.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/record.h"

struct store;

/* Open or make the store in `dir`. 0, with *found saying how, and *notice (the caller frees) for REBUILT and REFUSED. *ret is NULL if
 * REFUSED. -ENOMEM. */
int store_open(const char *dir, bool readonly, struct store **ret, enum cache_found *found, char **notice);

/* Commit what was put, and close. Takes NULL. */
void store_close(struct store *s);

/* One record. False if there is none, or none that is sound. Any thread. */
bool store_get(struct store *s, dir_id dir, const char *name, size_t len, struct record *ret);

/* Visit the records of a directory in order of their names' bytes; `visit` returns false to stop, and calls nothing of the store. Any
 * thread. */
void store_list(struct store *s, dir_id dir, bool (*visit)(void *arg, const char *name, size_t len, const struct record *r), void *arg);

/* Write down a record; forget one, with all below it if it is a directory. Done by the store's writer, in this order: may wait for it.
 * Any thread. */
void store_put(struct store *s, dir_id dir, const char *name, size_t len, const struct record *r);
void store_delete(struct store *s, dir_id dir, const char *name, size_t len);

/* Returns when all that was put or deleted before is there to be read, by anybody. */
void store_flush(struct store *s);

/* A number that no directory has. Any thread. */
dir_id store_new_dir(struct store *s);

/* Forget records in directories that `lives` doesn't know. Flushes. */
void store_sweep(struct store *s, bool (*lives)(void *arg, dir_id dir), void *arg);

bool store_writable(const struct store *s);

/* Why nothing is written any more, one phrase; or NULL. Any thread. */
const char *store_off(struct store *s);

struct store_stats {
        uint64_t entries, bytes;
};
void store_stats(struct store *s, struct store_stats *ret);
