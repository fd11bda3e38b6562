/*
 * Running other programs: git, tar, grep, dsfs. Standard error is ours; standard input is empty unless given.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Start argv (NULL-terminated, found by $PATH). `in` and `out` become its standard input and output, /dev/null where -1; the caller keeps
 * them. 0 or -errno. */
int tool_start(const char *const argv[], int in, int out, pid_t *ret);

/* Wait for it. The exit status, 128 + signal, or -errno. */
int tool_wait(pid_t pid);

/* Start and wait; what it printed goes to nowhere. As tool_wait(). */
int tool_run(const char *const argv[]);

/* Start and wait; what it printed is in *ret (the caller frees), NUL-terminated, when the result isn't negative. As tool_wait(). */
int tool_capture(const char *const argv[], char **ret);

/* Start and wait; what it printed is counted, not kept. As tool_wait(). */
int tool_count(const char *const argv[], size_t *bytes);

/* Whether `program` is found by $PATH. */
bool tool_exists(const char *program);
