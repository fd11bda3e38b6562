/*
 * Workloads on artifacts: what npm and pip install goes to the overlay in a mount of dsfs, which has rules for it, and to the source
 * through the bind mount.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/tool.h"
#include "bench/workloads.h"
#include "cache/base/err.h"

/* The system's: its packages go together. */
#define PYTHON "/usr/bin/python3"

static int prepare_ci(struct bench *b, struct side *s, unsigned round)
{
        struct scene *sc = b->scene;

        (void)round;
        return npm_new(b, s, &sc->project);
}

static int run_ci(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        struct scene *sc = b->scene;

        (void)round;
        return npm_install(b, s, &sc->project, ops);
}

static int prepare_require(struct bench *b, struct side *s, unsigned round)
{
        struct scene *sc = b->scene;

        (void)round;
        return npm_stock(b, s, &sc->project, sc->project.uninstalled[work_side(b, s)]);
}

/* All that the project depends on. An operation is a module; each dependency is one at least. */
static int run_require(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        static const char script[] = "const from = require('module').createRequire(process.argv[1] + '/package.json');"
                                     "const names = Object.keys(from('./package.json').dependencies);"
                                     "names.forEach(name => from(name));"
                                     "const count = Object.keys(from.cache).length;"
                                     "console.log(count > names.length ? count : 0);";
        struct scene *sc = b->scene;
        CLEANUP_FREE char *said = NULL;
        char path[PATH_ROOM];

        (void)round;
        npm_path(b, s, &sc->project, sc->project.uninstalled[work_side(b, s)], path);

        const char *const node[] = {"node", "-e", script, path, NULL};

        if (tool_capture(node, &said) || !(*ops = strtoul(said, NULL, 10)))
                return work_complain(b, s, "node", -EIO);
        return 0;
}

static int prepare_install(struct bench *b, struct side *s, unsigned round)
{
        struct scene *sc = b->scene;

        (void)round;
        return npm_stock(b, s, &sc->project, sc->project.changed[work_side(b, s)]);
}

static int run_install(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        char path[PATH_ROOM], installed[PATH_ROOM + 32];
        struct scene *sc = b->scene;

        (void)round;
        npm_path(b, s, &sc->project, sc->project.changed[work_side(b, s)]++, path);
        *ops = 1;

        const char *const npm[] = {"npm",        "install",   "--prefix",         path,         "--cache", sc->npm_cache, "--offline",
                                   "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel", "error",   sc->extra,     NULL};

        if (tool_run(npm))
                return work_complain(b, s, "npm install", -EIO);
        snprintf(installed, sizeof installed, "%s/node_modules/extra/index.js", path);
        return access(installed, R_OK) ? work_complain(b, s, "npm install installed nothing", -EIO) : 0;
}

static int prepare_rm(struct bench *b, struct side *s, unsigned round)
{
        return prepare_require(b, s, round);
}

static int run_rm(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        struct scene *sc = b->scene;

        (void)round;
        return npm_remove(b, s, &sc->project, ops);
}

/* The side's last package, and an environment for it alone, which is not in the mount. */
static void pip_paths(const struct bench *b, const struct side *s, char package[PATH_ROOM], char venv[PATH_ROOM])
{
        const struct scene *sc = b->scene;
        size_t side = work_side(b, s), n = sc->editable[side];

        work_scratch(b, s, "editable", n, package);
        snprintf(venv, PATH_ROOM, "%s/venv-%zu-%zu", b->place->disk, side, n);
}

static int prepare_pip(struct bench *b, struct side *s, unsigned round)
{
        static const char script[] =
                "mkdir -p \"$1/pkg\" && for i in 0 1 2 3 4 5 6 7 8 9; do echo \"value = $i\" >\"$1/pkg/m$i.py\"; done\n"
                "echo 'import setuptools; setuptools.setup(name=\"pkg\", version=\"1.0\", packages=[\"pkg\"])' >\"$1/setup.py\"\n"
                "exec \"$0\" -m venv --system-site-packages --without-pip \"$2\"";
        char package[PATH_ROOM], venv[PATH_ROOM];
        struct scene *sc = b->scene;

        (void)round;
        sc->editable[work_side(b, s)]++;
        pip_paths(b, s, package, venv);

        const char *const make[] = {"sh", "-c", script, PYTHON, package, venv, NULL};

        return tool_run(make) ? work_complain(b, s, "a new python package", -EIO) : 0;
}

static int run_pip(struct bench *b, struct side *s, unsigned round, size_t *ops)
{
        char package[PATH_ROOM], venv[PATH_ROOM], python[PATH_ROOM + 32], info[PATH_ROOM + 32];

        (void)round;
        pip_paths(b, s, package, venv);
        snprintf(python, sizeof python, "%s/bin/python", venv);
        *ops = 1;

        const char *const pip[] = {python, "-m",        "pip",        "--disable-pip-version-check", "install",
                                   "-q",   "--no-deps", "--no-index", "--no-build-isolation",        "--root-user-action=ignore",
                                   "-e",   package,     NULL};

        if (tool_run(pip))
                return work_complain(b, s, "pip install -e", -EIO);
        snprintf(info, sizeof info, "%s/pkg.egg-info/PKG-INFO", package);
        return access(info, R_OK) ? work_complain(b, s, "pip install -e installed nothing", -EIO) : 0;
}

static const char *without_project(const struct bench *b)
{
        const struct scene *sc = b->scene;

        return sc->project_missing ? sc->project_missing : work_without_npm(b);
}

static const char *without_pip(const struct bench *b)
{
        const char *const ask[] = {PYTHON, "-W", "ignore", "-c", "import setuptools, wheel, pip, venv", NULL};

        (void)b;
        return tool_run(ask) == 0 ? NULL : PYTHON " has no pip, setuptools, wheel or venv";
}

#define PROJECT .rounds_min = 3, .rounds_max = 3, .only_dsfs = true, .unavailable = without_project

/* In the order in which they use up what the first leaves. */
const struct workload artifact_workloads[] = {
        {"artifacts-npm-ci", .title = "rules: npm ci of a project", .weight = 10, .writes = true, PROJECT, .prepare = prepare_ci,
         .run = run_ci},
        {"artifacts-require", .title = "rules: require all of it, warm", .weight = 2, .warm = true, .rounds_min = 5, .rounds_max = 15,
         .only_dsfs = true, .unavailable = without_project, .prepare = prepare_require, .run = run_require},
        {"artifacts-npm-install", .title = "rules: npm install of one more", .weight = 2, .writes = true, PROJECT,
         .prepare = prepare_install, .run = run_install},
        {"artifacts-npm-rm", .title = "rules: rm -rf node_modules", .weight = 2, .writes = true, PROJECT, .prepare = prepare_rm,
         .run = run_rm},
        {"artifacts-pip", .title = "rules: pip install -e", .weight = 2, .writes = true, .rounds_min = 3, .rounds_max = 5,
         .only_dsfs = true, .prepare = prepare_pip, .run = run_pip, .unavailable = without_pip},
        {NULL},
};
