/*
 * Knows, while an agent lives, what the source's content is: one thread of its own, below everybody else's priority, hashes all of it once,
 * and from then on only what the watch says was touched, a moment after things have settled. It is told through a bounded queue that never
 * makes the watch wait; what doesn't fit in, or can't be placed, becomes another look at everything.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "cache/cache.h"
#include "sync/watch.h"

struct ident;
struct hashing;
struct journal;

/* For `source` (absolute, canonical), remembering in `dir`. The thread sleeps until hashing_go(). 0 or -errno. */
int hashing_new(const char *source, const char *dir, struct hashing **ret);

/* What changes goes into the journal (borrowed), and is there before whoever waits for the hash is answered. Before hashing_go(). */
void hashing_tell(struct hashing *h, struct journal *j);

/* Have `began` called, on its thread, whenever something was touched and is about to be looked at: until the journal says more, or
 * hashing_stats() that nothing is pending, what is known is of before. Before hashing_go(). */
void hashing_on_work(struct hashing *h, void (*began)(void *arg), void *arg);

/* Of the journal is left out what `leave_out` says, with all below it: its thread asks for each path. Before hashing_go(). */
void hashing_leave_out(struct hashing *h, bool (*leave_out)(void *arg, const char *path, bool is_directory), void *arg);

/* Before anything is told, wait until everybody else was told of it: `wait` does that, on its thread. NULL: nothing is waited for, and
 * when this returns `wait` has. Any thread. */
void hashing_in_step(struct hashing *h, void (*wait)(void *arg), void *arg);

/* Do nothing, ever, for this reason (one phrase, copied): nothing can be remembered. Before hashing_go(). */
void hashing_turn_off(struct hashing *h, const char *why);

/* Begin, if it hasn't yet. Any thread. */
void hashing_go(struct hashing *h);

/* The entry `name` (length 0: all of it) of a directory may be another now, or have other content, and that is whose work. Where the
 * directory is, is `path` (relative to the source, "" for itself) unless NULL; else it is found by its identity. The watch's thread only.
 * Never waits. */
void hashing_touch(struct hashing *h, enum watch_by by, const struct ident *dir, const char *path, const char *name, size_t len);

/* Anything may be. Any thread. */
void hashing_touch_all(struct hashing *h);

/* Wait until all that was touched before the call is in the root hash; begins if it hasn't yet. 0; -ETIMEDOUT; -ESHUTDOWN after
 * hashing_shutdown(); -ENODATA when there is no root hash to be had. Any thread but its own. */
int hashing_wait(struct hashing *h, int timeout_ms);

/* Let what runs end soon, and every wait return. Any thread. */
void hashing_shutdown(struct hashing *h);

/* Nobody may touch any more, or wait. What is remembered is written down. Takes NULL. */
void hashing_free(struct hashing *h);

struct hashing_stats {
        bool has_root;
        struct content root;
        bool pending;                  /* something is known to have been touched since, or nothing is known yet */
        uint64_t waiting;              /* of what was touched, about how much isn't in it */
        bool off;                      /* for good: hashing_warnings() says why, or why not */
        bool scanning;                 /* everything is being looked at */
        struct scan_progress progress; /* of what runs, else of what ran last */
        bool waits;                    /* another process keeps the memory: ours is when it ends */
        struct cache_stats cache;
        uint64_t scans, updates;
        double seconds; /* that the last of them took */
};

/* Any thread. */
void hashing_stats(struct hashing *h, struct hashing_stats *ret);

/* Visit what has gone wrong, each a sentence; *degraded when it went wrong, not when it was turned off. Any thread; `visit` must not call
 * back. */
void hashing_warnings(struct hashing *h, void (*visit)(void *arg, const char *sentence), void *arg, bool *degraded);
