/*
 * One member of a tar archive, from the one to three headers that say what it is.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#define TAR_BLOCK 512

enum tar_kind {
        TAR_END,
        TAR_FILE,
        TAR_DIRECTORY,
        TAR_SYMLINK,
        TAR_HARD_LINK,
        TAR_OTHER, /* a device, a fifo, or what only its maker understands */
};

struct tar_member {
        enum tar_kind kind;
        char type;
        char *name; /* as it is written; owned */
        char *link; /* what a link points to; owned */
        mode_t mode;
        int64_t mtime;
        uint64_t size; /* of what follows; with padding up to a whole block */
};

/* Read up to and with the member's own header. 0 or -errno and *why (-EINVAL: this is no tar archive, or is damaged). */
int tar_next(int in, struct tar_member *ret, char **why);
void tar_member_release(struct tar_member *m);
