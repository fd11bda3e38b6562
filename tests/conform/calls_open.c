/*
 * Opening, with each mode and flag, and what the descriptor is good for.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/conform/calls.h"

/* A direct transfer wants an aligned buffer and size. */
#define BLOCK 4096

static void try_descriptor(struct trial *t, int fd, long flags)
{
        static _Alignas(BLOCK) char buf[BLOCK];
        ssize_t n;

        say_fd(t, fd);
        TELL(t, "flags %o\n", (unsigned)fcntl(fd, F_GETFL) & ~(unsigned)O_CLOEXEC);
        memset(buf, 'w', sizeof(buf));
        n = TRY(t, "read", read(fd, buf, flags & O_DIRECT ? BLOCK : 4));
        if (n > 0)
                TELL(t, "read %.*s\n", (int)n, buf);
        memset(buf, 'w', sizeof(buf));
        TRY(t, "write", write(fd, buf, flags & O_DIRECT ? BLOCK : 4));
        TRY(t, "lseek", lseek(fd, 0, SEEK_CUR));
        say_fd(t, fd);
}

/* A fifo would wait for the other end. */
static void open_it(struct trial *t)
{
        int fd = TRY_FD(t, "open", open(t->path, (int)t->call->a | O_NONBLOCK | O_CLOEXEC, (mode_t)t->call->b));

        if (fd >= 0) {
                try_descriptor(t, fd, t->call->a);
                TRY(t, "close", close(fd));
        }
        say_path(t, t->path);
}

static void creat_it(struct trial *t)
{
        int fd = TRY_FD(t, "creat", open(t->path, O_CREAT | O_WRONLY | O_TRUNC | O_NONBLOCK, (mode_t)t->call->b));

        umask(0);
        if (fd >= 0)
                say_fd(t, fd);
        TRY_FD(t, "creat", open(t->path, O_CREAT | O_WRONLY | O_TRUNC | O_NONBLOCK, (mode_t)t->call->b));
        say_path(t, t->path);
}

/* EAGAIN: somewhere in the system something was renamed meanwhile. */
static void open_resolved(struct trial *t)
{
        struct open_how how = {.flags = (unsigned long long)t->call->a | O_NONBLOCK, .resolve = (unsigned long long)t->call->b};
        int fd;

        do
                fd = (int)syscall(SYS_openat2, AT_FDCWD, t->path, &how, sizeof(how));
        while (fd < 0 && errno == EAGAIN);
        tell_result(t, "openat2", fd < 0 ? -1 : 0, errno);
        if (fd >= 0)
                say_fd(t, fd);
}

static void open_by_link(struct trial *t)
{
        int fd = TRY_FD(t, "open path", open(t->path, O_PATH | O_NOFOLLOW));

        if (fd < 0)
                return;
        fd = TRY_FD(t, "open again", open(fd_proc_path(fd).text, (int)t->call->a | O_NONBLOCK));
        if (fd >= 0)
                try_descriptor(t, fd, t->call->a);
}

#define OPEN(flags)                                                                                                                        \
        {                                                                                                                                  \
                "open:" #flags, open_it, (flags), 0644, NULL, NULL, NULL, NULL                                                             \
        }
#define CREATE(mode)                                                                                                                       \
        {                                                                                                                                  \
                "creat:" #mode, creat_it, 0, (mode), NULL, NULL, NULL, NULL                                                                \
        }
#define RESOLVE(flags, resolve)                                                                                                            \
        {                                                                                                                                  \
                "openat2:" #resolve, open_resolved, (flags), (resolve), NULL, NULL, NULL, NULL                                             \
        }
#define REOPEN(flags)                                                                                                                      \
        {                                                                                                                                  \
                "reopen:" #flags, open_by_link, (flags), 0, NULL, NULL, NULL, NULL                                                         \
        }

const struct call open_calls[] = {
        OPEN(O_RDONLY),
        OPEN(O_WRONLY),
        OPEN(O_RDWR),
        OPEN(O_ACCMODE),
        OPEN(O_WRONLY | O_APPEND),
        OPEN(O_RDWR | O_APPEND),
        OPEN(O_RDONLY | O_DIRECTORY),
        OPEN(O_WRONLY | O_DIRECTORY),
        OPEN(O_RDONLY | O_NOFOLLOW),
        OPEN(O_RDWR | O_NOFOLLOW),
        OPEN(O_PATH),
        OPEN(O_PATH | O_NOFOLLOW),
        OPEN(O_PATH | O_DIRECTORY),
        OPEN(O_RDONLY | O_TRUNC),
        OPEN(O_WRONLY | O_TRUNC),
        OPEN(O_RDWR | O_TRUNC | O_APPEND),
        OPEN(O_RDONLY | O_CREAT),
        OPEN(O_WRONLY | O_CREAT),
        OPEN(O_RDWR | O_CREAT),
        OPEN(O_RDWR | O_CREAT | O_EXCL),
        OPEN(O_RDONLY | O_CREAT | O_EXCL),
        OPEN(O_WRONLY | O_CREAT | O_TRUNC),
        OPEN(O_WRONLY | O_CREAT | O_APPEND),
        OPEN(O_RDWR | O_CREAT | O_NOFOLLOW),
        OPEN(O_RDONLY | O_CREAT | O_DIRECTORY),
        OPEN(O_RDWR | O_TMPFILE),
        OPEN(O_WRONLY | O_TMPFILE | O_EXCL),
        OPEN(O_RDONLY | O_TMPFILE),
        OPEN(O_RDONLY | O_DIRECT),
        OPEN(O_RDWR | O_DIRECT),
        OPEN(O_RDWR | O_CREAT | O_DIRECT),
        OPEN(O_RDONLY | O_NOATIME),
        OPEN(O_RDWR | O_SYNC),
        OPEN(O_RDWR | O_DSYNC),
        CREATE(0),
        CREATE(0444),
        CREATE(0666),
        CREATE(01777),
        CREATE(06777),
        RESOLVE(O_RDONLY, RESOLVE_NO_SYMLINKS),
        RESOLVE(O_RDONLY, RESOLVE_BENEATH),
        RESOLVE(O_RDONLY, RESOLVE_IN_ROOT),
        RESOLVE(O_RDONLY, RESOLVE_NO_XDEV),
        REOPEN(O_RDONLY),
        REOPEN(O_RDWR),
        REOPEN(O_RDWR | O_TRUNC),
        REOPEN(O_WRONLY | O_APPEND),
};
const size_t open_call_count = ARRAY_LEN(open_calls);
