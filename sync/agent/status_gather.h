/*
 * What `dsfs status` knows: asked of every agent once; of those that can't answer, why; and with no agent, what is remembered of sources.
 */
#pragma once

#include <jansson.h>

#include "sync/agent/cmd.h"

#define STATUS_VERSION 1

/* All that `status --json` prints (owned), of all mounts or of the one that is called `arg`: "mounts" is empty when there is none. NULL
 * when the runtime directory can't be read, which was said. `users`: look for who has the mounts, which takes longest. */
json_t *status_gather(const char *run, const char *arg, bool users);

/* What a verdict's name makes of the command's exit. EXIT_ABSENT of null. */
enum exit_code status_exit(const json_t *verdict);
