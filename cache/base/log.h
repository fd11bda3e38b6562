/*
 * The agent's log: one line a message, built once, where a human will read it. Any thread.
 * Lines go to standard error until log_open_file() sends them elsewhere.
 */
#pragma once

#include <stdbool.h>

#include "cache/base/err.h"

enum log_level {
        LOG_ERROR,
        LOG_WARN,
        LOG_INFO,
        LOG_DEBUG,
};

void log_set_level(enum log_level level);

/* The name that stands before a message on a terminal ("dsfs: "); not copied. */
void log_set_program(const char *name);

/* Append to `path` from now on, with a time stamp and level a line. 0 or -errno. */
int log_open_file(const char *path);

void log_write(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
