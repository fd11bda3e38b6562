/*
 * What an agent that follows a dead one does first: it takes over the claim, and finds out which mounts are to be made again.
 */
#pragma once

#include "sync/agent/options.h"
#include "sync/agent/seat.h"
#include "sync/engine.h"

struct heritage;

struct restoring {
        struct seat_wish wishes[ENGINE_MOUNTS_MAX]; /* their texts are the heritage's */
        struct mount_options options[ENGINE_MOUNTS_MAX];
        size_t count; /* 0: its users have unmounted all of them */
};

/* Their places are ready to be mounted at; what was being unmounted is cleared away. What can't be served again is said in the log. */
void restore_prepare(const struct heritage *h, struct restoring *ret);
void restoring_release(struct restoring *r);
