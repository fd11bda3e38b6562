/*
 * Between the two halves of the inotify backend: watch_inotify.c (what events mean) and watch_inotify_scan.c (how directories are
 * reached, watched and read). The watch's thread only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/inotify.h>

#include "sync/watch_backend.h"
#include "sync/watch_inotify_tree.h"

#define INO_BUFFER_BYTES 65536

enum ino_later {
        INO_CONTENT,
        INO_ATTR,
        INO_ENTER,
};

/* Something about the entry `name` of a directory that can't be reached now: it, or one above it, has moved, and the event that says
 * where to is still in the queue. */
struct ino_put_off {
        int wd;
        enum ino_later what;
        char *name; /* owned */
};

struct ino {
        struct watch_core *c;
        struct watch_tree tree;
        int parent_wd; /* on the root's parent, which alone is told of the root's deletion; -1: none */

        /* The directory last reached; kept for one batch at most, because an open directory delays its own IN_DELETE_SELF. */
        int at_wd;
        int at_fd;

        struct ino_put_off *later; /* owned; at most INO_LATER_MAX */
        size_t later_count;
        size_t later_room;

        bool resync; /* the tree may be wrong: read everything anew and tell so */

        /* Directories that couldn't be watched. */
        bool limit_hit, limit_told;
        int blind_error; /* another reason than the limit */
        bool blind_told;

        _Alignas(struct inotify_event) char buffer[INO_BUFFER_BYTES];
};

/* scan: all of them tell what they find unwatched so far, except where `tell` says no. */

/* An O_PATH descriptor of `d`, the cache's own: valid until the next call or ino_forget_fd(). -errno: -ESTALE or -ENOENT when something
 * else, or nothing, is where we last knew it. */
int ino_dir_fd(struct ino *n, const struct watch_dir *d);
void ino_forget_fd(struct ino *n);

/* The entry `name` of `parent` is, or may be, a directory: make the tree agree with what is there now. Never follows a symlink. */
void ino_enter(struct ino *n, struct watch_dir *parent, const char *name, size_t len);

/* Watch the root and all below it. 0 or -errno: of the root only. */
int ino_watch_root(struct ino *n);

/* Read everything anew; what isn't there any more is forgotten. */
void ino_rescan(struct ino *n);

/* Forget `d` and all below it, with their watches. */
void ino_drop(struct ino *n, struct watch_dir *d);

/* events: */

/* Do it when the queue has been read. More than can be kept becomes a resync. */
void ino_put_off(struct ino *n, int wd, enum ino_later what, const char *name, size_t len);

/* True for the errors of a place that isn't what it was: the events to come will say more. */
bool ino_has_moved(int rc);
