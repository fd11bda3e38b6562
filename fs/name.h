/*
 * The name index: for each name in each directory, the node that the kernel was last told it stands for. It answers two questions: what
 * does the kernel believe (so that an event about a change of our own, or one already told, costs nothing), and by which names can a node
 * be reached. A name may also be noted as merely seen, when a watcher found a known node under a name that the kernel was not told.
 *
 * A name that the kernel was told and has dropped since stays here: belief is then too large, never too small.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/node.h"

#define NAME_BYTES_MAX 255

struct name_index;

int name_index_new(struct name_index **ret);
void name_index_free(struct name_index *x);

/* The kernel is told that `name` of `dir` is `n`: on that the caller holds a reference. What it believed before is replaced; true if that
 * was another node. Without memory nothing is noted (the node may be hard to reach then, and events tell more than they need). Any thread.
 */
bool name_set(struct name_index *x, node_id dir, const char *name, size_t len, struct node *n);

/* `name` of `dir` was seen to be `n`, untold. Does nothing if a name stands there. Any thread. */
void name_saw(struct name_index *x, node_id dir, const char *name, size_t len, struct node *n);

/* `name` of `dir` is nothing any more. True if the kernel had been told that it is something. Any thread. */
bool name_clear(struct name_index *x, node_id dir, const char *name, size_t len);

/* What the kernel believes `name` of `dir` to be, or NODE_NONE if that isn't known (`seen` names don't count). Any thread. */
node_id name_belief(struct name_index *x, node_id dir, const char *name, size_t len);

/* The node that was last told or seen there, or NODE_NONE. Any thread. */
node_id name_known(struct name_index *x, node_id dir, const char *name, size_t len);

/* The `nth` name of `n`, most recent first: its directory, or NODE_NONE after the last. `buf` takes NAME_BYTES_MAX + 1 bytes. Any thread.
 */
node_id name_of_node(struct name_index *x, struct node *n, unsigned nth, char *buf);

/* Drop all names of a node that nobody can find any more. */
void name_clear_node(struct name_index *x, struct node *n);

uint64_t name_count(struct name_index *x);
uint64_t name_index_bytes(struct name_index *x);
