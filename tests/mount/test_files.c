/*
 * Files: create, write, truncate, holes, append, direct and copied input and output. The oracle is a plain directory of the same
 * filesystem.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"

#define BLOCK 4096

static void fill(char *buf, size_t len, unsigned salt)
{
        for (size_t i = 0; i < len; i++)
                buf[i] = (char)((i * 31 + salt) >> 3);
}

SCRIPT(files, create_and_open_flags)
{
        int fd = DO_FD(s, open("a", O_RDWR | O_CREAT | O_EXCL, 0640));

        DO(s, write(fd, "hello", 5));
        say_fstat(s, fd);
        close(fd);
        DO_FD(s, open("a", O_RDWR | O_CREAT | O_EXCL, 0640));
        fd = DO_FD(s, open("a", O_RDWR | O_CREAT, 0777));
        say_fstat(s, fd);
        close(fd);
        fd = DO_FD(s, open("a", O_WRONLY | O_TRUNC));
        say_fstat(s, fd);
        DO(s, read(fd, &fd, 1));
        close(fd);
        DO_FD(s, open("a/b", O_RDONLY));
        DO_FD(s, open("missing", O_RDONLY));
        DO_FD(s, open("missing/x", O_WRONLY | O_CREAT, 0644));
        DO_FD(s, open("a", O_RDONLY | O_DIRECTORY));
        DO_FD(s, open(".", O_WRONLY));
        DO_FD(s, open("", O_RDONLY));
        DO_FD(s, open("ro", O_RDWR | O_CREAT, 0400));
        DO_FD(s, open("none", O_RDWR | O_CREAT, 0));
        say_stat(s, "ro");
        say_stat(s, "none");
        DO(s, creat("c", 0600) >= 0);
        say_stat(s, "c");
}

SCRIPT(files, read_and_write_at_offsets)
{
        static char buf[5 * BLOCK + 123];
        static char back[sizeof(buf)];
        int fd = DO_FD(s, open("f", O_RDWR | O_CREAT, 0644));

        fill(buf, sizeof(buf), 1);
        DO(s, pwrite(fd, buf, sizeof(buf), 0));
        DO(s, pwrite(fd, "middle", 6, BLOCK - 3));
        DO(s, pwrite(fd, "far", 3, 1 << 20));
        DO(s, pread(fd, back, sizeof(back), 0));
        DO(s, memcmp(buf, back, BLOCK - 3) == 0);
        DO(s, memcmp(back + BLOCK - 3, "middle", 6) == 0);
        DO(s, pread(fd, back, sizeof(back), (1 << 20) - 10));
        DO(s, memcmp(back, "\0\0\0\0\0\0\0\0\0\0far", 13) == 0);
        DO(s, pread(fd, back, 10, 2 << 20));
        DO(s, lseek(fd, -3, SEEK_END));
        DO(s, write(fd, "FARTHER", 7));
        DO(s, pwrite(fd, "x", 1, -1));
        DO(s, pwritev(fd, (struct iovec[]){{(char *)"ab", 2}, {(char *)"cd", 2}}, 2, 77));
        say_fstat(s, fd);
        close(fd);
        say_content(s, "f");
}

SCRIPT(files, large_writes_arrive_whole)
{
        size_t len = (5u << 20) + 17;
        CLEANUP_FREE char *buf = malloc(len);
        int fd = DO_FD(s, open("big", O_RDWR | O_CREAT, 0644));

        fill(buf, len, 7);
        DO(s, fd_write_full(fd, buf, len));
        DO(s, fd_write_full(fd, buf, len));
        say_fstat(s, fd);
        DO(s, fsync(fd));
        DO(s, fdatasync(fd));
        close(fd);
        say_content(s, "big");
        fd = DO_FD(s, open(at(s->backing, "big"), O_RDONLY));
        say_fstat(s, fd);
        close(fd);
        say_content(s, "big");
}

SCRIPT(files, append)
{
        int fd = DO_FD(s, open("log", O_WRONLY | O_CREAT | O_APPEND, 0644));
        int other = DO_FD(s, open("log", O_RDWR | O_APPEND));

        for (int i = 0; i < 50; i++) {
                DO(s, write(fd, "first\n", 6));
                DO(s, write(other, "second\n", 7));
        }
        DO(s, lseek(other, 0, SEEK_SET));
        DO(s, write(other, "end\n", 4));
        DO(s, pwrite(other, "pend\n", 5, 0));
        DO(s, ftruncate(fd, 20));
        DO(s, write(fd, "after\n", 6));
        say_fstat(s, fd);
        say_content(s, "log");
}

/* The kernel's idea of the size is old: an append still lands behind what the host added, and destroys nothing. */
CASE(files, append_after_the_host_extended)
{
        char buf[64] = "";
        CLEANUP_FD int fd = open(at(f->mnt, "log"), O_WRONLY | O_CREAT | O_APPEND, 0644);
        CLEANUP_FD int host = open(at(f->src, "log"), O_RDWR | O_APPEND);

        must(fd >= 0 && host >= 0, "open log");
        for (int i = 0; i < 20; i++) {
                must(write(fd, "mount ", 6) == 6, "append in the mount");
                must(write(host, "host ", 5) == 5, "append on the host");
        }
        must(pread(host, buf, sizeof(buf) - 1, 0) > 0, "read");
        errno = 0;
        must(strncmp(buf, "mount host mount host ", 22) == 0, "lost an append: %s", buf);
        must(lseek(host, 0, SEEK_END) == 20L * 11, "the size is %ld", (long)lseek(host, 0, SEEK_END));
        close(fd_steal(&fd));
        fixture_wait(f);
        must_mirror(f);
}

