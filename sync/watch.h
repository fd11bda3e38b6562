/*
 * Sees every change below a source directory, whoever makes it, and tells a sink. Two backends with one behaviour: a fanotify filesystem
 * mark where we are privileged, recursive inotify elsewhere. A watch never misses silently: what it may have missed is told as lost().
 *
 * fanotify knows which thread made a change, and so whose it is, if this process made it for somebody (`whose`); inotify doesn't.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ident;
struct watch;

enum watch_backend {
        WATCH_AUTO,
        WATCH_FANOTIFY,
        WATCH_INOTIFY,
};

enum watch_loss {
        WATCH_OVERFLOW, /* the kernel's queue was full */
        WATCH_LIMIT,    /* no more inotify watches: below some directories nothing is seen any more */
        WATCH_ROOT,     /* the source itself was deleted, moved away or unmounted */
};

/* How it was changed, where that is known: what a watcher of the source hears. None: it isn't known, or he hears nothing. */
enum watch_change {
        WATCH_CREATED = 1, /* an entry; or it came from where we don't see */
        WATCH_DELETED = 2, /* or it went there */
        WATCH_MODIFIED = 4,
        WATCH_CLOSED = 8, /* after writing */
        WATCH_ATTRIB = 16,
        WATCH_DIRECTORY = 32, /* it is one */
};

/* Who changed something, as far as it is known; 0: the watch's own thread, which only finished what others began. */
enum watch_by {
        WATCH_BY_OURS = 1,   /* somebody whom `whose` named */
        WATCH_BY_OTHERS = 2, /* nobody of ours */
        WATCH_BY_UNKNOWN = 4,
};

struct watch_name {
        const struct ident *dir;
        const char *name;
        size_t len;
};

/* Called on the watch's own thread, in the order of the changes, after each has happened. They may block for the kernel's notifications,
 * never for anything that waits for this thread. `origin` is whom the change came from, who knows of it already; NULL: it isn't known, or
 * is nobody of ours. */
struct watch_sink {
        /* Events have been read from the kernel just now, at `ns` (clock_now_ns()); what follows tells of them. May be NULL. */
        void (*taken)(void *arg, unsigned long long ns);
        /* The entry was created, deleted, renamed from or renamed to; `object` is what it is or was, or NULL: that isn't known. Of what was
         * deleted, `how` says as well what else happened to it. */
        void (*entry)(void *arg, const void *origin, const struct watch_name *at, const struct ident *object, unsigned how);
        /* One was renamed, perhaps over another. NULL: each of its names is told as an entry. */
        void (*moved)(void *arg, const void *origin, const struct watch_name *from, const struct watch_name *to, const struct ident *object,
                      unsigned how);
        /* (`at`, in this and the next: the name by which it was done; NULL: it isn't known.) The file's bytes changed, and so its
         * attributes (or it was closed after writing, which is all that shows of a store through a mapping; or inotify can't tell). Of a
         * directory: any of its entries, for it came, perhaps came back, from where we don't see. */
        void (*content)(void *arg, const void *origin, const struct ident *object, const struct watch_name *at, unsigned how);
        /* Mode, owner, times, link count or extended attributes changed. inotify can't show that a file's other link went. */
        void (*attr)(void *arg, const void *origin, const struct ident *object, const struct watch_name *at, unsigned how);
        /* Anything below the source may have changed untold. `detail` is one sentence that says what to do about it. */
        void (*lost)(void *arg, enum watch_loss why, const char *detail);
        /* Everything that was queued has been told, or a good deal of it in a storm: a good moment to flush what was gathered. */
        void (*idle)(void *arg);
        /* Whom the thread `tid` (of any process) changes things for, and has since before `before_ns` (clock_now_ns()); else NULL. With
         * *alone nobody but him is to be told. *by is for touched(): there a thread that is younger is taken for ours, too. May be NULL:
         * nothing comes from anybody. */
        const void *(*whose)(void *arg, pid_t tid, unsigned long long before_ns, bool *alone, enum watch_by *by);
        /* Every change again, whoever made it, and that nobody else is told of too: the entry `name` of `dir` (length 0: the directory
         * itself, with all in it) was created, changed, renamed from or to, or deleted. `path` is where the directory is as far as the
         * watch knows, relative to the source ("" for itself), or NULL: it doesn't. What is in a directory that was created or renamed
         * need not be told. Must not block. May be NULL. */
        void (*touched)(void *arg, enum watch_by by, const struct ident *dir, const char *path, const char *name, size_t len);
};

struct watch_stats {
        enum watch_backend backend;
        uint64_t events;    /* told to the sink */
        uint64_t coalesced; /* not told, for the same had just been */
        uint64_t own;       /* left out: nobody but their origin was to be told */
        uint64_t overflows;
        uint64_t watches; /* marks or inotify watches held */
        bool degraded;    /* something is not being seen; `lost` said so */
};

/* Watch everything below `source` (an absolute path), on its filesystem: not what is mounted inside. Returns once nothing that changes
 * from now on can be missed. 0; or -errno, when *ret is untouched and *why (static text) says what was refused. WATCH_AUTO takes fanotify
 * if it works, else inotify, when *why is what fanotify refused; otherwise *why is NULL on success. */
int watch_new(const char *source, enum watch_backend backend, const struct watch_sink *sink, void *arg, struct watch **ret,
              const char **why);

/* Wait until all that changed before this call has been told to the sink and idle() has returned. 0, -ETIMEDOUT, -ESHUTDOWN.
 * Any thread but the watch's own. */
int watch_barrier(struct watch *w, int timeout_ms);

/* The same in two steps, for who can't wait in one: what `asked` stands for is told sooner or later, however often one comes back for it,
 * while asking anew each time would put it off for as long as the watch is behind. */
uint64_t watch_ask(struct watch *w);
int watch_await(struct watch *w, uint64_t asked, int timeout_ms);

void watch_stats(struct watch *w, struct watch_stats *ret);

/* Stop and join. Takes NULL. */
void watch_free(struct watch *w);
