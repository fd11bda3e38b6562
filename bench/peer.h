/*
 * The other file systems that show a tree at another place: bindfs, mergerfs and the like, mounted as fast as they can be.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct peer {
        const char *name;    /* on the command line and in tables */
        const char *program; /* what must be installed; NULL: the kernel's */
        /* Mount `source` on `at`; `work` is an empty directory on the source's disk for those that write elsewhere. The exit status. */
        int (*mount)(const char *source, const char *at, const char *work);
};

extern const struct peer peers[];
extern const size_t peers_n;

/* Why it can't be measured here, or NULL. */
const char *peer_missing(const struct peer *p);