SCRIPT(files, truncate)
{
        struct stat st;
        int fd = DO_FD(s, open("t", O_RDWR | O_CREAT, 0644));
        char buf[16];

        DO(s, write(fd, "0123456789", 10));
        DO(s, ftruncate(fd, 4));
        DO(s, ftruncate(fd, 8));
        DO(s, pread(fd, buf, sizeof(buf), 0));
        DO(s, memcmp(buf, "0123\0\0\0\0", 8) == 0);
        DO(s, truncate("t", 100000));
        say_fstat(s, fd);
        DO(s, truncate("t", 0));
        DO(s, fstat(fd, &st) == 0 && st.st_size == 0);
        DO(s, truncate("t", -1));
        DO(s, truncate(".", 0));
        DO(s, truncate("missing", 0));
        DO(s, pread(fd, buf, sizeof(buf), 0));
        DO(s, ftruncate(fd, 4097));
        close(fd);
        fd = DO_FD(s, open("t", O_RDONLY));
        DO(s, ftruncate(fd, 1));
        close(fd);
        say_content(s, "t");
}

SCRIPT(files, fallocate_modes)
{
        static char buf[16 * BLOCK];
        int fd = DO_FD(s, open("h", O_RDWR | O_CREAT, 0644));

        fill(buf, sizeof(buf), 3);
        DO(s, pwrite(fd, buf, sizeof(buf), 0));
        DO(s, fallocate(fd, 0, 0, 20 * BLOCK));
        say_fstat(s, fd);
        DO(s, fallocate(fd, FALLOC_FL_KEEP_SIZE, 20 * BLOCK, 20 * BLOCK));
        say_fstat(s, fd);
        DO(s, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * BLOCK + 5, 3 * BLOCK));
        say_content(s, "h");
        DO(s, lseek(fd, 0, SEEK_HOLE) == 5 * BLOCK);
        DO(s, lseek(fd, 5 * BLOCK, SEEK_DATA) == 7 * BLOCK);
        DO(s, fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, BLOCK));
        DO(s, fallocate(fd, 0, 0, 0));
        DO(s, fallocate(fd, 0, -1, 5));
        DO(s, posix_fallocate(fd, 0, 21 * BLOCK));
        say_fstat(s, fd);
        close(fd);
        say_content(s, "h");
}

