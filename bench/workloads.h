/*
 * What bench-quick compares. The workloads of the application come first, in an order that disturbs the later ones least: reading,
 * creating, switching branches, deleting; then those that touch a large tree for the first time through a fresh mount.
 */
#pragma once

#include <stddef.h>

#include "bench/round.h"
#include "bench/tree.h"

enum {
        APP_FILES = 20000,
        FIRST_FILES = 50000,
        PREWARMS_MAX = 64,
};

struct scene {
        char *source;       /* the application's repository "app", and room to write, "scratch" */
        char *first_source; /* the large tree; NULL: not wanted */
        char *archive;      /* the application's first area, a tar */
        struct tree app;
        size_t paths_n, small_n, missing_n;
        char **paths;   /* the application's files, in no order */
        char **small;   /* borrowed from paths: up to WALK_READ_MAX bytes */
        char **missing; /* not there */
        size_t small_bytes;
        size_t stocked[2]; /* unpacked archives that wait for their deletion, by side */
        size_t deleted[2];
        double prewarm_s[PREWARMS_MAX];
        size_t prewarms;
};

extern const struct workload app_workloads[], first_workloads[];
extern const size_t app_workloads_n, first_workloads_n;

/* Make the trees in b->place. 0 or -errno, with a message. */
int scene_init(struct scene *sc, const struct bench *b, bool app, bool first);
void scene_release(struct scene *sc);
