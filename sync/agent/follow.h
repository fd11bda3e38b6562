/*
 * `dsfs mount --foreground` of a source that has its agent already: stays as long as the mount does, and takes it away when asked to end.
 */
#pragma once

#include <stdbool.h>

#include "sync/agent/taking.h"

struct daemon;

/* Have SIGTERM and SIGINT wait for follow_mount(), or no longer. */
void follow_hold_signals(bool hold);

/* Return when the mount that the agent has made is no more. 0, or -errno and *why. */
int follow_mount(const struct making *m, const struct daemon *d, char **why);

/* Have the agent take the mount away again; what is in use is detached. 0, or -errno and *why. */
int follow_stop(const struct making *m, char **why);
