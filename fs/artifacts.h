/*
 * The part of the door of fs/ that is about artifacts: what is generated lives in directories outside the source, which all mounts of the
 * source share.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "fs/rules.h"

struct fs_mount;
struct ident;
struct overlay;

/* Called with no lock held. */
struct overlay_listener {
        /* The entry `name` of the source's directory `dir` was changed through `origin`, which knows. On threads that serve: must not
         * block, nor tell the kernel (fs_soon_entry does neither). */
        void (*changed)(void *arg, const struct fs_mount *origin, const struct ident *dir, const char *name, size_t len);
        /* The same of an artifact's content or attributes. */
        void (*touched)(void *arg, const struct fs_mount *origin, const struct ident *object);
        /* The object is about to be replaced at its path, and must stay within reach of those who have it open (fs_keep). */
        void (*switching)(void *arg, const struct ident *object);
        /* The entry `name` of `dir` is another object now: returns when every mount has been told (fs_tell_entry). */
        void (*switched)(void *arg, const struct ident *dir, const char *name, size_t len);
};

struct overlay_options {
        const char *dir;     /* where it lives; absolute; made if it is missing */
        const char *source;  /* absolute, canonical */
        struct rules *rules; /* taken, on success */
};

/* 0, or -errno and *why: one sentence, the caller frees. What an earlier process left half done is completed or undone first. */
int overlay_open(const struct overlay_options *options, struct overlay **ret, char **why);

/* No mount that uses it may be left. Takes NULL. */
void overlay_free(struct overlay *o);

/* Set once, before the first mount; constant then. */
void overlay_listen(struct overlay *o, const struct overlay_listener *listener, void *arg);

/* Is it on the source's filesystem? */
bool overlay_beside_source(const struct overlay *o);

/* Changes by other hands inside the overlay are told to all mounts by the watch: nobody need spread them. */
void overlay_watched(struct overlay *o, bool watched);

/* Other rules from now on (taken). The caller has all mounts tell the kernel all. Any thread. */
void overlay_set_rules(struct overlay *o, struct rules *rules);

const struct rules *overlay_rules(struct overlay *o);
