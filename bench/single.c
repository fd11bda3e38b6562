/*
 * Workloads of a single operation each, on a thousand files that each side has of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/workloads.h"
#include "cache/base/err.h"
#include "cache/base/fd.h"

enum {
        PAGE = 4096,
};

/* A round does one operation on each. */
static unsigned files; /* set when they are made */

/* One operation on the `i`-th name, in a directory that each side has of its own; names made anew are never made twice, for where inodes
 * deleted lately are avoided, deleting between rounds would make creating slower and slower. What deletes comes last. */
typedef int operation(int dir, unsigned i);

static const char *numbered(char name[32], char kind, unsigned i)
{
        snprintf(name, 32, "%c%u", kind, i);
        return name;
}

static int op_stat(int dir, unsigned i)
{
        struct stat st;
        char name[32];

        return fstatat(dir, numbered(name, 'f', i % files), &st, 0);
}

static int op_open(int dir, unsigned i)
{
        CLEANUP_FD int fd = -1;
        char name[32];

        fd = openat(dir, numbered(name, 'f', i % files), O_RDONLY | O_CLOEXEC);
        return fd < 0 ? -1 : 0;
}

static int op_read(int dir, unsigned i)
{
        CLEANUP_FD int fd = -1;
        char name[32], buf[PAGE];
        struct stat st;

        fd = openat(dir, numbered(name, 'f', i % files), O_RDONLY | O_CLOEXEC);
        return fd < 0 || fstat(fd, &st) || read(fd, buf, sizeof buf) < 0 ? -1 : 0;
}

static int op_chmod(int dir, unsigned i)
{
        char name[32];

        return fchmodat(dir, numbered(name, 'f', i % files), i / files & 1 ? 0644 : 0600, 0);
}

static int op_append(int dir, unsigned i)
{
        static int fd = -1; /* one file, kept open over a round, as a log is */
        char buf[PAGE];
        int failed;

        memset(buf, 'a', sizeof buf);
        if (i % files == 0)
                fd = openat(dir, "log", O_WRONLY | O_APPEND | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        failed = write(fd, buf, sizeof buf) != PAGE;
        if (failed || i % files == files - 1)
                fd_close(&fd);
        return failed ? -1 : 0;
}

static int op_create(int dir, unsigned i)
{
        CLEANUP_FD int fd = -1;
        char name[32];

        fd = openat(dir, numbered(name, 'c', i), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        return fd < 0 ? -1 : 0;
}

static int op_make_named(int dir, unsigned i)
{
        char name[32];

        return mknodat(dir, numbered(name, 'n', i), S_IFREG | 0644, 0);
}

static int op_make_doomed(int dir, unsigned i)
{
        char name[32];

        return mknodat(dir, numbered(name, 'u', i), S_IFREG | 0644, 0);
}

static int op_rename(int dir, unsigned i)
{
        char from[32], to[32];

        return renameat(dir, numbered(from, 'n', i), dir, numbered(to, 'r', i));
}

static int op_unlink(int dir, unsigned i)
{
        char name[32];

        return unlinkat(dir, numbered(name, 'u', i), 0);
}

static int op_mkdir(int dir, unsigned i)
{
        char name[32];

        return mkdirat(dir, numbered(name, 'd', i), 0755);
}

static int repeat(struct bench *b, struct side *s, operation *op, unsigned round, const char *what)
{
        char own[32];

        snprintf(own, sizeof own, "single/%zu", work_side(b, s));

        CLEANUP_FD int dir = work_open(s, own);

        errno = 0;
        for (unsigned i = round * files; i < (round + 1) * files; i++)
                if (op(dir, i)) {
                        return work_complain(b, s, what, errno ? -errno : -EIO);
                }
        return 0;
}

/* A workload of one operation. */
#define WORKLOAD(op)                                                                                                                       \
        static int run_##op(struct bench *b, struct side *s, unsigned round, size_t *ops)                                                  \
        {                                                                                                                                  \
                *ops = files;                                                                                                              \
                return repeat(b, s, op_##op, round, #op);                                                                                  \
        }
WORKLOAD(stat)
WORKLOAD(open)
WORKLOAD(read)
WORKLOAD(chmod)
WORKLOAD(append)
WORKLOAD(create)
WORKLOAD(rename)
WORKLOAD(unlink)
WORKLOAD(mkdir)

static int make_named(struct bench *b, struct side *s, unsigned round)
{
        return repeat(b, s, op_make_named, round, "mknod");
}

enum {
        UNLINK_ROUNDS = 15,
};

/* All that will be deleted is there before the first deletion. */
static int make_doomed(struct bench *b, struct side *s, unsigned round)
{
        int err = 0;

        for (unsigned i = 0; !err && round == 0 && i < UNLINK_ROUNDS; i++)
                err = repeat(b, s, op_make_doomed, i, "mknod");
        return err;
}

#define READS .weight = 1, .rounds_min = 5, .rounds_max = 41, .warm = true, .each = true
#define WRITES .weight = 1, .rounds_min = 5, .rounds_max = 21, .writes = true, .each = true

const struct workload single_workloads[] = {
        {"stat", .title = "stat", READS, .run = run_stat},
        {"open", .title = "open+close", READS, .run = run_open},
        {"read", .title = "open+fstat+read+close", READS, .run = run_read},
        {"chmod", .title = "chmod", READS, .writes = true, .run = run_chmod},
        {"append", .title = "append", READS, .writes = true, .run = run_append},
        {"create", .title = "create", WRITES, .run = run_create},
        {"rename", .title = "rename", WRITES, .prepare = make_named, .run = run_rename},
        {"mkdir", .title = "mkdir", WRITES, .run = run_mkdir},
        {"unlink", .title = "unlink", .weight = 1, .rounds_min = 5, .rounds_max = UNLINK_ROUNDS, .writes = true, .each = true,
         .prepare = make_doomed, .run = run_unlink},
        {NULL},
};

static int make_files(const char *source, size_t side)
{
        char path[PATH_ROOM], name[32], bytes[PAGE / 2] = {0};
        CLEANUP_FD int dir = -1;

        snprintf(path, sizeof path, "%s/single/%zu", source, side);
        if (mkdir(path, 0755) || (dir = open(path, O_PATH | O_CLOEXEC)) < 0)
                return -errno;
        for (unsigned i = 0; i < files; i++) {
                CLEANUP_FD int fd = openat(dir, numbered(name, 'f', i), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

                if (fd < 0 || fd_write_full(fd, bytes, sizeof bytes))
                        return -EIO;
        }
        return 0;
}

int scene_make_single(const struct scene *sc, const char *source, size_t sides)
{
        char path[PATH_ROOM];
        int err = 0;

        files = sc->sizes.single_files;
        snprintf(path, sizeof path, "%s/single", source);
        if (mkdir(path, 0755))
                return -errno;
        for (size_t side = 0; !err && side < sides; side++)
                err = make_files(source, side);
        return err;
}
