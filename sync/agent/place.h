/*
 * Whether a source can be mounted at a place: every answer is one sentence that names the path and what to do, and nothing is changed.
 */
#pragma once

#include <stdbool.h>

#include "sync/agent/record.h"

/* The canonical path of a source in *ret (the caller frees). 0 or -errno and *why. */
int place_source(const char *arg, char **ret, char **why);

/* Check `mountpoint` (canonical by path_canonical_place()) for `source`. 0, with *dead when a dead dsfs mount is there to be recovered;
 * or -errno and *why. */
int place_check(const char *source, const char *mountpoint, const struct record_list *records, bool *dead, char **why);

/* Make a place with a dead mount usable: end its connections, so that nothing hangs on them, and remove it. 0 or -errno and *why. */
int place_recover(const char *mountpoint, const struct record_list *records, char **why);

/* Remove all dsfs mounts at `mountpoint` that nobody serves, however many lie on each other. 0 or -errno; the number in *ret. */
int place_remove_dead(const char *mountpoint, const struct record_list *records, unsigned *ret);

/* Make the place of a mount ready to be mounted at once more: the agent behind `connection` is dead, its connection aborted. 0; -ENOENT
 * when somebody has unmounted it meanwhile, -EBUSY when he has mounted something else there; or another -errno. */
int place_restore(const char *mountpoint, unsigned connection);

/* Unmount it, if it is still there, with all dead mounts below it. 0 or -errno. */
int place_clear(const char *mountpoint, unsigned connection);

/* Remove the dead mounts that come to light at `mountpoint` when the live one above them is unmounted. 0 or -errno. */
int place_peel(const char *mountpoint);

/* Whether nobody serves the dsfs mount at the top of `mountpoint`. A mount that doesn't answer counts as dead when its agent's record says
 * so. */
bool place_is_dead(const char *mountpoint, const struct record_list *records);

/* Whether other users may be let in: user_allow_other in fuse.conf. */
bool place_others_permitted(void);
