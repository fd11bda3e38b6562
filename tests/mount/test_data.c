/*
 * The data profile: files are passed through to their backing. Everything that any mount must do is shown by the other mount tests with
 * DSFS_TEST_PROFILE=data (make check-data); here is what only this profile can get wrong.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/lib/mount.h"

#define PAGE 4096

static struct variant variants[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .profile = PROFILE_DATA},
        {.backing = ON_EXT4, .transport = BY_DEV, .profile = PROFILE_DATA},
        {.backing = ON_TMPFS, .transport = BY_URING, .profile = PROFILE_DATA, .watch = WATCH_BY_INOTIFY},
};

#define DATA_TEST(name)                                                                                                                    \
        ParameterizedTestParameters(data, name)                                                                                            \
        {                                                                                                                                  \
                return cr_make_param_array(struct variant, variants, ARRAY_LEN(variants));                                                 \
        }                                                                                                                                  \
        ParameterizedTest(const struct variant *v, data, name)

static int64_t count_of(struct fixture *f, const char *op)
{
        int64_t n;

        return fixture_status(f, op, &n) ? n : 0;
}

DATA_TEST(reads_and_writes_do_not_reach_the_agent)
{
        struct fixture *f = fixture_new(v);
        char bytes[3 * PAGE];
        int64_t seen;
        int fd;

        memset(bytes, 'a', sizeof(bytes));
        fd = open(at(f->mnt, "file"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        must(fd >= 0, "create");
        for (int i = 0; i < 100; i++)
                must(write(fd, bytes, sizeof(bytes)) == sizeof(bytes), "write");
        for (int i = 0; i < 100; i++)
                must(pread(fd, bytes, sizeof(bytes), i * (off_t)sizeof(bytes)) == sizeof(bytes), "read");
        must(fixture_status(f, "files_passed", &seen) && seen == 1, "%lld files are passed through", (long long)seen);
        close(fd);
        must(count_of(f, "READ") == 0 && count_of(f, "WRITE") == 0, "%lld READ, %lld WRITE", (long long)count_of(f, "READ"),
             (long long)count_of(f, "WRITE"));
        fixture_free(f);
}

/* Nothing tells the kernel of a store through a mapping; the times must be the backing's all the same. */
DATA_TEST(a_mapped_store_moves_the_times)
{
        struct fixture *f = fixture_new(v);
        struct stat before, mounted, backing;
        static const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
        char *map;
        int fd;

        put_text(at(f->src, "file"), "0123456789");
        fixture_wait(f);
        fd = open(at(f->mnt, "file"), O_RDWR | O_CLOEXEC);
        must(fd >= 0, "open");
        must(futimens(fd, old) == 0, "futimens");
        must(fstat(fd, &before) == 0 && before.st_mtim.tv_sec == 1000, "mtime is %lld", (long long)before.st_mtim.tv_sec);
        map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        must(map != MAP_FAILED, "mmap");
        map[3] = 'x';
        must(msync(map, PAGE, MS_SYNC) == 0, "msync");
        must(stat(at(f->mnt, "file"), &mounted) == 0 && stat(at(f->src, "file"), &backing) == 0, "stat");
        must(backing.st_mtim.tv_sec != 1000, "the backing's time did not move");
        must(memcmp(&mounted.st_mtim, &backing.st_mtim, sizeof(backing.st_mtim)) == 0, "mtime %lld, backing %lld",
             (long long)mounted.st_mtim.tv_sec, (long long)backing.st_mtim.tv_sec);
        munmap(map, PAGE);
        close(fd);
        must(stat(at(f->mnt, "file"), &mounted) == 0 && mounted.st_mtim.tv_sec != 1000, "mtime after close");
        fixture_free(f);
}

static int overwrite(void *arg)
{
        CLEANUP_FD int fd = open(arg, O_WRONLY | O_CLOEXEC);

        return fd >= 0 && write(fd, "B", 1) == 1 ? 0 : 1;
}

DATA_TEST(a_write_by_somebody_else_takes_the_set_uid_bit)
{
        struct fixture *f = fixture_new(v);
        struct who other = {.uid = 4242, .gid = 4242};
        struct stat st;

        put_text(at(f->src, "tool"), "A");
        must(chmod(at(f->src, "tool"), 06777) == 0, "chmod");
        fixture_wait(f);
        must(child_run(&other, overwrite, keep(at(f->mnt, "tool"))) == 0, "writing");
        must(stat(at(f->src, "tool"), &st) == 0 && (st.st_mode & 07777) == 0777, "the mode is %o", st.st_mode & 07777);
        must(stat(at(f->mnt, "tool"), &st) == 0 && (st.st_mode & 07777) == 0777, "the mode shown is %o", st.st_mode & 07777);
        fixture_free(f);
}

