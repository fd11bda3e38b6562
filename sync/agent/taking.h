/*
 * A mount in the making: what it is called, where it may be, and whose it will be. The source's agent mounts it if there is one; else the
 * source is claimed, and the caller becomes its agent.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "sync/agent/config.h"
#include "sync/agent/options.h"
#include "sync/agent/paths.h"

/* Texts are owned. */
struct making {
        struct mount_options options;
        char *options_text; /* as given; once the configuration is known, with what files say of this mount alone in front */
        struct config *config;
        bool foreground;
        bool no_holder;
        char *source;
        char *mountpoint; /* NULL until it is known: the default place depends on the name */
        bool own_place;
        char *run;
        char *name;
        char id[SOURCE_ID_TEXT];
        int claim;
        pid_t agent; /* who mounted it, if not we */
};
#define MAKING_NONE                                                                                                                        \
        {                                                                                                                                  \
                .claim = -1                                                                                                                \
        }
void making_release(struct making *m);

/* Take a name and a place. 0 when the mount is wanted from us: others see that the source is claimed; or, with *joined, when the source's
 * agent has mounted it. -errno and *why. Waits for an agent that is just starting or ending. */
int making_take(struct making *m, bool *joined, char **why);

/* Drop the claim; with `failed` the place too, if it was made for it. */
void making_leave(struct making *m, bool failed);
