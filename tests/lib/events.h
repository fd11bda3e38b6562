/*
 * A stand-in for the agent's event stream: a socket whose other end is the test, which says what it likes.
 */
#pragma once

#include <stdbool.h>

struct events_fake {
        char path[128]; /* of the socket */
        int listener;
        int fd;             /* who is connected; below 0: nobody */
        char request[4096]; /* the last */
        unsigned seq;
};

/* Listen in `dir`. Fails the test where it can't, as do the others. */
void events_fake_start(struct events_fake *e, const char *dir);
void events_fake_stop(struct events_fake *e);

/* Take the next connection and its request. */
void events_fake_take(struct events_fake *e);

/* ... and greet it. */
void events_fake_accept(struct events_fake *e, bool fresh);

void events_fake_hang_up(struct events_fake *e);

/* Say a line of this kind; `rest` is further members, each with a comma in front. */
void events_fake_say(struct events_fake *e, const char *kind, const char *rest);

/* One changed file, of whom; and the end of its batch. */
void events_fake_change(struct events_fake *e, const char *path, const char *origin);
void events_fake_settle(struct events_fake *e);

/* Both. */
void events_fake_edit(struct events_fake *e, const char *path);

/* Wait until all that was said has been read. */
void events_fake_heard(struct events_fake *e);
