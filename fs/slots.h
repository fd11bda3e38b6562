/*
 * The descriptor budget: a bounded set of open backing files, at most one a node. Reading a slot takes no lock; a miss evicts the slot
 * that was least recently used in its part of the set. A slot in use, or pinned for a node that nothing else reaches any more, stays.
 * When all are, a descriptor is opened beyond the budget and closed right after use.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/node.h"

struct slots;

/* What the descriptor can do; each includes the ones before. */
enum slot_mode {
        SLOT_PATH, /* O_PATH */
        SLOT_READ,
        SLOT_WRITE, /* reads too */
};

/* A descriptor in use. */
struct held {
        int fd;       /* -1: none */
        int32_t slot; /* -1: beyond the budget, closed when let go */
};
#define HELD_NONE ((struct held){.fd = -1, .slot = -1})

int slots_new(unsigned max, struct slots **ret);

/* All slots of this process together hold at most `max` descriptors, but for a few that each may have in any case. Any thread. */
void slots_share(unsigned max);

/* Closes all. */
void slots_free(struct slots *s);

/* The node's descriptor, if it has one of at least `mode`. Any thread, no lock. */
bool slots_get(struct slots *s, struct node *n, enum slot_mode mode, struct held *ret);

/* Keep `fd` (taken) as the node's descriptor, in place of a lesser one; a pin goes over to it. If another thread was first with one as
 * good, that one is returned and `fd` closed. Any thread. */
struct held slots_put(struct slots *s, struct node *n, enum slot_mode mode, int fd);

/* The same for a descriptor that was opened when n->bound was `bound`: if the node has become another object since, it isn't kept. */
struct held slots_put_bound(struct slots *s, struct node *n, enum slot_mode mode, int fd, uint32_t bound);

/* The node has become another object: raise n->bound; `fd` (taken; -1: none) is its descriptor now, instead of any that it
 * has, and pinned if that was. Any thread. */
void slots_rebind(struct slots *s, struct node *n, enum slot_mode mode, int fd);

/* Let go. Any thread. */
void slots_release(struct slots *s, struct held *h);

/* Keep the node's descriptor until it is forgotten, or unpinned. False if it has none, or too many are pinned. Any thread. */
bool slots_pin(struct slots *s, struct node *n);
void slots_unpin(struct slots *s, struct node *n);

/* Close the descriptor of a node that nobody can find any more. */
void slots_forget(struct slots *s, struct node *n);

/* Close writable descriptors that were not used since the last call; one thread. True if some are left that are
 * not pinned. */
bool slots_close_idle_writers(struct slots *s);

/* Close all descriptors of this process's slots that are neither in use nor pinned. */
void slots_trim(void);

struct slots_stats {
        uint64_t used, max, pinned;
};
void slots_stats(struct slots *s, struct slots_stats *ret);
