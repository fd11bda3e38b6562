/*
 * Whole trees outside of any mount: copied, removed, counted. No symlink is followed, and nothing on another filesystem is entered. On
 * threads that serve nothing, for it takes as long as the tree is large.
 */
#pragma once

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/artifacts.h"

struct tree_work {
        const atomic_bool *cancel; /* true: give up (-ECANCELED); NULL: never */
        bool own;                  /* what is made belongs to `uid` and `gid`; else to whom the original does */
        uid_t uid;
        gid_t gid;
        char trouble[PATH_MAX]; /* where it failed, relative to the tree's parent; "" when that isn't known */
};

/* Copy `from_name` to `to_name`, which must not be there: contents (as reflinks where they can be, holes stay holes), symlinks, fifos and
 * sockets, hard links among them, modes, owners, extended attributes, times. 0, or -errno with half of it made. */
int tree_copy(struct tree_work *w, int from, const char *from_name, int to, const char *to_name);

/* Give all of a tree to w->uid and w->gid, and take away set-uid bits. 0 or -errno. */
int tree_own(struct tree_work *w, int at, const char *name);

/* 0 (also when it isn't there) or -errno. */
int tree_remove(int at, const char *name);

/* What it takes on disk is added to *ret; a file with several names counts once. What can't be read is left out. 0, or -ENOMEM,
 * -ECANCELED. */
int tree_count(struct tree_work *w, int at, const char *name, struct artifact_size *ret);
