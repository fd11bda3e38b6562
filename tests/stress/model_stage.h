/*
 * The model stress: a mount, a plain directory beside its source, actors on both sides; and a sequence of operations played there, each of
 * which must be answered as the plain directory answers it.
 */
#pragma once

#include "tests/lib/mount.h"
#include "tests/stress/model_op.h"

#define REPORT_MAX 6000

/* What the command line says. */
struct model_options {
        unsigned seconds;  /* 0: as `ops` and `rounds` say */
        unsigned ops;      /* of a sequence */
        unsigned rounds;   /* sequences */
        unsigned shrink_s; /* for making a failing sequence shorter */
        unsigned nofile;   /* the agent's RLIMIT_NOFILE, soft and hard; 0: as it is */
        unsigned long long seed;
        const char *profile;
        const char *second; /* profile of a second mount of the same source; NULL: there is none */
        enum transport transport;
        enum watch_how watch;
        const char *replay; /* a file */
        const char *game;   /* only this one races; NULL: all */
        bool exact, race, ng;
        /* Some names are artifacts, so that the tree lies in two layers: all actors see it by the mount, or half of them by the second. */
        bool rules;
        bool apart; /* the overlay is on another filesystem than the source: what goes from one to the other is copied */
};

struct ops {
        struct op *at; /* owned */
        size_t count;
};
void ops_add(struct ops *s, const struct op *op);
void ops_release(struct ops *s);

struct stage;

/* The options are the caller's, and stay. */
struct stage *stage_new(const struct model_options *o);
void stage_free(struct stage *s);
struct fixture *stage_fixture(struct stage *s);

/* A mount as the options have it; the caller mounts it. And with their limits. */
struct fixture *model_fixture(const struct model_options *o);
void model_mount(struct fixture *f, const struct model_options *o);

/* Where an actor sees the source: the even ones see itself, of the odd ones every other one sees the second mount, if there is one. */
const char *model_view(const struct fixture *f, const struct model_options *o, unsigned actor);

/* Files beside the tree: tests/stress/model_side.h has their number. */
void model_crowd(const struct fixture *f);

/* The barrier. */
void model_wait(struct fixture *f);

/* Play it in fresh directories. The first operation that is answered wrongly: its index, or `count` for the comparison at the end, in *nth
 * and what is wrong in `report` (REPORT_MAX). True if all is as it should be. */
bool stage_play(struct stage *s, const struct ops *ops, size_t *nth, char *report);

/* The same, drawing `count` operations on the way: they are added to *ops. */
bool stage_play_new(struct stage *s, unsigned long long seed, unsigned count, struct ops *ops, char *report);

/* Does the mount still answer? */
bool stage_alive(struct stage *s);

/* Make a failing sequence as short as it gets within the options' time. The stage may be another afterwards. False: it didn't fail again.
 */
bool model_shrink(struct stage **s, const struct model_options *o, struct ops *ops, char *report);

/* The modes. How many failures there were. */
unsigned model_exact(const struct model_options *o);
unsigned model_race(const struct model_options *o);
unsigned model_ng(const struct model_options *o);