/* tmpfs has no zero range, and says so; ext4 has. */
SCRIPT(files, fallocate_zero_range)
{
        static char buf[8 * BLOCK];
        int fd = DO_FD(s, open("z", O_RDWR | O_CREAT, 0644));

        fill(buf, sizeof(buf), 9);
        DO(s, pwrite(fd, buf, sizeof(buf), 0));
        DO(s, fallocate(fd, FALLOC_FL_ZERO_RANGE, BLOCK + 7, 2 * BLOCK));
        say_content(s, "z");
        DO(s, fallocate(fd, FALLOC_FL_ZERO_RANGE, 7 * BLOCK, 3 * BLOCK));
        DO(s, fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 9 * BLOCK, 3 * BLOCK));
        say_fstat(s, fd);
        close(fd);
        say_content(s, "z");
}

/* FUSE in the kernel refuses what it has no message for; the file stays as it was. */
CASE(files, fallocate_collapse_is_refused_unharmed)
{
        static char buf[4 * BLOCK], back[sizeof(buf)];
        CLEANUP_FD int fd = open(at(f->mnt, "c"), O_RDWR | O_CREAT, 0644);

        fill(buf, sizeof(buf), 2);
        must(pwrite(fd, buf, sizeof(buf), 0) == sizeof(buf), "write");
        if (f->bind)
                return;
        must(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, BLOCK) < 0 && errno == EOPNOTSUPP, "collapse");
        must(fallocate(fd, FALLOC_FL_INSERT_RANGE, 0, BLOCK) < 0 && errno == EOPNOTSUPP, "insert");
        must(pread(fd, back, sizeof(back), 0) == sizeof(back) && memcmp(buf, back, sizeof(buf)) == 0, "the content changed");
}

SCRIPT(files, holes)
{
        int fd = DO_FD(s, open("sparse", O_RDWR | O_CREAT, 0644));

        DO(s, ftruncate(fd, 1 << 20));
        DO(s, pwrite(fd, "data", 4, 512 << 10));
        DO(s, fsync(fd));
        DO(s, lseek(fd, 0, SEEK_DATA));
        DO(s, lseek(fd, 0, SEEK_HOLE));
        DO(s, lseek(fd, 512 << 10, SEEK_HOLE));
        DO(s, lseek(fd, 600 << 10, SEEK_DATA));
        DO(s, lseek(fd, 1 << 20, SEEK_HOLE));
        DO(s, lseek(fd, 2 << 20, SEEK_DATA));
        close(fd);
        say_content(s, "sparse");
}

SCRIPT(files, direct_io)
{
        char *buf = aligned_alloc(BLOCK, 4 * BLOCK);
        int fd = DO_FD(s, open("direct", O_RDWR | O_CREAT | O_DIRECT, 0644));
        int cached = DO_FD(s, open("direct", O_RDWR));

        fill(buf, 4 * BLOCK, 5);
        DO(s, pwrite(fd, buf, 4 * BLOCK, 0));
        say_content(s, "direct");
        DO(s, pwrite(cached, "by the page cache", 17, BLOCK));
        DO(s, pread(fd, buf, BLOCK, BLOCK));
        DO(s, memcmp(buf, "by the page cache", 17) == 0);
        memset(buf, 'd', BLOCK);
        DO(s, pwrite(fd, buf, BLOCK, 2 * BLOCK));
        DO(s, pread(cached, buf + BLOCK, BLOCK, 2 * BLOCK));
        DO(s, memcmp(buf, buf + BLOCK, BLOCK) == 0);
        DO(s, pread(fd, buf, 4 * BLOCK, 4 * BLOCK));
        say_fstat(s, fd);
        free(buf);
        close(fd);
        close(cached);
        say_content(s, "direct");
}

SCRIPT(files, copy_file_range_and_sendfile)
{
        static char buf[10 * BLOCK];
        loff_t in_at = 100, out_at = 3;
        off_t send_at = 5;
        int in = DO_FD(s, open("in", O_RDWR | O_CREAT, 0644));
        int out = DO_FD(s, open("out", O_RDWR | O_CREAT, 0644));

        fill(buf, sizeof(buf), 11);
        DO(s, pwrite(in, buf, sizeof(buf), 0));
        DO(s, copy_file_range(in, &in_at, out, &out_at, 5 * BLOCK, 0));
        SAY(s, "in %lld out %lld\n", (long long)in_at, (long long)out_at);
        say_content(s, "out");
        DO(s, copy_file_range(in, NULL, out, NULL, 1 << 30, 0));
        DO(s, lseek(out, 0, SEEK_CUR));
        say_content(s, "out");
        DO(s, sendfile(out, in, &send_at, 1000));
        say_content(s, "out");
        in_at = 0, out_at = 2;
        DO(s, copy_file_range(in, &in_at, in, &out_at, 100, 0));
        close(in);
        in = DO_FD(s, open("in", O_WRONLY));
        DO(s, copy_file_range(in, NULL, out, NULL, 10, 0));
        close(in);
        close(out);
}

