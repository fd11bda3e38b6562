/*
 * The comparison itself: one workload on two sides, in rounds that alternate which side goes first, until its share of the time is used up.
 * Both sides start each timed part from the same state: prepared, settled, and with nothing dirty when the workload writes.
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
};

struct workload;

struct bench {
        const struct options *options;
        const struct place *place;
        struct side sides[2]; /* bind, dsfs */
        void *scene;          /* the workloads' own */
};

struct workload {
        const char *name;
        double floor; /* 0: none is set */
        double weight;
        unsigned rounds_min, rounds_max;
        bool warm;   /* once on each side first, untimed */
        bool writes; /* dirty pages are written out before each timed part */
        /* Return 0 or -errno, with a message. Only run() is timed; it stores how many operations it did. The others may be NULL. */
        int (*prepare)(struct bench *b, struct side *s, unsigned round);
        int (*run)(struct bench *b, struct side *s, unsigned round, size_t *ops);
        int (*finish)(struct bench *b, struct side *s, unsigned round);
};

struct result {
        const struct workload *workload;
        unsigned rounds;
        size_t ops; /* of one round */
        double bind_ms, dsfs_ms;
        struct interval interval;
        json_t *requests; /* owned: an operation's, by name; NULL: not known */
        bool failed;
};

/* Fills *ret, also when it fails. */
void round_compare(struct bench *b, const struct workload *w, double seconds, struct result *ret);
