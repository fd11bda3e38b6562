/*
 * The data profile: what is read from an open file, written to it or mapped goes straight to its backing file, without us. Each open inode
 * has one backing id, which the kernel wants to be the same for all that have it open.
 */
#pragma once

#include <fuse_lowlevel.h>
#include <stdint.h>

#include "fs/mount.h"

struct backings;

int backings_new(struct backings **ret);

/* Ask the kernel for it; or note why the mount's profile will be `source`. From session_init(). */
void backing_negotiate(struct fs_mount *m, struct fuse_conn_info *conn);

/* Whether files are opened so in this mount. Any thread. */
bool backing_in_use(const struct fs_mount *m);

/* The connection has ended, and the ids with it. Takes NULL. */
void backings_free(struct backings *b);

/* Fill in how the file is to be opened, `fi->flags` being how it was asked for; `fd` is any descriptor of its backing. Where the kernel
 * refuses to pass the file through, it is cached like in the source profile for as long as it is open. 0; -ENOMEM; or -ENOSYS: nothing can
 * be passed through here, and the mount has the source profile from now on. A thread that serves. */
int backing_open(struct fs_mount *m, fuse_req_t req, struct node *n, int fd, struct fuse_file_info *fi);

/* A file that was opened so is closed. */
void backing_close(struct fs_mount *m, fuse_req_t req, struct node *n, int flags);

/* The answer to an OPEN did not reach the kernel. */
void backing_unopen(struct fs_mount *m, struct node *n, int flags);

/* Has the kernel a backing file of it open? Any thread. */
bool backing_is_open(struct fs_mount *m, const struct node *n);

/* How long the kernel may keep the node's attributes: not at all while somebody has the file open for writing, for a store through a
 * mapping changes its times and nobody says so. Any thread. */
double backing_attr_timeout(struct fs_mount *m, const struct node *n);

/* Does somebody have it open for writing, its bytes passed through? Any thread. */
bool backing_is_written(struct fs_mount *m, const struct node *n);

/* Has somebody closed it lately who had it open so? What he did is perhaps still to be heard, as the host's. Any thread. */
bool backing_was_written(struct fs_mount *m, const struct node *n);

struct backing_stats {
        uint64_t files;   /* open */
        uint64_t refused; /* opens that the kernel would not pass through */
};
void backing_stats(struct fs_mount *m, struct backing_stats *ret);
