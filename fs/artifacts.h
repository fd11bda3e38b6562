/*
 * The part of the door of fs/ that is about artifacts: what is generated lives in directories outside the source, which all mounts of the
 * source share.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
        uint64_t budget;     /* bytes that generations may take before those go that were not used for longest; 0: no limit */
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

/*
 * Generations: an artifact root whose rule has a key (or is seeded) is there once for each key. One is current, and is what the mounts
 * show.
 */

#define GENERATION_KEY_TEXT 33
#define GENERATION_UNCOUNTED UINT64_MAX

/* Strings are valid during the call that shows it. */
struct generation {
        const char *path;             /* of the root, relative to the source */
        const char *key;              /* 32 hex digits */
        const char *const *key_files; /* as the rule has them that the root goes by; none when no rule has generations for it any more */
        size_t key_file_count;
        bool current;
        uint64_t bytes;            /* on disk, when it was last counted; GENERATION_UNCOUNTED: it hasn't been */
        int64_t created_s, used_s; /* since the epoch; last used: when it ceased to be current */
};

/* Visit all of them that are known, root by root, the current one first; `visit` returns false to stop, and must not call back. Any thread
 * that serves nothing. */
void generations_each(struct overlay *o, bool (*visit)(void *arg, const struct generation *g), void *arg);

/* Drop one. 0; -ENOENT; -EBUSY: it is the current one. Any thread that serves nothing. */
int generations_drop(struct overlay *o, const char *path, const char *key);

/* Make `prepared`, a file, symlink or directory in moving/, the generation `key` of the root at `path`, in place of one that is there;
 * NULL: the current one, which all mounts see then. 0; -EINVAL: no rule has generations for that path; or -errno, when it is still in
 * moving/. Any thread that serves nothing. */
int generations_adopt(struct overlay *o, const char *prepared, const char *path, const char *key);

/* Something at or below `path` was put into tree/ or taken from it by other means than a mount's: what is known of roots there is looked at
 * anew. */
void generations_recheck(struct overlay *o, const char *path);

/* A directory of the source was renamed, and its part of tree/ with it: the generations of the roots in it follow. */
void generations_moved(struct overlay *o, const char *from, const char *to);

struct generations_stats {
        uint64_t roots, generations; /* known; of which as many as there are roots, at most, are current */
        uint64_t bytes;              /* of those that have been counted */
        uint64_t switches, rekeys;   /* since the agent began */
        bool pending;                /* a key may have changed, and hasn't been looked at yet */
};
void generations_stats(struct overlay *o, struct generations_stats *ret);

/*
 * What the watch tells of the source.
 */

/* As watch_sink's touched(): the entry `name` of `dir` may be another now. The watch's thread. Never waits. */
void generations_touched(struct overlay *o, const struct ident *dir, const char *path, const char *name, size_t len);

/* Any key may have changed. Any thread. */
void generations_touched_all(struct overlay *o);

/* Wait until each root shows the generation of what its key files were when this was called, or later. 0, -ETIMEDOUT, or -ESHUTDOWN. Any
 * thread that serves nothing and is not the watch's. */
int generations_settle(struct overlay *o, int timeout_ms);

/* The listener is about to go: nothing is told any more. */
void generations_quiesce(struct overlay *o);
