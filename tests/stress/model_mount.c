/*
 * The model stress: the mount that it is played on, and the barrier.
 */
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/serve/client.h"
#include "tests/stress/model_side.h"
#include "tests/stress/model_stage.h"

#define LIFE 14400
#define WAIT_MS 60000
/* By name alone: what is renamed with its parent stays where it is. */
#define RULES "version: 1\nartifacts:\n  - path: f4\n  - path: d2/\n"

/* A namespace that others make for themselves has all mounts of the moment in it, and holds them: ours are not among them. */
static void be_alone(void)
{
        must(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "a private mount namespace");
}

struct fixture *model_fixture(const struct model_options *o)
{
        struct fixture *f;
        struct variant v = {.backing = ON_EXT4, .own_fs = o->apart, .transport = o->transport, .watch = o->watch, .life = LIFE};

        if (strcmp(o->profile, "data") == 0)
                v.profile = PROFILE_DATA;
        f = fixture_prepare(&v);
        be_alone();
        return f;
}

/* Soft and hard, as a shell's ulimit sets them: nobody could raise them again here, so it is done on the way to the program. */
static void hold_down(struct fixture *f, unsigned nofile)
{
        const char *program = getenv("DSFS_BIN");
        char *wrapper = keep(at(f->base, "dsfs"));
        char text[PATH_MAX];

        snprintf(text, sizeof(text), "#!/bin/sh\nulimit -n %u\nexec '%s' \"$@\"\n", nofile, program && *program ? program : "build/dsfs");
        put_text(wrapper, text);
        must(chmod(wrapper, 0755) == 0 && setenv("DSFS_BIN", wrapper, 1) == 0, "%s", wrapper);
}

const char *model_view(const struct fixture *f, const struct model_options *o, unsigned actor)
{
        if (actor % 2 == 0 && !o->rules)
                return f->src;
        return o->second && actor % 4 == 3 ? f->second : f->mnt;
}

void model_mount(struct fixture *f, const struct model_options *o)
{
        char *program = getenv("DSFS_BIN") ? keep(getenv("DSFS_BIN")) : NULL;

        if (o->nofile)
                hold_down(f, o->nofile);
        if (o->rules)
                put_text(at(f->src, "dsfs.yaml"), RULES);
        fixture_mount(f);
        if (o->second)
                fixture_mount_second(f, strcmp(o->second, "data") == 0 ? "profile=data" : "profile=source");
        if (program)
                setenv("DSFS_BIN", program, 1);
        else
                unsetenv("DSFS_BIN");
}

static bool is_socket(const char *name)
{
        size_t len = strlen(name);

        return len > 5 && strcmp(name + len - 5, ".sock") == 0;
}

/* Ask the agent itself, which is many times faster than starting `dsfs wait`. */
static bool ask_to_wait(struct fixture *f)
{
        char run[160], name[256] = "";
        struct dirent *e;
        CLEANUP_FREE char *why = NULL;
        CLEANUP_FD int fd = -1;
        json_t *answer = NULL;
        bool answered;
        pid_t pid;
        DIR *dir;
        int rc;

        snprintf(run, sizeof(run), "%s/run/dsfs", f->base);
        dir = opendir(run);
        while (dir && (e = readdir(dir)))
                if (is_socket(e->d_name))
                        snprintf(name, sizeof(name), "%s", e->d_name);
        if (dir)
                closedir(dir);
        fd = client_connect(run, name, &pid);
        if (fd < 0)
                return false;
        rc = client_ask(fd, "wait", json_pack("{s:i}", "timeout_ms", WAIT_MS), WAIT_MS, &answer, &answered, &why);
        json_decref(answer);
        return rc == 0;
}

void model_wait(struct fixture *f)
{
        if (!f->bind && !ask_to_wait(f))
                fixture_wait(f);
}

void model_crowd(const struct fixture *f)
{
        must(mkdir(at(f->src, "crowd"), 0755) == 0 && mkdir(at(f->plain, "crowd"), 0755) == 0, "mkdir crowd");
        for (unsigned i = 0; i < CROWD; i++) {
                char text[32];

                snprintf(text, sizeof(text), CROWD_TEXT, i);
                put_text(at(f->src, "crowd/%u", i), text);
                put_text(at(f->plain, "crowd/%u", i), text);
        }
}
