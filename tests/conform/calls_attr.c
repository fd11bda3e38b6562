/*
 * Looking at attributes and changing them.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/conform/calls.h"

#define FCHMODAT2 452
#define FAR ((long)1 << 62)

static void stat_it(struct trial *t)
{
        struct stat st;

        if (TRY(t, "fstatat", fstatat(AT_FDCWD, t->path, &st, (int)t->call->a)) == 0) {
                say_seen(t, "fstatat", &st);
                TELL(t, "old: atime %d mtime %d; block size %ld\n", st.st_atime == OLD_TIME, st.st_mtime == OLD_TIME, (long)st.st_blksize);
        }
}

static void statx_it(struct trial *t)
{
        struct statx x;

        if (TRY(t, "statx", statx(AT_FDCWD, t->path, (int)t->call->a, (unsigned)t->call->b, &x)) < 0)
                return;
        TELL(t, "statx: mask %x\n", x.stx_mask & (unsigned)t->call->b);
        TELL(t, "statx: mode %o links %u size %llu\n", x.stx_mode, x.stx_nlink, (unsigned long long)x.stx_size);
        TELL(t, "statx: attributes %llx\n", (unsigned long long)(x.stx_attributes & ~STATX_ATTR_MOUNT_ROOT));
        if (t->call->b & STATX_BTIME)
                TELL(t, "statx: btime is %s\n", x.stx_btime.tv_sec > OLD_TIME ? "new" : "not set");
}

static void access_it(struct trial *t)
{
        TRY(t, "faccessat", syscall(SYS_faccessat, AT_FDCWD, t->path, t->call->a));
        TRY(t, "faccessat2", syscall(SYS_faccessat2, AT_FDCWD, t->path, t->call->a, AT_EACCESS));
        TRY(t, "faccessat2 l", syscall(SYS_faccessat2, AT_FDCWD, t->path, t->call->a, AT_SYMLINK_NOFOLLOW));
        TRY(t, "faccessat2 f", syscall(SYS_faccessat2, AT_FDCWD, t->path, t->call->a, AT_EMPTY_PATH));
}

static void chmod_it(struct trial *t)
{
        TRY(t, "chmod", chmod(t->path, (mode_t)t->call->a));
        say_path(t, t->path);
}

static void lchmod_it(struct trial *t)
{
        TRY(t, "fchmodat2", syscall(FCHMODAT2, AT_FDCWD, t->path, (mode_t)t->call->a, AT_SYMLINK_NOFOLLOW));
        say_path(t, t->path);
}

static void fchmod_it(struct trial *t)
{
        int fd = TRY_FD(t, "open", open(t->path, (int)t->call->b | O_NONBLOCK));

        TRY(t, "fchmod", fchmod(fd, (mode_t)t->call->a));
        say_path(t, t->path);
}

static void chown_it(struct trial *t)
{
        TRY(t, "chown", chown(t->path, (uid_t)t->call->a, (gid_t)t->call->b));
        say_path(t, t->path);
}

static void lchown_it(struct trial *t)
{
        TRY(t, "lchown", lchown(t->path, (uid_t)t->call->a, (gid_t)t->call->b));
        say_path(t, t->path);
}

static void chown_self(struct trial *t)
{
        TRY(t, "fchownat", fchownat(AT_FDCWD, t->path, geteuid(), getegid(), AT_EMPTY_PATH));
        say_path(t, t->path);
}

struct times {
        struct timespec ts[2];
};

static const struct times given_times[] = {
        {{{1, 1}, {2, 999999999}}},
        {{{0, UTIME_NOW}, {0, UTIME_NOW}}},
        {{{0, UTIME_OMIT}, {0, UTIME_OMIT}}},
        {{{0, UTIME_NOW}, {0, UTIME_OMIT}}},
        {{{0, UTIME_OMIT}, {77, 123456789}}},
        {{{55, 5}, {0, UTIME_OMIT}}},
        {{{1, 1000000000}, {1, 1}}},
        {{{-5, 5}, {-7, 999}}},
        {{{5, -5}, {5, 5}}},
        {{{((long)1 << 32) + 5, 0}, {((long)1 << 31) + 5, 0}}},
};

static void utimes_it(struct trial *t)
{
        struct stat st;

        TRY(t, "utimensat", utimensat(AT_FDCWD, t->path, given_times[t->call->a].ts, (int)t->call->b));
        if (fstatat(AT_FDCWD, t->path, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_atime < 1500000000)
                TELL(t, "atime %ld.%09ld\n", (long)st.st_atim.tv_sec, st.st_atim.tv_nsec);
        if (fstatat(AT_FDCWD, t->path, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_mtime < 1500000000)
                TELL(t, "mtime %ld.%09ld\n", (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static void utimes_now(struct trial *t)
{
        TRY(t, "utimensat", utimensat(AT_FDCWD, t->path, NULL, (int)t->call->b));
        say_path(t, t->path);
}

static void truncate_it(struct trial *t)
{
        TRY(t, "truncate", truncate(t->path, t->call->a));
        say_path(t, t->path);
}

static void statfs_it(struct trial *t)
{
        struct statfs s;

        if (TRY(t, "statfs", statfs(t->path, &s)) == 0)
                TELL(t, "statfs: blocks %ld files %ld\nstatfs: block size %ld fragment %ld\nstatfs: names %ld\nstatfs: flags %lx\n",
                     (long)s.f_blocks, (long)s.f_files > 0 ? 1l : 0l, (long)s.f_bsize, (long)s.f_frsize, (long)s.f_namelen,
                     (unsigned long)s.f_flags & (ST_RDONLY | ST_NOSUID | ST_NODEV | ST_NOEXEC));
}

#define STAT(flags)                                                                                                                        \
        {                                                                                                                                  \
                "stat:" #flags, stat_it, (flags), 0, NULL, NULL, NULL, NULL                                                                \
        }
#define STATX(flags, mask)                                                                                                                 \
        {                                                                                                                                  \
                "statx:" #flags " " #mask, statx_it, (flags), (mask), NULL, NULL, NULL, NULL                                               \
        }
#define ACCESS(mode)                                                                                                                       \
        {                                                                                                                                  \
                "access:" #mode, access_it, (mode), 0, NULL, NULL, NULL, NULL                                                              \
        }
#define CHMOD(mode)                                                                                                                        \
        {                                                                                                                                  \
                "chmod:" #mode, chmod_it, (mode), 0, NULL, NULL, NULL, NULL                                                                \
        }
#define FCHMOD(flags, mode)                                                                                                                \
        {                                                                                                                                  \
                "fchmod:" #flags " " #mode, fchmod_it, (mode), (flags), NULL, NULL, NULL, NULL                                             \
        }
#define CHOWN(uid, gid)                                                                                                                    \
        {                                                                                                                                  \
                "chown:" #uid ":" #gid, chown_it, (uid), (gid), NULL, NULL, NULL, NULL                                                     \
        }
#define UTIMES(which, flags)                                                                                                               \
        {                                                                                                                                  \
                "utimes:" #which " " #flags, utimes_it, (which), (flags), NULL, NULL, NULL, NULL                                           \
        }
#define TRUNCATE(size)                                                                                                                     \
        {                                                                                                                                  \
                "truncate:" #size, truncate_it, (size), 0, NULL, NULL, NULL, NULL                                                          \
        }

const struct call attr_calls[] = {
        STAT(0),
        STAT(AT_SYMLINK_NOFOLLOW),
        STAT(AT_EMPTY_PATH),
        STATX(0, STATX_BASIC_STATS | STATX_BTIME),
        STATX(AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME),
        STATX(AT_STATX_FORCE_SYNC, STATX_BASIC_STATS),
        STATX(AT_STATX_DONT_SYNC, STATX_BASIC_STATS),
        STATX(0, STATX_BTIME),
        STATX(0x8000000, STATX_ALL),
        ACCESS(F_OK),
        ACCESS(R_OK),
        ACCESS(W_OK),
        ACCESS(X_OK),
        ACCESS(0x10),
        CHMOD(0),
        CHMOD(0600),
        CHMOD(0755),
        CHMOD(01777),
        CHMOD(07777),
        {"lchmod", lchmod_it, 0640, 0, NULL, NULL, NULL, NULL},
        FCHMOD(O_RDONLY, 0640),
        FCHMOD(O_PATH, 0640),
        CHOWN(-1, -1),
        CHOWN(0, 0),
        CHOWN(1000, -1),
        CHOWN(-1, TEAM),
        CHOWN(4242, 4242),
        {"lchown", lchown_it, -1, TEAM, NULL, NULL, NULL, NULL},
        {"chown self", chown_self, 0, 0, NULL, NULL, NULL, NULL},
        UTIMES(0, 0),
        UTIMES(1, 0),
        UTIMES(2, 0),
        UTIMES(3, 0),
        UTIMES(4, 0),
        UTIMES(5, 0),
        UTIMES(6, 0),
        UTIMES(7, 0),
        UTIMES(8, 0),
        UTIMES(9, 0),
        UTIMES(0, AT_SYMLINK_NOFOLLOW),
        {"utimes now", utimes_now, 0, 0, NULL, NULL, NULL, NULL},
        {"lutimes now", utimes_now, 0, AT_SYMLINK_NOFOLLOW, NULL, NULL, NULL, NULL},
        TRUNCATE(0),
        TRUNCATE(3),
        TRUNCATE(6),
        TRUNCATE(100000),
        TRUNCATE(-1),
        TRUNCATE(FAR),
        {"statfs", statfs_it, 0, 0, NULL, NULL, NULL, NULL},
};
const size_t attr_call_count = ARRAY_LEN(attr_calls);
