/*
 * File descriptors with an owner, and input and output that finishes what it began (EINTR, short counts).
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "cache/base/err.h"

/* Close if open; keeps errno; the variable becomes -1. */
void fd_close(int *fd);
#define CLEANUP_FD CLEANUP(fd_close)

static inline int fd_steal(int *fd)
{
        int held = *fd;

        *fd = -1;
        return held;
}

/* Read until `len` bytes or the end. The count, or -errno. */
ssize_t fd_read_full(int fd, void *buf, size_t len);

/* Write all of it. 0 or -errno. */
int fd_write_full(int fd, const void *buf, size_t len);

/* The whole of a small file (procfs and sysfs too), NUL-terminated, in *ret (the caller frees). Its length, or -errno (-EFBIG above max).
 */
ssize_t fd_read_file(int dirfd, const char *path, size_t max, char **ret);

/* "/proc/self/fd/N" for `fd`. */
struct fd_path {
        char text[32];
};
struct fd_path fd_proc_path(int fd);
