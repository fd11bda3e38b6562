/*
 * Through descriptors: bytes and what is done with them, by each way of opening.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/conform/calls.h"

#define FAR ((off_t)1 << 61)
#define BLOCK 4096
#define NO_MODE 0x4000
#ifndef RWF_NOAPPEND
#define RWF_NOAPPEND 0x20 /* Linux 6.9 */
#endif

static void tell_bytes(struct trial *t, const char *buf, ssize_t n)
{
        if (n > 0)
                TELL(t, "bytes %.*s\n", (int)n, buf);
}

static void use_read(struct trial *t, int fd)
{
        char buf[16];

        tell_bytes(t, buf, TRY(t, "read", read(fd, buf, 3)));
        tell_bytes(t, buf, TRY(t, "read", read(fd, buf, 16)));
        TRY(t, "read", read(fd, buf, 0));
        tell_bytes(t, buf, TRY(t, "pread", pread(fd, buf, 4, 2)));
        TRY(t, "pread beyond", pread(fd, buf, 4, 1 << 20));
        TRY(t, "pread negative", pread(fd, buf, 4, -1));
        TRY(t, "read bad", syscall(SYS_read, fd, (void *)1, 4));
        TRY(t, "lseek", lseek(fd, 0, SEEK_CUR));
}

static void use_write(struct trial *t, int fd)
{
        TRY(t, "write", write(fd, "abc", 3));
        TRY(t, "pwrite", pwrite(fd, "XY", 2, 5));
        TRY(t, "pwrite beyond", pwrite(fd, "end", 3, 10000));
        TRY(t, "write nothing", write(fd, "", 0));
        TRY(t, "pwrite negative", pwrite(fd, "x", 1, -1));
        TRY(t, "pwrite far", pwrite(fd, "x", 1, FAR));
        TRY(t, "write bad", syscall(SYS_write, fd, (void *)1, 4));
        TRY(t, "lseek", lseek(fd, 0, SEEK_CUR));
        TRY(t, "write", write(fd, "more", 4));
}

static void use_vectors(struct trial *t, int fd)
{
        static const int flags[] = {0, RWF_APPEND, RWF_DSYNC, RWF_HIPRI, RWF_NOAPPEND, 0x40000000};
        char a[4] = "ab", b[4] = "cd";
        struct iovec two[2] = {{a, 2}, {b, 2}};

        for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
                TELL(t, "flags %x\n", (unsigned)flags[i]);
                TRY(t, "pwritev2", pwritev2(fd, two, 2, 1, flags[i]));
                TRY(t, "pwritev2 here", pwritev2(fd, two, 2, -1, flags[i]));
                TRY(t, "preadv2", preadv2(fd, two, 2, 0, flags[i]));
        }
        TRY(t, "preadv2", preadv2(fd, two, 2, 0, RWF_NOWAIT));
        TRY(t, "preadv nothing", preadv(fd, two, 0, 0));
        TRY(t, "preadv too many", syscall(SYS_preadv, fd, two, 5000, 0, 0));
}

static void use_seek(struct trial *t, int fd)
{
        static const off_t offsets[] = {0, 3, 6, 100, 4096, 8192, 8195, 9000, -1, -6, FAR};
        static const int whences[] = {SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE, 77};

        for (size_t w = 0; w < ARRAY_LEN(whences); w++)
                for (size_t i = 0; i < ARRAY_LEN(offsets); i++) {
                        /* btrfs itself answers now this, now that. */
                        if (whences[w] >= SEEK_DATA && offsets[i] < 0)
                                continue;
                        TELL(t, "%d %ld: ", whences[w], (long)offsets[i]);
                        TRY(t, "lseek", lseek(fd, offsets[i], whences[w]));
                }
}

