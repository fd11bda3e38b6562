/*
 * What the agent spends on a big tree: descriptors; and that nodes go when the kernel forgets them.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"
#include "tests/mount/numbered.h"

#define DIRS 200
#define FD_LIMIT 1024    /* the agent's */
#define FD_BUDGET 128    /* max_fds */
#define OPEN_FILES 3000  /* the test's own, at once */
#define OPEN_UNLINKED 48 /* of these: each needs one of the budget */
#define OTHER_FDS 128    /* what an agent holds beside its nodes: rings, sockets, watches */
#define SETTLE_SECONDS 60
#define REMOVERS 4
#define REMOVED_DIRS 30
#define TINY_BUDGET 64

static const struct variant tight[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .max_fds = FD_BUDGET, .nofile = FD_LIMIT},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_FANOTIFY, .max_fds = FD_BUDGET, .nofile = FD_LIMIT},
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .max_fds = FD_BUDGET, .nofile = FD_LIMIT},
};

static const struct variant tiny[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .max_fds = TINY_BUDGET},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .max_fds = TINY_BUDGET},
};

static int count_fds(const struct fixture *f)
{
        DIR *dir = opendir(at("/proc", "%d/fd", f->pid));
        int count = 0;

        must(dir, "/proc/%d/fd", f->pid);
        while (readdir(dir))
                count++;
        closedir(dir);
        return count - 2;
}

