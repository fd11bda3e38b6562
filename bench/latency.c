/*
 * bench-latency: from an edit on the host until its bytes are readable through the mount, and until an inotify watcher of the mount hears
 * of it (bench/heard.c); and a storm. One process edits the source, another spins on the mount from the other CPU; the clock starts before
 * the edit's system call, and the machine is idle between edits.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/heard.h"
#include "bench/options.h"
#include "bench/place.h"
#include "bench/report.h"
#include "bench/side.h"
#include "bench/stats.h"
#include "cache/base/err.h"
#include "cache/base/fd.h"
#include "cache/base/thread.h"

enum {
        GAP_MS = 2,
        STALE_AFTER_S = 2, /* an edit not seen by then counts as never seen */
        CONTENT = 64,      /* bytes of the file: a number, filled up */
        PATH_ROOM = 4096,
};

static const double floor_p50_us = 500, floor_p99_us = 5000;

/* Shared by editor and reader. */
struct hand_over {
        atomic_uint asked;  /* the edit that the reader waits for */
        atomic_uint edited; /* the last one begun */
        _Atomic(unsigned long long) begun_ns;
};

struct kind {
        const char *name;
        /* On the host, in directory `dir`. 0 or -errno. */
        int (*edit)(int dir, unsigned n);
        /* Through the mount: is edit `n` seen? */
        bool (*seen)(int dir, unsigned n);
};

static int write_number(int dir, const char *name, int flags, unsigned n)
{
        CLEANUP_FD int fd = openat(dir, name, flags | O_WRONLY | O_CLOEXEC, 0644);
        char text[CONTENT + 1];

        snprintf(text, sizeof text, "%-*u", CONTENT, n);
        return fd < 0 || pwrite(fd, text, CONTENT, 0) != CONTENT ? -errno : 0;
}

static bool reads_number(int dir, const char *name, unsigned n)
{
        CLEANUP_FD int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
        char text[CONTENT + 1] = "";

        return fd >= 0 && pread(fd, text, CONTENT, 0) == CONTENT && strtoul(text, NULL, 10) == n;
}

static int edit_overwrite(int dir, unsigned n)
{
        return write_number(dir, "overwritten", 0, n);
}

static bool seen_overwrite(int dir, unsigned n)
{
        return reads_number(dir, "overwritten", n);
}

static int edit_replace(int dir, unsigned n)
{
        int err = write_number(dir, ".new", O_CREAT | O_EXCL, n);

        return !err && renameat(dir, ".new", dir, "replaced") ? -errno : err;
}

static bool seen_replace(int dir, unsigned n)
{
        return reads_number(dir, "replaced", n);
}

static int edit_create(int dir, unsigned n)
{
        char name[32];

        snprintf(name, sizeof name, "created-%u", n);
        return write_number(dir, name, O_CREAT | O_EXCL, n);
}

static bool seen_create(int dir, unsigned n)
{
        struct stat st;
        char name[32];

        snprintf(name, sizeof name, "created-%u", n);
        return fstatat(dir, name, &st, 0) == 0;
}

static const struct kind kinds[] = {
        {"overwrite", edit_overwrite, seen_overwrite},
        {"replace", edit_replace, seen_replace},
        {"create", edit_create, seen_create},
};

static void stay_on_cpu(unsigned cpu)
{
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        sched_setaffinity(0, sizeof set, &set);
}

/* Edits one by one, each a while after the one before was seen. Never returns. */
static void editor(const struct kind *kind, int dir, unsigned count, struct hand_over *shared)
{
        const struct timespec gap = {.tv_nsec = GAP_MS * 1000000L};

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        stay_on_cpu(0);
        for (unsigned n = 1; n <= count; n++) {
                int err;

                while (atomic_load(&shared->asked) != n)
                        clock_nanosleep(CLOCK_MONOTONIC, 0, &gap, NULL);
                clock_nanosleep(CLOCK_MONOTONIC, 0, &gap, NULL);
                atomic_store(&shared->begun_ns, clock_now_ns());
                atomic_store(&shared->edited, n);
                err = kind->edit(dir, n);
                if (err) {
                        fprintf(stderr, "bench-latency: %s: %s\n", kind->name, strerror(-err));
                        _exit(1);
                }
        }
        _exit(0);
}

/* Microseconds from edit `n` until it was seen, or -1. */
static double wait_for(const struct kind *kind, int dir, unsigned n, struct hand_over *shared)
{
        unsigned long long limit = clock_now_ns() + STALE_AFTER_S * 1000000000ULL;

        kind->seen(dir, n); /* what is there now is in the kernel's caches */
        atomic_store(&shared->asked, n);
        while (!kind->seen(dir, n))
                if (clock_now_ns() > limit)
                        return -1;
        return (double)(clock_now_ns() - atomic_load(&shared->begun_ns)) / 1e3;
}

