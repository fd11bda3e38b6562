/*
 * `dsfs run` as a process, with a test in the agent's place. Commands tell what they do in files; the tests wait for what these say.
 */
#pragma once

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/lib/child.h"
#include "tests/lib/events.h"
#include "tests/lib/mount.h"
#include "tests/lib/proc.h"

#define RUN_ARGS_MAX 24

static struct {
        char dir[96]; /* where commands run */
        struct events_fake events;
        pid_t pid; /* of dsfs run */
} runs;

static inline void run_failed(const char *message)
{
        cr_assert_fail("%s", message);
}

static inline void run_begin(void)
{
        const char *tmp = getenv("TMPDIR");

        test_on_fail(run_failed);
        snprintf(runs.dir, sizeof(runs.dir), "%s/run.XXXXXX", tmp ? tmp : "/tmp");
        cr_assert(mkdtemp(runs.dir));
        cr_assert_eq(chdir(runs.dir), 0);
        events_fake_start(&runs.events, runs.dir);
}

static inline void run_finish(void)
{
        if (runs.pid > 0) {
                (void)kill(runs.pid, SIGTERM);
                (void)proc_wait(runs.pid);
        }
        events_fake_stop(&runs.events);
        remove_tree(runs.dir);
}

/* Start `dsfs run --socket … OPTIONS… -- sh -c SCRIPT`; with no script, options hold it all. */
static inline void run_start(const char *script, const char *const options[])
{
        const char *argv[RUN_ARGS_MAX + 10] = {getenv("DSFS_BIN") ? getenv("DSFS_BIN") : "build/dsfs", "run", "--socket", runs.events.path};
        int n = 4;

        for (int i = 0; options[i]; i++) {
                cr_assert_lt(i, RUN_ARGS_MAX);
                argv[n++] = options[i];
        }
        if (script) {
                argv[n++] = "--";
                argv[n++] = "sh";
                argv[n++] = "-c";
                argv[n++] = script;
        }
        runs.pid = proc_start(argv, 0, "err");
        events_fake_accept(&runs.events, true);
}
#define RUN(script, ...) run_start(script, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

/* How it ended. */
static inline int run_end(void)
{
        int status = proc_wait(runs.pid);

        runs.pid = 0;
        cr_assert_neq(status, PROC_HUNG, "dsfs run hangs");
        return status;
}

struct run_says {
        const char *file, *text;
};

static inline bool run_file_has(void *arg)
{
        const struct run_says *w = arg;
        CLEANUP_FREE char *text = NULL;

        return fd_read_file(AT_FDCWD, w->file, 1 << 20, &text) >= 0 && strstr(text, w->text);
}

static inline char *run_text(const char *file)
{
        static char buffer[4096];
        CLEANUP_FREE char *text = NULL;

        snprintf(buffer, sizeof(buffer), "%s", fd_read_file(AT_FDCWD, file, 1 << 20, &text) >= 0 ? text : "(nothing)");
        return buffer;
}

/* Wait until the file has that in it. */
#define await_text(file_, text_)                                                                                                           \
        cr_assert(proc_until(run_file_has, &(struct run_says){file_, text_}), "%s doesn't say \"%s\", but: %s\n%s", file_, text_,          \
                  run_text(file_), run_text("err"))

#define expect_text(file_, text_) cr_assert_str_eq(run_text(file_), text_, "%s: %s", file_, run_text(file_))

static inline bool run_is_dead(void *arg)
{
        char stat[64], *text = NULL;
        bool dead;

        snprintf(stat, sizeof(stat), "/proc/%d/stat", *(pid_t *)arg);
        dead = fd_read_file(AT_FDCWD, stat, 4096, &text) < 0 || strstr(text, ") Z ");
        free(text);
        return dead;
}

/* The process whose number is in the file ends. */
static inline void await_death_of(const char *file)
{
        pid_t pid = (pid_t)atoi(run_text(file));

        cr_assert_gt(pid, 1, "%s: %s", file, run_text(file));
        cr_assert(proc_until(run_is_dead, &pid), "%s: process %d lives on", file, pid);
}
