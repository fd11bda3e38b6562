#include "bench/workloads.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench/options.h"
#include "bench/tool.h"
#include "bench/walk.h"
#include "cache/base/err.h"

static int make_paths(struct scene *sc, uint64_t seed)
{
        char path[TREE_PATH_MAX];

        sc->paths_n = sc->missing_n = sc->app.files;
        sc->paths = calloc(sc->paths_n, sizeof *sc->paths);
        sc->small = calloc(sc->paths_n, sizeof *sc->small);
        sc->missing = calloc(sc->missing_n, sizeof *sc->missing);
        if (!sc->paths || !sc->small || !sc->missing)
                return -ENOMEM;
        for (unsigned i = 0; i < sc->app.files; i++) {
                unsigned at = (unsigned)rng_below(&seed, i + 1);

                sc->paths[i] = sc->paths[at];
                tree_path(&sc->app, i, path);
                if (asprintf(&sc->paths[at], "app/%s", path) < 0)
                        return -ENOMEM;
                if (tree_size(&sc->app, i) <= WALK_READ_MAX) {
                        sc->small[sc->small_n++] = sc->paths[at];
                        sc->small_bytes += tree_size(&sc->app, i);
                }
                tree_dir(&sc->app, i, path);
                if (asprintf(&sc->missing[i], "app/%s/missing-%u.js", path, i) < 0)
                        return -ENOMEM;
        }
        return 0;
}

const struct sizes sizes_full = {
        .app_files = 20000,
        .first_files = 50000,
        .create_files = 10000,
        .node_packages = 1500,
        .python_modules = 1200,
        .c_files = 100,
        .npm_packages = 200,
        .npm_files = 25,
        .single_files = 1000,
        .data_mib = 128,
        .real_project = true,
};

const struct sizes sizes_smoke = {
        .app_files = 600,
        .first_files = 600,
        .create_files = 100,
        .node_packages = 20,
        .python_modules = 20,
        .c_files = 4,
        .npm_packages = 4,
        .npm_files = 4,
        .single_files = 50,
        .data_mib = 4,
};

/* The directory that is mounted, with room to write. */
static int make_source(struct scene *sc, const struct bench *b)
{
        CLEANUP_FREE char *scratch = NULL;

        if (asprintf(&sc->source, "%s/source", b->place->disk) < 0 || asprintf(&scratch, "%s/scratch", sc->source) < 0)
                return -ENOMEM;
        if (mkdir(sc->source, 0755) || mkdir(scratch, 0755))
                return -errno;
        place_spread(scratch);
        return 0;
}

static int make_app(struct scene *sc, const struct bench *b)
{
        CLEANUP_FREE char *app = NULL;
        int err;

        if (asprintf(&app, "%s/app", sc->source) < 0 || asprintf(&sc->archive, "%s/area.tar", b->place->disk) < 0)
                return -ENOMEM;
        if (mkdir(app, 0755))
                return -errno;
        err = tree_init(&sc->app, sc->sizes.app_files, b->options->seed);
        if (!err)
                err = tree_write_repository(&sc->app, app);
        if (!err)
                err = make_paths(sc, b->options->seed);
        if (err)
                return err;

        const char *const pack[] = {"git", "-C", app, "archive", "--format=tar", "-o", sc->archive, "main", "packages", NULL};

        return tool_run(pack) ? -EIO : 0;
}

static int make_first(struct scene *sc, const struct bench *b)
{
        struct tree tree;
        int err;

        if (asprintf(&sc->first_source, "%s/first", b->place->disk) < 0)
                return -ENOMEM;
        if (mkdir(sc->first_source, 0755))
                return -errno;
        err = tree_init(&tree, sc->sizes.first_files, b->options->seed + 1);
        if (!err)
                err = tree_write(&tree, sc->first_source);
        tree_release(&tree);
        return err;
}

static int make_parts(struct scene *sc, const struct bench *b, unsigned parts)
{
        int err = 0;

        if (parts & ~SCENE_FIRST)
                err = make_source(sc, b);
        if (!err && parts & SCENE_APP)
                err = make_app(sc, b);
        if (!err && parts & SCENE_FIRST)
                err = make_first(sc, b);
        if (!err && parts & SCENE_NODE)
                err = scene_make_node(sc);
        if (!err && parts & SCENE_PYTHON)
                err = scene_make_python(sc);
        if (!err && parts & SCENE_C)
                err = scene_make_c(sc);
        if (!err && parts & SCENE_NPM)
                err = scene_make_npm(sc, b->place->top);
        if (!err && parts & SCENE_PROJECT)
                err = scene_make_project(sc, b->place->top);
        if (!err && parts & SCENE_DATA)
                err = scene_make_data(sc);
        if (!err && parts & SCENE_SINGLE)
                err = scene_make_single(sc, sc->source, b->sides_n);
        return err;
}

int scene_init(struct scene *sc, const struct bench *b, unsigned parts)
{
        int err;

        *sc = (struct scene){.sizes = b->options->smoke ? sizes_smoke : sizes_full};
        err = make_parts(sc, b, parts);
        if (err)
                fprintf(stderr, "%s: cannot make the trees below %s: %s\n", b->options->program, b->place->disk, strerror(-err));
        place_sync(b->place);
        return err;
}

/* Programs see the same world on every machine; git leaves the index alone when it only looks. */
void scene_environment(void)
{
        static const char *const vars[][2] = {
                {"LC_ALL", "C"},
                {"PYTHONDONTWRITEBYTECODE", "1"},
                {"npm_config_userconfig", "/dev/null"},
                {"npm_config_update_notifier", "false"},
                {"GIT_OPTIONAL_LOCKS", "0"},
                {"GIT_CONFIG_NOSYSTEM", "1"},
                {"GIT_CONFIG_GLOBAL", "/dev/null"},
                {"GIT_CONFIG_COUNT", "5"},
                {"GIT_CONFIG_KEY_0", "core.untrackedCache"},
                {"GIT_CONFIG_VALUE_0", "false"},
                {"GIT_CONFIG_KEY_1", "core.fsmonitor"},
                {"GIT_CONFIG_VALUE_1", "false"},
                {"GIT_CONFIG_KEY_2", "gc.auto"},
                {"GIT_CONFIG_VALUE_2", "0"},
                {"GIT_CONFIG_KEY_3", "maintenance.auto"},
                {"GIT_CONFIG_VALUE_3", "false"},
                {"GIT_CONFIG_KEY_4", "safe.directory"},
                {"GIT_CONFIG_VALUE_4", "*"},
        };

        for (size_t i = 0; i < sizeof vars / sizeof *vars; i++)
                setenv(vars[i][0], vars[i][1], 1);
        unsetenv("GIT_DIR");
        unsetenv("GIT_WORK_TREE");
        unsetenv("GIT_INDEX_FILE");
}

void scene_release(struct scene *sc)
{
        for (size_t i = 0; i < sc->paths_n && sc->paths; i++)
                free(sc->paths[i]);
        for (size_t i = 0; i < sc->missing_n && sc->missing; i++)
                free(sc->missing[i]);
        free(sc->paths);
        free(sc->small);
        free(sc->missing);
        free(sc->source);
        free(sc->first_source);
        free(sc->archive);
        free(sc->npm_cache);
        free(sc->npm.from);
        free(sc->project.from);
        free(sc->extra);
        free(sc->python);
        tree_release(&sc->app);
}
