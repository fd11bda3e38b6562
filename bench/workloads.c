#include "bench/workloads.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/options.h"
#include "bench/tool.h"
#include "bench/walk.h"
#include "cache/base/err.h"
#include "cache/base/fd.h"
#include "cache/base/thread.h"

enum {
        CREATE_DIRS = 20,
};

int work_complain(const struct bench *b, const struct side *s, const char *what, int err)
{
        fprintf(stderr, "%s: %s on %s: %s\n", b->options->program, what, s->label, strerror(-err));
        return err;
}

int work_open(const struct side *s, const char *below)
{
        char path[PATH_ROOM];
        int fd;

        snprintf(path, sizeof path, "%s/%s", s->root, below);
        fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static int open_root(const struct side *s)
{
        return work_open(s, "");
}

size_t work_side(const struct bench *b, const struct side *s)
{
        return (size_t)(s - b->sides);
}

static int run_walk(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        CLEANUP_FD int root = open_root(s);
        const struct scene *sc = b->scene;
        int err;

        (void)round;
        *ops = 0;
        err = walk_tree(root, ".", ops);
        if (!err && *ops < sc->sizes.app_files)
                err = -ENOENT;
        return err ? work_complain(b, s, "walk", err) : 0;
}

static int run_stat(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        CLEANUP_FD int root = open_root(s);
        const struct scene *sc = b->scene;
        int err;

        (void)round;
        *ops = sc->paths_n;
        err = walk_stat(root, sc->paths, sc->paths_n);
        return err ? work_complain(b, s, "stat", err) : 0;
}

static int run_missing(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        CLEANUP_FD int root = open_root(s);
        const struct scene *sc = b->scene;
        int err;

        (void)round;
        *ops = sc->missing_n;
        err = walk_missing(root, sc->missing, sc->missing_n);
        return err ? work_complain(b, s, "missing names", err) : 0;
}

static int run_read(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        CLEANUP_FD int root = open_root(s);
        const struct scene *sc = b->scene;
        size_t bytes = 0;
        int err;

        (void)round;
        *ops = sc->small_n;
        err = walk_read(root, sc->small, sc->small_n, &bytes);
        if (!err && bytes != sc->small_bytes)
                err = -EIO;
        return err ? work_complain(b, s, "open, read, close", err) : 0;
}

/* A checkout that nobody has changed: git must say nothing. */
static int run_status(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        const struct scene *sc = b->scene;
        CLEANUP_FREE char *said = NULL;
        char app[PATH_ROOM];

        (void)round;
        snprintf(app, sizeof app, "%s/app", s->root);
        *ops = sc->sizes.app_files;

        const char *const status[] = {"git", "-C", app, "status", "--porcelain", NULL};

        if (tool_capture(status, &said) || *said)
                return work_complain(b, s, "git status isn't clean", -EIO);
        return 0;
}

/* Every line that holds the needle must be found: there is one in each of `files` / TREE_NEEDLE_EVERY files. */
static int grep(struct bench *b, struct side *s, const char *dir, unsigned files)
{
        CLEANUP_FREE char *said = NULL;
        char path[PATH_ROOM];
        size_t lines = 0;

        snprintf(path, sizeof path, "%s/%s", s->root, dir);

        const char *const argv[] = {"grep", "-r", "--exclude-dir=.git", TREE_NEEDLE, path, NULL};

        if (tool_capture(argv, &said))
                return work_complain(b, s, "grep", -EIO);
        for (const char *at = said; (at = strchr(at, '\n')); at++)
                lines++;
        if (lines != files / TREE_NEEDLE_EVERY)
                return work_complain(b, s, "grep found another number of lines", -EIO);
        return 0;
}

static int run_grep(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        const struct scene *sc = b->scene;

        (void)round;
        *ops = sc->sizes.app_files;
        return grep(b, s, "app", sc->sizes.app_files);
}

void work_scratch(const struct bench *b, const struct side *s, const char *what, size_t n, char path[PATH_ROOM])
{
        snprintf(path, PATH_ROOM, "%s/scratch/%s-%zu-%zu-%d", s->root, what, work_side(b, s), n, getpid());
}

static int prepare_create(struct bench *b, struct side *s, unsigned round)
{
        CLEANUP_FD int fd = -1;
        char path[PATH_ROOM], name[16];

        work_scratch(b, s, "create", round, path);
        if (mkdir(path, 0755) || (fd = open(path, O_PATH | O_CLOEXEC)) < 0)
                return work_complain(b, s, "mkdir", -errno);
        for (int i = 0; i < CREATE_DIRS; i++) {
                snprintf(name, sizeof name, "%d", i);
                if (mkdirat(fd, name, 0755))
                        return work_complain(b, s, "mkdir", -errno);
        }
        return 0;
}

static int run_create(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        const struct scene *sc = b->scene;
        CLEANUP_FD int fd = -1;
        char path[PATH_ROOM];
        int err;

        work_scratch(b, s, "create", round, path);
        fd = open(path, O_PATH | O_CLOEXEC);
        *ops = sc->sizes.create_files;
        err = walk_create(fd, sc->sizes.create_files, CREATE_DIRS);
        return err ? work_complain(b, s, "create", err) : 0;
}

/* How many of the application's are in the archive. */
static size_t area_files(const struct scene *sc)
{
        return sc->sizes.app_files < TREE_AREA_FILES ? sc->sizes.app_files : TREE_AREA_FILES;
}

static int make_stock_dir(struct bench *b, struct side *s)
{
        const struct scene *sc = b->scene;
        char path[PATH_ROOM];

        work_scratch(b, s, "unpacked", sc->stocked[work_side(b, s)], path);
        return mkdir(path, 0755) ? work_complain(b, s, "mkdir", -errno) : 0;
}

static int prepare_untar(struct bench *b, struct side *s, unsigned round)
{
        (void)round;
        return make_stock_dir(b, s);
}

static int run_untar(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        struct scene *sc = b->scene;
        char path[PATH_ROOM];

        (void)round;
        work_scratch(b, s, "unpacked", sc->stocked[work_side(b, s)]++, path);
        *ops = area_files(sc);

        const char *const untar[] = {"tar", "-xf", sc->archive, "-C", path, NULL};

        return tool_run(untar) ? work_complain(b, s, "tar", -EIO) : 0;
}

enum {
        DELETE_ROUNDS = 7,
};

static int stock(struct bench *b, struct side *s, size_t wanted)
{
        struct scene *sc = b->scene;
        size_t ops;
        int err = 0;

        while (!err && sc->stocked[work_side(b, s)] < wanted)
                err = (err = make_stock_dir(b, s)) ? err : run_untar(b, s, 0, &ops);
        return err;
}

/* The trees to be deleted are unpacked before the first deletion: where that makes creating slow, it would go on for a minute. Those of a
 * peer, and of a disk that was chosen for not having that trouble, when they are needed. */
static int prepare_delete(struct bench *b, struct side *s, unsigned round)
{
        struct scene *sc = b->scene;
        int err = 0;

        for (size_t i = 0; !err && i < b->sides_n && round == 0 && !b->options->image && !b->options->smoke; i++)
                if (sc->deleted[0] == 0 && !b->sides[i].peer)
                        err = stock(b, &b->sides[i], DELETE_ROUNDS);
        return err ? err : stock(b, s, sc->deleted[work_side(b, s)] + 1);
}

static int run_delete(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        struct scene *sc = b->scene;
        char path[PATH_ROOM];

        (void)round;
        work_scratch(b, s, "unpacked", sc->deleted[work_side(b, s)]++, path);
        *ops = area_files(sc);

        const char *const delete[] = {"rm", "-rf", path, NULL};

        if (tool_run(delete) || !access(path, F_OK))
                return work_complain(b, s, "rm -rf", -EIO);
        return 0;
}

/* git looks at everything before it switches, as a developer's prompt does. A peer doesn't know what the others have changed meanwhile. */
static int prepare_checkout(struct bench *b, struct side *s, unsigned round)
{
        size_t ops;
        int err = s->peer ? work_mount_fresh(b, s, round) : side_settle(s);

        return err ? err : run_status(b, s, round, &ops);
}

static int run_checkout(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        static const char *const branches[] = {"other", "main"};
        const struct scene *sc = b->scene;
        char app[PATH_ROOM];

        (void)round;
        snprintf(app, sizeof app, "%s/app", s->root);
        *ops = 2 * sc->sizes.app_files / TREE_CHANGED_EVERY; /* there and back */
        for (size_t i = 0; i < ARRAY_LEN(branches); i++) {
                const char *const checkout[] = {"git", "-C", app, "checkout", "-q", branches[i], NULL};

                if (tool_run(checkout))
                        return work_complain(b, s, "git checkout", -EIO);
        }
        return 0;
}

static int finish_checkout(struct bench *b, struct side *s, unsigned round)
{
        size_t ops;

        return run_status(b, s, round, &ops);
}

static int prepare_first(struct bench *b, struct side *s, unsigned round)
{
        struct scene *sc = b->scene;
        unsigned long long begin = clock_now_ns();
        double seconds;
        int err;

        (void)round;
        err = side_open(s, sc->first_source);
        if (!err)
                err = side_prewarm(s, begin, &seconds);
        if (!err && seconds >= 0 && sc->prewarms < PREWARMS_MAX)
                sc->prewarm_s[sc->prewarms++] = seconds;
        return err;
}

static int finish_first(struct bench *b, struct side *s, unsigned round)
{
        (void)b;
        (void)round;
        side_close(s);
        return 0;
}

static int run_first_grep(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        const struct scene *sc = b->scene;

        (void)round;
        *ops = sc->sizes.first_files;
        return grep(b, s, "", sc->sizes.first_files);
}

int work_mount_fresh(struct bench *b, struct side *s, unsigned round)
{
        const struct scene *sc = b->scene;

        (void)round;
        side_close(s);
        return side_open_with(s, sc->source, "prewarm=off");
}

int work_mount_prewarmed(struct bench *b, struct side *s, unsigned round)
{
        struct scene *sc = b->scene;
        unsigned long long begin;
        double seconds;
        int err;

        (void)round;
        side_close(s);
        begin = clock_now_ns();
        err = side_open(s, sc->source);
        if (!err)
                err = side_prewarm(s, begin, &seconds);
        if (!err && seconds >= 0 && sc->prewarms < PREWARMS_MAX)
                sc->prewarm_s[sc->prewarms++] = seconds;
        return err;
}

int work_unmount(struct bench *b, struct side *s, unsigned round)
{
        (void)b;
        (void)round;
        side_close(s);
        return 0;
}

/* What tar made the first time is what it has to make for all. A pipe, for tar reads nothing when it sees that its output is /dev/null. */
static int run_tar(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        const char *const tar[] = {"tar", "-C", s->root, "-cf", "-", "app", NULL};
        struct scene *sc = b->scene;
        size_t bytes;

        (void)round;
        *ops = sc->sizes.app_files;
        if (tool_count(tar, &bytes))
                return work_complain(b, s, "tar", -EIO);
        if (!sc->tar_bytes)
                sc->tar_bytes = bytes;
        return bytes == sc->tar_bytes ? 0 : work_complain(b, s, "tar made another number of bytes", -EIO);
}

#define QUICK .rounds_min = 5, .rounds_max = 41, .warm = true
#define READS .rounds_min = 5, .rounds_max = 25, .warm = true
#define WRITES .rounds_min = 3, .rounds_max = 7, .writes = true
#define FIRST .rounds_min = 3, .rounds_max = 7, .warm = true

/* In an order that disturbs the later ones least: reading, creating, switching branches, deleting. */
const struct workload app_workloads[] = {
        {"walk", .title = "walk+stat, warm", .floor = 0.9, .weight = 1, QUICK, .run = run_walk},
        {"stat", .title = "stat storm, warm", .floor = 1.3, .weight = 1, QUICK, .run = run_stat},
        {"missing", .title = "lookup of missing names", .floor = 1.35, .weight = 1, QUICK, .run = run_missing},
        {"git-status", .title = "git status", .floor = 1.05, .weight = 2, READS, .run = run_status},
        {"grep", .title = "grep -r, warm", .floor = 1.1, .weight = 2, READS, .run = run_grep},
        {"read", .title = "open+read+close, small, warm", .floor = 1.25, .weight = 1.5, READS, .run = run_read},
        {"create", .title = "create small files", .floor = 2, .weight = 3, WRITES, .prepare = prepare_create, .run = run_create},
        {"untar", .title = "untar", .floor = 2.4, .weight = 3, WRITES, .prepare = prepare_untar, .run = run_untar},
        {"checkout", .title = "git checkout of another branch", .floor = 1.4, .weight = 5, WRITES, .prepare = prepare_checkout,
         .run = run_checkout, .finish = finish_checkout},
        {"rm", .title = "rm -rf", .floor = 1.9, .weight = 3, WRITES, .prepare = prepare_delete, .run = run_delete},
        {NULL},
};

/* A large tree seen for the first time. */
const struct workload first_workloads[] = {
        {"first-walk", .floor = 2, .weight = 6, FIRST, .prepare = prepare_first, .run = run_walk, .finish = finish_first},
        {"first-grep", .floor = 2, .weight = 6, FIRST, .prepare = prepare_first, .run = run_first_grep, .finish = finish_first},
        {NULL},
};

/* The same source through a mount that has seen nothing yet. */
const struct workload touch_workloads[] = {
        {"walk-first", .title = "walk+stat, first touch", .weight = 3, FIRST, .prepare = work_mount_fresh, .run = run_walk,
         .finish = work_unmount},
        {"walk-prewarmed", .title = "  the same, pre-warmed", .floor = 2, .weight = 3, FIRST, .prepare = work_mount_prewarmed,
         .run = run_walk, .finish = work_unmount, .only_dsfs = true},
        {"grep-first", .title = "grep -r, first touch", .weight = 3, FIRST, .prepare = work_mount_fresh, .run = run_grep,
         .finish = work_unmount},
        {"grep-prewarmed", .title = "  the same, pre-warmed", .floor = 2, .weight = 3, FIRST, .prepare = work_mount_prewarmed,
         .run = run_grep, .finish = work_unmount, .only_dsfs = true},
        {"tar", .title = "tar to a pipe, warm", .weight = 2, READS, .run = run_tar},
        {NULL},
};
