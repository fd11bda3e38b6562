/*
 * Between `dsfs run` and its command stands a process that does nothing but see to it that nothing of the command is left behind: it starts
 * it in a process group of its own, passes signals on to that, tells what becomes of it, adopts what the command leaves in the group, and
 * when `dsfs run` is gone, however that came, it stops the group and goes too.
 *
 * If the keeper itself is killed, the kernel kills the command, and `dsfs run`, which sees it, the rest of the group. What has left the
 * group (setsid: a daemon that wants to stay) is not touched.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "sync/run/terminal.h"

struct keeper_task {
        char *const *argv;
        const char *dir;       /* to run in; it is found anew each time, for a mount may have been mounted over */
        int signal;            /* that stops it when we are gone */
        int grace_ms;          /* ... and how long that may take */
        const char *changed;   /* a file to remove when we are gone, or NULL */
        const sigset_t *mask;  /* the command's signal mask */
        struct terminal *lend; /* to the command; NULL: not to be lent */
        int ours[4];           /* descriptors that are dsfs run\'s alone; below 0: none */
};

struct keeper {
        pid_t pid;   /* of the keeper; 0: there is none, or none any more */
        pid_t group; /* the command, and its group; 0: not yet known */
        int fd;
};

enum keeper_said {
        KEEPER_STARTED, /* arg: the command's process, which leads its group */
        KEEPER_REFUSED, /* it can't be executed; arg: errno. Nothing follows */
        KEEPER_STOPPED, /* arg: by this signal */
        KEEPER_EXITED,  /* arg: its exit code, 128 + signal if one ended it; typed: upon a key (Ctrl-C, Ctrl-\) or the terminal's end */
        KEEPER_GONE,    /* nothing of the group is left. Nothing follows */
};

struct keeper_report {
        enum keeper_said said;
        int arg;
        bool typed;
};

/* Start the command under a keeper. All signals that anybody waits for are blocked. 0 or -errno. */
int keeper_start(const struct keeper_task *task, struct keeper *ret);

/* Send a signal to the command's group. */
void keeper_signal(const struct keeper *k, int signal);

/* The next report. 0; -EAGAIN: none yet. When the keeper has died, it is made up: EXITED by SIGKILL, or GONE once that was said. */
int keeper_report(struct keeper *k, struct keeper_report *ret);

/* A child of ours was waited for. True if it was the keeper: no signal is sent to its number any more. */
bool keeper_reaped(struct keeper *k, pid_t pid);

/* After REFUSED or GONE. */
void keeper_release(struct keeper *k);
