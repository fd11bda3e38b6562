/*
 * The command line of `dsfs run`, which `dsfs-client run` has too.
 */
#pragma once

#include "sync/run/run.h"

#define RUN_USAGE "[NAME|MNT] [--on GLOB]… [OPTIONS] -- COMMAND [ARGUMENT]…"
#define RUN_SUMMARY "Run a command, and again whenever the source has changed"
extern const char run_help[];

struct choices {
        struct run_task task; /* without the place */
        const char *mount;    /* as it was named, or NULL */
        const char *socket;   /* or NULL */
        bool help;
        const char **patterns; /* owned: what the task's selection is made of */
};

/* Read them. 0; or -EINVAL and *why, or -ENOMEM. The texts stay those of argv, which is put into another order. */
int choices_read(int argc, char **argv, struct choices *ret, char **why);
void choices_release(struct choices *c);
