/*
 * The directories in which a source's artifacts live:
 *
 *     tree/    every artifact at its path, as the mounts show it; above them shadows of the source's directories, made on demand
 *     kept/    generations that are not current (fs/generations.h)
 *     moving/  what is under way, and records of what was intended (fs/cross.h)
 *     saved/   snapshots by name
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "cache/base/thread.h"
#include "fs/artifacts.h"
#include "fs/layer.h"

struct overlay {
        /* Set when it is opened, constant then. */
        char *dir, *source; /* owned */
        int dir_fd, kept_fd, moving_fd, saved_fd;
        struct layer source_layer; /* of our own: mounts have theirs */
        struct layer layer;        /* tree/ */
        bool by_copy;              /* the layers are on different mounts: what goes from one to the other is copied (fs/cross.h) */
        const struct overlay_listener *listener;
        void *listener_arg;
        uint64_t budget;
        struct generations *generations; /* owned */

        _Atomic bool watched;
        /* Raised when a source directory has moved, or the rules have changed: what nodes remember of their place is void. */
        _Atomic uint64_t epoch;
        const struct rules *_Atomic rules;

        _Atomic bool cancelled; /* artifacts_cancel() */

        /* Held while roots in tree/ are exchanged, and kept/ and saved/ change. Never by threads that serve. */
        struct mutex work;

        /* Held as a reader by who changes something through a mount, while he does; as a writer in the last moment of a move between the
         * layers. Where nothing is copied it isn't used. */
        struct rwlock gate;
        _Atomic uint64_t changes; /* how many have been made so */
        /* After `gate`. Held as a reader while a directory's path is made into its shadow; as a writer while both are renamed. Nothing
         * more is locked under it. */
        struct rwlock paths;

        struct mutex lock;
        struct rules **past GUARDED_BY(lock); /* all there ever were: nodes may remember places in them; owned */
        size_t past_count GUARDED_BY(lock);
};

/* The shadow of the source's directory `path` (relative, "" for the root): an O_PATH descriptor, or -ENOENT when there is none. Any
 * thread. */
int overlay_shadow(const struct overlay *o, const char *path);

/* The same, making it, with the directories above, like the source's (their modes and owners; `path` must be one there). */
int overlay_shadow_make(const struct overlay *o, const char *path);

/* The source's directory `path` itself: an O_PATH descriptor or -errno. Any thread. */
int overlay_source_open(const struct overlay *o, const char *path);

/* Every mount of the source, `origin` first: the object `was` is `is` from now on, with enum node_is `what`. Those who have it open are led
 * there. The gate is held as a writer. */
void overlay_moved(struct overlay *o, struct fs_mount *origin, const struct ident *was, const struct ident *is, uint8_t what);

/* Has some mount the object open in such a way that its users can't be led elsewhere? Likewise. */
bool overlay_is_passed(struct overlay *o, struct fs_mount *origin, const struct ident *object);

/* Open `path` below one of the layers' roots, following nothing. The descriptor or -errno. */
int overlay_open_beneath(int root, const char *path, int flags);

/* A source directory has moved. */
void overlay_raise_epoch(struct overlay *o);
