/*
 * Where nodes live. A mount shows one tree that is put together from two layers: the source, and the overlay with its artifacts. Every path
 * has exactly one (fs/place.h says which), and everything that touches a backing object asks here first.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct layer {
        int root_fd;         /* the layer's root directory, open for reading; owned */
        dev_t dev;           /* nothing on another filesystem belongs to the layer */
        bool by_handle;      /* objects can be opened by file handle: they are reached even when all names are stale */
        bool hashed_offsets; /* its directories' offsets are hashes of 63 bits */
        bool acl;            /* the backing filesystem keeps POSIX ACLs */
        uint8_t fs;          /* of its objects' identities: 0, or 1 where the layer is on another filesystem than the source */
        uid_t uid;           /* owner of the root */
        gid_t gid;
};

/* Open the layer of `source`: without the mounts below it, as a bind mount shows it, where we are privileged; then with
 * `readonly`, as in a read-only one, reading moves no access times. 0 or -errno. */
int layer_open(const char *source, bool readonly, struct layer *ret);
void layer_release(struct layer *l);

/* Open the layers of two directories, both canonical, by one private copy of a mount where they are on the same: objects can be renamed
 * from one to the other then. What is beside `tree` can be opened by "..", on the same copy. 0 or -errno. */
int layer_open_both(const char *source, const char *tree, struct layer *source_ret, struct layer *tree_ret);

/* Another of the same. 0 or -errno. */
int layer_copy(const struct layer *l, struct layer *ret);

/* The layer's objects are told from those of `other` even where filesystems number both alike. */
void layer_apart(struct layer *l, const struct layer *other);

/* Can objects be renamed from one to the other? */
bool layer_same_mount(const struct layer *a, const struct layer *b);

struct ident;

/* ident_of() an object of the layer. */
int layer_ident(const struct layer *l, int dirfd, const char *name, struct ident *ret);

/* The inode number that a mount shows for it. */
ino_t layer_ino(const struct layer *l, ino_t ino);

/* Where one of the layer's directories is, relative to its root ("" for itself): as it is called now. 0; -ENOENT: it has been deleted;
 * -EXDEV: it isn't below the root any more; -ENAMETOOLONG: `size` bytes won't do. Any thread. */
int layer_path(const struct layer *l, int fd, char *ret, size_t size);

/* The same of `name` in the directory; PATH_MAX bytes in `ret`. */
int layer_path_of(const struct layer *l, int fd, const char *name, char *ret);

/* What has been done to the names of a directory (any descriptor) is on the disk. 0 or -errno. Blocks. */
int layer_sync(int fd);

struct fs_mount;
struct node;

/* The layer of a node. */
const struct layer *layer_of(const struct fs_mount *m, const struct node *n);
