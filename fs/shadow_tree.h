/*
 * The shadows of the source's directories, as things in the overlay's tree/: they follow their directories, and what has no directory any
 * more is kept aside.
 */
#pragma once

#include "fs/overlay.h"

/* The source's directory `from` is called `to` now (with `exchange`: and the other way round): so are their shadows. What stands in the way
 * of one is empty or kept aside as an orphan. Paths are relative; overlay->paths is held as a writer, or nothing is mounted yet. 0 or
 * -errno. */
int shadow_tree_follow(struct overlay *o, const char *from, const char *to, bool exchange);

/* And the generations that are kept of artifacts in them: after that, with no lock held. */
void shadow_tree_followed(struct overlay *o, const char *from, const char *to, bool exchange);

/* Remove `path` from tree/, if nothing but empty directories is in it. False: there is more. */
bool shadow_tree_prune(const struct overlay *o, const char *path);

/* Split "a/b/c": the directory in tree/ that "a/b" is, or -errno, and *name = "c". */
int shadow_tree_parent(const struct overlay *o, const char *path, const char **name);
