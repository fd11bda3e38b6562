/*
 * The agent's log: one line a message, built once, where a human will read it. Any thread.
 * Lines go to standard error until log_open_file() sends them elsewhere; the journal, if that is what standard error is, is told their
 * priorities. Who lives long says so by log_limit(): from then on no place in the code fills the log.
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

/* A file is put aside as `path`.1, in place of the one before, when it has this size. */
#define LOG_FILE_BYTES (1024 * 1024)

/* Append to `path` from now on, with a time stamp and level a line. 0 or -errno. Limits, too. */
int log_open_file(const char *path);

/* From now on each place logs at most LOG_BURST lines in LOG_WINDOW_S seconds; the next line says how many were left out. */
#define LOG_BURST 20
#define LOG_WINDOW_S 10
void log_limit(void);

/* One place in the code that logs. Zeroed. */
struct log_place {
        _Atomic unsigned long long window_ns; /* when it began */
        _Atomic unsigned said, left_out;
};

void log_write(struct log_place *place, enum log_level level, const char *fmt, ...) PRINTF_LIKE(3, 4);

#define LOG_HERE(level, ...)                                                                                                               \
        do {                                                                                                                               \
                static struct log_place log_place_;                                                                                        \
                log_write(&log_place_, level, __VA_ARGS__);                                                                                \
        } while (0)
#define log_error(...) LOG_HERE(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) LOG_HERE(LOG_WARN, __VA_ARGS__)
#define log_info(...) LOG_HERE(LOG_INFO, __VA_ARGS__)
#define log_debug(...) LOG_HERE(LOG_DEBUG, __VA_ARGS__)