/* Fills us[]; those never seen are counted in *stale. The number of samples, or -errno. */
static int measure(const struct kind *kind, int host, int mount, unsigned count, double *us, unsigned *stale)
{
        struct hand_over *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        int status, n = 0;
        pid_t pid;

        if (shared == MAP_FAILED)
                return -errno;
        fflush(NULL);
        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0)
                editor(kind, host, count, shared);
        for (unsigned i = 1; i <= count; i++) {
                double took = wait_for(kind, mount, i, shared);

                if (took >= 0)
                        us[n++] = took;
                else if (atomic_load(&shared->edited) != i)
                        break; /* it is the editor that doesn't answer */
                else
                        ++*stale;
        }
        if (n + (int)*stale < (int)count)
                kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        munmap(shared, sizeof *shared);
        return WIFEXITED(status) && !WEXITSTATUS(status) ? n : -EIO;
}

static json_t *report(const struct kind *kind, double *us, size_t n, unsigned stale, bool *ok)
{
        double p50 = stats_percentile(us, n, 0.5), p90 = stats_percentile(us, n, 0.9), p99 = stats_percentile(us, n, 0.99),
               max = stats_percentile(us, n, 1);
        bool held = n && !stale && p50 <= floor_p50_us && p99 <= floor_p99_us;

        printf("%-10s %8.1f %8.1f %8.1f %9.1f %6zu %6u  %s\n", kind->name, p50, p90, p99, max, n, stale, held ? "ok" : "MISS");
        fflush(stdout);
        *ok &= held;
        return json_pack("{ss sf sf sf sf si si sb}", "name", kind->name, "p50_us", p50, "p90_us", p90, "p99_us", p99, "max_us", max,
                         "samples", (int)n, "never_seen", (int)stale, "ok", held);
}

static int run_kinds(const struct options *o, int host, int mount, json_t *entries, bool *ok)
{
        CLEANUP_FREE double *us = calloc(o->count, sizeof *us);

        if (!us)
                return -ENOMEM;
        printf("%-10s %8s %8s %8s %9s %6s %6s  p50 <= %.0f us, p99 <= %.0f us\n", "edit", "p50 us", "p90 us", "p99 us", "max us", "n",
               "never", floor_p50_us, floor_p99_us);
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
                unsigned stale = 0;
                int n;

                if (!options_wants(o, kinds[i].name))
                        continue;
                n = measure(&kinds[i], host, mount, o->count, us, &stale);
                if (n < 0) {
                        fprintf(stderr, "%s: %s: %s\n", o->program, kinds[i].name, strerror(-n));
                        return n;
                }
                json_array_append_new(entries, report(&kinds[i], us, (size_t)n, stale, ok));
        }
        return 0;
}

static int job(const struct options *o, const struct place *place)
{
        CLEANUP_FREE char *source = NULL;
        CLEANUP_FD int host = -1;
        CLEANUP_FD int mount = -1;
        json_t *entries = json_array(), *status, *machine;
        unsigned long long begin = clock_now_ns();
        bool ok = true;
        struct side s;
        double seconds;
        int err;

        if (asprintf(&source, "%s/source", place->disk) < 0 || mkdir(source, 0755))
                return 1;
        host = open(source, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (write_number(host, "overwritten", O_CREAT, 0) || write_number(host, "replaced", O_CREAT, 0))
                return 1;
        if (side_init(&s, o, place->top, "dsfs", "dsfs", !o->self) || side_open_with(&s, source, "replay=on") ||
            side_prewarm(&s, begin, &seconds))
                return 1;
        status = side_status(&s);
        machine = report_machine(o, place, json_string_value(json_object_get(status, "transport")));
        json_decref(status);
        report_conditions(o, machine, place);
        mount = open(s.root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        stay_on_cpu((unsigned)sysconf(_SC_NPROCESSORS_ONLN) - 1);
        err = run_kinds(o, host, mount, entries, &ok);
        fd_close(&mount);
        if (!err && options_wants(o, "event") && !heard_measure(o, &s, source, entries, &ok))
                err = -EIO;
        if (!err && options_wants(o, "storm") && !heard_storm(o, &s, source, entries, &ok))
                err = -EIO;
        side_close(&s);
        return !report_write(o, machine, entries) || err || (o->strict && !ok);
}

int main(int argc, char **argv)
{
        struct options o = {
                .program = "bench-latency",
                .summary = "how long until a host's edit is readable through the mount",
                .json = "build/bench-latency.json",
                .budget_s = 60,
                .count = 2000,
        };

        options_parse(&o, argc, argv);
        return place_run(&o, job);
}
