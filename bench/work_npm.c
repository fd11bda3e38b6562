/*
 * npm: projects, which have a directory for each installation, and the workloads on the one that is made up.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/tool.h"
#include "bench/workloads.h"

void npm_path(const struct bench *b, const struct side *s, const struct npm_project *p, size_t n, char path[PATH_ROOM])
{
        work_scratch(b, s, p->name, n, path);
}

static int copy_file(const char *from_dir, const char *to_dir, const char *name)
{
        char from[PATH_ROOM + 32], to[PATH_ROOM + 32];

        snprintf(from, sizeof from, "%s/%s", from_dir, name);
        snprintf(to, sizeof to, "%s/%s", to_dir, name);

        const char *const cp[] = {"cp", from, to, NULL};

        return tool_run(cp) ? -EIO : 0;
}

int npm_new(struct bench *b, struct side *s, struct npm_project *p)
{
        char path[PATH_ROOM];

        npm_path(b, s, p, p->installed[work_side(b, s)], path);
        if (mkdir(path, 0755) || copy_file(p->from, path, "package.json") || copy_file(p->from, path, "package-lock.json"))
                return work_complain(b, s, "a new project", -EIO);
        return 0;
}

/* Through dsfs an artifact isn't in the source, else no rule is measured. */
static bool is_in_its_place(const struct bench *b, const struct side *s, const struct npm_project *p, const char *path)
{
        const struct scene *sc = b->scene;
        char in_source[2 * PATH_ROOM];

        snprintf(in_source, sizeof in_source, "%s%s/node_modules", sc->source, path + strlen(s->root));
        return !p->artifacts || !access(in_source, F_OK) == !s->fuse;
}

int npm_install(struct bench *b, struct side *s, struct npm_project *p, size_t *ops)
{
        const struct scene *sc = b->scene;
        char path[PATH_ROOM], last[PATH_ROOM + 64];

        npm_path(b, s, p, p->installed[work_side(b, s)]++, path);
        *ops = p->files;

        const char *const npm[] = {"npm",        "ci",        "--prefix",         path,         "--cache", sc->npm_cache, "--offline",
                                   "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel", "error",   NULL};

        if (tool_run(npm))
                return work_complain(b, s, "npm ci", -EIO);
        snprintf(last, sizeof last, "%s/node_modules/.package-lock.json", path);
        if (access(last, R_OK))
                return work_complain(b, s, "npm ci installed nothing", -EIO);
        return is_in_its_place(b, s, p, path) ? 0 : work_complain(b, s, "the rules don't count", -EIO);
}

int npm_stock(struct bench *b, struct side *s, struct npm_project *p, size_t used)
{
        size_t ops;
        int err;

        if (used < p->installed[work_side(b, s)])
                return 0;
        err = npm_new(b, s, p);
        return err ? err : npm_install(b, s, p, &ops);
}

int npm_remove(struct bench *b, struct side *s, struct npm_project *p, size_t *ops)
{
        char path[PATH_ROOM], modules[PATH_ROOM + 16];

        npm_path(b, s, p, p->uninstalled[work_side(b, s)]++, path);
        snprintf(modules, sizeof modules, "%s/node_modules", path);
        *ops = p->files;

        const char *const rm[] = {"rm", "-rf", modules, NULL};

        if (access(modules, F_OK) || tool_run(rm) || !access(modules, F_OK))
                return work_complain(b, s, "rm -rf node_modules", -EIO);
        return 0;
}

static int prepare_npm(struct bench *b, struct side *s, unsigned round)
{
        struct scene *sc = b->scene;

        (void)round;
        return npm_new(b, s, &sc->npm);
}

static int run_npm(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        struct scene *sc = b->scene;

        (void)round;
        return npm_install(b, s, &sc->npm, ops);
}

/* What the installations above have left, else one made for this. */
static int prepare_npm_rm(struct bench *b, struct side *s, unsigned round)
{
        struct scene *sc = b->scene;

        (void)round;
        return npm_stock(b, s, &sc->npm, sc->npm.uninstalled[work_side(b, s)]);
}

static int run_npm_rm(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        struct scene *sc = b->scene;

        (void)round;
        return npm_remove(b, s, &sc->npm, ops);
}

const char *work_without_npm(const struct bench *b)
{
        const char *why = work_without_node(b);

        return why ? why : tool_exists("npm") ? NULL : "npm is not installed";
}

const struct workload npm_workloads[] = {
        {"npm-ci", .title = "npm ci, warm npm cache", .weight = 8, .rounds_min = 3, .rounds_max = 5, .writes = true, .prepare = prepare_npm,
         .run = run_npm, .unavailable = work_without_npm},
        {"npm-rm", .title = "rm -rf of that node_modules", .weight = 2, .rounds_min = 3, .rounds_max = 5, .writes = true,
         .prepare = prepare_npm_rm, .run = run_npm_rm, .unavailable = work_without_npm},
        {NULL},
};
