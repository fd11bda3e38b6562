/*
 * A name that is about to go, and the file that loses it. A connection without OPEN doesn't tell whether a file is in use, so what loses
 * its last name keeps a descriptor until the kernel forgets it, which for a file that nobody uses is at once.
 */
#pragma once

#include "fs/mount.h"

struct victim {
        struct node *node; /* that the kernel believes the name to be, with a reference; NULL if it isn't known */
        bool linked_elsewhere;
};

/* `name` of `dir`, which is in `dirfd`. 0 or -errno: the removal is refused if the victim could not be reached afterwards. Any thread that
 * serves. */
int victim_take(struct fs_mount *m, struct node *dir, int dirfd, const char *name, struct victim *ret);

/* The name is gone, or has stayed. */
void victim_release(struct fs_mount *m, struct victim *v, bool gone);
