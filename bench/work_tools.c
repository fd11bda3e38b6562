/*
 * Workloads that are whole programs: node and python loading many modules, a C compiler.
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

const char *work_without_node(const struct bench *b)
{
        (void)b;
        return tool_exists("node") ? NULL : "node is not installed";
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
         .run = run_node, .unavailable = work_without_node},
        {"python", .title = "python import storm", .floor = 1.08, .weight = 2, .rounds_min = 5, .rounds_max = 15, .warm = true,
         .run = run_python, .unavailable = without_python},
        {"compile", .title = "C compile", .floor = 1.03, .weight = 6, .rounds_min = 3, .rounds_max = 9, .warm = true, .writes = true,
         .prepare = prepare_compile, .run = run_compile, .unavailable = without_compiler},
        {NULL},
};
