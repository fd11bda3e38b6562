/*
 * From a name in a backing directory to an answer: look at the object, make or find its node, note what the kernel is told.
 */
#pragma once

#include <sys/stat.h>

#include "fs/mount.h"
#include "fs/place.h"

/* What has been told before an answer is looked for: if that isn't all by the time the answer can be found, it may be overtaken
 * (fs/tell.c). */
struct entry_since {
        uint32_t seq;     /* of the directory */
        uint64_t changes; /* of the mount */
};
struct entry_since entry_since(const struct fs_mount *m, const struct node *dir);

/* Identity and attributes of `name` in `dirfd`, of one and the same object. 0 or -errno; -EXDEV for what isn't of the layer's filesystem.
 * Any thread. */
int entry_look(const struct layer *l, int dirfd, const char *name, struct ident *ident, struct stat *st);

/* Answer for `name` in `dir`, which is at `p`: takes a reference on the node for the kernel, and notes the name. 0 or -errno. */
int entry_fill(struct fs_mount *m, struct node *dir, const struct place *p, const char *name, struct fuse_entry_param *ret);

/* The second half of that, for an object that has been looked at: `ret->attr` is set, as the backing has it, and `since` is from before.
 * The node, on which the kernel's reference is taken; NULL without memory. */
struct node *entry_tell(struct fs_mount *m, struct node *dir, const struct place *p, const char *name, const struct entry_since *since,
                        const struct ident *ident, struct fuse_entry_param *ret);

/* Make of a backing object's attributes what the mount shows. */
void entry_show(const struct fs_mount *m, const struct node *n, struct stat *st);
void entry_show_statx(const struct fs_mount *m, const struct node *n, struct statx *stx);

/* The node's attributes as the mount shows them, from its descriptor. 0 or -errno. */
int entry_attr(struct fs_mount *m, struct node *n, struct stat *ret);

/* Answer for an absent name, which the kernel may remember; `seq` is what dir->seq was before it was looked for. */
void entry_absent(struct fs_mount *m, struct node *dir, const char *name, uint32_t seq, struct fuse_entry_param *ret);

/* Reply with the entry, or with -rc; a reference that didn't reach the kernel is given back. */
void entry_reply(fuse_req_t req, struct fs_mount *m, int rc, const struct fuse_entry_param *e);
