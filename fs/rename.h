/*
 * A rename that is being made: within a layer (fs/ops_rename.c), of directories with shadows (fs/shadow.h), or by copying (fs/cross.h).
 */
#pragma once

#include <fuse_lowlevel.h>

#include "fs/offload.h"
#include "fs/place.h"

/* One end of it. */
struct end {
        struct node *dir;
        struct place p;
        const char *name;
        struct node *belief; /* what the kernel believes the name to be, with a reference */
};

struct renaming {
        struct job job;
        fuse_req_t req;
        struct fs_mount *m;
        struct end from, to;
        unsigned flags;
        int rc;
};

/* The backing's rename. 0 or -errno. */
int rename_plainly(const struct renaming *r);

/* All that the mount notes of a rename that has been made. Any thread. */
void renamed(struct renaming *r);
