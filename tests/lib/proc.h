/*
 * Run a command as a user would: its output, what it says on standard error, its exit status, within a time limit.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PROC_OUTPUT_MAX 65536
/* Until a command counts as hung: far beyond what any takes, even on a loaded machine. */
#define PROC_PATIENCE_S 120

struct proc_result {
        int status; /* exit status, 128 + signal, or PROC_HUNG */
        char out[PROC_OUTPUT_MAX];
        char err[PROC_OUTPUT_MAX];
};

#define PROC_HUNG 1000

/* Run argv (NULL-terminated, found by PATH) and wait for its end and that of its output: descendants that hold it open count, so a command
 * that leaves one behind with it counts as hung. As user `uid` (and the group of that number) unless 0. */
void proc_run(const char *const argv[], uid_t uid, struct proc_result *ret);

/* Start it and don't wait; its standard error is appended to the file `err_path` unless NULL. The process. */
pid_t proc_start(const char *const argv[], uid_t uid, const char *err_path);

/* Wait for a child's end. Its exit status, 128 + signal, or PROC_HUNG. */
int proc_wait(pid_t pid);

/* Poll until check(arg) or the patience ends. Whether it came true. */
bool proc_until(bool (*check)(void *arg), void *arg);
