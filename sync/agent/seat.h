/*
 * One mount of an agent, from the wish to the end. Seats change hands between the loop, workers that run verbs, and the mount's own
 * threads:
 *
 *     MAKING --> SERVING ---------------> ENDING --> GONE
 *        |          |                       ^
 *        |          +----> DETACHED --------+
 *        +--> GONE (not mounted after all)
 *
 * MAKING    a worker mounts it; its name and place are taken.
 * SERVING   anybody may hold it (seat_hold) and use its mount.
 * DETACHED  taken from its place, but still used: by those who have it open and can't be told, or (`abroad`) in another mount namespace.
 *           Out of sight, served until they go; the agent stays for the latter only.
 * ENDING    the mount has ended, and a thread of its own waits for the holders and takes everything away.
 * GONE      the loop frees it.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "sync/agent/options.h"

struct agent;
struct fs_mount;
struct prewarm;
struct stream_door;

enum seat_state {
        SEAT_MAKING,
        SEAT_SERVING,
        SEAT_DETACHED,
        SEAT_ENDING,
        SEAT_GONE,
};

struct seat {
        /* Set before it can be seen, constant then. */
        struct agent *agent;
        unsigned long serial; /* never given twice */
        struct mount_options options;
        char *mountpoint, *name; /* owned */
        /* Set before SERVING; until ENDING for those who hold the seat. */
        struct fs_mount *mount;
        unsigned long long began_ns;
        char *no_socket; /* why it has no .dsfs/events.sock, one phrase; owned; NULL: it has */
        /* Guarded by agent->lock. */
        enum seat_state state;
        unsigned holders;
        bool fresh;     /* the loop is to start pre-warming */
        bool ended;     /* the mount has */
        bool abroad;    /* DETACHED, but mounted elsewhere */
        bool stopping;  /* somebody is unmounting right now */
        bool own_place; /* made for this mount, to be removed with it */
        struct prewarm *prewarm;
        /* The loop's, after MAKING. */
        int listener; /* .dsfs/events.sock, until it is offered; -1: none */
        struct stream_door *door;
        pthread_t ender;
        bool ender_started;
};

struct seat_wish {
        const char *mountpoint, *name;
        bool own_place;
        const struct mount_options *options;
        const char *text; /* the same as after -o */
};

/* Mount, and seat it: once this returns 0 it is usable. -ESHUTDOWN when the agent is on its way out, -EAGAIN when what was there before is;
 * else another -errno; always with *why. Blocks: on the loop's thread only before the loop runs. */
int seat_make(struct agent *a, const struct seat_wish *wish, char **why);

/* The seat in one of the ENGINE_MOUNTS_MAX places, held: to be given back. NULL when none serves there. Any thread. */
struct seat *seat_hold(struct agent *a, size_t place);

/* The one with this mount point; NULL when there is none that serves. Any thread. */
struct seat *seat_hold_at(struct agent *a, const char *mountpoint);

/* Takes NULL. */
void seat_let_go(struct seat *s);

/* Unmount. 0 when that has begun to end it; -EBUSY when it is in use; -EALREADY when someone else is at it. Blocks: not on the loop's
 * thread. The caller holds the seat. */
int seat_unmount(struct seat *s, bool lazy);

/* Wait until the seat is out of sight. 0; -EBUSY when whoever is unmounting it could not; -ETIMEDOUT. `last`: the agent ends too; `abroad`:
 * the mount lives on in another mount namespace. Not on the loop's thread, and holding no seat. */
struct seat_end {
        bool last, abroad;
};
int seat_wait_gone(struct agent *a, unsigned long serial, struct seat_end *ret);

/* Do what is due: start pre-warming, take away what has ended. True when no seat is left that the agent lives for. The loop's thread. */
bool seats_look(struct agent *a);

/* Let go of what the loop holds for detached seats, which stay for as long as the process. The loop's thread. */
void seats_close(struct agent *a);
