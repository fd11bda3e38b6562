/*
 * A sink that remembers what a watch told, a place to watch, and another process's hands to change it: fanotify leaves our own out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "cache/base/ident.h"
#include "cache/base/thread.h"
#include "sync/watch_backend.h"
#include "tests/lib/area.h"
#include "tests/lib/child.h"

#define PATIENCE_MS 60000

enum told_kind {
        TOLD_ENTRY,
        TOLD_CONTENT,
        TOLD_ATTR,
};

struct told_note {
        enum told_kind kind;
        struct ident id;
        char *name; /* owned; entries only */
        const void *origin;
};

struct record {
        struct mutex lock;
        struct cond changed;
        struct told_note *notes GUARDED_BY(lock); /* owned */
        size_t count GUARDED_BY(lock);
        size_t room GUARDED_BY(lock);
        unsigned lost[3] GUARDED_BY(lock);
        char detail[256] GUARDED_BY(lock); /* of the last loss */
        bool hold GUARDED_BY(lock);        /* the next call blocks until it is false */
        bool held GUARDED_BY(lock);        /* one does */
        /* What `tid` does since then comes from the record itself. */
        pid_t tid GUARDED_BY(lock);
        unsigned long long since_ns GUARDED_BY(lock);
        bool alone GUARDED_BY(lock);
};

/* What to watch, and how. No pointers: Criterion hands it to another process. */
struct watch_case {
        enum watch_backend backend;
        enum backing backing;
};

struct place {
        struct watch_case how;
        char base[64];
        char area[96];
        char src[112]; /* is watched; "../out" is beside it, on the same filesystem */
        int area_fd;
        struct record record;
        struct watch *watch;
};

/* Make the directories; nothing is watched yet. */
void place_init(struct place *p, const struct watch_case *how);
void place_watch(struct place *p, const struct watch_options *options);
/* 0, or -errno and what was refused. */
int place_try_watch(struct place *p, const struct watch_options *options, const char **why);
void place_release(struct place *p);

/* Do `script` in src, in another process: commands separated by ';' or newlines (see watch_record.c). */
void place_do(struct place *p, const char *script);

/* The same, here. Paths are relative to `dir`. 0, or an errno with the command that failed on standard error. */
int place_perform(const char *dir, const char *script);

/* Wait until all that was done has been told. */
void place_settle(struct place *p);

/* Whether it was told. `path` is relative to src, "." is src. */
bool record_has_entry(struct place *p, const char *dir, const char *name);
bool record_has(struct place *p, enum told_kind kind, const char *path);
bool record_has_ident(struct record *r, enum told_kind kind, const struct ident *id, const char *name);
size_t record_times(struct place *p, enum told_kind kind, const char *path);
unsigned record_lost(struct record *r, enum watch_loss why);
size_t record_count(struct record *r);
void record_clear(struct record *r);

/* The i-th note; its name stays until the record is cleared. False: there are not as many. */
bool record_note(struct record *r, size_t i, struct told_note *ret);

/* What the calling thread does from now on comes from the record, and with `alone` nobody else is to be told. */
void record_own(struct record *r, bool alone);

/* Whether something was told as coming from the record; as coming from somebody else. */
bool record_has_own(struct record *r);
bool record_has_foreign(struct place *p, enum told_kind kind, const char *path);

/* Block the watch's thread at the next thing it tells; wait until it is; let it go. */
void record_hold(struct record *r);
void record_wait_held(struct record *r);
void record_let_go(struct record *r);