static int copy_across(const char *from, const char *to)
{
        CLEANUP_FD int in = open(from, O_RDONLY | O_CLOEXEC);
        CLEANUP_FD int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        ssize_t n;

        if (in < 0 || out < 0)
                return -1;
        while ((n = copy_file_range(in, NULL, out, NULL, 1 << 20, 0)) > 0)
                continue;
        return (int)n;
}

/* Into the mount and out of it, between two filesystems: whatever the kernel makes of it, the bytes arrive. */
CASE(files, cp_across_the_border)
{
        static char buf[100001];

        fill(buf, sizeof(buf), 23);
        put_file(at(f->plain, "host"), buf, sizeof(buf));
        if (copy_across(at(f->plain, "host"), at(f->mnt, "in")) < 0)
                must(errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP, "copy_file_range");
        must(child_exec((const char *const[]){"cp", at(f->plain, "host"), at(f->mnt, "in"), NULL}, NULL, NULL, NULL, 0) == 0, "cp in");
        must(child_exec((const char *const[]){"cp", at(f->mnt, "in"), at(f->plain, "out"), NULL}, NULL, NULL, NULL, 0) == 0, "cp out");
        must(child_exec((const char *const[]){"cmp", at(f->plain, "host"), at(f->plain, "out"), NULL}, NULL, NULL, NULL, 0) == 0, "cmp");
        must_mirror(f);
}

SCRIPT(files, fsync_of_files_and_directories)
{
        int dir, fd;

        DO(s, mkdir("d", 0755));
        fd = DO_FD(s, open("d/f", O_RDWR | O_CREAT | O_SYNC, 0644));
        DO(s, write(fd, "synced", 6));
        DO(s, fsync(fd));
        DO(s, fdatasync(fd));
        DO(s, sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
        DO(s, posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED));
        dir = DO_FD(s, open("d", O_RDONLY | O_DIRECTORY));
        DO(s, fsync(dir));
        DO(s, fdatasync(dir));
        DO(s, syncfs(fd));
        say_content(s, "d/f");
}

CASE(files, ioctls_are_refused_cleanly)
{
        CLEANUP_FD int fd = open(at(f->mnt, "i"), O_RDWR | O_CREAT, 0644);
        CLEANUP_FD int dir = open(f->mnt, O_RDONLY | O_DIRECTORY);
        long flags = 0;

        must(fd >= 0 && dir >= 0, "open");
        if (f->bind)
                return;
        must(ioctl(fd, _IOR('X', 99, int), &flags) < 0 && errno == ENOTTY, "an unknown ioctl on a file");
        must(ioctl(dir, _IOR('X', 99, int), &flags) < 0 && errno == ENOTTY, "an unknown ioctl on a directory");
        must(ioctl(fd, TIOCGWINSZ, &flags) < 0 && errno == ENOTTY, "TIOCGWINSZ: isatty() must say no");
        must(isatty(fd) == 0, "a file is a terminal");
}

CASE(files, statfs_is_the_backings)
{
        struct statvfs want, have;

        put_text(at(f->mnt, "x"), "something");
        must(statvfs(f->src, &want) == 0 && statvfs(f->mnt, &have) == 0, "statvfs");
        errno = 0;
        must(want.f_bsize == have.f_bsize && want.f_frsize == have.f_frsize, "block sizes %lu, %lu", have.f_bsize, have.f_frsize);
        must(want.f_blocks == have.f_blocks && want.f_files == have.f_files, "%lu blocks, %lu files", have.f_blocks, have.f_files);
        must(want.f_namemax == have.f_namemax, "names of %lu", have.f_namemax);
        must(have.f_bavail > 0 && have.f_bavail <= have.f_blocks, "%lu blocks available", have.f_bavail);
}
