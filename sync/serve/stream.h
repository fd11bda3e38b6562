/*
 * The event stream: tells subscribers what the journal has, each at its own pace and none at another's cost. A subscriber has a position in
 * the journal and at most one piece of it on the way: the journal is the queue. Whoever doesn't read is cut off, and so is whoever the
 * journal has overtaken; whoever asks for nothing, or for nonsense, is told and dropped.
 *
 * All on the loop's thread unless said otherwise.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct journal;
struct stream;
struct stream_door;

struct stream_options {
        struct journal *journal; /* borrowed */
        /* Why nothing would come of following it, one sentence; NULL: something would. May be NULL. */
        const char *(*why_not)(void *arg);
        /* Wait until all that has happened before is visible in every mount, and in the journal. 0; -ETIMEDOUT; or another -errno: that
         * can't be waited for. A worker's thread, one at a time. NULL: nobody can wait. */
        int (*barrier)(void *arg, int timeout_ms);
        void *arg;
        /* How long a request may take, and how long data may wait for a reader; 0: as packaging/manual/events.md has it. */
        unsigned request_ms, patience_ms;
        unsigned subscribers_max; /* of each door; 0 as above */
};

/* 0 or -errno. */
int stream_new(uv_loop_t *loop, const struct stream_options *options, struct stream **ret);

/* There may be something new in the journal. Any thread, until stream_close(). */
void stream_news(struct stream *s);

struct stream_offer {
        const char *name;   /* whose events they are: copied */
        const char *source; /* where it is, for those who may know; NULL */
        bool anyone;        /* not only the user that we run as, and root */
};

/* Serve whoever connects to `fd`, a socket that listens, which is taken in any case. 0 or -errno. */
int stream_open(struct stream *s, int fd, const struct stream_offer *offer, struct stream_door **ret);

/* Close the socket, and tell its subscribers that this is the end once they have what the journal holds: those who read get it within a
 * second, the others are dropped. `closed` (may be NULL) is called when no descriptor of it is left. Takes NULL. */
void stream_door_close(struct stream_door *d, void (*closed)(void *arg), void *arg);

/* Close every door that is still open, and end; the memory is freed when the loop has closed all of it. Takes NULL. */
void stream_close(struct stream *s);

struct stream_stats {
        uint64_t subscribers; /* now */
        uint64_t sent;        /* records, to all of them, ever */
        uint64_t replayed;    /* of these, from before the subscriber came */
        uint64_t cut;         /* subscribers that were too slow, ever */
        uint64_t refused;
};
void stream_stats(const struct stream *s, struct stream_stats *ret);
