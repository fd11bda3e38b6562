/*
 * Keeps mounts true to their source: what the watch sees is told to every mount, and a barrier waits until it has been. One engine a
 * source; several mounts share its watch.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/fs.h"
#include "sync/latency.h"
#include "sync/watch.h"

#define ENGINE_MOUNTS_MAX 16

enum engine_coherence {
        ENGINE_COHERENCE_AUTO, /* by the source's filesystem, and by what the watch can see */
        ENGINE_COHERENCE_EVENTS,
        ENGINE_COHERENCE_STRICT,
};

struct engine;
struct hashing;
struct ident;
struct overlay;

/* Watch `source` (absolute, canonical). From the return on nothing is missed. What is touched is told to `hashing` too (borrowed; may be
 * NULL). 0; or -errno and *why: one sentence, the caller frees. */
int engine_new(const char *source, enum engine_coherence coherence, enum watch_backend backend, struct hashing *hashing,
               struct engine **ret, char **why);

/* Who else is told what the watch sees of the source and all else on its filesystem. On the watch's thread: must not block, nor call the
 * engine. NULL: nobody is, and no call is under way when this returns. */
struct engine_touch {
        /* The entry `name` of `dir` was created, changed, renamed from or to, or deleted. */
        void (*touched)(void *arg, const struct ident *dir, const char *name, size_t len);
        /* Any may have been. */
        void (*lost)(void *arg);
        void *arg;
};
void engine_on_touch(struct engine *e, const struct engine_touch *touch);

/* Who is told that the source itself is gone (WATCH_ROOT), as above. NULL: nobody is. */
void engine_on_gone(struct engine *e, void (*gone)(void *arg), void *arg);

/* Have all mounts take back everything that the kernel holds. Any thread that serves nothing. */
void engine_tell_all(struct engine *e);

/* How mounts of this source have to be coherent; decided in engine_new(). Any thread. */
enum fs_coherence engine_coherence(const struct engine *e);

/* Whether what the host does is known well enough to be replayed to those who watch a mount. Any thread. */
bool engine_sees_how(const struct engine *e);

/* The mounts that are added have their artifacts here: what one changes is told to the others. Before the first is added; borrowed until
 * the last is gone. */
void engine_use_overlay(struct engine *e, struct overlay *o);

/* Tell this mount too from now on; it is borrowed until engine_remove_mount() or engine_free(). 0 or -ENOSPC. Any thread that serves
 * nothing. */
int engine_add_mount(struct engine *e, struct fs_mount *m);

/* Tell it nothing more: when this returns nobody is about to, and it may be freed. Waits for a notification under way, so not on a thread
 * that serves, nor the watch's. Nothing happens if it was never added. */
void engine_remove_mount(struct engine *e, struct fs_mount *m);

/* Wait until all that happened to the source before the call is visible in every mount. 0, -ETIMEDOUT, or -ESHUTDOWN after
 * engine_shutdown(). Any thread but the watch's and those that serve. */
int engine_barrier(struct engine *e, int timeout_ms);

/* Let every barrier return, and every later one fail, so that engine_free() may be called. Any thread. */
void engine_shutdown(struct engine *e);

/* Nobody may be in a barrier, and the mounts must still be there. Takes NULL. */
void engine_free(struct engine *e);

struct engine_stats {
        bool watching; /* false under strict coherence: nothing is watched */
        struct watch_stats watch;
        struct latency_stats latency; /* from the watch's read of an event to the kernel having been told, in all mounts */
        const char *strict_because;   /* why nothing is kept, one phrase; NULL when events are trusted, or strict was asked for */
};
void engine_stats(struct engine *e, struct engine_stats *ret);

/* Visit what has gone wrong since the start, each a sentence that says what to do. Any thread; `visit` must not call the engine. */
void engine_warnings(struct engine *e, void (*visit)(void *arg, const char *sentence), void *arg);

/* The name of a filesystem whose changes, made elsewhere, raise no events; or NULL. `magic` is statfs()'s f_type. */
const char *engine_silent_filesystem(uint32_t magic);
