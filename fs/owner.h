/*
 * Whose things are. On disk the source is its owner's, whoever works in it, and in the overlay what is made belongs to the owner of its
 * directory. What a mount shows may be another user's: its view, which stands for the source's owner.
 */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "fs/mount.h"

struct fuse_req;
struct place;

struct owner {
        uid_t uid; /* -1 each: as it is */
        gid_t gid;
};

/* As the mount shows what belongs to `o` in that layer: in the source all is the view's; in the overlay what is the source owner's,
 * and others' is shown as theirs. */
struct owner owner_shown(const struct fs_mount *m, const struct layer *l, struct owner o);

/* Who will have what the request makes in that place. 0 or -errno. */
int owner_of_new(const struct fs_mount *m, struct fuse_req *req, const struct place *p, struct owner *ret);

/* Change the owner of the node's object, open as `fd` (O_PATH will do), as far as that is wanted and can be: 0 even when nothing
 * has changed. -errno. Set-id bits go. */
int owner_set(struct fs_mount *m, struct node *n, int fd, struct owner o);

/* The ids in a POSIX ACL, if `name` is the attribute of one, from how the backing has them to how the mount shows them, or back: the view
 * and the source's owner change places. */
void owner_swap_acl(const struct fs_mount *m, const char *name, void *value, size_t size);

/* What is about to go over from the overlay to the source. */
struct owner_claim {
        int fd; /* -1: it needs no other owner */
        struct owner was;
};
#define OWNER_CLAIM_NONE ((struct owner_claim){.fd = -1})

/* The source's owner gets `name` of `dirfd` ("": what that is), before it is renamed. 0; -EXDEV for a directory that is too large
 * (OWNER_TREE_MAX) or has others' files in it: they have to be copied, as others do when they hear that; -errno. To be ended if it is 0:
 * undone, unless it `went`. */
#define OWNER_TREE_MAX 20000U
int owner_claim(const struct fs_mount *m, int dirfd, const char *name, struct owner_claim *ret);
void owner_claim_end(struct owner_claim *c, bool went);
