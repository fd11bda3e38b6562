/*
 * The event stream from inside: what the stream (sync/serve/stream.c), its doors (sync/serve/stream_door.c), who came in by them
 * (sync/serve/stream_sub.c) and what these get of the journal (sync/serve/stream_pump.c) share. All on the
 * loop's thread, but for the barrier itself.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "sync/journal.h"
#include "sync/serve/stream.h"
#include "sync/serve/subscriber.h"

/*
 *     ASKING --> FOLLOWING --> ENDING --+
 *        |           |                  +--> LAST_WORDS --> CLOSING
 *        +-----------+------------------+
 *        |                              |
 *        +--------> WAITING ------------+
 *
 * ASKING      the request isn't whole yet.
 * FOLLOWING   gets what the journal has, and what comes.
 * WAITING     for the barrier: the one under way if it came before that began, else the next.
 * ENDING      gets what the journal has up to `upto`, then the end.
 * LAST_WORDS  what is on the way is the last of it.
 * CLOSING     from any state, once.
 */
enum subscription_state {
        ASKING,
        FOLLOWING,
        WAITING,
        ENDING,
        LAST_WORDS,
        CLOSING,
};

struct subscription {
        struct stream_door *door;
        struct subscription *next;
        uv_pipe_t pipe;
        enum subscription_state state;
        bool touches;
        bool before_barrier; /* WAITING: the barrier under way is one for it */
        /* All that is known of it is from before `seq`; what was there when it came ends with `came_at`. */
        uint64_t seq, came_at, upto;
        const char *why; /* of the end; ENDING */
        char *piece;     /* on the way, owned; NULL: nothing is */
        char *last;      /* the last words, that follow it; owned */
        size_t left;     /* of what is on the way, when last looked at */
        uv_write_t write, write_last;
        bool more;                   /* the piece ended because it was full */
        unsigned long long deadline; /* 0: none */
        size_t request_len;
        char request[EVENTS_REQUEST_MAX];
};

struct stream_door {
        struct stream *stream;
        struct stream_door *next;
        uv_pipe_t listener;
        char *name, *source;
        bool anyone;
        struct subscription *subscriptions;
        unsigned turned_away; /* since the last tick */
        bool knocking;        /* somebody is to be accepted at the next tick; until then libuv looks for no more */
        bool closing, listener_closed;
        void (*closed)(void *arg);
        void *closed_arg;
};

struct stream {
        uv_loop_t *loop;
        struct stream_options options;
        uv_async_t news;
        uv_timer_t tick; /* runs while somebody has a deadline */
        unsigned tick_ms;
        bool ticking;
        unsigned handles; /* of news and tick that libuv still has, and the barrier that is under way */
        uv_work_t barrier;
        bool at_barrier;
        int barrier_rc;
        struct stream_door *doors;
        bool closing;
        struct stream_stats stats;
        /* The record that is being copied out of the journal. */
        struct journal_record record;
        char *path; /* owned, as large as any so far */
        size_t path_size;
        bool no_memory;
        char texts[3][JOURNAL_TEXT_MAX + 1];
};

/*
 * The stream
 */

/* Somebody has a deadline, or waits at a door. */
void stream_start_ticking(struct stream *s);

/* Begin a barrier if somebody waits for one and none is under way. */
void stream_start_barrier(struct stream *s);

/* A door has gone. */
void stream_close_if_done(struct stream *s);

/*
 * A door
 */

/* Let in who knocks, or turn them away. */
void stream_door_accept(struct stream_door *d);

/* A subscription has gone, or the listener. */
void stream_door_free_if_done(struct stream_door *d);

/*
 * A subscription. Whatever ends it, its memory stays until libuv has closed it.
 */

/* It has been accepted: wait for its request. */
void subscription_start(struct subscription *sub);

/* Close it without a word, if it isn't yet. */
void subscription_drop(struct subscription *sub);

/* Say this line, behind what is on the way, and close. Takes `line`; NULL (no memory): only close. */
void subscription_say_last(struct subscription *sub, char *line);
/* With these as the last words, which are counted. */
void subscription_refuse(struct subscription *sub, const char *sentence);
void subscription_cut(struct subscription *sub, const char *sentence);

/* Once its door is being closed it has one that stands. */
void subscription_set_deadline(struct subscription *sub, unsigned ms);
void subscription_clear_deadline(struct subscription *sub);
/* What has come to its time. True when it still has one. */
bool subscription_look_at_deadline(struct subscription *sub, unsigned long long now);

/* The barrier has ended, as stream.barrier_rc says. */
void subscription_answer_waiting(struct subscription *sub);

/* Its door is being closed: it gets what there is, and then the end. */
void subscription_see_off(struct subscription *sub);

/* Put a piece on its way; none may be. Takes `piece`. */
void subscription_write(struct subscription *sub, char *piece, size_t len);

/* Give it what the journal has, a piece at a time. FOLLOWING or ENDING. */
void subscription_pump(struct subscription *sub);
