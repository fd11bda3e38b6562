/*
 * Reads a fresh mount once in the background, within limits, so that names, attributes and small files are there before anyone asks. A
 * process of its own does it: it is a client of the mount like others, so it can be slow, stuck or killed without harm to the agent.
 */
#pragma once

#include <stdint.h>
#include <uv.h>

enum prewarm_state {
        PREWARM_OFF,
        PREWARM_RUNNING,
        PREWARM_DONE,
        PREWARM_LIMITED, /* a limit was reached: the rest is read when it is asked for */
        PREWARM_STOPPED, /* memory was getting short */
        PREWARM_FAILED,
};

/* How far it has come: what the process writes to its pipe, whole. */
struct prewarm_report {
        uint64_t entries; /* names seen */
        uint64_t files;   /* files read */
        uint64_t bytes;
        uint64_t ns;
        uint64_t state; /* enum prewarm_state */
};

struct prewarm;

/* Start reading the mount; ended(arg) is called when that is over, however it ends. 0 or -errno, when it is not. The loop's thread. */
int prewarm_start(uv_loop_t *loop, const char *mountpoint, void (*ended)(void *arg), void *arg, struct prewarm **ret);

/* The loop's thread. `p` may be NULL: off. */
void prewarm_progress(const struct prewarm *p, struct prewarm_report *ret);

/* Kill the process if it runs, and wait until it no longer uses the mount. Any thread but the loop's, which must run. Takes NULL. */
void prewarm_quit(struct prewarm *p);

/* Kill the process if it still runs, and free all once the loop has let go of it. Nobody may be in prewarm_quit(). The loop's thread. Takes
 * NULL. */
void prewarm_close(struct prewarm *p);

const char *prewarm_state_name(uint64_t state);

/* The name of the internal command that is the process, and what it does: read `mountpoint`, reporting to descriptor 3, for the agent
 * `agent`. An exit status. */
#define PREWARM_COMMAND "prewarm-worker"
int prewarm_work(const char *mountpoint, pid_t agent);
