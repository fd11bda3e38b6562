/*
 * Whose artifacts `dsfs artifacts` is about, and who is asked: the source's agent, or this process itself where there is none.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "sync/agent/record.h"

struct artifacts_target {
        struct record_list records;
        char *run;                  /* owned */
        char *source;               /* canonical; owned */
        char *dir;                  /* its overlay's; owned */
        const struct record *agent; /* NULL: none lives */
};
#define ARTIFACTS_TARGET_NONE ((struct artifacts_target){0})

/* The source that is called `arg` (a mount's name, its mount point, or a path in it or in the source); or, without `arg`, the one that the
 * absolute path `where` is in. 0; -ENOENT: none; or another -errno; with *why. */
int artifacts_target_find(const char *arg, const char *where, struct artifacts_target *ret, char **why);
void artifacts_target_release(struct artifacts_target *t);

/* All sources that have artifacts: canonical paths. Owned. */
json_t *artifacts_sources(void);

/* The path of `arg` relative to the source: what the working directory makes of it, or, with `in_source`, relative to the source. NULL and
 * *why: it isn't below. The caller frees. */
char *artifacts_target_path(const struct artifacts_target *t, const char *arg, bool in_source, char **why);

/* `arg` as an absolute path without dots, whether it is there or not. NULL without memory. */
char *artifacts_absolute(const char *arg);

/* artifacts_do(), wherever. Takes `args`. */
int artifacts_ask(const struct artifacts_target *t, json_t *args, json_t **ret, char **why);
