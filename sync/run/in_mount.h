/*
 * What a mount offers to those who are in it, whatever they have of dsfs: the hidden directory at its root, found by walking up.
 */
#pragma once

#include <stdbool.h>

#define IN_MOUNT_STATUS ".dsfs/status.json"

/* The root of the mount that the working directory is in, by its path: the next directory above that has `name` (".dsfs/events.sock").
 * The caller frees it; NULL: it is in none, or nothing is there. */
char *in_mount_root(const char *name);

/* The absolute form of a path. The caller frees it; NULL without memory. */
char *in_mount_absolute(const char *path);

/* struct feed_place has it: there is nothing any more at the path `arg`, which is not what a mount looks like whose agent has died. */
bool in_mount_is_over(void *arg);
