/*
 * The threads that serve: each has its own umask and filesystem identity, set up when it first serves a mount, and its own counters, so
 * that serving shares no cache line with another thread.
 */
#pragma once

#include <fuse_lowlevel.h>

#include "fs/fs.h"

enum op {
        OP_LOOKUP,
        OP_FORGET,
        OP_GETATTR,
        OP_SETATTR,
        OP_READLINK,
        OP_MKNOD,
        OP_MKDIR,
        OP_UNLINK,
        OP_RMDIR,
        OP_SYMLINK,
        OP_RENAME,
        OP_LINK,
        OP_OPEN,
        OP_READ,
        OP_WRITE,
        OP_STATFS,
        OP_RELEASE,
        OP_FSYNC,
        OP_SETXATTR,
        OP_GETXATTR,
        OP_LISTXATTR,
        OP_REMOVEXATTR,
        OP_FLUSH,
        OP_OPENDIR,
        OP_READDIR,
        OP_READDIRPLUS,
        OP_FSYNCDIR,
        OP_CREATE,
        OP_TMPFILE,
        OP_FALLOCATE,
        OP_LSEEK,
        OP_COPY_FILE_RANGE,
        OP_STATX,
        OP_IOCTL,
        OP_COUNT,
};

struct fs_mount;
struct place;
struct worker;

/* Every operation begins here: the mount of a request, with the calling thread set up for it, and the operation counted. */
struct fs_mount *worker_serve(fuse_req_t req, enum op op);

/* For threads that do a part of an operation elsewhere: only the set-up. `arg` is the mount. */
void worker_setup(void *arg);

/* Make what the thread creates next in that place as the request asks: with its umask, and for whom it shall belong to. 0 or -errno. */
int worker_create_in(struct fs_mount *m, fuse_req_t req, const struct place *p);

/* Do without, or with again, the right to leave set-uid bits as they are: what is opened for the kernel to use gets the thread's rights. */
void worker_hold_back_fsetid(bool hold);

/* Free the workers of a mount whose threads have ended. */
void workers_free(struct worker *list);
