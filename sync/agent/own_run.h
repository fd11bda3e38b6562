/*
 * Running this very program with other arguments, and hearing what it says: how the plugin mounts, so that there is one way to mount.
 * Blocks; any thread.
 */
#pragma once

#include "sync/serve/why.h"

/* Run `dsfs ARGS…` (NULL-terminated, without the program) with DSFS_CFG_PATH=`config` if that isn't NULL. What it said last on standard
 * error, without "dsfs: error: ", is in *said (the caller frees; NULL: nothing). The exit status; or -errno (-ETIMEDOUT: it was killed
 * after `seconds`). */
int own_run(const char *const args[], const char *config, int seconds, char **said);
