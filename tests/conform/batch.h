/*
 * The trials of one group by one user in one combination, which are made and compared together.
 */
#pragma once

#include <stdatomic.h>
#include <time.h>

#include "tests/conform/conform.h"

/* In the record of a trial whose child crashed or hung. */
#define ENDED "!! it ended"

struct item {
        const struct call *call;
        const struct target *target;
        bool failed;
};

/* Where one side's trials are recorded, shared with the child that makes them. */
struct lane {
        struct trace *out;
        size_t *begin; /* of each trial's text; one more than there are trials */
        atomic_size_t *at;
};

struct batch {
        const struct combination *combination;
        struct fixture *f;
        const struct group *group;
        enum user user;
        struct item *items;
        size_t count;
        char dir[32]; /* below the roots */
        const char *elsewhere;
        const char *oracle; /* the plain directory, as the mount: nosuid, nodev, behind a mount point */
        struct timespec since;
};

struct lanes {
        struct lane want, have;              /* what the calls said */
        struct lane plain, source;           /* what was left, without inode numbers and times */
        struct lane source_exact, mnt_exact; /* with them */
};

/* CALL/TARGET/USER, in which "+" joins flags: "|" has a meaning in patterns. */
void trial_name(const struct call *call, const struct target *target, enum user user, char *ret, size_t size);

/* Tell and count what is unlike. */
void batch_compare(const struct batch *b, const struct lanes *l, struct tally *tally);
