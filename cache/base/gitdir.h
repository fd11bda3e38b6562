/*
 * Where git keeps what it knows of a checkout, and whether it is at work there: as much as can be seen without asking it.
 */
#pragma once

#include <stdbool.h>

/* The git directory of the checkout that `root` is: its `.git`, or where that says, which is a worktree's own. An O_PATH descriptor or
 * -errno. Any thread. */
int gitdir_open(int root);

/* The directory that a worktree's git directory shares with the others; of another it is that itself. Likewise. */
int gitdir_open_common(int git);

/* Open a file in it to read. What is no plain file, or behind a symlink, is not opened: whoever may write to the checkout may have put it
 * there. The descriptor or -errno. Any thread. */
int gitdir_open_file(int git, const char *path);

/* Whether the index is locked: a checkout, a merge or a reset is from beginning to end. Any thread. */
bool gitdir_has_lock(int git);
