/*
 * What the command is told of the changes that it is run for: in its environment, and, since a name may hold anything but a NUL, in a file.
 */
#pragma once

#include "sync/run/selection.h"

struct changed {
        int fd;     /* of the file; below 0: there is none */
        char *path; /* owned */
        bool named; /* the path is a name, to be removed */
};

/* Make the file, in $TMPDIR, /tmp or wherever else one can be, and if that is nowhere, in memory (where /proc shows it). 0 or -errno: there
 * will be none. */
int changed_new(struct changed *ret);
void changed_release(struct changed *c);

enum changed_why { CHANGED_NOTHING, CHANGED_PATHS, CHANGED_ANYTHING };

/* Put them in the file and into our environment: DSFS_CHANGED (the first path), DSFS_CHANGED_FILE, DSFS_WHY, DSFS_ROOT. */
void changed_tell(struct changed *c, enum changed_why why, const struct gathered *g, const char *root);
