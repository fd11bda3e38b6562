/*
 * What a mount has of its own: the directory `.dsfs` in its root, which is found by name and listed nowhere, with
 *
 *     status.json   how the mount does, as fs_own_status() last said
 *     events.sock   what changes, once fs_own_listen() has bound it
 *
 * for the containers that it is mounted into. It is in neither layer: nothing is backed by anything, and nobody can change it. Its inodes
 * have numbers that no node has, so that an operation which finds no node asks here, and all others pay nothing.
 */
#pragma once

#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <string.h>

#include "fs/fs.h"
#include "fs/node.h"

struct fs_mount;
struct own;

#define OWN_NAME FS_OWN_NAME
#define OWN_SOCKET_PATH OWN_NAME "/events.sock"
/* A generation that the node table never comes to. */
#define OWN_GENERATION 0xffffffffU

int own_new(struct own **ret);
void own_free(struct own *o);

static inline bool own_is(fuse_ino_t ino)
{
        return (ino >> 32) == OWN_GENERATION;
}

/* Is it the name of the directory in the mount's root? */
static inline bool own_is_name(fuse_ino_t dir, const char *name)
{
        return dir == NODE_ROOT && name[0] == '.' && name[1] == 'd' && strcmp(name, OWN_NAME) == 0;
}

/* What to answer about a number for which there is no node: it is ours, and not to be changed; or it is stale. */
static inline int own_refusal(fuse_ino_t ino)
{
        return own_is(ino) ? -EROFS : -ESTALE;
}

/* Each is true when the request was about what is our own, and answered. */
bool own_lookup(struct fs_mount *m, fuse_req_t req, fuse_ino_t parent, const char *name);
bool own_getattr(struct fs_mount *m, fuse_req_t req, fuse_ino_t ino);
bool own_statx(struct fs_mount *m, fuse_req_t req, fuse_ino_t ino);
bool own_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
bool own_read(struct fs_mount *m, fuse_req_t req, fuse_ino_t ino, size_t size, off_t off);
bool own_write(struct fs_mount *m, fuse_req_t req, fuse_ino_t ino, bool writepage);
bool own_lseek(struct fs_mount *m, fuse_req_t req, fuse_ino_t ino, off_t off, int whence);
bool own_list(struct fs_mount *m, fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus);
bool own_mknod(struct fs_mount *m, fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
