/*
 * Where nodes live. A mount shows one tree that is put together from layers: today the source alone; overlays for artifacts come beside it.
 * Every path has exactly one layer, and everything that touches a backing object asks here first.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct layer {
        int root_fd;    /* the layer's root directory, open for reading; owned */
        dev_t dev;      /* nothing on another filesystem belongs to the layer */
        bool by_handle; /* objects can be opened by file handle: they are reached even when all names are stale */
        bool acl;       /* the backing filesystem keeps POSIX ACLs */
        uid_t uid;      /* owner of the root */
        gid_t gid;
};

/* Open the layer of `source`: without the mounts below it, as a bind mount shows it, where we are privileged; then with
 * `readonly`, as in a read-only one, reading moves no access times. 0 or -errno. */
int layer_open(const char *source, bool readonly, struct layer *ret);
void layer_release(struct layer *l);

struct fs_mount;
struct node;

/* The layer of what is called `name` in `dir`. */
const struct layer *layer_route(const struct fs_mount *m, const struct node *dir, const char *name);

/* The layer of a node that is known. */
const struct layer *layer_of(const struct fs_mount *m, const struct node *n);
