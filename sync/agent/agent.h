/*
 * The agent of a source: one process that watches it, serves its mount and answers on the control socket until the mount ends.
 */
#pragma once

#include <stdbool.h>
#include <stdatomic.h>
#include <uv.h>

#include "sync/agent/options.h"
#include "sync/agent/paths.h"
#include "sync/agent/prewarm.h"
#include "sync/engine.h"
#include "sync/serve/control.h"

struct daemon;

struct agent {
        /* Set before serving, read anywhere. */
        const struct mount_options *options;
        const char *source;
        const char *mountpoint;
        const char *name;
        const struct daemon *daemon;
        struct engine *engine;
        struct fs_mount *mount;
        struct prewarm *prewarm;
        unsigned long long began_ns;
        atomic_bool stopping; /* somebody is unmounting right now */
        /* Loop thread only. */
        uv_loop_t loop;
        uv_signal_t terminate, interrupt;
        uv_async_t mount_ended, mount_left;
        uv_work_t stop_work;
        bool stop_queued;
        bool ending;
        atomic_bool left; /* set on the loop, read anywhere: the mount outlives us, detached: nothing of it may be freed */
        struct control *control;
};

/* What the control socket offers, with `a` as its argument. */
struct registry agent_verbs(struct agent *a);

/* Unmount; when it has worked the agent ends by itself. 0; -EBUSY when it is in use; -EALREADY when someone else is at it. Blocks: not on
 * the loop's thread. */
int agent_unmount(struct agent *a, bool lazy);

/* Be the agent until the mount ends: all of `dsfs mount` once the command line is understood. `name` is the mount's, `socket` the control
 * socket's name in the runtime directory `run`. 0, or -errno and *why when it did not come to a mount. */
int agent_serve(struct agent *a, struct daemon *d, const char *run, const char *socket, char **why);
