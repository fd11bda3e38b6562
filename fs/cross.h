/*
 * Moving files, symlinks and directories between the layers where those are on different mounts: a copy takes the place, what has the
 * object open is led to the copy, then the object goes. Where both are on one mount the kernel renames, and nothing here is used.
 *
 * The kernel holds the locks of both directories and of the file while it waits for our answer, so nobody writes to it through this mount
 * but the kernel itself, for a mapping, and others through other mounts or, below a directory that is moved, through this one. So whoever
 * changes something is counted (cross_enter), and the last moment of a move belongs to it alone: it sees whether the object is still as it
 * was when it was copied.
 */
#pragma once

#include "fs/rename.h"

/* Before and after a change of anything through a mount. Waits while a move is in its last moment. Doesn't nest. Any thread. */
void cross_enter(struct fs_mount *m);
void cross_leave(struct fs_mount *m);

/* The kernel wouldn't rename it: can cross_move()? */
bool cross_can(const struct renaming *r);

/* Move it; the caller isn't counted by cross_enter(). 0; -EXDEV: it has to be left to the caller; or another -errno. May block. */
int cross_move(struct renaming *r);

/* Complete or undo what an earlier agent left in moving/. 0 or -errno. Before the first mount. */
int cross_recover(struct overlay *o);
