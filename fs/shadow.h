/*
 * The names of the source's directories, whose shadows in the overlay go with them.
 */
#pragma once

#include "fs/rename.h"

/* Make the rename in the backing; `victim` is the node that loses its name, or NULL. 0; -EXDEV: it has to be copied; or another -errno. A
 * thread that serves. */
int shadow_rename(struct renaming *r, struct node *victim);

/* Remove the directory `name` at `p`, which is `n` (NULL: not known). -ENOTEMPTY: artifacts are shown in it. Likewise. */
int shadow_rmdir(struct fs_mount *m, const struct place *p, const char *name, struct node *n);
