/*
 * The holder: a process above the agent that does nothing but to keep what the next agent needs. When the agent dies it aborts its
 * connections at once, so that nobody waits for answers that never come (a killed agent that waits for itself can't even die), and starts
 * the next one, which serves the same mounts. It reads nothing but its own agent's records, and has no thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sync/agent/hold.h"

struct daemon;

/* One mount of a dead agent, that is to be made again. */
struct held_mount {
        struct hold_mount as;
        uint32_t connection; /* of the dead mount that lies there */
        bool leaving;        /* it was being unmounted: to be cleared away instead */
};

/* What an agent is born with. */
struct heritage {
        pid_t holder;
        int channel, life; /* for holding_new() */
        /* Of the agents before it; the rest is all zero, -1 and empty in the first one. */
        unsigned deaths;
        int64_t died_at; /* seconds since the epoch */
        char died_of[64];
        int claim, listener; /* -1: there is none */
        struct held_mount *mounts;
        size_t count;
};

/* Have a holder: it is this process, or with `d` in the background too, and its agent a child. Returns in the agents only: the first, and
 * each that follows it. 0 with *ret, which stays for as long as the process, or -errno. The holder exits as its last agent does. `claim` is
 * kept. Before any thread is started, with SIGTERM and SIGINT blocked, which they are no longer in the agent. */
int holder_start(struct daemon *d, const char *run, const char *id, const char *source, int claim, struct heritage *ret);
