/*
 * The changes of a source as `dsfs run` follows them: one stream of events out of as many connections as it takes. When the agent has died
 * or has cut us off, the stream goes on where it was, once there is an agent again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct feed;

/* Where the events are. */
struct feed_place {
        char *socket; /* owned; absolute */
        /* Whether it is certain that nobody will offer them there again. NULL: never. */
        bool (*is_over)(void *arg);
        void *arg;
};

enum feed_kind {
        FEED_CHANGE,    /* of these the texts are valid until the next is asked for */
        FEED_SETTLED,   /* what changed is a whole */
        FEED_ANYTHING,  /* continuity was lost: anything may have changed */
        FEED_AWAY,      /* nobody offers them; `text`: why. It will be tried again */
        FEED_BACK,      /* somebody does again */
        FEED_OVER,      /* the mount has ended; `text`: how */
        FEED_REFUSED,   /* `text`: why */
        FEED_CAUGHT_UP, /* what feed_catch_up() asked for: changes from before it come no more */
};

struct feed_news {
        enum feed_kind kind;
        const char *path;
        bool is_dir, deleted, from_mount;
        const char *text;
};

/* Connect. The place is borrowed. 0; or -errno and *why: nobody is there. */
int feed_new(const struct feed_place *place, struct feed **ret, char **why);
void feed_free(struct feed *f);

/* To poll for reading; below 0 while nobody is there. */
int feed_fd(const struct feed *f);

/* From when everything that was changed until now is known, don't tell any of it: FEED_CAUGHT_UP says that it is so. Where that can't be
 * found out, it comes at once. */
void feed_catch_up(struct feed *f);

/* To poll for reading too; below 0: there is none. */
int feed_catching_fd(const struct feed *f);

/* When feed_next() is to be asked at the latest, or below 0. */
int64_t feed_deadline(const struct feed *f);

/* What comes next. False: nothing for now. */
bool feed_next(struct feed *f, int64_t now_ms, struct feed_news *ret);
