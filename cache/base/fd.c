#include "cache/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

void fd_close(int *fd)
{
        int saved = errno;

        if (*fd >= 0)
                close(*fd);
        *fd = -1;
        errno = saved;
}

ssize_t fd_read_full(int fd, void *buf, size_t len)
{
        size_t done = 0;

        while (done < len) {
                ssize_t n = read(fd, (char *)buf + done, len - done);

                if (n == 0)
                        break;
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                done += (size_t)n;
        }
        return (ssize_t)done;
}

int fd_write_full(int fd, const void *buf, size_t len)
{
        size_t done = 0;

        while (done < len) {
                ssize_t n = write(fd, (const char *)buf + done, len - done);

                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                done += (size_t)n;
        }
        return 0;
}

ssize_t fd_read_file(int dirfd, const char *path, size_t max, char **ret)
{
        CLEANUP_FD int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
        CLEANUP_FREE char *text = NULL;
        ssize_t n;

        if (fd < 0)
                return -errno;
        text = malloc(max + 2);
        if (!text)
                return -ENOMEM;
        n = fd_read_full(fd, text, max + 1);
        if (n < 0)
                return n;
        if ((size_t)n > max)
                return -EFBIG;
        text[n] = '\0';
        *ret = steal_ptr(&text);
        return n;
}

struct fd_path fd_proc_path(int fd)
{
        struct fd_path p;

        snprintf(p.text, sizeof(p.text), "/proc/self/fd/%d", fd);
        return p;
}
