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

static int make_app(struct scene *sc, const struct bench *b)
{
        CLEANUP_FREE char *app = NULL, *scratch = NULL;
        int err;

        if (asprintf(&sc->source, "%s/source", b->place->disk) < 0 || asprintf(&app, "%s/app", sc->source) < 0 ||
            asprintf(&scratch, "%s/scratch", sc->source) < 0 || asprintf(&sc->archive, "%s/area.tar", b->place->disk) < 0)
                return -ENOMEM;
        if (mkdir(sc->source, 0755) || mkdir(app, 0755) || mkdir(scratch, 0755))
                return -errno;
        place_spread(scratch);
        err = tree_init(&sc->app, APP_FILES, b->options->seed);
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
        err = tree_init(&tree, FIRST_FILES, b->options->seed + 1);
        if (!err)
                err = tree_write(&tree, sc->first_source);
        tree_release(&tree);
        return err;
}

int scene_init(struct scene *sc, const struct bench *b, bool app, bool first)
{
        int err = 0;

        *sc = (struct scene){0};
        if (app)
                err = make_app(sc, b);
        if (!err && first)
                err = make_first(sc, b);
        if (err)
                fprintf(stderr, "%s: cannot make the trees below %s: %s\n", b->options->program, b->place->disk, strerror(-err));
        place_sync(b->place);
        return err;
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
        tree_release(&sc->app);
}
