/*
 * A command of the command line: what the table in main.c holds, and what commands share.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "sync/agent/record.h"

enum exit_code {
        EXIT_OK = 0,
        EXIT_FAILED = 1,
        EXIT_USAGE = 2,
        EXIT_DEGRADED = 3,
        EXIT_ABSENT = 4, /* no such mount or agent */
};

struct command {
        const char *name;
        const char *usage;                            /* after "dsfs name" */
        const char *summary;                          /* one line; NULL: internal, not shown */
        const char *help;                             /* the options, line by line */
        enum exit_code (*run)(int argc, char **argv); /* argv[0] is the command's name */
};

extern const struct command cmd_mount;
extern const struct command cmd_umount;
extern const struct command cmd_status;
extern const struct command cmd_wait;
extern const struct command cmd_run;
extern const struct command cmd_events;
extern const struct command cmd_hash;
extern const struct command cmd_doctor;
extern const struct command cmd_config;
extern const struct command cmd_artifacts;
extern const struct command cmd_logs;
extern const struct command cmd_plugin;

/* What a command does when its arguments make no sense: one line and where to read more. */
enum exit_code command_usage(const char *command, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Print a command's help. */
void command_help(const struct command *c);

/* Find the record that `arg` names: a mount's name, else its mount point as a path. NULL when there is none. */
struct record *command_find(const struct record_list *l, const char *arg);

/* Say that there is no such mount. */
enum exit_code command_absent(const char *arg);

/* Ask the agent of a live record. As client_ask(); -ECONNREFUSED when nobody listens. *pid is the agent's. */
struct json_t;
int command_ask(const char *run, const struct record *r, const char *verb, struct json_t *args, int timeout_ms, struct json_t **ret,
                pid_t *pid, char **why);
