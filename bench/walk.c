#include "bench/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "cache/base/fd.h"

int walk_tree(int dirfd, const char *path, size_t *seen)
{
        int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct dirent *entry;
        struct stat st;
        int err = 0;
        DIR *dir;

        if (fd < 0)
                return -errno;
        dir = fdopendir(fd);
        if (!dir) {
                fd_close(&fd);
                return -ENOMEM;
        }
        while (!err && (entry = readdir(dir))) {
                if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
                        continue;
                ++*seen;
                if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW))
                        err = -errno;
                else if (S_ISDIR(st.st_mode))
                        err = walk_tree(fd, entry->d_name, seen);
        }
        closedir(dir);
        return err;
}

int walk_stat(int dirfd, char *const paths[], size_t n)
{
        struct stat st;

        for (size_t i = 0; i < n; i++)
                if (fstatat(dirfd, paths[i], &st, 0))
                        return -errno;
        return 0;
}

int walk_missing(int dirfd, char *const paths[], size_t n)
{
        struct stat st;

        for (size_t i = 0; i < n; i++) {
                if (!fstatat(dirfd, paths[i], &st, 0))
                        return -EEXIST;
                if (errno != ENOENT)
                        return -errno;
        }
        return 0;
}

int walk_read(int dirfd, char *const paths[], size_t n, size_t *bytes)
{
        char buf[WALK_READ_MAX];

        for (size_t i = 0; i < n; i++) {
                CLEANUP_FD int fd = openat(dirfd, paths[i], O_RDONLY | O_CLOEXEC);
                ssize_t got = fd < 0 ? -1 : read(fd, buf, sizeof buf);

                if (got < 0)
                        return -errno;
                *bytes += (size_t)got;
        }
        return 0;
}

int walk_create(int dirfd, size_t n, size_t dirs)
{
        char buf[WALK_CREATE_BYTES], path[64];

        memset(buf, 'x', sizeof buf);
        for (size_t i = 0; i < n; i++) {
                CLEANUP_FD int fd = -1;

                snprintf(path, sizeof path, "%zu/file-%zu", i * dirs / n, i);
                fd = openat(dirfd, path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
                if (fd < 0)
                        return -errno;
                if (write(fd, buf, sizeof buf) != (ssize_t)sizeof buf)
                        return -EIO;
        }
        return 0;
}
