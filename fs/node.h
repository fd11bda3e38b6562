/*
 * The node table: one record for each inode that the kernel knows, found by identity (what a watcher's event carries) and by number (what
 * a request carries). A number is an index with a generation, so a stale one is noticed, never followed.
 *
 * A node lives as long as somebody holds references on it: the kernel, one for each entry reply until FORGET, and anybody who examines it
 * meanwhile. Its names are in the name index (fs/name.h), its descriptor, if any, in the slots (fs/slots.h).
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cache/base/ident.h"

/* (generation << 32) | index. The root is 1, as FUSE has it. */
typedef uint64_t node_id;
#define NODE_NONE ((node_id)0)
#define NODE_ROOT ((node_id)1)

struct name;
struct node_table;
struct pattern_place;

enum node_is {
        NODE_OVERLAY = 1,  /* lives in the overlay, not the source */
        NODE_READONLY = 2, /* not to be changed */
        NODE_KEY = 4,      /* generations may be chosen by its content (a directory: by what is below) */
};

struct node {
        struct ident ident; /* guarded by the shard: node_ident() */
        /* Set when the node is made, constant while anybody holds a reference. */
        uint32_t index;
        _Atomic uint32_t gen;
        _Atomic uint16_t type; /* S_IFMT bits of the mode: constant too, unless the first look was at another object */

        /* enum node_is; set anew by each look at one of its names. */
        _Atomic uint8_t is;
        /* The source's directories: their place among the rules, as of that epoch of the overlay (fs/place.c). */
        _Atomic uint64_t place_epoch;
        const struct pattern_place *_Atomic place;

        /* Somebody asked that the kernel be told this node's attributes again later (fs/later.h). */
        atomic_bool retell;
        _Atomic uint8_t shard; /* of its identity; a free index stays in the shard of its last */
        /* Index into the slots, or -1. */
        _Atomic int32_t slot;
        /* How often the node has become another object: whoever has opened it, and finds this raised, has the one before. Raised under the
         * slots' lock, so that such a descriptor never becomes the node's (slots_rebind()). */
        _Atomic uint32_t bound;
        /* Directories: raised before what an event says about an entry is examined (fs/tell.h). */
        _Atomic uint32_t seq;
        uint32_t hash_next; /* guarded by the shard */
        _Atomic uint64_t refs;
        struct name *names; /* guarded by the name index's lock of this node */
};

int node_table_new(struct node_table **ret);
void node_table_free(struct node_table *t);

static inline node_id node_id_of(const struct node *n)
{
        return ((uint64_t)atomic_load_explicit(&n->gen, memory_order_relaxed) << 32) | n->index;
}

static inline bool node_is(const struct node *n, enum node_is what)
{
        return atomic_load_explicit(&n->is, memory_order_relaxed) & what;
}

/* Which object it is now. The caller holds a reference. Any thread. */
struct ident node_ident(struct node_table *t, const struct node *n);

/* The node is another object from now on, which a file was moved to. False: there is a node of that object already. The caller holds a
 * reference, and sees to the slot (slots_rebind()) and that nobody changes the object meanwhile. Any thread. */
bool node_rebind(struct node_table *t, struct node *n, const struct ident *ident, uint8_t is);

/* The node that a number stands for, or NULL when it is stale. The caller holds a reference already (a request does: the kernel doesn't
 * forget an inode that it asks about). Any thread, no lock. */
struct node *node_get(struct node_table *t, node_id id);

/* Find or make the node of `ident` and take a reference; `is` as enum node_is has it. NULL without memory. Any thread. */
struct node *node_intern(struct node_table *t, const struct ident *ident, mode_t mode, uint8_t is);

/* Find the node of `ident` and take a reference, or NULL: the kernel doesn't know it. Any thread. */
struct node *node_find(struct node_table *t, const struct ident *ident);

/* Take a reference on the node of a number that may be stale. NULL if it is. Any thread. */
struct node *node_hold(struct node_table *t, node_id id);

/* Give back `count` references. True when they were the last: the node is out of the table then, nobody can find it, and the caller clears
 * its names and slot and calls node_recycle(). Any thread. */
bool node_drop(struct node_table *t, struct node *n, uint64_t count);
void node_recycle(struct node_table *t, struct node *n);

/* Call `visit` for each node, holding a reference meanwhile; it returns false to stop. Nodes that come or go during the walk may be missed.
 */
void node_each(struct node_table *t, bool (*visit)(void *arg, struct node *n), void (*put)(void *arg, struct node *n), void *arg);

uint64_t node_count(struct node_table *t);
uint64_t node_table_bytes(struct node_table *t);