static void use_fallocate(struct trial *t, int fd)
{
        TRY(t, "fallocate", fallocate(fd, (int)t->call->b, 0, BLOCK));
        say_fd(t, fd);
        TRY(t, "fallocate beyond", fallocate(fd, (int)t->call->b, BLOCK, 2 * BLOCK));
        TRY(t, "fallocate odd", fallocate(fd, (int)t->call->b, 1, 3));
        TRY(t, "fallocate nothing", fallocate(fd, (int)t->call->b, 0, 0));
        TRY(t, "fallocate negative", fallocate(fd, (int)t->call->b, -1, 10));
        TRY(t, "fallocate far", fallocate(fd, (int)t->call->b, FAR, FAR));
        say_fd(t, fd);
}

static void use_truncate(struct trial *t, int fd)
{
        static const off_t sizes[] = {3, 3, 0, 5000, 5000, -1, FAR};

        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
                TRY(t, "ftruncate", ftruncate(fd, sizes[i]));
                say_fd(t, fd);
        }
}

static void use_sync(struct trial *t, int fd)
{
        TRY(t, "write", write(fd, "x", 1));
        TRY(t, "fsync", fsync(fd));
        TRY(t, "fdatasync", fdatasync(fd));
        TRY(t, "sync_file_range", sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
        TRY(t, "sync_file_range bad", sync_file_range(fd, -1, 0, 64));
        TRY(t, "readahead", readahead(fd, 0, BLOCK));
        TRY(t, "fadvise", posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED));
        TRY(t, "fadvise bad", posix_fadvise(fd, 0, 0, 77));
}

static void use_copy(struct trial *t, int fd)
{
        int other = open("f0", O_RDWR), pipe_fds[2];
        off_t from = 1, to = 2;

        must(pipe2(pipe_fds, O_NONBLOCK) == 0, "pipe");
        TRY(t, "copy out", copy_file_range(fd, NULL, other, NULL, 4, 0));
        TRY(t, "copy in", copy_file_range(other, &from, fd, &to, 100, 0));
        TRY(t, "copy self", copy_file_range(fd, &from, fd, &to, 100, 0));
        TRY(t, "copy flags", copy_file_range(fd, NULL, other, NULL, 4, 1));
        from = 0;
        TRY(t, "copy beyond", copy_file_range(fd, &(off_t){1 << 20}, other, &from, 10, 0));
        TRY(t, "sendfile out", sendfile(other, fd, NULL, 3));
        TRY(t, "sendfile in", sendfile(fd, other, &(off_t){0}, 3));
        TRY(t, "splice out", splice(fd, &(off_t){0}, pipe_fds[1], NULL, 5, 0));
        TRY(t, "splice in", splice(pipe_fds[0], NULL, fd, &(off_t){3}, 5, SPLICE_F_NONBLOCK));
        TRY(t, "tee", tee(fd, pipe_fds[1], 1, SPLICE_F_NONBLOCK));
        say_fd(t, fd);
        say_fd(t, other);
}

static void use_flock(struct trial *t, int fd)
{
        int again = open(t->path, O_RDONLY | O_NONBLOCK);

        TRY(t, "exclusive", flock(fd, LOCK_EX | LOCK_NB));
        TRY(t, "another", flock(again, LOCK_SH | LOCK_NB));
        TRY(t, "shared", flock(fd, LOCK_SH | LOCK_NB));
        TRY(t, "another", flock(again, LOCK_SH | LOCK_NB));
        TRY(t, "bad", flock(fd, 77));
        TRY(t, "unlock", flock(fd, LOCK_UN));
        TRY(t, "another", flock(again, LOCK_EX | LOCK_NB));
        TRY(t, "lease", fcntl(fd, F_SETLEASE, F_UNLCK));
}

static void lock(struct trial *t, const char *what, int fd, int cmd, int type, int whence, off_t start, off_t len)
{
        struct flock l = {.l_type = (short)type, .l_whence = (short)whence, .l_start = start, .l_len = len};

        if (TRY(t, what, fcntl(fd, cmd, &l)) == 0)
                TELL(t, "type %d whence %d start %ld len %ld\n", l.l_type, l.l_whence, (long)l.l_start, (long)l.l_len);
}

