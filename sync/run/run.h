/*
 * `dsfs run` at work: follows the changes (feed.h), picks those that matter (selection.h), and does what is decided (decide.h) to the
 * command (keeper.h). One thread, one poll.
 */
#pragma once

#include <stdbool.h>

#include "sync/run/decide.h"
#include "sync/run/feed.h"
#include "sync/run/selection.h"

struct run_task {
        struct decide_rules rules;
        struct selection_rules select;
        char *const *argv; /* the command; NULL-terminated */
        const char *root;  /* the directory that paths are relative to, or NULL */
        bool clear, quiet;
        struct feed_place place; /* owned by the caller */
};

/* Exit codes of dsfs run itself. */
#define RUN_NO_MOUNT 4      /* there is no mount, or none any more */
#define RUN_CANNOT_EXEC 126 /* the command is there, and can't be executed */
#define RUN_NOT_FOUND 127   /* the command is not there */

/* To the end. The exit code. */
int run_follow(const struct run_task *task);
