#include "cache/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"

#define LINE_MAX_BYTES 4096

static atomic_int threshold = LOG_INFO;
static atomic_int log_fd = STDERR_FILENO;
static const char *_Atomic program = "dsfs";

static const char *const level_names[] = {"error", "warning", "info", "debug"};

void log_set_level(enum log_level level)
{
        atomic_store(&threshold, (int)level);
}

void log_set_program(const char *name)
{
        atomic_store(&program, name);
}

int log_open_file(const char *path)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (fd < 0)
                return -errno;
        /* The old descriptor stays open: another thread may be writing to it. */
        atomic_store(&log_fd, fd);
        return 0;
}

static size_t put_prefix(char *line, size_t size, int fd, enum log_level level)
{
        struct timespec now;
        struct tm tm;
        size_t n;

        if (fd == STDERR_FILENO) {
                const char *tag = level == LOG_ERROR ? "error: " : level == LOG_WARN ? "warning: " : "";

                return (size_t)snprintf(line, size, "%s: %s", atomic_load(&program), tag);
        }
        clock_gettime(CLOCK_REALTIME, &now);
        gmtime_r(&now.tv_sec, &tm);
        n = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &tm);
        return n + (size_t)snprintf(line + n, size - n, ".%03ldZ %s ", now.tv_nsec / 1000000, level_names[level]);
}

void log_write(enum log_level level, const char *fmt, ...)
{
        char line[LINE_MAX_BYTES];
        int saved = errno;
        int fd = atomic_load(&log_fd);
        size_t n;
        int m;
        va_list ap;

        if ((int)level > atomic_load(&threshold))
                return;
        n = put_prefix(line, sizeof(line), fd, level);
        va_start(ap, fmt);
        m = vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
        va_end(ap);
        if (m > 0)
                n += (size_t)m;
        if (n > sizeof(line) - 2)
                n = sizeof(line) - 2;
        line[n++] = '\n';
        (void)fd_write_full(fd, line, n);
        errno = saved;
}
