/*
 * A big tree whose files say which they are.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/lib/mount.h"

#define FILES 100 /* in each directory */

static inline void make_tree(const char *root, int dirs)
{
        for (int d = 0; d < dirs; d++) {
                must(mkdir(at(root, "dir-%d", d), 0755) == 0, "mkdir");
                for (int i = 0; i < FILES; i++) {
                        char text[32];

                        snprintf(text, sizeof(text), "%d/%d", d, i);
                        put_text(at(root, "dir-%d/file-%d", d, i), text);
                }
        }
}

static inline void must_say(int fd, int d, int i)
{
        char want[32], have[32] = "";

        snprintf(want, sizeof(want), "%d/%d", d, i);
        must(pread(fd, have, sizeof(have) - 1, 0) == (ssize_t)strlen(want), "read dir-%d/file-%d", d, i);
        errno = 0;
        must(strcmp(have, want) == 0, "dir-%d/file-%d says %s", d, i, have);
}

static inline void read_tree(const char *root, int dirs)
{
        for (int d = 0; d < dirs; d++) {
                for (int i = 0; i < FILES; i++) {
                        CLEANUP_FD int fd = open(at(root, "dir-%d/file-%d", d, i), O_RDONLY | O_CLOEXEC);

                        must(fd >= 0, "open dir-%d/file-%d", d, i);
                        must_say(fd, d, i);
                }
        }
}

static inline int64_t ask(struct fixture *f, const char *key)
{
        int64_t value;

        must(fixture_status(f, key, &value), "status has no %s", key);
        return value;
}
