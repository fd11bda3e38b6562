/*
 * Access times in the source: who reads through the mount moves them as he would in a bind mount, and nothing else does.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"

#define OLD_TIME 1000000000
#define BIG (16 << 20)
#define PAGE 4096
#define PATIENCE 20

static const struct variant readonly_variants[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .options = "readonly"},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .options = "readonly"},
};

static const struct variant warmed_variants[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .prewarm = true},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .prewarm = true},
};

/* In the source, with its access time long ago. */
static void make_old(struct fixture *f, const char *name)
{
        CLEANUP_FD int fd = open(at(f->src, "%s", name), O_RDWR | O_CREAT | O_CLOEXEC, 0644);

        must(fd >= 0 && ftruncate(fd, BIG) == 0, "%s", name);
        must(futimens(fd, (struct timespec[]){{.tv_sec = OLD_TIME}, {.tv_nsec = UTIME_OMIT}}) == 0, "futimens");
}

static bool is_old(struct fixture *f, const char *name)
{
        struct stat st;

        must(stat(at(f->src, "%s", name), &st) == 0, "stat %s", name);
        return st.st_atim.tv_sec == OLD_TIME;
}

static void read_at(struct fixture *f, const char *name, int flags, off_t off)
{
        CLEANUP_FD int fd = open(at(f->mnt, "%s", name), O_RDONLY | O_CLOEXEC | flags);
        char c;

        must(fd >= 0 && pread(fd, &c, 1, off) == 1, "read %s", name);
}

CASE(atimes, reading_moves_them)
{
        make_old(f, "file");
        fixture_wait(f);
        read_at(f, "file", 0, 0);
        must(!is_old(f, "file"), "the access time is as before");
        must_mirror(f);
}

CASE(atimes, reading_with_O_NOATIME_does_not)
{
        make_old(f, "file");
        fixture_wait(f);
        read_at(f, "file", O_NOATIME, 0);
        must(is_old(f, "file"), "the access time moved");
        /* Others read it without. */
        read_at(f, "file", 0, BIG / 2);
        must(!is_old(f, "file"), "the access time is as before");
        make_old(f, "file");
        fixture_wait(f);
        read_at(f, "file", O_NOATIME, BIG - PAGE);
        must(is_old(f, "file"), "the access time moved after others had read");
}

CASE_WITH(atimes, reading_a_readonly_mount_does_not, readonly_variants)
{
        make_old(f, "file");
        fixture_wait(f);
        read_at(f, "file", 0, 0);
        must(is_old(f, "file"), "the access time moved");
}

/* The first page of the file is in the page cache of the mount. */
static bool is_warm(void *arg)
{
        struct fixture *f = arg;
        CLEANUP_FD int fd = open(at(f->mnt, "small"), O_RDONLY | O_NOATIME | O_CLOEXEC);
        unsigned char resident = 0;
        void *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);

        must(p != MAP_FAILED && mincore(p, PAGE, &resident) == 0, "mincore");
        munmap(p, PAGE);
        return resident & 1;
}

ParameterizedTestParameters(atimes, warming_does_not)
{
        return cr_make_param_array(struct variant, (void *)warmed_variants, ARRAY_LEN(warmed_variants));
}

ParameterizedTest(struct variant *v, atimes, warming_does_not, .timeout = CASE_SECONDS)
{
        struct fixture *f;

        test_on_fail(case_failed);
        f = fixture_prepare(v);
        put_text(at(f->src, "small"), "text");
        must(utimensat(AT_FDCWD, at(f->src, "small"), (struct timespec[]){{.tv_sec = OLD_TIME}, {.tv_nsec = UTIME_OMIT}}, 0) == 0,
             "utimensat");
        fixture_mount(f);
        must(wait_until(is_warm, f, PATIENCE), "it is not read in the background");
        must(is_old(f, "small"), "the access time moved");
        fixture_free(f);
}
