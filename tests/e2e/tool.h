/*
 * Real programs at work: a step of a script in tests/e2e/, run in a directory as in a container, which sees it at the same path whichever
 * directory it is. What it leaves in the mount and in a plain directory can so be compared byte by byte.
 */
#pragma once

#include "tests/mount/case.h"

/* Run the step (a function of tests/e2e/SCRIPT, NAME or NAME ARGUMENT) in `dir`. It must end well, in time. Its standard output, which
 * stays. */
const char *tool(struct fixture *f, const char *dir, const char *script, const char *step);

/* Run the step in the plain directory and in the mount: the same output, and afterwards the same tree in the source, which the mount shows.
 */
void tool_compare(struct fixture *f, const char *script, const char *step);

/* As tool_compare() for steps that leave different files each time: outputs only. */
void tool_compare_output(struct fixture *f, const char *script, const char *step);

/* Two outputs are equal; else fail with the first line that differs. */
void tool_same(const char *want, const char *have, const char *what);

/* Where a file of tests/e2e/ is, absolute. */
const char *tool_path(const char *name);

/* The seed of this run: DSFS_TEST_SEED, or a fresh one. It is printed. */
unsigned long long tool_seed(void);

/* Profiles and transports that programs run with. */
static const struct variant tool_variants[] __attribute__((unused)) = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY},
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY},
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_INOTIFY, .profile = PROFILE_DATA},
};