/* What was written through the mount and is still open there for reading is a program like any other for the host. */
DATA_TEST(the_host_executes_what_the_mount_reads)
{
        struct fixture *f = fixture_new(v);
        const char *const argv[] = {keep(at(f->src, "script")), NULL};
        int fd;

        put_text(at(f->mnt, "script"), "#!/bin/sh\nexit 7\n");
        must(chmod(at(f->mnt, "script"), 0755) == 0, "chmod");
        fd = open(at(f->mnt, "script"), O_RDONLY | O_CLOEXEC);
        must(fd >= 0, "open");
        fixture_wait(f);
        must(child_exec(argv, NULL, NULL, NULL, 0) == 7, "the host could not execute it");
        close(fd);
        fixture_free(f);
}

/* inotify tells of the name that was replaced, not of the file that has lost it; and the kernel was never told that name. */
DATA_TEST(a_file_held_open_loses_its_last_name_on_the_host)
{
        struct fixture *f = fixture_new(v);
        struct stat st;
        int fd;

        put_text(at(f->src, "first"), "one");
        fixture_wait(f);
        fd = open(at(f->mnt, "first"), O_RDONLY | O_CLOEXEC);
        must(fd >= 0 && fstat(fd, &st) == 0 && st.st_nlink == 1, "open");
        must(rename(at(f->src, "first"), at(f->src, "second")) == 0, "rename");
        fixture_wait(f);
        must(fstat(fd, &st) == 0 && st.st_nlink == 1, "renamed");
        put_text(at(f->src, "new"), "another");
        must(rename(at(f->src, "new"), at(f->src, "second")) == 0, "rename over");
        fixture_wait(f);
        must(fstat(fd, &st) == 0 && st.st_nlink == 0, "%lu links", (unsigned long)st.st_nlink);
        close(fd);
        fixture_free(f);
}

/* All who have a file open must have it open the same way: else the kernel answers EIO. */
struct opener {
        const char *dir;
        unsigned seed;
};

static int open_and_close(void *arg)
{
        const struct opener *o = arg;
        struct dice dice = {o->seed};
        static const int flags[] = {O_RDONLY,           O_RDWR, O_WRONLY, O_RDWR | O_CREAT, O_WRONLY | O_TRUNC, O_RDWR | O_DIRECT,
                                    O_RDONLY | O_APPEND};

        for (int i = 0; i < 3000; i++) {
                const char *path = at(o->dir, "f%u", dice_roll(&dice, 3));
                char byte;
                int fd;

                if (dice_roll(&dice, 20) == 0)
                        (void)unlink(path);
                fd = open(path, flags[dice_roll(&dice, ARRAY_LEN(flags))] | O_CLOEXEC, 0644);
                /* ESTALE: the host took the file away between the kernel's LOOKUP and its OPEN, twice. */
                if (fd < 0 && errno != ENOENT && errno != ESTALE)
                        return errno;
                if (fd >= 0 && pread(fd, &byte, 1, 0) < 0 && errno != EBADF && errno != EINVAL)
                        return errno;
                if (fd >= 0)
                        close(fd);
        }
        return 0;
}

DATA_TEST(opens_and_closes_from_all_sides_never_fail)
{
        struct fixture *f = fixture_new(v);
        struct opener openers[4];
        pid_t pids[4];
        int64_t left = 0;

        for (size_t i = 0; i < 4; i++) {
                openers[i] = (struct opener){.dir = i == 3 ? f->src : f->mnt, .seed = (unsigned)i + 1};
                pids[i] = child_start(NULL, open_and_close, &openers[i]);
        }
        for (size_t i = 0; i < 4; i++) {
                int status = child_wait(pids[i]);

                errno = 0;
                must(status == 0, "opener %zu: %s", i, strerror(status));
        }
        fixture_wait(f);
        /* RELEASE comes after close(): what is left is given back within a moment. */
        for (int i = 0; i < 1000 && fixture_status(f, "files_passed", &left) && left > 0; i++)
                ;
        must(left == 0, "%lld files are still passed through", (long long)left);
        fixture_free(f);
}

Test(data, without_privilege_it_is_the_source_profile_and_says_so)
{
        struct variant v = {.backing = ON_EXT4,
                            .transport = BY_DEV,
                            .profile = PROFILE_DATA,
                            .watch = WATCH_BY_INOTIFY,
                            .unprivileged = true,
                            .owner = FIXTURE_UID};
        struct fixture *f = fixture_new(&v); /* which looks that it is */
        char text[16384];

        must(fixture_dsfs(f, (const char *const[]){"status", NULL}, text, sizeof(text)) == 0, "status");
        must(strstr(text, "the profile is source, not data"), "status says: %s", text);
        fixture_free(f);
}
