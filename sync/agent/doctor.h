/*
 * What can be wrong, one row each in doctor_conditions(): how it is seen, in one sentence, and what puts it right. `dsfs doctor` goes
 * through them all; doctor_*.c look.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "sync/agent/record.h"

enum doctor_level {
        DOCTOR_FINE,
        DOCTOR_NOTE,     /* works; could be better */
        DOCTOR_DEGRADED, /* something doesn't work, or won't soon */
        DOCTOR_FIXED,
};

struct doctor {
        bool fix;
        bool no_proof;
        const char *run; /* the runtime directory */
        struct record_list records;
        json_t *mounts; /* what live agents say of theirs; owned */
        char **sources; /* canonical, each once: of mounts, named, or where we are; owned */
        size_t source_count;
        const char *check; /* whose turn it is */
        json_t *findings;  /* owned */
        bool degraded;
};

struct doctor_condition {
        const char *check; /* its name */
        const char *about; /* what is looked at, one phrase */
        bool fixes;        /* --fix puts it right */
        void (*look)(struct doctor *d);
};

/* `what` is a sentence; `remedy` what puts it right, or NULL. Both are owned by this. */
void doctor_found(struct doctor *d, enum doctor_level level, char *what, char *remedy);

/* doctor_system.c: the kernel and the machine */
void doctor_kernel(struct doctor *d);
void doctor_device(struct doctor *d);
void doctor_uring(struct doctor *d);
void doctor_fusermount(struct doctor *d);
void doctor_allow_other(struct doctor *d);
void doctor_files(struct doctor *d);
void doctor_watches(struct doctor *d);

/* doctor_mounts.c: what is mounted, and what was */
void doctor_dead(struct doctor *d);
void doctor_records(struct doctor *d);
void doctor_live(struct doctor *d);
void doctor_propagation(struct doctor *d);
void doctor_shadowed(struct doctor *d);

/* doctor_sources.c: sources, and what is kept of them */
void doctor_filesystem(struct doctor *d);
void doctor_configuration(struct doctor *d);
void doctor_git(struct doctor *d);
void doctor_fsmonitor(struct doctor *d);
void doctor_disk(struct doctor *d);
void doctor_clock(struct doctor *d);
void doctor_memory(struct doctor *d);

/* doctor_proof.c: a mount of its own, edited on the host */
void doctor_proof(struct doctor *d);
