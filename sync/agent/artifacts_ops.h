/*
 * What can be asked about the artifacts of a source, as JSON in and out: by an agent for who asks on its socket, and by a command itself
 * where there is no agent. `dsfs artifacts` is all that asks.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

struct overlay;

#define ARTIFACTS_VERSION 1

/* Do what `args` says: {"do": "list", …}. 0 and *ret (an owned object), or -errno and *why (one sentence, the caller frees). On a thread
 * that may take long. */
int artifacts_do(struct overlay *o, const json_t *args, json_t **ret, char **why);

/* The paths that `args` is about to read or replace as a whole, "save" and "restore": an owned array of texts; NULL for others. */
json_t *artifacts_paths_of(struct overlay *o, const json_t *args);

/* The sums of a list. */
struct artifacts_figures {
        uint64_t roots, generations, bytes, shadowed, orphans, snapshots;
};
int artifacts_sum(struct overlay *o, struct artifacts_figures *ret);
