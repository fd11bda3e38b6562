/*
 * What agent and holder say to each other: records of fixed size over a socket pair (SOCK_SEQPACKET), some with a descriptor that the
 * holder is to keep. Only the agent speaks. What was sent is there for the holder even if the agent is dead by then.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

/* Mounts of an agent, those that are detached and still used included. */
#define HOLD_MOUNTS_MAX 64
#define HOLD_OPTIONS_MAX 4096

enum hold_kind {
        HOLD_READY = 1, /* what was asked for is mounted */
        HOLD_STOPPING,  /* the end has begun */
        HOLD_AGAIN,     /* it ends itself now, for the source is another directory: start the next */
        HOLD_FAULT,     /* by a signal's handler: the agent is about to die, perhaps slowly, of a fault of its own */
        HOLD_CLAIM,     /* with the descriptor that holds the record's lock */
        HOLD_LISTENER,  /* with the control socket; without: let go of it, for nobody will answer any more */
        HOLD_MOUNT,     /* a mount that serves; with the descriptor that aborts its connection, if there is one */
        HOLD_LEAVE,     /* it is about to be unmounted, and not to be mounted again */
        HOLD_STAY,      /* it was not */
        HOLD_GONE,      /* it is no more */
};

/* All that is needed to mount it again; texts are NUL-terminated. */
struct hold_mount {
        uint32_t own_place;
        char name[NAME_MAX + 1];
        char mountpoint[PATH_MAX];
        char options[HOLD_OPTIONS_MAX]; /* as after -o */
};

struct hold_message {
        uint32_t kind;
        uint32_t connection;     /* MOUNT and below: which */
        struct hold_mount mount; /* MOUNT only; else not sent */
};
