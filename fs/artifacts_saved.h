/*
 * Snapshots: saved/<name>/ has a directory for each root, numbered, with its `path` and the artifact itself as `object` (none: it wasn't
 * there). They are made in moving/ and renamed.
 */
#pragma once

#include "fs/artifacts_disk.h"

/* A snapshot by its name: a descriptor, or -errno and *why. */
int snapshot_open(struct overlay *o, const char *name, char **why);

/* Which roots it has; with `work` what they take, too. 0 or -errno. */
int snapshot_read(int fd, const char *name, struct tree_work *work, struct artifact_snapshot *ret);

/* The entry number `i`, and a new one for `path`. A descriptor, or -errno. */
int snapshot_entry(int snapshot, size_t i);
int snapshot_make_entry(int snapshot, size_t i, const char *path);

/* Give the stage, which is a whole snapshot, its name. What had it goes. 0 or -errno, when it still is a stage. */
int snapshot_publish(struct overlay *o, struct artifact_stage *stage, const char *name, bool replace) REQUIRES(o->work);
