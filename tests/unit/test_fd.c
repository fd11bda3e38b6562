/* Local ownership, whole reads and writes. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cache/base/fd.h"

#define BIG (1U << 20) /* more than a pipe takes at once */

static bool is_open(int fd)
{
        return fcntl(fd, F_GETFD) >= 0 || errno != EBADF;
}

Test(fd, it_is_closed_with_its_scope_unless_stolen)
{
        int closed;
        int stolen;

        {
                CLEANUP_FD int a = memfd_create("a", MFD_CLOEXEC);
                CLEANUP_FD int b = memfd_create("b", MFD_CLOEXEC);

                closed = a;
                stolen = fd_steal(&b);
                cr_assert_eq(b, -1);
        }
        cr_assert_not(is_open(closed));
        cr_assert(is_open(stolen));
        close(stolen);
}

Test(fd, closing_keeps_errno_and_clears_the_variable)
{
        int fd = memfd_create("a", MFD_CLOEXEC);

        errno = ENOSPC;
        fd_close(&fd);
        cr_assert_eq(fd, -1);
        fd_close(&fd);
        cr_assert_eq(errno, ENOSPC);
}

struct pipe_job {
        int fd;
        const char *bytes;
        int rc;
};

static void *write_all(void *arg)
{
        struct pipe_job *j = arg;

        j->rc = fd_write_full(j->fd, j->bytes, BIG);
        close(j->fd);
        return NULL;
}

Test(fd, short_counts_are_gone_on_with)
{
        CLEANUP_FREE char *sent = malloc(BIG);
        CLEANUP_FREE char *got = malloc(BIG + 1);
        struct pipe_job job;
        pthread_t thread;
        int p[2];

        for (unsigned i = 0; i < BIG; i++)
                sent[i] = (char)(i * 31 + i / 4096);
        cr_assert_eq(pipe2(p, O_CLOEXEC), 0);
        job = (struct pipe_job){.fd = p[1], .bytes = sent, .rc = -1};
        cr_assert_eq(pthread_create(&thread, NULL, write_all, &job), 0);
        cr_assert_eq(fd_read_full(p[0], got, BIG + 1), BIG, "the end comes first");
        cr_assert_eq(pthread_join(thread, NULL), 0);
        cr_assert_eq(job.rc, 0);
        cr_assert_eq(memcmp(sent, got, BIG), 0);
        close(p[0]);
}

Test(fd, errors_are_told)
{
        char byte = 0;
        CLEANUP_FD int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

        cr_assert_eq(fd_write_full(full, &byte, 1), -ENOSPC);
        cr_assert_eq(fd_read_full(full, &byte, 1), -EBADF);
}

Test(fd, a_small_file_is_read_whole)
{
        CLEANUP_FD int fd = memfd_create("a", MFD_CLOEXEC);
        CLEANUP_FREE char *text = NULL;
        struct fd_path path = fd_proc_path(fd);

        cr_assert_eq(fd_write_full(fd, "a\0b", 3), 0);
        cr_assert_eq(fd_read_file(AT_FDCWD, path.text, 3, &text), 3);
        cr_assert_eq(memcmp(text, "a\0b", 4), 0, "with a NUL after it");
        cr_assert_eq(fd_read_file(AT_FDCWD, path.text, 2, &text), -EFBIG);
        cr_assert_eq(fd_read_file(AT_FDCWD, "/nowhere/at/all", 2, &text), -ENOENT);
}

Test(fd, files_of_procfs_are_read_though_their_size_is_0)
{
        CLEANUP_FREE char *text = NULL;

        cr_assert_gt(fd_read_file(AT_FDCWD, "/proc/self/status", 65536, &text), 0);
        cr_assert_not_null(strstr(text, "Pid:"));
}
