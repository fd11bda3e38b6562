/*
 * The other end of the event stream (packaging/manual/events.md has the protocol): ask once, then be told line by line what changes in a
 * source, by the agent or, in a container, through the mount's own `.dsfs/events.sock`.
 *
 * What comes in is bounded and not believed: a line is parsed into an event or refused. Nothing of the agent is needed here.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EVENTS_VERSION 1
/* The longest line that the server sends, its newline included. */
#define EVENT_LINE_MAX (64 * 1024)
/* The longest request. */
#define EVENTS_REQUEST_MAX 4096
/* Where the stream is to be had in a mount. */
#define EVENTS_IN_MOUNT ".dsfs/events.sock"

struct subscriber;

enum event_kind {
        EVENT_HELLO,   /* the first: `fresh` and `clock`, `name`, `source` */
        EVENT_CREATED, /* of these: `path`, `type`, `origin`, `batch`, `time`, hashes */
        EVENT_MODIFIED,
        EVENT_DELETED,
        EVENT_TOUCHED,
        EVENT_SETTLED, /* a batch has ended: `batch`, `changes`, `new_hash` (of the root), `operation`, `head_was`, `head_is` */
        EVENT_FRESH,   /* continuity was lost: look at everything */
        EVENT_CUT,     /* the server drops us: `error` */
        EVENT_REFUSED, /* the request is refused: `error` */
        EVENT_END,     /* nothing follows: `why` */
        EVENT_VISIBLE, /* what was waited for: all that happened before is visible, and not after `clock` */
        EVENT_OTHER,   /* a kind that this version doesn't know, to be skipped */
};

/* Texts and `path` are valid until the next event is asked for, or event_release(). What the line doesn't have is NULL, 0 or false. */
struct event {
        enum event_kind kind;
        const char *clock;
        bool fresh;
        uint64_t batch, changes;
        double time; /* seconds since 1970 */
        const char *path;
        size_t path_len; /* it is bytes */
        const char *type, *origin;
        const char *old_hash, *new_hash;
        const char *operation, *head_was, *head_is;
        const char *name, *source;
        const char *error, *why;
        /* The line itself, without its newline. */
        const char *line;
        size_t line_len;
        /* What the texts live in. */
        json_t *json;
        char *path_memory, *source_memory;
};

/* Is it one of the four that are about a path? */
bool event_is_change(const struct event *e);

/* Read one line, without its newline. 0; or -EINVAL (it is no event), -ENOMEM and *why. `ret` borrows the line, and goes to
 * event_release() when this has returned 0. */
int event_parse(const char *line, size_t len, struct event *ret, char **why);
void event_release(struct event *e);

struct subscriber_wish {
        const char *since; /* a clock; NULL: only what comes from now on */
        bool touches;      /* what was touched without a change of content, too */
        bool once;         /* what there is after `since`, and no following */
        /* No changes, only the barrier: EVENT_VISIBLE once all that has happened until now is visible and told, or EVENT_REFUSED, also when
         * that takes longer than `timeout_ms`. */
        bool wait;
        int timeout_ms;
};

/* Connect to the socket at `path` (as long as paths may be), and ask. 0; or -errno (-ECONNREFUSED, -ENOENT: nobody listens) and *why. */
int subscriber_new(const char *path, const struct subscriber_wish *wish, struct subscriber **ret, char **why);
/* The same of a descriptor that is connected, which is taken. */
int subscriber_new_fd(int fd, const struct subscriber_wish *wish, struct subscriber **ret, char **why);
/* Takes NULL. */
void subscriber_free(struct subscriber *s);

/* To be polled for reading together with others. Once it is readable, subscriber_next() with no time is asked until it says -EAGAIN. */
int subscriber_fd(const struct subscriber *s);

/* The next event, waited for until `timeout_ms` (below 0: for ever). 0 and *ret, which the subscriber owns; -EAGAIN: none yet; -EINTR: a
 * signal came; -EPIPE: the other end hung up; -EPROTO: what it says makes no sense; another -errno. With all but the first three *why. */
int subscriber_next(struct subscriber *s, int timeout_ms, const struct event **ret, char **why);
