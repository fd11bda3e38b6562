/*
 * Where a benchmark lives: a fresh directory, or a fresh filesystem, that is gone afterwards, with everything mounted below it, however the
 * benchmark ends. The job runs in a process of its own; its parent only waits, and cleans up on its end and on SIGINT, SIGTERM and SIGHUP.
 */
#pragma once

#include <stdbool.h>

struct options;

struct place {
        char *top;  /* absolute, canonical; mount points go here */
        char *disk; /* trees go here: `top` or a filesystem mounted below it */
        bool uring; /* enable_uring was switched on for us */
};

/* Make a place, run job(o, place) in it, clean up. The exit code: what the job returned, 1 on failure, 128 + signal. */
int place_run(const struct options *o, int (*job)(const struct options *o, const struct place *place));

/* Write out what is dirty on the disk, so that it isn't written in somebody's timed part. */
void place_sync(const struct place *place);

/* Ask the filesystem to put directories made in `path` far from each other and from what was deleted lately (ext4's Orlov allocator does,
 * for top directories): a round then meets the inodes of no other. Elsewhere nothing happens. */
void place_spread(const char *path);

/* Remove a tree, staying on one filesystem. */
void place_remove(const char *path);

/* "ext4", and whether it is an ext4 without journal, which avoids inodes deleted in the last minute and so creates ever slower. */
const char *place_filesystem(const struct place *place, bool *without_journal);
