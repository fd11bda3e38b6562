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
        CREATE_FILES = 10000,
        CREATE_DIRS = 20,
        CHECKOUT_FILES = 2 * APP_FILES / TREE_CHANGED_EVERY, /* there and back */
        PATH_ROOM = 4096,
};

static int complain(const struct bench *b, const struct side *s, const char *what, int err)
{
        fprintf(stderr, "%s: %s on %s: %s\n", b->options->program, what, s->label, strerror(-err));
        return err;
}

static int open_root(const struct side *s)
{
        int fd = open(s->root, O_PATH | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

static size_t side_index(const struct bench *b, const struct side *s)
{
        return (size_t)(s - b->sides);
}

static int run_walk(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        CLEANUP_FD int root = open_root(s);
        int err;

        (void)round;
        *ops = 0;
        err = walk_tree(root, ".", ops);
        if (!err && *ops < APP_FILES)
                err = -ENOENT;
        return err ? complain(b, s, "walk", err) : 0;
}

static int run_stat(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        CLEANUP_FD int root = open_root(s);
        const struct scene *sc = b->scene;
        int err;

        (void)round;
        *ops = sc->paths_n;
        err = walk_stat(root, sc->paths, sc->paths_n);
        return err ? complain(b, s, "stat", err) : 0;
}

static int run_missing(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        CLEANUP_FD int root = open_root(s);
        const struct scene *sc = b->scene;
        int err;

        (void)round;
        *ops = sc->missing_n;
        err = walk_missing(root, sc->missing, sc->missing_n);
        return err ? complain(b, s, "missing names", err) : 0;
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
        return err ? complain(b, s, "open, read, close", err) : 0;
}

/* A checkout that nobody has changed: git must say nothing. */
static int run_status(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        CLEANUP_FREE char *said = NULL;
        char app[PATH_ROOM];

        (void)round;
        snprintf(app, sizeof app, "%s/app", s->root);
        *ops = APP_FILES;

        const char *const status[] = {"git", "-C", app, "status", "--porcelain", NULL};

        if (tool_capture(status, &said) || *said)
                return complain(b, s, "git status isn't clean", -EIO);
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
                return complain(b, s, "grep", -EIO);
        for (const char *at = said; (at = strchr(at, '\n')); at++)
                lines++;
        if (lines != files / TREE_NEEDLE_EVERY)
                return complain(b, s, "grep found another number of lines", -EIO);
        return 0;
}

static int run_grep(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        (void)round;
        *ops = APP_FILES;
        return grep(b, s, "app", APP_FILES);
}

/* "<root>/scratch/<what>-<side>-<round>-<pid>": names decide where ext4 puts them, so another run's are put elsewhere. */
static void scratch_path(const struct bench *b, const struct side *s, const char *what, size_t n, char path[PATH_ROOM])
{
        snprintf(path, PATH_ROOM, "%s/scratch/%s-%zu-%zu-%d", s->root, what, side_index(b, s), n, getpid());
}

static int prepare_create(struct bench *b, struct side *s, unsigned round)
{
        CLEANUP_FD int fd = -1;
        char path[PATH_ROOM], name[16];

        scratch_path(b, s, "create", round, path);
        if (mkdir(path, 0755) || (fd = open(path, O_PATH | O_CLOEXEC)) < 0)
                return complain(b, s, "mkdir", -errno);
        for (int i = 0; i < CREATE_DIRS; i++) {
                snprintf(name, sizeof name, "%d", i);
                if (mkdirat(fd, name, 0755))
                        return complain(b, s, "mkdir", -errno);
        }
        return 0;
}

static int run_create(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        CLEANUP_FD int fd = -1;
        char path[PATH_ROOM];
        int err;

        scratch_path(b, s, "create", round, path);
        fd = open(path, O_PATH | O_CLOEXEC);
        *ops = CREATE_FILES;
        err = walk_create(fd, CREATE_FILES, CREATE_DIRS);
        return err ? complain(b, s, "create", err) : 0;
}

static int make_stock_dir(struct bench *b, struct side *s)
{
        const struct scene *sc = b->scene;
        char path[PATH_ROOM];

        scratch_path(b, s, "unpacked", sc->stocked[side_index(b, s)], path);
        return mkdir(path, 0755) ? complain(b, s, "mkdir", -errno) : 0;
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
        scratch_path(b, s, "unpacked", sc->stocked[side_index(b, s)]++, path);
        *ops = TREE_AREA_FILES;

        const char *const untar[] = {"tar", "-xf", sc->archive, "-C", path, NULL};

        return tool_run(untar) ? complain(b, s, "tar", -EIO) : 0;
}

enum {
        DELETE_ROUNDS = 7,
};

/* The trees to be deleted are unpacked before the first deletion: where that makes creating slow, it would go on for a minute. */
static int prepare_delete(struct bench *b, struct side *s, unsigned round)
{
        struct scene *sc = b->scene;
        size_t side = side_index(b, s), ops;
        int err = 0;

        if (round == 0 && sc->deleted[0] + sc->deleted[1] == 0)
                for (size_t i = 0; !err && i < 2; i++)
                        while (!err && sc->stocked[i] < DELETE_ROUNDS)
                                err = (err = make_stock_dir(b, &b->sides[i])) ? err : run_untar(b, &b->sides[i], 0, &ops);
        if (!err && sc->deleted[side] >= sc->stocked[side])
                err = complain(b, s, "nothing left to delete", -ENOENT);
        return err;
}

static int run_delete(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        struct scene *sc = b->scene;
        char path[PATH_ROOM];

        (void)round;
        scratch_path(b, s, "unpacked", sc->deleted[side_index(b, s)]++, path);
        *ops = TREE_AREA_FILES;

        const char *const delete[] = {"rm", "-rf", path, NULL};

        if (tool_run(delete) || !access(path, F_OK))
                return complain(b, s, "rm -rf", -EIO);
        return 0;
}

/* git looks at everything before it switches, as a developer's prompt does. */
static int prepare_checkout(struct bench *b, struct side *s, unsigned round)
{
        size_t ops;
        int err = side_settle(s);

        return err ? err : run_status(b, s, round, &ops);
}

static int run_checkout(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        static const char *const branches[] = {"other", "main"};
        char app[PATH_ROOM];

        (void)round;
        snprintf(app, sizeof app, "%s/app", s->root);
        *ops = CHECKOUT_FILES;
        for (size_t i = 0; i < ARRAY_LEN(branches); i++) {
                const char *const checkout[] = {"git", "-C", app, "checkout", "-q", branches[i], NULL};

                if (tool_run(checkout))
                        return complain(b, s, "git checkout", -EIO);
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
        (void)round;
        *ops = FIRST_FILES;
        return grep(b, s, "", FIRST_FILES);
}

const struct workload app_workloads[] = {
        {"walk", 0.9, 1, 5, 41, true, false, NULL, run_walk, NULL},
        {"stat", 1.3, 1, 5, 41, true, false, NULL, run_stat, NULL},
        {"missing", 1.35, 1, 5, 41, true, false, NULL, run_missing, NULL},
        {"git-status", 1.05, 2, 5, 25, true, false, NULL, run_status, NULL},
        {"grep", 1.1, 2, 5, 25, true, false, NULL, run_grep, NULL},
        {"read", 1.25, 1.5, 5, 25, true, false, NULL, run_read, NULL},
        {"create", 2, 3, 3, 7, false, true, prepare_create, run_create, NULL},
        {"untar", 2.4, 3, 3, DELETE_ROUNDS, false, true, prepare_untar, run_untar, NULL},
        {"checkout", 1.4, 5, 3, 7, false, true, prepare_checkout, run_checkout, finish_checkout},
        {"rm", 1.9, 3, 3, DELETE_ROUNDS, false, true, prepare_delete, run_delete, NULL},
};
const size_t app_workloads_n = ARRAY_LEN(app_workloads);

const struct workload first_workloads[] = {
        {"first-walk", 2, 6, 3, 7, true, false, prepare_first, run_walk, finish_first},
        {"first-grep", 2, 6, 3, 7, true, false, prepare_first, run_first_grep, finish_first},
};
const size_t first_workloads_n = ARRAY_LEN(first_workloads);