static void lock_from_child(struct trial *t)
{
        int fd = open(t->path, O_RDWR | O_NONBLOCK);

        lock(t, "child asks", fd, F_GETLK, F_WRLCK, SEEK_SET, 0, 10);
        lock(t, "child locks", fd, F_SETLK, F_RDLCK, SEEK_SET, 5, 1);
        lock(t, "child locks elsewhere", fd, F_SETLK, F_WRLCK, SEEK_SET, 50, 1);
}

static void use_locks(struct trial *t, int fd)
{
        int again = open(t->path, O_RDWR | O_NONBLOCK);

        lock(t, "write lock", fd, F_SETLK, F_WRLCK, SEEK_SET, 0, 10);
        lock(t, "read lock", fd, F_SETLK, F_RDLCK, SEEK_END, 0, 0);
        in_child(t, NULL, lock_from_child);
        lock(t, "ofd write lock", again, F_OFD_SETLK, F_WRLCK, SEEK_SET, 0, 1);
        lock(t, "unlock", fd, F_SETLK, F_UNLCK, SEEK_SET, 0, 0);
        lock(t, "ofd write lock", again, F_OFD_SETLK, F_WRLCK, SEEK_SET, 0, 1);
        lock(t, "ofd asks", fd, F_OFD_GETLK, F_WRLCK, SEEK_SET, 0, 0);
        lock(t, "negative", fd, F_SETLK, F_WRLCK, SEEK_SET, -5, 1);
        in_child(t, NULL, lock_from_child);
}

static void use_ioctls(struct trial *t, int fd)
{
        int other = open("f0", O_RDWR);
        long flags = 0;
        int waiting = 0;

        TRY(t, "FIONREAD", ioctl(fd, FIONREAD, &waiting));
        TRY(t, "FS_IOC_GETFLAGS", ioctl(fd, FS_IOC_GETFLAGS, &flags));
        TRY(t, "FICLONE", ioctl(fd, FICLONE, other));
        TRY(t, "FIGETBSZ", ioctl(fd, FIGETBSZ, &waiting));
        TRY(t, "FIOQSIZE", ioctl(fd, FIOQSIZE, &flags));
        TRY(t, "TCGETS", isatty(fd) ? 0 : -1);
        TRY(t, "nonsense", ioctl(fd, 0x7777, 0));
        say_fd(t, other);
}

static void use_poll(struct trial *t, int fd)
{
        struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLPRI};
        struct epoll_event e = {.events = EPOLLIN};
        int ep = epoll_create1(0);

        TRY(t, "poll", poll(&p, 1, 0));
        TELL(t, "events %x\n", (unsigned)p.revents);
        TRY(t, "epoll_ctl", epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
}

static void use_attributes(struct trial *t, int fd)
{
        char buf[8];
        struct statfs s;

        TRY(t, "fchmod", fchmod(fd, 0640));
        TRY(t, "fchown", fchown(fd, (uid_t)-1, getegid()));
        TRY(t, "futimens", futimens(fd, (struct timespec[]){{5, 5}, {6, 6}}));
        TRY(t, "fsetxattr", fsetxattr(fd, "user.x", "v", 1, 0));
        TRY(t, "fgetxattr", fgetxattr(fd, "user.x", buf, sizeof(buf)));
        TRY(t, "fremovexattr", fremovexattr(fd, "user.x"));
        TRY(t, "fgetxattr", fgetxattr(fd, "user.x", buf, sizeof(buf)));
        TRY(t, "fstatfs", fstatfs(fd, &s));
        TRY(t, "fchdir", fchdir(fd));
        TRY(t, "fpathconf", fpathconf(fd, 4) > 0 ? 0 : -1);
        say_fd(t, fd);
}

