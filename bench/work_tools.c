/*
 * Workloads that are whole programs: node and python loading many modules, a C compiler, npm.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/options.h"
#include "bench/tool.h"
#include "bench/workloads.h"
#include "cache/base/err.h"
#include "cache/base/fd.h"

/* The sum that a program printed must be this. */
static int check_sum(struct bench *b, struct side *s, const char *const argv[], unsigned long wanted)
{
        CLEANUP_FREE char *said = NULL;

        if (tool_capture(argv, &said) || strtoul(said, NULL, 10) != wanted)
                return work_complain(b, s, argv[0], -EIO);
        return 0;
}

/* 0 + 1 + … + (n - 1) */
static unsigned long sum_below(unsigned long n)
{
        return n * (n - 1) / 2;
}

static int run_node(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        const struct scene *sc = b->scene;
        char path[PATH_ROOM];

        (void)round;
        snprintf(path, sizeof path, "%s/node/main.js", s->root);
        *ops = 2 * (size_t)sc->sizes.node_packages;

        const char *const argv[] = {"node", path, NULL};

        return check_sum(b, s, argv, sum_below(sc->sizes.node_packages) + sc->sizes.node_packages);
}

static int run_python(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        const struct scene *sc = b->scene;
        char path[PATH_ROOM];

        (void)round;
        snprintf(path, sizeof path, "%s/python/main.py", s->root);
        *ops = sc->sizes.python_modules;

        const char *const argv[] = {sc->python, path, NULL};

        return check_sum(b, s, argv, sum_below(sc->sizes.python_modules));
}

/* Objects go to a directory that each round has of its own, in the mount. */
static int prepare_compile(struct bench *b, struct side *s, unsigned round)
{
        struct scene *sc = b->scene;
        char path[PATH_ROOM];

        (void)round;
        work_scratch(b, s, "built", ++sc->built[work_side(b, s)], path);
        return mkdir(path, 0755) ? work_complain(b, s, "mkdir", -errno) : 0;
}

static int run_compile(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        char c[PATH_ROOM], built[PATH_ROOM], o[PATH_ROOM + 16];
        const struct scene *sc = b->scene;
        struct stat st;

        (void)round;
        work_scratch(b, s, "built", sc->built[work_side(b, s)], built);
        snprintf(c, sizeof c, "%s/c", s->root);
        snprintf(o, sizeof o, "O=%s", built);
        *ops = sc->sizes.c_files;

        const char *const make[] = {"make", "-s", "-j2", "-C", c, o, NULL};

        if (tool_run(make))
                return work_complain(b, s, "make", -EIO);
        snprintf(o, sizeof o, "%s/lib.a", built);
        return stat(o, &st) || !st.st_size ? work_complain(b, s, "make made nothing", -EIO) : 0;
}

static int copy_file(const char *from_dir, const char *to_dir, const char *name)
{
        char from[PATH_ROOM + 32], to[PATH_ROOM + 32];

        snprintf(from, sizeof from, "%s/%s", from_dir, name);
        snprintf(to, sizeof to, "%s/%s", to_dir, name);

        const char *const cp[] = {"cp", from, to, NULL};

        return tool_run(cp) ? -EIO : 0;
}

/* A project that only has to be installed. */
static int prepare_npm(struct bench *b, struct side *s, unsigned round)
{
        const struct scene *sc = b->scene;
        char npm[PATH_ROOM], path[PATH_ROOM];

        (void)round;
        snprintf(npm, sizeof npm, "%s/npm", s->root);
        work_scratch(b, s, "npm", sc->installed[work_side(b, s)], path);
        if (mkdir(path, 0755) || copy_file(npm, path, "package.json") || copy_file(npm, path, "package-lock.json"))
                return work_complain(b, s, "a new project", -EIO);
        return 0;
}

static int run_npm(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        struct scene *sc = b->scene;
        char path[PATH_ROOM], last[PATH_ROOM + 64];

        (void)round;
        work_scratch(b, s, "npm", sc->installed[work_side(b, s)]++, path);
        *ops = (size_t)sc->sizes.npm_packages * sc->sizes.npm_files;

        const char *const npm[] = {"npm",        "ci",        "--prefix",         path,         "--cache", sc->npm_cache, "--offline",
                                   "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel", "error",   NULL};

        if (tool_run(npm))
                return work_complain(b, s, "npm ci", -EIO);
        snprintf(last, sizeof last, "%s/node_modules/made-up-%u/lib/file-1.js", path, sc->sizes.npm_packages - 1);
        return access(last, R_OK) ? work_complain(b, s, "npm ci installed nothing", -EIO) : 0;
}

/* What the installations above have left, else one made for this. */
static int prepare_npm_rm(struct bench *b, struct side *s, unsigned round)
{
        struct scene *sc = b->scene;
        size_t side = work_side(b, s), ops;
        int err = 0;

        if (sc->uninstalled[side] == sc->installed[side])
                err = (err = prepare_npm(b, s, round)) ? err : run_npm(b, s, round, &ops);
        return err;
}

static int run_npm_rm(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        struct scene *sc = b->scene;
        char path[PATH_ROOM], modules[PATH_ROOM + 16];

        (void)round;
        work_scratch(b, s, "npm", sc->uninstalled[work_side(b, s)]++, path);
        snprintf(modules, sizeof modules, "%s/node_modules", path);
        *ops = (size_t)sc->sizes.npm_packages * sc->sizes.npm_files;

        const char *const rm[] = {"rm", "-rf", modules, NULL};

        if (access(modules, F_OK) || tool_run(rm) || !access(modules, F_OK))
                return work_complain(b, s, "rm -rf node_modules", -EIO);
        return 0;
}

static const char *without_node(const struct bench *b)
{
        (void)b;
        return tool_exists("node") ? NULL : "node is not installed";
}

static const char *without_npm(const struct bench *b)
{
        const char *why = without_node(b);

        return why ? why : tool_exists("npm") ? NULL : "npm is not installed";
}

static const char *without_python(const struct bench *b)
{
        (void)b;
        return tool_exists("python3") ? NULL : "python3 is not installed";
}

static const char *without_compiler(const struct bench *b)
{
        (void)b;
        return tool_exists("gcc") && tool_exists("make") ? NULL : "gcc or make is not installed";
}

const struct workload tool_workloads[] = {
        {"node", .title = "node require storm", .floor = 1.08, .weight = 3, .rounds_min = 5, .rounds_max = 15, .warm = true,
         .run = run_node, .unavailable = without_node},
        {"python", .title = "python import storm", .floor = 1.08, .weight = 2, .rounds_min = 5, .rounds_max = 15, .warm = true,
         .run = run_python, .unavailable = without_python},
        {"compile", .title = "C compile", .floor = 1.03, .weight = 6, .rounds_min = 3, .rounds_max = 9, .warm = true, .writes = true,
         .prepare = prepare_compile, .run = run_compile, .unavailable = without_compiler},
        {NULL},
};

const struct workload npm_workloads[] = {
        {"npm-ci", .title = "npm ci, warm npm cache", .weight = 8, .rounds_min = 3, .rounds_max = 5, .writes = true, .prepare = prepare_npm,
         .run = run_npm, .unavailable = without_npm},
        {"npm-rm", .title = "rm -rf of that node_modules", .weight = 2, .rounds_min = 3, .rounds_max = 5, .writes = true,
         .prepare = prepare_npm_rm, .run = run_npm_rm, .unavailable = without_npm},
        {NULL},
};
