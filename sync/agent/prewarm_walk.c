/*
 * The process behind prewarm.h: walks the mount directory by directory, the newest found first, with a few threads. READDIRPLUS brings
 * names and attributes at once; a second reading of the listing, which is cached by then, finds the small files to read.
 */
#include "sync/agent/prewarm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "sync/serve/why.h"

#define REPORT_FD 3
#define NICENESS 10
#define THREADS_MAX 2

#define ENTRIES_MAX 500000
#define FILE_MAX_BYTES (64 * 1024)
#define BYTES_MAX (1ULL << 30)
#define AVAILABLE_PART 4  /* read at most this part of the memory that is available at the start */
#define PENDING_MAX 65536 /* directories found and not yet read: with more, the rest is left out */

/* Stop when tasks stall on memory for more than this part of the last ten seconds, or less than this is available. */
#define PRESSURE_PERCENT 5.0
#define AVAILABLE_PERCENT 10
#define CHECK_EVERY 2048 /* entries */

struct walk {
        /* Set at the start. */
        int root;
        dev_t dev;
        uint64_t bytes_max;
        unsigned long long began;
        atomic_uint_fast64_t entries, files, bytes;
        atomic_int state;
        struct mutex lock;
        struct cond more;
        char **pending GUARDED_BY(lock); /* paths below the root, each owned; a stack */
        size_t count GUARDED_BY(lock), size GUARDED_BY(lock);
        unsigned busy GUARDED_BY(lock); /* threads that may still find directories */
};

static void stop(struct walk *w, enum prewarm_state why)
{
        int running = PREWARM_RUNNING;

        (void)atomic_compare_exchange_strong(&w->state, &running, (int)why);
}

static bool going_on(struct walk *w)
{
        return atomic_load(&w->state) == PREWARM_RUNNING;
}

static void report(struct walk *w, enum prewarm_state state)
{
        struct prewarm_report r = {
                .entries = atomic_load(&w->entries),
                .files = atomic_load(&w->files),
                .bytes = atomic_load(&w->bytes),
                .ns = clock_now_ns() - w->began,
                .state = state,
        };

        (void)fd_write_full(REPORT_FD, &r, sizeof(r));
}

/* Kilobytes of MemAvailable and MemTotal. */
static bool memory(unsigned long long *available, unsigned long long *total)
{
        CLEANUP_FREE char *text = NULL;
        const char *a;
        const char *t;

        if (fd_read_file(AT_FDCWD, "/proc/meminfo", 65536, &text) < 0)
                return false;
        a = strstr(text, "MemAvailable:");
        t = strstr(text, "MemTotal:");
        return a && t && sscanf(a, "MemAvailable: %llu", available) == 1 && sscanf(t, "MemTotal: %llu", total) == 1;
}

static bool memory_is_short(void)
{
        CLEANUP_FREE char *text = NULL;
        unsigned long long available;
        unsigned long long total;
        double stalled;

        if (memory(&available, &total) && available * 100 < total * AVAILABLE_PERCENT)
                return true;
        if (fd_read_file(AT_FDCWD, "/proc/pressure/memory", 4096, &text) < 0)
                return false;
        return sscanf(text, "some avg10=%lf", &stalled) == 1 && stalled > PRESSURE_PERCENT;
}

static void count_entry(struct walk *w)
{
        uint64_t n = atomic_fetch_add(&w->entries, 1) + 1;

        if (n >= ENTRIES_MAX)
                stop(w, PREWARM_LIMITED);
        if (n % CHECK_EVERY == 0) {
                if (memory_is_short())
                        stop(w, PREWARM_STOPPED);
                report(w, PREWARM_RUNNING);
        }
}

static void push(struct walk *w, const char *dir, const char *name)
{
        char *path = *dir ? text_new("%s/%s", dir, name) : text_new("%s", name);

        mutex_lock(&w->lock);
        if (w->count == w->size && w->size < PENDING_MAX) {
                size_t size = w->size ? w->size * 2 : 64;
                char **grown = realloc(w->pending, size * sizeof(*grown));

                if (grown) {
                        w->pending = grown;
                        w->size = size;
                }
        }
        if (path && w->count < w->size) {
                w->pending[w->count++] = path;
                path = NULL;
                cond_signal(&w->more);
        }
        mutex_unlock(&w->lock);
        free(path);
}

/* The next directory; NULL when there is none and none can come. */
static char *pop(struct walk *w)
{
        char *path = NULL;

        mutex_lock(&w->lock);
        w->busy--;
        while (w->count == 0 && w->busy > 0)
                cond_wait(&w->more, &w->lock);
        if (w->count > 0) {
                path = w->pending[--w->count];
                w->busy++;
        } else {
                cond_broadcast(&w->more);
        }
        mutex_unlock(&w->lock);
        return path;
}

