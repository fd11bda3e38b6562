/*
 * What the holder's parts share: holder.c (agents, their deaths, its loop) and holder_kept.c (what agents say, and what is kept of it).
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sync/agent/hold.h"
#include "sync/agent/holder.h"

/* So many deaths are remembered. */
#define DEATHS_MAX 40
#define BADNESS_MAX 16

struct kept {
        bool used, fresh; /* fresh: of the agent that there is now */
        int abort;        /* writing to it aborts the connection; or -1 */
        struct held_mount mount;
};

struct holder {
        struct daemon *daemon;
        const char *run, *id, *source;
        char badness[BADNESS_MAX]; /* ours before we changed it, "": not changed */
        sigset_t before;
        int signals;
        /* The agent. */
        pid_t agent;
        int channel, life;
        bool ready, dying, faulty;
        bool stopping; /* it has said that it ends */
        bool again;    /* ... to be started again */
        /* All of them. */
        bool ever_ready, ending;
        int claim, listener;
        unsigned deaths, unready;
        unsigned long long died_ns[DEATHS_MAX]; /* a ring, by `deaths` */
        int64_t died_at;
        char died_of[64];
        struct kept kept[HOLD_MOUNTS_MAX];
};

/* Take in all that the agent has said. When its last words were said, h->channel is closed. */
void holder_hear(struct holder *h);

/* Abort the connections of all its mounts: nobody waits for it any more. */
void holder_abort_all(struct holder *h);
