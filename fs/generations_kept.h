/*
 * Generations on disk: kept/<id>/ is of one artifact root.
 *
 *     path         of the root, relative to the source
 *     current      the key of what is in tree/ at that path, if anything is
 *     <key>/       another generation: it has the root in it under its own name
 *     <key>.is     what is known of a generation: created, last used, bytes
 *
 * A switch takes several renames: what it is about is written to moving/ first, with the identities of the two objects, by which it is
 * told afterwards how far it came. `current` changes last.
 */
#pragma once

#include "fs/generations_root.h"

/* Put the root on disk, with `key` as its current one; moving/ has it until it is complete. 0 or -errno. */
int kept_register(struct generations *g, struct root *r, const struct key *key) REQUIRES(r->lock);

/* Make `to` the current one: what is in tree/ is kept under its old key, what is kept under `to` takes its place. *left: something was
 * kept. 0 or -errno, when nothing has changed. Mounts may be told at once; kept_settle() then writes down what has become of it. */
int kept_switch(struct generations *g, struct root *r, const struct key *to, bool *left) REQUIRES(r->lock);

void kept_settle(struct generations *g, struct root *r) REQUIRES(r->lock);

/* What is in tree/ goes by `to` from now on; what was kept under that is dropped. 0 or -errno. */
int kept_relabel(struct generations *g, struct root *r, const struct key *to) REQUIRES(r->lock);

/* Is there anything under that key? */
bool kept_has(struct generations *g, const struct root *r, const struct key *key) REQUIRES(r->lock);

/* Have what is called `name` in `dirfd` be the one of that key, in place of one that is there. 0 or -errno. */
int kept_put(struct generations *g, struct root *r, const struct key *key, int dirfd, const char *name) REQUIRES(r->lock);

/* Drop one that isn't current. 0 or -errno: -ENOENT. */
int kept_drop(struct generations *g, struct root *r, const struct key *key) REQUIRES(r->lock);

int kept_write_path(struct generations *g, struct root *r) REQUIRES(r->lock);
void kept_write_record(struct generations *g, struct root *r, const struct kept *k) REQUIRES(r->lock);

/* Finish what was under way, and know all roots. 0 or -errno. */
int kept_load(struct generations *g);

/* The object that stands in tree/ at the root's path: a descriptor of the directory that it is in, or -errno (-ENOENT: there is no such
 * directory). */
int kept_above(struct generations *g, const char *path, bool make);

/* A name in moving/ that nobody has; what is left there under such a name is removed. */
#define GONE_PREFIX "gone-"
#define COPY_PREFIX "copy-"
#define MOVING_TEXT 32
void kept_moving_name(const char *prefix, char ret[MOVING_TEXT]);

/* The last component. */
const char *root_name(const char *path);
