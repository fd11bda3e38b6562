/*
 * Workloads on large files: what databases, media and logs do. Every block holds its number, so that a reader knows what it has read.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/options.h"
#include "bench/workloads.h"
#include "cache/base/err.h"
#include "cache/base/fd.h"

enum {
        BLOCK = 4096,
        CHUNK = 128 << 10,
        RANDOM_READS = 16384,
        RANDOM_WRITES = 8192,
        DIRECT_OPS = 1024,
        APPENDS = 2048,
        SMOKE_LESS = 64,
};

static size_t data_bytes(const struct scene *sc)
{
        return (size_t)sc->sizes.data_mib << 20;
}

static size_t fewer(const struct bench *b, size_t n)
{
        return b->options->smoke ? n / SMOKE_LESS : n;
}

static void number_blocks(char *buf, size_t len, uint64_t first)
{
        for (size_t at = 0; at < len; at += BLOCK, first++)
                memcpy(buf + at, &first, sizeof first);
}

static bool numbered(const char *block, uint64_t number)
{
        return !memcmp(block, &number, sizeof number);
}

/* Aligned for O_DIRECT. */
static char *buffer(void)
{
        char *buf = aligned_alloc(BLOCK, CHUNK);

        if (buf)
                memset(buf, 'd', CHUNK);
        return buf;
}

/* Writes the whole file, each block with its number. */
static int fill(int fd, char *buf, size_t bytes)
{
        int err = 0;

        for (size_t at = 0; !err && at < bytes; at += CHUNK) {
                number_blocks(buf, CHUNK, at / BLOCK);
                err = fd_write_full(fd, buf, CHUNK);
        }
        return err;
}

static int make_file(const char *path, size_t bytes)
{
        CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        CLEANUP_FREE char *buf = buffer();

        if (fd < 0 || !buf)
                return -errno;
        return fill(fd, buf, bytes);
}

int scene_make_data(struct scene *sc)
{
        char path[PATH_ROOM];

        snprintf(path, sizeof path, "%s/data", sc->source);
        return make_file(path, data_bytes(sc));
}