/* Reading has moved the access time, so the kernel would ask for the attributes once more when they are next looked at: it does so now. */
static void refresh(int fd, struct stat *st)
{
        (void)fstat(fd, st);
}

/* The source's access times are for who really reads. */
static int open_unnoticed(int dir, const char *name)
{
        int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
        int fd = openat(dir, name, flags | O_NOATIME);

        return fd < 0 && errno == EPERM ? openat(dir, name, flags) : fd;
}

static void read_small(struct walk *w, int dir, const char *name, char *buf)
{
        CLEANUP_FD int fd = open_unnoticed(dir, name);
        ssize_t n = fd < 0 ? -1 : fd_read_full(fd, buf, FILE_MAX_BYTES);
        struct stat st;

        if (n < 0)
                return;
        refresh(fd, &st);
        atomic_fetch_add(&w->files, 1);
        if (atomic_fetch_add(&w->bytes, (uint64_t)n) + (uint64_t)n > w->bytes_max)
                stop(w, PREWARM_LIMITED);
}

static bool is_dot(const char *name)
{
        return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static void read_directory(struct walk *w, const char *path, char *buf)
{
        int fd = openat(w->root, *path ? path : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct stat st;

        if (!d) {
                fd_close(&fd);
                return;
        }
        for (struct dirent *e = readdir(d); e && going_on(w); e = readdir(d)) {
                if (is_dot(e->d_name) || fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                count_entry(w);
                if (S_ISDIR(st.st_mode) && st.st_dev == w->dev)
                        push(w, path, e->d_name);
                if (S_ISLNK(st.st_mode) && readlinkat(fd, e->d_name, buf, FILE_MAX_BYTES) >= 0)
                        (void)fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW);
        }
        rewinddir(d);
        for (struct dirent *e = readdir(d); e && going_on(w); e = readdir(d)) {
                if (e->d_type != DT_REG || fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                if (S_ISREG(st.st_mode) && st.st_size > 0 && st.st_size <= FILE_MAX_BYTES)
                        read_small(w, fd, e->d_name, buf);
        }
        refresh(fd, &st);
        closedir(d);
}

static void *walk_run(void *arg)
{
        struct walk *w = arg;
        CLEANUP_FREE char *buf = malloc(FILE_MAX_BYTES);

        for (char *path = pop(w); path; path = pop(w)) {
                if (buf && going_on(w))
                        read_directory(w, path, buf);
                free(path);
        }
        return NULL;
}

static void walk_all(struct walk *w)
{
        pthread_t helpers[THREADS_MAX];
        unsigned started = 0;
        cpu_set_t cpus;
        int n = sched_getaffinity(0, sizeof(cpus), &cpus) < 0 ? 1 : CPU_COUNT(&cpus);

        push(w, "", "");
        mutex_lock(&w->lock);
        w->busy = 1; /* this thread, even before it takes its first */
        mutex_unlock(&w->lock);
        while ((int)started + 1 < n && started + 1 < THREADS_MAX) {
                mutex_lock(&w->lock);
                w->busy++;
                mutex_unlock(&w->lock);
                if (thread_start(&helpers[started], "prewarm", walk_run, w) == 0) {
                        started++;
                        continue;
                }
                mutex_lock(&w->lock);
                w->busy--;
                mutex_unlock(&w->lock);
                break;
        }
        (void)walk_run(w);
        for (unsigned i = 0; i < started; i++)
                (void)pthread_join(helpers[i], NULL);
}

static int begin(struct walk *w, const char *mountpoint)
{
        unsigned long long available;
        unsigned long long total;
        struct stat st;

        w->root = open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (w->root < 0 || fstat(w->root, &st) < 0)
                return -errno;
        w->dev = st.st_dev;
        w->began = clock_now_ns();
        w->bytes_max = BYTES_MAX;
        if (memory(&available, &total) && available * 1024 / AVAILABLE_PART < w->bytes_max)
                w->bytes_max = available * 1024 / AVAILABLE_PART;
        atomic_store(&w->state, PREWARM_RUNNING);
        mutex_init(&w->lock);
        cond_init(&w->more);
        return 0;
}

int prewarm_work(const char *mountpoint, pid_t agent)
{
        static struct walk walk;
        struct walk *w = &walk;

        /* Not to outlive the agent, which would hold up whoever cleans up after it. */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != agent)
                return EXIT_FAILURE;
        (void)setpriority(PRIO_PROCESS, 0, NICENESS);
        if (begin(w, mountpoint))
                return EXIT_FAILURE;
        walk_all(w);
        /* What follows the end of a program (LeakSanitizer's tracer, a process of its own) holds up no unmounting. */
        fd_close(&w->root);
        stop(w, PREWARM_DONE);
        report(w, (enum prewarm_state)atomic_load(&w->state));
        return EXIT_SUCCESS;
}
