/*
 * The part of the scene that artifacts are made in: rules for it, and a project that npm installs. A run that is no figure's sake takes
 * the made-up one; the real one is fetched once, from the registry that npm is configured for.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/tool.h"
#include "bench/workloads.h"
#include "cache/base/err.h"
#include "cache/base/fd.h"

#define REAL_PROJECT "bench/project"

/* Nothing that other workloads write. */
static const char rules[] = "version: 1\n"
                            "artifacts:\n"
                            "  - path: /scratch/project-*/node_modules/\n"
                            "    key: [package-lock.json]\n"
                            "  - path: /scratch/editable-*/*.egg-info/\n"
                            "    key: [setup.py]\n";

static int write_rules(const struct scene *sc)
{
        CLEANUP_FREE char *path = NULL;
        CLEANUP_FD int fd = -1;

        if (asprintf(&path, "%s/dsfs.yaml", sc->source) < 0)
                return -ENOMEM;
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        return fd < 0 ? -errno : fd_write_full(fd, rules, sizeof rules - 1);
}

/* The user's own configuration names the registry. */
static int fetch_project(struct scene *sc, const char *top)
{
        static const char script[] =
                "mkdir \"$0/fetch\" && cd \"$0/fetch\" && cp \"$1\"/package*.json . && env -u npm_config_userconfig npm ci "
                "--cache \"$2\" --ignore-scripts --no-audit --no-fund --loglevel error >&2 && "
                "find node_modules -type f | wc -l && rm -r node_modules";
        CLEANUP_FREE char *said = NULL;
        char *from = realpath(REAL_PROJECT, NULL);
        int status;

        sc->project.from = from;
        if (!from) {
                sc->project_missing = REAL_PROJECT " isn't here: run it in the repository's root";
                return 0;
        }

        const char *const fetch[] = {"sh", "-c", script, top, from, sc->npm_cache, NULL};

        status = tool_capture(fetch, &said);
        if (status < 0)
                return status;
        sc->project.files = status ? 0 : strtoul(said, NULL, 10);
        if (!sc->project.files)
                sc->project_missing = "npm can't fetch " REAL_PROJECT;
        return 0;
}

static int pack_extra(struct scene *sc, const char *top)
{
        static const char script[] = "mkdir \"$0/extra\" && cd \"$0/extra\" && echo 'exports.value = 1;' >index.js && "
                                     "echo '{\"name\": \"extra\", \"version\": \"1.0.0\"}' >package.json && npm pack --silent";
        const char *const pack[] = {"sh", "-c", script, top, NULL};

        if (asprintf(&sc->extra, "%s/extra/extra-1.0.0.tgz", top) < 0)
                return -ENOMEM;
        return tool_run(pack) ? -EIO : 0;
}

int scene_make_project(struct scene *sc, const char *top)
{
        int err = write_rules(sc);

        sc->project.name = "project";
        sc->project.artifacts = true;
        if (!err)
                err = pack_extra(sc, top);
        if (err)
                return err;
        if (!sc->sizes.real_project) {
                sc->project.files = sc->npm.files;
                sc->project.from = strdup(sc->npm.from);
                return sc->project.from ? 0 : -ENOMEM;
        }
        return fetch_project(sc, top);
}
