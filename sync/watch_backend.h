/*
 * Between watch.c (thread, barrier, counters) and the two backends: what they share, and what a backend does. Private to the watch;
 * tests include it for watch_new_with().
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cache/base/ident.h"
#include "sync/watch.h"

struct watch_options {
        size_t max_watches; /* inotify watches to stop at; 0: only at the system's limit */
};

/* What a backend sees of its watch. The watch's thread only, once that runs; the counters any thread. */
struct watch_core {
        char *source; /* owned */
        int root;     /* O_PATH */
        dev_t dev;
        struct ident root_ident;
        struct watch_options options;
        struct watch_sink sink;
        void *arg;

        int fd;      /* the kernel's queue; the backend's, non-blocking */
        void *state; /* the backend's */

        bool check_root; /* something happened after which the root may be gone */
        bool root_is_gone;
        const void *origin; /* of what is told next */
        enum watch_by by;   /* for touched() */
        bool content_told;  /* ... and nothing else since: `last_content` needs not be told again in this batch */
        struct ident last_content;
        unsigned last_how;
        const void *last_origin;

        _Atomic uint64_t events, coalesced, own, overflows, watches;
        atomic_bool degraded;
};

struct watch_ops {
        enum watch_backend backend;
        /* Open the queue and watch everything below the root. 0, or -errno with *why (static text). */
        int (*open)(struct watch_core *c, const char **why);
        /* Take once from the queue and tell. What was taken, counted as FIONREAD counts it; 0 when the queue is empty; or -errno.
         * *events is how many events these were. */
        ssize_t (*read)(struct watch_core *c, size_t *events);
        /* The queue is empty for the moment: tell what had to be put off. False when some of it still waits for events to come; with
         * `give_up` that is told as lost. NULL: nothing is ever put off. */
        bool (*settle)(struct watch_core *c, bool give_up);
        void (*close)(struct watch_core *c);
};

extern const struct watch_ops watch_fanotify_ops;
extern const struct watch_ops watch_inotify_ops;

/* For backends: count and hand on to the sink. */
void watch_tell_entry(struct watch_core *c, const struct watch_name *at, const struct ident *object, unsigned how);
void watch_tell_moved(struct watch_core *c, const struct watch_name *from, const struct watch_name *to, const struct ident *object,
                      unsigned how);
void watch_tell_content(struct watch_core *c, const struct ident *file, const struct watch_name *at, unsigned how);
void watch_tell_attr(struct watch_core *c, const struct ident *object, const struct watch_name *at, unsigned how);
void watch_tell_touched(struct watch_core *c, const struct ident *dir, const char *path, const char *name, size_t len);
/* Call it when events were read, before they are told. */
void watch_tell_taken(struct watch_core *c);
void watch_tell_lost(struct watch_core *c, enum watch_loss why, const char *detail);

/* watch_new() with limits of the caller's choice. */
int watch_new_with(const char *source, enum watch_backend backend, const struct watch_options *options, const struct watch_sink *sink,
                   void *arg, struct watch **ret, const char **why);
