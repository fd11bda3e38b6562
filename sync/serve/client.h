/*
 * The other end of the control socket: one request, one answer.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

/* Connect to `name` in `dir`. The descriptor, or -errno (-ECONNREFUSED or -ENOENT: nobody listens). *pid is who listens. */
int client_connect(const char *dir, const char *name, pid_t *pid);

/* Ask, and wait for the answer until `timeout_ms` (below 0: for ever) has passed without it. Takes `args` (may be NULL). 0 and *ret
 * (owned); or -errno and *why (one sentence, the caller frees), from here or from the agent: *answered tells which. */
int client_ask(int fd, const char *verb, json_t *args, int timeout_ms, json_t **ret, bool *answered, char **why);
