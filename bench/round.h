/*
 * The comparison itself: one workload on all sides, in rounds that alternate the order of the sides, until its share of the time is used
 * up. All sides start each timed part from the same state: prepared, settled, and with nothing dirty when the workload writes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <jansson.h>

#include "bench/place.h"
#include "bench/side.h"
#include "bench/stats.h"

enum {
        ROUNDS_LIMIT = 41,
        PEER_ROUNDS_WANTED = 3,
        SIDES_MAX = 8,
};

struct workload;

struct bench {
        const struct options *options;
        const struct place *place;
        struct side sides[SIDES_MAX]; /* the bind mount first; then dsfs, then peers */
        size_t sides_n;
        void *scene;                 /* the workloads' own */
        unsigned long long limit_ns; /* after that a row has one round, and no peers; 0: none */
};

struct workload {
        const char *name;
        double floor; /* of the source profile; 0: none is set */
        double weight;
        unsigned rounds_min, rounds_max;
        bool warm;   /* once on each side first, untimed */
        bool writes; /* dirty pages are written out before each timed part */
        /* Return 0 or -errno, with a message. Only run() is timed; it stores how many operations it did. The others may be NULL. */
        int (*prepare)(struct bench *b, struct side *s, unsigned round);
        int (*run)(struct bench *b, struct side *s, unsigned round, size_t *ops);
        int (*finish)(struct bench *b, struct side *s, unsigned round);
        /* What only the table of all of them has. */
        const char *title;
        double data_floor;                                 /* of the data profile; 0: none is set */
        bool only_dsfs;                                    /* peers have nothing to compare with it */
        bool each;                                         /* what one operation takes is what is asked for */
        const char *(*unavailable)(const struct bench *b); /* why it can't be measured here, or NULL */
};

/* What came out for one side. */
struct measured {
        unsigned rounds;
        double ms;
        struct interval interval; /* against the first side, over the rounds that both took part in */
        json_t *requests;         /* owned: an operation's, by name; NULL: not known */
        bool failed;
        bool given_up; /* it is a peer that took more than its share of the time; what was measured until then stands */
        double last_s; /* how long its last turn was, with all that belongs to it */
};

struct result {
        const struct workload *workload;
        size_t ops; /* of one round */
        struct measured of[SIDES_MAX];
};

/* Fills *ret, also when it fails. */
void round_compare(struct bench *b, const struct workload *w, double seconds, struct result *ret);

void round_release(struct result *r);

/* Whether the bind mount or a side of dsfs failed. */
bool round_failed(const struct bench *b, const struct result *r);
