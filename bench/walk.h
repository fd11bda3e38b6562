/*
 * What tools do to a tree with plain system calls. All paths are relative to a directory's descriptor, so that nothing but the tree counts.
 */
#pragma once

#include <stddef.h>

/* lstat everything below `path`, as find or a bundler's crawler does. *seen counts entries. 0 or -errno. */
int walk_tree(int dirfd, const char *path, size_t *seen);

/* 0 or -errno. */
int walk_stat(int dirfd, char *const paths[], size_t n);

/* All must be missing: 0, else -EEXIST or -errno. */
int walk_missing(int dirfd, char *const paths[], size_t n);

/* open, read, close; files are smaller than WALK_READ_MAX. *bytes is what was read. 0 or -errno. */
int walk_read(int dirfd, char *const paths[], size_t n, size_t *bytes);

/* Create `n` files of one kilobyte below the directories `dirs`. 0 or -errno. */
int walk_create(int dirfd, size_t n, size_t dirs);

enum {
        WALK_READ_MAX = 16 << 10,
        WALK_CREATE_BYTES = 1024,
};
