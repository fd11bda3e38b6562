/*
 * The command line that the benchmarks share. What is set here is read by all, changed by none.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct options {
        const char *program;
        const char *summary;    /* for --help */
        const char *dsfs;       /* the binary under test: $DSFS_BIN, or build/dsfs */
        const char *dir;        /* where the trees live */
        const char *only;       /* comma-separated names, or NULL for all */
        const char *json;       /* where the results go */
        const char *mount_opts; /* given to `dsfs mount -o`, or NULL */
        const char *profiles;   /* comma-separated, or NULL where there is no choice (as for the next) */
        const char *peers;      /* the same, or "all", or "none" */
        const char *all_peers;  /* for --help */
        double budget_s;        /* for everything but cleaning up */
        uint64_t seed;
        unsigned count; /* samples of a kind (latency) */
        bool image;     /* on a fresh journalled ext4 instead of the disk of `dir` */
        bool self;      /* a bind mount against another: is the instrument true? */
        bool strict;    /* a missed floor is a failure */
        bool smoke;     /* tiny trees, one round: does the program work? */
};

/* Fills *o, whose program, summary, json, budget_s and count hold the defaults. Exits on --help and on mistakes. */
void options_parse(struct options *o, int argc, char **argv);

/* Whether --only leaves `name` in. */
bool options_wants(const struct options *o, const char *name);

/* Whether `name` is one of the comma-separated `list`. */
bool options_lists(const char *list, const char *name);
