/*
 * When `dsfs run` runs its command: what has happened goes in, what is to be done comes out. No process, no file and no clock is touched
 * here, so that every case can be played in a test; run.c does what comes out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a change does while the command runs. */
enum busy {
        BUSY_RESTART, /* stop it, and run it again */
        BUSY_QUEUE,   /* let it end, then run it again, once */
        BUSY_IGNORE,  /* nothing: what changes while it runs is taken for its own work */
        BUSY_SIGNAL,  /* send it the signal, nothing else */
};

struct decide_rules {
        enum busy busy;
        int signal; /* that asks it to stop, or with BUSY_SIGNAL to look again */
        int64_t grace_ms, debounce_ms;
        bool postpone; /* not before something has changed */
        bool once;     /* one run, after a change, and that was it */
};

enum decide_event {
        TOLD_BEGIN,     /* dsfs run is ready: the first */
        TOLD_CHANGED,   /* something that matters has changed, and settled */
        TOLD_EXITED,    /* the command itself has ended; arg: its exit code */
        TOLD_TYPED_OUT, /* ... upon what was typed at the terminal (Ctrl-C); arg: its exit code */
        TOLD_REFUSED,   /* it can't be executed: nothing of it is there; arg: the exit code for that */
        TOLD_GONE,      /* no process of its group is left */
        TOLD_CAUGHT_UP, /* all changes from before DO_CATCH_UP are known */
        TOLD_ASKED,     /* we are to end; arg: the signal that says so */
        TOLD_OVER,      /* there is nothing to follow any more; arg: the exit code for that */
        TOLD_TICK,      /* time has passed */
        /* Made here of the above: */
        TOLD_WANTED,
        TOLD_PATIENCE_OVER,
        TOLD_COUNT,
};

enum decide_do {
        DO_START,    /* with the changes that were gathered */
        DO_SIGNAL,   /* arg: to its process group */
        DO_KILL,     /* its process group */
        DO_FORGET,   /* the changes that were gathered */
        DO_CATCH_UP, /* find out when all changes that were made until now are known, then say TOLD_CAUGHT_UP */
        DO_SAY_SLOW, /* runs follow each other too fast; arg: ms until the next */
        DO_END,      /* arg: our exit code */
};

struct decide_action {
        enum decide_do what;
        int arg;
};

/* Of one event no more come out than this. */
#define DECIDE_ACTIONS 6U
/* This many runs in so short a time look like a command that changes what it is run for ... */
#define DECIDE_BRAKE_RUNS 8U
#define DECIDE_BRAKE_WINDOW_MS 10000
/* ... and it is run again after this, each time twice as long. */
#define DECIDE_BRAKE_MIN_MS 1000
#define DECIDE_BRAKE_MAX_MS 30000

enum decide_state { STATE_IDLE, STATE_RUNNING, STATE_REMAINS, STATE_STOPPING, STATE_KILLING, STATE_CATCHING_UP, STATE_DONE, STATE_COUNT };

struct decide {
        struct decide_rules rules;
        enum decide_state state;
        bool wanted;      /* a run is */
        int64_t due;      /* when it will be; below 0: nothing has changed */
        int64_t patience; /* until when a stop may take; below 0: for ever */
        int stopped_by;   /* the signal that asked the command to stop */
        bool ending;
        bool own_code;                    /* what we exit with is what the command does, if it runs */
        int end_code;                     /* else this */
        bool by_change;                   /* the last run was wanted by a change */
        int64_t begun[DECIDE_BRAKE_RUNS]; /* when the last runs that a change wanted began, a ring */
        size_t runs;
        int64_t brake_ms;
        struct decide_action actions[DECIDE_ACTIONS];
        size_t count, taken;
};

void decide_init(struct decide *d, const struct decide_rules *rules);

/* Tell what has happened; `now_ms` never goes back. All actions of the event before have been taken. */
void decide_tell(struct decide *d, enum decide_event event, int arg, int64_t now_ms);

/* Take the next thing to do. False: there is none. */
bool decide_take(struct decide *d, struct decide_action *ret);

/* When TOLD_TICK is to be told at the latest, or below 0. */
int64_t decide_deadline(const struct decide *d);
