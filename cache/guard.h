/*
 * Before a store may be opened: who owns it, and can what lies there be trusted? A file `state` says in which version it was written and
 * whether it was closed in good order. If it wasn't, pages may be missing after a crash of the machine (they are not synced one by one),
 * but not after one of the process.
 */
#pragma once

#include <stdbool.h>

#include "cache/cache.h"

struct guard {
        int dir;  /* the store's directory */
        int lock; /* held while we own the store; -1: another does */
        bool dirty;
};

/* Make the directory if need be, become the owner if nobody is, and throw away what can't be trusted. 0, with *found and, when it is
 * REBUILT or REFUSED, *notice (the caller frees; NULL without memory). -errno when the directory can't be had. */
int guard_take(struct guard *g, const char *dir, enum cache_found *found, char **notice);

/* Before the first write; a failure is -errno. After the last, when all is synced. */
int guard_dirty(struct guard *g);
int guard_clean(struct guard *g);

/* cache_look(). */
int guard_look(const char *dir, const char **why);

void guard_release(struct guard *g);
