/*
 * What the files that implement artifacts_*() share: paths below tree/, sentences, stages.
 */
#pragma once

#include "cache/base/err.h"
#include "fs/overlay.h"
#include "fs/tree.h"

#define OBJECT "object" /* the artifact itself, in a snapshot's entry */
#define STAGE_PREFIX "artifacts."
#define RESTORE_READY "ready"

int disk_say(char **why, int rc, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* "tree/…" opened below the overlay's directory, so that renames to its other parts work (tree's own layer is on a mount of its own). An
 * O_PATH descriptor of a directory, or -errno. */
int disk_tree(const struct overlay *o, const char *path);

/* The parent directory of `path`, made if it is missing (then the source must have it), and *base, its last component. As disk_tree(). */
int disk_parent(const struct overlay *o, const char *path, bool make, const char **base);

/* The source's directory that `path` is in, and *base. As disk_tree(). */
int disk_source_parent(const struct overlay *o, const char *path, const char **base);

/* Relative, with no empty component, "." or "..". */
bool disk_path_ok(const char *path);

/* Is such a root's place generations_adopt()'s to change? */
bool disk_has_generations(const struct rule *r);

/* Put moving's `name` in `from` in place of the root: *replaced says that what was there is at `name` now. Tells the mounts. Under
 * o->work. 0; -EEXIST without `replace`; or another -errno. */
int disk_switch(struct overlay *o, int from, const char *name, const char *path, bool replace, bool *replaced) REQUIRES(o->work);

/* Take the root away to `name` in `to`. 0, -ENOENT, or another -errno. */
int disk_take(struct overlay *o, const char *path, int to, const char *name) REQUIRES(o->work);

/* What is at the root is another object now. */
void disk_tell(struct overlay *o, const char *path);

/* "path" in an entry of kept/ or a snapshot: the artifact's path. The caller frees; NULL: unreadable. */
char *disk_read_path(int entry);
int disk_write_path(int entry, const char *path);

/* Complete restores that were interrupted. */
int disk_recover_restores(struct overlay *o);

struct tree_work disk_work(const struct overlay *o);
