/*
 * A program that reloads when a file changes, as it is: twice at the same time, each in a container, on the mount and on a bind mount of a
 * plain directory. The file is edited on the host; how long it takes until the program says so, and how often it does, is compared.
 *
 * What it works on is tests/e2e/reload/NAME. In the file that is edited the word EDIT is the edit's number.
 */
#pragma once

#include "tests/e2e/container.h"

enum edit {
        IN_PLACE = 1, /* written over; never empty, for some programs reload with what they find at the first event of several */
        REPLACED = 2, /* a temporary file is renamed over it, as most editors do */
        APPENDED = 4,
};

struct reloader {
        const char *name;
        const char *command; /* by sh, in a directory of its own; $PORT is free */
        const char *ready;   /* a line begins so when it watches */
        const char *answer;  /* a line for each reload: this, and the number of the edit */
        const char *file;
        unsigned edits; /* which kinds; 0: IN_PLACE and REPLACED by turns */
        bool page;      /* what a page in a browser says counts, and not the program */
        bool restless;  /* reloads for each event, however many an edit has */
        bool slow;      /* looks once a second */
        bool brief;     /* is soon done */
};

/* Of each side, from the host; then one from within the container. */
#define RELOADER_EDITS 10
#define RELOADER_ALL (RELOADER_EDITS + 1)

/* What came of it, on the mount [0] and on the bind mount [1]. */
struct reloads {
        unsigned count[2];
        uint64_t ns[2][RELOADER_ALL]; /* until each was answered; 0: never */
        const char *said[2];
};

struct running;

/* Start it on both sides, and wait until it watches. */
struct running *reloader_start(struct fixture *f, const struct reloader *r);

/* Make all edits; each is waited for. None is made after one that isn't answered. */
void reloader_edit(struct running *r);

/* End it; the result. The later this is called, the surer it is that nothing was reloaded a second time. */
void reloader_end(struct running *r, struct reloads *ret);
