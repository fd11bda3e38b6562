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
        /* The object was moved to the other layer, by a copy: fs_moved() for every mount but `origin`. On threads that serve; blocks
         * for nothing. */
        void (*moved)(void *arg, const struct fs_mount *origin, const struct ident *was, const struct ident *is, uint8_t what);
        /* fs_is_passed() in some mount but `origin`? Likewise. */
        bool (*is_passed)(void *arg, const struct fs_mount *origin, const struct ident *object);
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

/* Changes in the source are told by generations_touched(); else keys are looked at whenever their artifacts are. */
void overlay_keys_watched(struct overlay *o, bool watched);

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

/* The host renamed `name` in the source's directory `dir`, and it is `to_name` in `to_dir` now: if it is a directory, its artifacts follow.
 * True if there were any: then every mount is to be told all. The watch's thread, before it tells the mounts. */
bool overlay_host_moved(struct overlay *o, const struct ident *dir, const char *name, size_t len, const struct ident *to_dir,
                        const char *to_name, size_t to_len);

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

/*
 * Artifacts at rest: what there is, and having other things in their places. All of these walk or copy trees, on threads that serve
 * nothing; paths are relative to the source. 0, or -errno and *why as overlay_open() has it.
 */

struct artifact_size {
        uint64_t bytes; /* on disk */
        uint64_t files; /* all but directories */
};

struct artifact_generation {
        char *key; /* hexadecimal; owned */
        bool current;
        struct artifact_size size;
        int64_t used; /* when it was last current, or is; seconds since 1970 */
};

/* A topmost path that is an artifact, or one that can't be reached through a mount. */
struct artifact_root {
        char *path;              /* owned */
        const struct rule *rule; /* of overlay_rules(); NULL: none, any more */
        bool is_dir;
        bool there;  /* in the mounts; else only its generations are */
        bool orphan; /* the source's directory that it was in is gone, or its rule */
        struct artifact_size size;
        int64_t changed;                         /* the last time that something was made or removed directly in it */
        char *id;                                /* of its directory below kept/; owned; NULL: none */
        struct artifact_generation *generations; /* owned */
        size_t generation_count;
};

struct artifact_snapshot {
        char *name; /* owned */
        int64_t made;
        char **paths; /* owned */
        size_t path_count;
        struct artifact_size size;
};

struct artifact_survey {
        struct artifact_root *roots; /* owned, by path; orphans too */
        size_t root_count;
        char **shadowed; /* owned: what the source has under artifact paths */
        size_t shadowed_count;
        struct artifact_snapshot *snapshots; /* owned */
        size_t snapshot_count;
};

/* The source's path. */
const char *artifacts_source(const struct overlay *o);

/* Look at everything. With `only` (a path) at that one root, without snapshots and shadowed paths. */
int artifacts_survey(struct overlay *o, const char *only, struct artifact_survey *ret, char **why);
void artifacts_survey_release(struct artifact_survey *s);

/* The rule that makes `path` an artifact root, as a directory or not. -EINVAL: it is none. */
int artifacts_rule(struct overlay *o, const char *path, bool is_dir, const struct rule **ret, char **why);

/* Whether mounts don't show what the source has at `path`, as a directory or not: it, or a directory above it, is an artifact or hidden.
 * Any thread. */
bool artifacts_shadow(struct overlay *o, const char *path, bool is_dir);

/* A directory of one's own in moving/, for what is to be put in place. It goes when its owner does, if not before. */
struct artifact_stage {
        int fd;
        char name[32];
};
#define ARTIFACT_STAGE_NONE ((struct artifact_stage){.fd = -1})
int artifacts_stage(struct overlay *o, struct artifact_stage *ret, char **why);
/* The same in the overlay at `dir`, of which another process may be the owner. */
int artifacts_stage_at(const char *dir, struct artifact_stage *ret, char **why);
void artifacts_stage_end(struct artifact_stage *s);

/* A copy of `from` (absolute) in the stage, owned by nobody in particular yet. */
int artifacts_stage_copy(struct artifact_stage *s, const char *from, const char *name, char **why);

/* Put what the stage `stage` (of any process) has as `name` in place of the root `path`. */
int artifacts_place(struct overlay *o, const char *stage, const char *name, const char *path, bool replace, struct artifact_size *ret,
                    char **why);

/* Could that be done, whatever it is that is to be put there? */
int artifacts_place_ok(struct overlay *o, const char *path, bool replace, char **why);

struct adopt_wish {
        bool move;    /* the source has it no more */
        bool replace; /* what is there goes */
        bool dry;     /* only look */
};

/* Have what the source has under the artifact path. */
int artifacts_adopt(struct overlay *o, const char *path, const struct adopt_wish *wish, struct artifact_size *ret, char **why);

/* A snapshot of these roots; without any, of all that have no key. */
int artifacts_save(struct overlay *o, const char *name, const char *const *paths, size_t count, bool replace, struct artifact_snapshot *ret,
                   char **why);
/* What it replaces is the snapshot ARTIFACT_BEFORE then. */
#define ARTIFACT_BEFORE "before-restore"
int artifacts_restore(struct overlay *o, const char *name, struct artifact_snapshot *ret, char **why);
/* Which paths a snapshot has; no sizes. */
int artifacts_snapshot(struct overlay *o, const char *name, struct artifact_snapshot *ret, char **why);
void artifacts_snapshot_release(struct artifact_snapshot *s);

enum prune_what {
        PRUNE_GENERATION,
        PRUNE_ORPHAN,
        PRUNE_SNAPSHOT,
};

struct prune_wish {
        bool generations, orphans, snapshots;
        bool unsure;        /* there may be more rules: what none is about stays */
        int64_t older_than; /* seconds; below 0: however old */
        size_t keep;        /* so many generations of each root, the newest, besides the current one; and so many snapshots */
        bool dry;
};

/* Tell (unless NULL) each thing that goes: `name` is a generation's key. */
int artifacts_prune(struct overlay *o, const struct prune_wish *wish,
                    void (*gone)(void *arg, enum prune_what what, const char *path, const char *name, const struct artifact_size *size),
                    void *arg, char **why);

/* Remove what processes that are gone have left in moving/. */
void artifacts_sweep(struct overlay *o);

/* Whoever is at one of these gives up (-ECANCELED), from now on. Any thread. */
void artifacts_cancel(struct overlay *o);
