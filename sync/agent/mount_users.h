/*
 * Who else has a mount: the mount namespaces (containers, mostly) that it is in besides ours.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#define CONTAINER_ID_TEXT 13 /* twelve digits, as docker shows it */

struct mount_user {
        pid_t pid;                         /* the first process of the namespace */
        char container[CONTAINER_ID_TEXT]; /* "" if its control group is no container's */
        char command[16];
};

/* Visit the namespaces that have one of the mounts with these device numbers (mount_entry's dev); `which` is its index. Needs root to
 * look into others' processes: 0, or -EPERM when only some were seen. Bounded: after 32768 processes or 512 namespaces it
 * ends. */
int mount_users(const unsigned *devs, size_t count, void (*visit)(void *arg, size_t which, const struct mount_user *u), void *arg);

/* Those that have one of them elsewhere than at `place`: at the same place it may be but a copy of ours, as a service has that sees mounts
 * of its own, or `unshare -m`. */
int mount_users_elsewhere(const char *place, const unsigned *devs, size_t count,
                          void (*visit)(void *arg, size_t which, const struct mount_user *u), void *arg);
