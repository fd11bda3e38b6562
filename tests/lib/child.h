/*
 * Processes of a test: a child that runs one function, perhaps as somebody else, and dies with its parent; gates that hold several of
 * them together; and must(), which fails the test from wherever it is called.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "cache/base/err.h"

#define CHILD_GROUPS 4

/* Whom a child runs as. */
struct who {
        uid_t uid;
        gid_t gid;
        size_t group_count;
        gid_t groups[CHILD_GROUPS];
};

/* What a failing must() calls in the process that called test_on_fail(); without it, or in a child, the process ends with status 1. */
void test_on_fail(void (*fail)(const char *message));

_Noreturn void test_fail(const char *file, int line, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Fail with a message unless the condition holds; errno is added to it. */
#define must(cond, ...)                                                                                                                    \
        do {                                                                                                                               \
                if (!(cond))                                                                                                               \
                        test_fail(__FILE__, __LINE__, __VA_ARGS__);                                                                        \
        } while (0)

/* Start fn(arg) in a child; its result is the exit status. `who` may be NULL. */
pid_t child_start(const struct who *who, int (*fn)(void *arg), void *arg);

/* The child's exit status, or 128 + the signal that ended it. */
int child_wait(pid_t pid);

/* Start and wait. */
int child_run(const struct who *who, int (*fn)(void *arg), void *arg);

/* Run a program to its end, standard output into `out` (NUL-terminated, cut at `size`) unless NULL. Its exit status. */
int child_exec(const char *const argv[], const char *const env[], const struct who *who, char *out, size_t size);

/* Zeroed memory that children share. Never given back: a test process is short. */
void *shared_new(size_t size);

/* A point that `count` processes pass together. */
struct gate {
        pthread_barrier_t barrier;
};
struct gate *gate_new(unsigned count);
void gate_pass(struct gate *g);

/* Wait until check(arg) is true; false after `seconds`. */
bool wait_until(bool (*check)(void *arg), void *arg, int seconds);

/* A small generator: the same seed gives the same test. */
struct dice {
        unsigned long long state;
};
unsigned dice_roll(struct dice *d, unsigned below);