static int open_data(const struct side *s, int flags)
{
        char path[PATH_ROOM];
        int fd;

        snprintf(path, sizeof path, "%s/data", s->root);
        fd = open(path, flags | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* The side's own file, for writing. */
static int open_own(struct bench *b, struct side *s, const char *what, int flags)
{
        char path[PATH_ROOM];
        int fd;

        work_scratch(b, s, what, 0, path);
        fd = open(path, flags | O_CLOEXEC, 0644);
        return fd < 0 ? -errno : fd;
}

static int run_read(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        CLEANUP_FD int fd = open_data(s, O_RDONLY);
        CLEANUP_FREE char *buf = buffer();
        const struct scene *sc = b->scene;
        size_t at = 0;
        ssize_t n = fd;

        (void)round;
        *ops = data_bytes(sc) / CHUNK;
        while (n >= 0 && (n = fd_read_full(fd, buf, CHUNK)) > 0) {
                if (!numbered(buf, at / BLOCK))
                        return work_complain(b, s, "sequential read: another block", -EIO);
                at += (size_t)n;
        }
        if (n >= 0 && at != data_bytes(sc))
                n = -EIO;
        return n < 0 ? work_complain(b, s, "sequential read", (int)n) : 0;
}

static int run_mmap(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        CLEANUP_FD int fd = open_data(s, O_RDONLY);
        size_t len = data_bytes(b->scene), wrong = 0;
        char *map;

        (void)round;
        *ops = len / BLOCK;
        map = fd < 0 ? MAP_FAILED : mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
                return work_complain(b, s, "mmap", fd < 0 ? fd : -errno);
        for (size_t at = 0; at < len; at += BLOCK)
                wrong += !numbered(map + at, at / BLOCK);
        munmap(map, len);
        return wrong ? work_complain(b, s, "mmap: another block", -EIO) : 0;
}

/* The file of the round before is gone; each round's has no blocks yet. */
static int prepare_write(struct bench *b, struct side *s, unsigned round)
{
        char path[PATH_ROOM];

        (void)round;
        work_scratch(b, s, "written", 0, path);
        return unlink(path) && errno != ENOENT ? work_complain(b, s, "unlink", -errno) : 0;
}

static int run_write(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        CLEANUP_FD int fd = open_own(b, s, "written", O_WRONLY | O_CREAT | O_EXCL);
        CLEANUP_FREE char *buf = buffer();
        const struct scene *sc = b->scene;
        struct stat st;
        int err;

        (void)round;
        *ops = data_bytes(sc) / CHUNK;
        err = fd < 0 ? fd : fill(fd, buf, data_bytes(sc));
        if (!err && (fstat(fd, &st) || (size_t)st.st_size != data_bytes(sc)))
                err = -EIO;
        return err ? work_complain(b, s, "sequential write", err) : 0;
}

static int read_blocks(int fd, size_t n, size_t blocks, char *buf)
{
        uint64_t seed = 1;

        for (size_t i = 0; i < n; i++) {
                uint64_t block = rng_below(&seed, blocks);

                if (pread(fd, buf, BLOCK, (off_t)(block * BLOCK)) != BLOCK)
                        return errno ? -errno : -EIO;
                if (!numbered(buf, block))
                        return -EIO;
        }
        return 0;
}

static int write_blocks(int fd, size_t n, size_t blocks, char *buf)
{
        uint64_t seed = 2;

        for (size_t i = 0; i < n; i++) {
                uint64_t block = rng_below(&seed, blocks);

                number_blocks(buf, BLOCK, block);
                if (pwrite(fd, buf, BLOCK, (off_t)(block * BLOCK)) != BLOCK)
                        return errno ? -errno : -EIO;
        }
        return 0;
}

static int random_read(struct bench *b, struct side *s, size_t n, int flags, size_t *ops)
{
        CLEANUP_FD int fd = open_data(s, O_RDONLY | flags);
        CLEANUP_FREE char *buf = buffer();
        int err;

        *ops = fewer(b, n);
        err = fd < 0 ? fd : read_blocks(fd, *ops, data_bytes(b->scene) / BLOCK, buf);
        return err ? work_complain(b, s, flags ? "4k random read, O_DIRECT" : "4k random read", err) : 0;
}

static int run_random_read(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        (void)round;
        return random_read(b, s, RANDOM_READS, 0, ops);
}

static int run_direct_read(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        (void)round;
        return random_read(b, s, DIRECT_OPS, O_DIRECT, ops);
}

/* A file with all its blocks is there. */
static int prepare_overwrite(struct bench *b, struct side *s, unsigned round)
{
        char path[PATH_ROOM];
        int err = 0;

        work_scratch(b, s, "overwritten", 0, path);
        if (round == 0 && access(path, F_OK))
                err = make_file(path, data_bytes(b->scene));
        return err ? work_complain(b, s, "making a file", err) : 0;
}

static int random_write(struct bench *b, struct side *s, size_t n, int flags, size_t *ops)
{
        CLEANUP_FD int fd = open_own(b, s, "overwritten", O_WRONLY | flags);
        CLEANUP_FREE char *buf = buffer();
        int err;

        *ops = fewer(b, n);
        err = fd < 0 ? fd : write_blocks(fd, *ops, data_bytes(b->scene) / BLOCK, buf);
        return err ? work_complain(b, s, flags ? "4k random write, O_DIRECT" : "4k random write", err) : 0;
}

static int run_random_write(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        (void)round;
        return random_write(b, s, RANDOM_WRITES, 0, ops);
}

static int run_direct_write(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        (void)round;
        return random_write(b, s, DIRECT_OPS, O_DIRECT, ops);
}

static int run_append(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        CLEANUP_FD int fd = open_own(b, s, "log", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND);
        CLEANUP_FREE char *buf = buffer();
        struct stat st;
        int err = fd < 0 ? fd : 0;

        (void)round;
        *ops = fewer(b, APPENDS);
        for (size_t i = 0; !err && i < *ops; i++)
                if (write(fd, buf, BLOCK) != BLOCK)
                        err = errno ? -errno : -EIO;
        if (!err && (fstat(fd, &st) || (size_t)st.st_size != *ops * BLOCK))
                err = -EIO;
        return err ? work_complain(b, s, "4k appends", err) : 0;
}

static const char *without_direct(const struct bench *b)
{
        const struct scene *sc = b->scene;
        CLEANUP_FREE char *path = NULL;
        CLEANUP_FD int fd = -1;

        if (asprintf(&path, "%s/data", sc->source) < 0 || (fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC)) < 0)
                return "the disk has no O_DIRECT";
        return NULL;
}

#define FIRST .rounds_min = 5, .rounds_max = 11, .prepare = work_mount_fresh, .finish = work_unmount
#define WARM .rounds_min = 5, .rounds_max = 25, .warm = true
#define WRITES .rounds_min = 5, .rounds_max = 15, .warm = true, .writes = true

const struct workload data_workloads[] = {
        {"seq-read-first", .title = "sequential read, first", .data_floor = 1.1, .weight = 2, FIRST, .run = run_read},
        {"seq-read", .title = "sequential read, again", .data_floor = 1.1, .weight = 1, WARM, .run = run_read},
        {"mmap", .title = "mmap read, first", .data_floor = 1.1, .weight = 2, FIRST, .run = run_mmap},
        {"seq-write", .title = "sequential write", .data_floor = 1.1, .weight = 3, WRITES, .prepare = prepare_write, .run = run_write},
        {"random-read", .title = "4k random read", .data_floor = 1.1, .weight = 1, WARM, .run = run_random_read},
        {"random-read-direct", .title = "4k random read, O_DIRECT", .data_floor = 1.1, .weight = 1, WARM, .run = run_direct_read,
         .unavailable = without_direct},
        {"random-write", .title = "4k random write", .data_floor = 1.1, .weight = 2, WRITES, .prepare = prepare_overwrite,
         .run = run_random_write},
        {"random-write-direct", .title = "4k random write, O_DIRECT", .data_floor = 1.1, .weight = 2, WRITES, .prepare = prepare_overwrite,
         .run = run_direct_write, .unavailable = without_direct},
        {"append", .title = "4k appends", .data_floor = 1.3, .weight = 2, WRITES, .run = run_append},
        {NULL},
};