/* The name goes while it is open. */
static void use_unlinked(struct trial *t, int fd)
{
        char buf[16];

        TRY(t, "unlink", unlink(t->path));
        say_fd(t, fd);
        TRY(t, "write", write(fd, "gone", 4));
        tell_bytes(t, buf, TRY(t, "pread", pread(fd, buf, sizeof(buf), 0)));
        TRY(t, "ftruncate", ftruncate(fd, 2));
        TRY(t, "fchmod", fchmod(fd, 0600));
        TRY(t, "futimens", futimens(fd, (struct timespec[]){{5, 5}, {6, 6}}));
        TRY(t, "fsync", fsync(fd));
        say_fd(t, fd);
        TRY(t, "linkat", linkat(fd, "", AT_FDCWD, "back", AT_EMPTY_PATH));
        TRY(t, "linkat /proc", linkat(AT_FDCWD, fd_proc_path(fd).text, AT_FDCWD, "back2", AT_SYMLINK_FOLLOW));
        TRY_FD(t, "open /proc", open(fd_proc_path(fd).text, O_RDWR | O_NONBLOCK));
        TRY(t, "chmod /proc", chmod(fd_proc_path(fd).text, 0644));
        TRY_FD(t, "make another", open(t->path, O_CREAT | O_EXCL | O_RDWR, 0600));
        say_fd(t, fd);
}

static void use_renamed_over(struct trial *t, int fd)
{
        char buf[16];

        TRY(t, "rename", rename("f0", t->path));
        say_fd(t, fd);
        TRY(t, "write", write(fd, "gone", 4));
        tell_bytes(t, buf, TRY(t, "pread", pread(fd, buf, sizeof(buf), 0)));
        TRY(t, "fchmod", fchmod(fd, 0600));
        say_fd(t, fd);
        say_path(t, t->path);
}

static void open_and_use(struct trial *t)
{
        int fd = TRY_FD(t, "open", open(t->path, (int)t->call->a | O_NONBLOCK | O_CLOEXEC));

        t->call->use(t, fd);
        say_path(t, t->path);
}

#define WITH_FD(what, flags, mode)                                                                                                         \
        {                                                                                                                                  \
#what ":" #flags " " #mode, open_and_use, (flags), (mode), NULL, "f:f0:666", NULL, use_##what                              \
        }
#define EACH_WAY(what)                                                                                                                     \
        WITH_FD(what, O_RDONLY, 0), WITH_FD(what, O_WRONLY, 0), WITH_FD(what, O_RDWR, 0), WITH_FD(what, O_RDWR | O_APPEND, 0),             \
                WITH_FD(what, O_PATH, 0)
#define EACH_FALLOCATE(mode) WITH_FD(fallocate, O_RDWR, mode), WITH_FD(fallocate, O_RDONLY, mode)

const struct call data_calls[] = {
        EACH_WAY(read),
        EACH_WAY(write),
        EACH_WAY(vectors),
        EACH_WAY(seek),
        EACH_WAY(truncate),
        EACH_WAY(sync),
        EACH_WAY(copy),
        EACH_WAY(flock),
        EACH_WAY(locks),
        EACH_WAY(ioctls),
        EACH_WAY(poll),
        EACH_WAY(attributes),
        EACH_WAY(unlinked),
        EACH_WAY(renamed_over),
        WITH_FD(read, O_RDWR | O_DIRECT, 0),
        WITH_FD(write, O_RDWR | O_DSYNC, 0),
        EACH_FALLOCATE(0),
        EACH_FALLOCATE(FALLOC_FL_KEEP_SIZE),
        EACH_FALLOCATE(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE),
        EACH_FALLOCATE(FALLOC_FL_PUNCH_HOLE),
        EACH_FALLOCATE(FALLOC_FL_COLLAPSE_RANGE),
        EACH_FALLOCATE(FALLOC_FL_INSERT_RANGE),
        EACH_FALLOCATE(FALLOC_FL_ZERO_RANGE),
        EACH_FALLOCATE(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE),
        EACH_FALLOCATE(FALLOC_FL_UNSHARE_RANGE),
        EACH_FALLOCATE(NO_MODE),
        WITH_FD(fallocate, O_RDWR | O_APPEND, 0),
};
const size_t data_call_count = ARRAY_LEN(data_calls);