static void raise_own_limit(void)
{
        struct rlimit limit;

        must(getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
        limit.rlim_cur = limit.rlim_max;
        must(setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > OPEN_FILES + 100, "the test needs %d descriptors", OPEN_FILES);
}

/* 20,000 files, thousands open, hundreds of them unlinked, the host having renamed a directory of them: all readable, with few descriptors.
 */
CASE_WITH(fds, few_descriptors_serve_many_files, tight)
{
        static int held[OPEN_FILES];

        if (f->bind)
                return;
        raise_own_limit();
        make_tree(f->src, DIRS);
        fixture_wait(f);
        read_tree(f->mnt, DIRS);
        must(count_fds(f) <= FD_BUDGET + OTHER_FDS, "%d descriptors after reading", count_fds(f));
        for (int k = 0; k < OPEN_FILES; k++) {
                held[k] = open(at(f->mnt, "dir-%d/file-%d", k % DIRS, k / DIRS), O_RDWR | O_CLOEXEC);
                must(held[k] >= 0, "open %d", k);
        }
        must(count_fds(f) <= FD_BUDGET + OTHER_FDS, "%d descriptors with %d files open", count_fds(f), OPEN_FILES);
        for (int k = 0; k < OPEN_UNLINKED; k++)
                must(unlink(at(f->mnt, "dir-%d/file-%d", k % DIRS, k / DIRS)) == 0, "unlink %d", k);
        must(rename(at(f->src, "dir-150"), at(f->src, "renamed")) == 0, "rename on the host");
        must(count_fds(f) <= FD_BUDGET + OTHER_FDS, "%d descriptors with unlinked files open", count_fds(f));
        fixture_wait(f);
        posix_fadvise(held[0], 0, 0, POSIX_FADV_DONTNEED);
        for (int k = 0; k < OPEN_FILES; k++) {
                struct stat st;

                posix_fadvise(held[k], 0, 0, POSIX_FADV_DONTNEED);
                must_say(held[k], k % DIRS, k / DIRS);
                must(pwrite(held[k], "!", 1, 20) == 1, "write %d", k);
                must(fstat(held[k], &st) == 0 && st.st_nlink == (k >= OPEN_UNLINKED), "%lu links", (unsigned long)st.st_nlink);
                close(held[k]);
        }
        must(rename(at(f->src, "renamed"), at(f->src, "dir-150")) == 0, "rename on the host");
        fixture_wait(f);
        must_mirror(f);
        must(count_fds(f) <= FD_LIMIT, "%d descriptors", count_fds(f));
}

static bool nodes_went(void *arg)
{
        put_text("/proc/sys/vm/drop_caches", "2");
        return ask(arg, "nodes") < 1000;
}

struct pins {
        struct fixture *f;
        int64_t before;
};

static bool pins_went(void *arg)
{
        const struct pins *p = arg;

        return ask(p->f, "fds_pinned") <= p->before;
}

/* Whatever goes is known to the kernel until it forgets it: many at once are not too many. */
CASE_WITH(fds, a_known_tree_is_removed_with_few_descriptors, tight)
{
        if (f->bind)
                return;
        make_tree(f->src, DIRS);
        fixture_wait(f);
        read_tree(f->mnt, DIRS);
        for (int d = 0; d < DIRS; d++) {
                remove_tree(at(f->mnt, "dir-%d", d));
                must(access(at(f->src, "dir-%d", d), F_OK) < 0, "dir-%d is still there", d);
        }
        must(count_fds(f) <= FD_BUDGET + OTHER_FDS, "%d descriptors", count_fds(f));
        must_mirror(f);
}

struct remover {
        const char *root;
        int first;
};

static int remove_share(void *arg)
{
        const struct remover *r = arg;

        for (int d = r->first; d < REMOVED_DIRS; d += REMOVERS) {
                for (int i = 0; i < FILES; i++)
                        must(unlink(at(r->root, "dir-%d/file-%d", d, i)) == 0, "unlink dir-%d/file-%d", d, i);
                must(rmdir(at(r->root, "dir-%d", d)) == 0, "rmdir dir-%d", d);
        }
        return 0;
}

static bool fds_went(void *arg)
{
        struct pins *p = arg;

        return count_fds(p->f) <= TINY_BUDGET + OTHER_FDS && pins_went(p);
}

CASE_WITH(fds, several_remove_a_known_tree_with_few_descriptors, tiny)
{
        struct pins pins = {.f = f};
        struct remover removers[REMOVERS];
        pid_t pids[REMOVERS];

        if (f->bind)
                return;
        pins.before = ask(f, "fds_pinned");
        make_tree(f->src, REMOVED_DIRS);
        fixture_wait(f);
        read_tree(f->mnt, REMOVED_DIRS);
        for (int k = 0; k < REMOVERS; k++) {
                removers[k] = (struct remover){.root = f->mnt, .first = k};
                pids[k] = child_start(NULL, remove_share, &removers[k]);
        }
        for (int k = 0; k < REMOVERS; k++)
                must(child_wait(pids[k]) == 0, "remover %d", k);
        for (int d = 0; d < REMOVED_DIRS; d++)
                must(access(at(f->src, "dir-%d", d), F_OK) < 0, "dir-%d is still there", d);
        must(wait_until(fds_went, &pins, SETTLE_SECONDS), "%d descriptors stay, %ld pinned", count_fds(f), (long)ask(f, "fds_pinned"));
        must_mirror(f);
}

CASE_WITH(fds, forgotten_nodes_go, tight)
{
        struct pins pins = {.f = f};
        CLEANUP_FD int fd = -1;

        if (f->bind)
                return;
        pins.before = ask(f, "fds_pinned");
        make_tree(f->src, DIRS);
        fixture_wait(f);
        read_tree(f->mnt, DIRS);
        must(ask(f, "nodes") >= DIRS * FILES, "%ld nodes known", (long)ask(f, "nodes"));
        fd = open(at(f->mnt, "dir-0/file-0"), O_RDWR | O_CLOEXEC);
        must(unlink(at(f->mnt, "dir-0/file-0")) == 0, "unlink");
        must(wait_until(nodes_went, f, SETTLE_SECONDS), "%ld nodes after drop_caches", (long)ask(f, "nodes"));
        must_say(fd, 0, 0);
        fd_close(&fd);
        must(wait_until(pins_went, &pins, SETTLE_SECONDS), "%ld descriptors stay pinned", (long)ask(f, "fds_pinned"));
        must(unlink(at(f->src, "dir-0/file-1")) == 0, "unlink on the host");
        fixture_wait(f);
        must_mirror(f);
}
