#include "cache/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"

#define LINE_MAX_BYTES 4096
#define NS_PER_S 1000000000ULL

static atomic_int threshold = LOG_INFO;
static atomic_int log_fd = STDERR_FILENO;
static const char *_Atomic program = "dsfs";

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static const int priorities[] = {3, 4, 6, 7}; /* syslog's */

static char *_Atomic file_path;
static atomic_bool limited;
static atomic_flag rotating = ATOMIC_FLAG_INIT;

enum journal {
        JOURNAL_UNKNOWN,
        JOURNAL_NO,
        JOURNAL_YES,
};
static atomic_int journal = JOURNAL_UNKNOWN;

/* Whether standard error is the journal, as sd_journal_stream_fd(3) describes it. */
static bool to_journal(void)
{
        int known = atomic_load(&journal);
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long dev, ino;
        struct stat st;

        if (known == JOURNAL_UNKNOWN) {
                known = stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev &&
                                        st.st_ino == ino
                                ? JOURNAL_YES
                                : JOURNAL_NO;
                atomic_store(&journal, known);
        }
        return known == JOURNAL_YES;
}

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
        /* What was there before stays: another thread may be using it. */
        atomic_store(&file_path, strdup(path));
        atomic_store(&log_fd, fd);
        log_limit();
        return 0;
}

void log_limit(void)
{
        atomic_store(&limited, true);
}

/* The file has its size: put it aside and go on with a new one, under the same descriptor. Another process may have done that already. */
static void rotate(int fd)
{
        const char *path = atomic_load(&file_path);
        char old[PATH_MAX];
        struct stat ours, there;
        int fresh;

        if (!path || fstat(fd, &ours) < 0 || ours.st_size < LOG_FILE_BYTES || atomic_flag_test_and_set(&rotating))
                return;
        snprintf(old, sizeof(old), "%s.1", path);
        if (stat(path, &there) == 0 && there.st_ino == ours.st_ino && there.st_dev == ours.st_dev)
                (void)rename(path, old);
        fresh = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fresh >= 0) {
                (void)dup3(fresh, fd, O_CLOEXEC);
                close(fresh);
        }
        atomic_flag_clear(&rotating);
}

/* Whether this place may log now; *left_out is how many lines of it were left out before. */
static bool may_log(struct log_place *p, unsigned *left_out)
{
        unsigned long long now = clock_now_ns();
        unsigned long long began = atomic_load(&p->window_ns);

        *left_out = 0;
        if (!atomic_load(&limited))
                return true;
        if ((!began || now - began > LOG_WINDOW_S * NS_PER_S) && atomic_compare_exchange_strong(&p->window_ns, &began, now)) {
                atomic_store(&p->said, 0);
                *left_out = atomic_exchange(&p->left_out, 0);
        }
        if (atomic_fetch_add(&p->said, 1) < LOG_BURST)
                return true;
        atomic_fetch_add(&p->left_out, 1);
        return false;
}

static size_t put_prefix(char *line, size_t size, int fd, enum log_level level)
{
        struct timespec now;
        struct tm tm;
        size_t n;

        if (fd == STDERR_FILENO && to_journal())
                return (size_t)snprintf(line, size, "<%d>", priorities[level]);
        if (fd == STDERR_FILENO) {
                const char *tag = level == LOG_ERROR ? "error: " : level == LOG_WARN ? "warning: " : "";

                return (size_t)snprintf(line, size, "%s: %s", atomic_load(&program), tag);
        }
        clock_gettime(CLOCK_REALTIME, &now);
        gmtime_r(&now.tv_sec, &tm);
        n = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &tm);
        return n + (size_t)snprintf(line + n, size - n, ".%03ldZ %s ", now.tv_nsec / 1000000, level_names[level]);
}

/* Names are bytes that a terminal may obey, and that would look like another line of the log. */
static void make_plain(char *text)
{
        for (; *text; text++) {
                if (((unsigned char)*text < ' ' && *text != '\t') || *text == 0x7f)
                        *text = '?';
        }
}

void log_write(struct log_place *place, enum log_level level, const char *fmt, ...)
{
        char line[LINE_MAX_BYTES];
        int saved = errno;
        int fd = atomic_load(&log_fd);
        unsigned left_out;
        size_t n;
        int m;
        va_list ap;

        if ((int)level > atomic_load(&threshold) || !may_log(place, &left_out)) {
                errno = saved;
                return;
        }
        if (fd != STDERR_FILENO)
                rotate(fd);
        n = put_prefix(line, sizeof(line), fd, level);
        va_start(ap, fmt);
        m = vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
        va_end(ap);
        make_plain(line + n);
        if (m > 0)
                n += (size_t)m;
        if (left_out && n < sizeof(line))
                n += (size_t)snprintf(line + n, sizeof(line) - n, " (%u lines like this were left out before)", left_out);
        if (n > sizeof(line) - 2)
                n = sizeof(line) - 2;
        line[n++] = '\n';
        (void)fd_write_full(fd, line, n);
        errno = saved;
}
