#include "bench/heard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/options.h"
#include "bench/side.h"
#include "bench/stats.h"
#include "bench/tool.h"
#include "cache/base/err.h"
#include "cache/base/fd.h"
#include "cache/base/thread.h"

enum {
        GAP_MS = 2,
        LOST_AFTER_MS = 2000,
        COMPILERS = 2,
        STORM_FILES = 20000,
        STORM_DIRS = 200,
};

static const double floor_p50_us = 500, floor_p99_us = 5000, storm_ratio = 2, storm_rss_mb = 100;

/*
 * One edit
 */

static int listen_at(const char *dir)
{
        int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

        if (fd >= 0 && inotify_add_watch(fd, dir, IN_MODIFY) < 0)
                fd_close(&fd);
        return fd;
}

static void drain(int fd)
{
        char buf[4096];

        while (read(fd, buf, sizeof buf) > 0)
                continue;
}

/* Microseconds from before the write until `ear` has something; -1: never. */
static double hear(int ear, int file)
{
        struct pollfd p = {.fd = ear, .events = POLLIN};
        unsigned long long begin = clock_now_ns();
        bool heard = pwrite(file, "x", 1, 0) == 1 && poll(&p, 1, LOST_AFTER_MS) > 0;
        unsigned long long end = clock_now_ns();

        drain(ear);
        return heard ? (double)(end - begin) / 1e3 : -1;
}

static json_t *describe(const char *name, double *us, size_t n, unsigned lost, bool judged, bool *ok)
{
        double p50 = stats_percentile(us, n, 0.5), p90 = stats_percentile(us, n, 0.9), p99 = stats_percentile(us, n, 0.99),
               max = stats_percentile(us, n, 1);
        bool held = n && !lost && (!judged || (p50 <= floor_p50_us && p99 <= floor_p99_us));

        printf("%-24s %8.1f %8.1f %8.1f %9.1f %6zu %6u  %s\n", name, p50, p90, p99, max, n, lost, held ? "ok" : "MISS");
        fflush(stdout);
        *ok &= held;
        return json_pack("{ss sf sf sf sf si si sb}", "name", name, "p50_us", p50, "p90_us", p90, "p99_us", p99, "max_us", max, "samples",
                         (int)n, "never_heard", (int)lost, "ok", held);
}

/* In turns, so that both meet the same machine. */
static bool measure(const struct options *o, const char *mount, const char *source, const char *when, json_t *entries, bool *ok)
{
        const struct timespec gap = {.tv_nsec = GAP_MS * 1000000L};
        CLEANUP_FREE double *us = calloc(2 * (size_t)o->count, sizeof *us);
        CLEANUP_FD int replayed = listen_at(mount);
        CLEANUP_FD int native = listen_at(source);
        CLEANUP_FD int dir = open(source, O_PATH | O_DIRECTORY | O_CLOEXEC);
        CLEANUP_FD int file = openat(dir, "heard", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        size_t n[2] = {0};
        unsigned lost[2] = {0};
        char name[64];

        if (!us || replayed < 0 || native < 0 || file < 0)
                return false;
        for (unsigned i = 0; i < 2 * o->count; i++) {
                double took;

                clock_nanosleep(CLOCK_MONOTONIC, 0, &gap, NULL);
                drain(replayed);
                drain(native);
                took = hear(i % 2 ? native : replayed, file);
                if (took < 0)
                        lost[i % 2]++;
                else
                        us[i % 2 * o->count + n[i % 2]++] = took;
        }
        snprintf(name, sizeof name, "event, %s", when);
        json_array_append_new(entries, describe(name, us, n[0], lost[0], strcmp(when, "idle") == 0, ok));
        snprintf(name, sizeof name, "  on the source");
        json_array_append_new(entries, describe(name, us + o->count, n[1], lost[1], false, ok));
        return true;
}

/* A loop of compiling, until it is killed. */
static pid_t compile(void)
{
        pid_t pid = fork();

        if (pid != 0)
                return pid;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setpgid(0, 0);
        execlp("sh", "sh", "-c",
               "while :; do { for i in $(seq 300); do echo \"int f$i(int a) { int s = 0; for (int i = 0; i < a; i++) s += i * a; return s; "
               "}\"; "
               "done; } | cc -O2 -xc -c -o /dev/null - || exit 1; done",
               (char *)NULL);
        _exit(127);
}

bool heard_measure(const struct options *o, const struct side *s, const char *source, json_t *entries, bool *ok)
{
        pid_t compilers[COMPILERS];
        bool done;

        printf("%-24s %8s %8s %8s %9s %6s %6s  idle: p50 <= %.0f us, p99 <= %.0f us\n", "write -> event", "p50 us", "p90 us", "p99 us",
               "max us", "n", "never", floor_p50_us, floor_p99_us);
        if (!measure(o, s->root, source, "idle", entries, ok))
                return false;
        for (size_t i = 0; i < COMPILERS; i++)
                compilers[i] = compile();
        done = measure(o, s->root, source, "during a build", entries, ok);
        for (size_t i = 0; i < COMPILERS; i++) {
                if (compilers[i] <= 0)
                        continue;
                kill(-compilers[i], SIGKILL);
                waitpid(compilers[i], NULL, 0);
        }
        return done;
}

/*
 * The storm
 */

/* Who watches all directories of the storm, in a process of its own, and counts the files that it heard of when it is told to end. */
struct crowd {
        int fd;
        int first;   /* watch */
        bool *heard; /* of each file */
        size_t count;
        bool overflow;
};

static bool crowd_watch(struct crowd *c, const char *root)
{
        *c = (struct crowd){.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), .heard = calloc(STORM_FILES, sizeof(bool))};
        for (int i = 0; i < STORM_DIRS && c->fd >= 0; i++) {
                char path[4096];
                int wd;

                snprintf(path, sizeof path, "%s/storm/%d", root, i);
                wd = inotify_add_watch(c->fd, path, IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO);
                if (wd < 0)
                        return false;
                c->first = i ? c->first : wd;
        }
        return c->fd >= 0 && c->heard;
}

static void crowd_take(struct crowd *c)
{
        _Alignas(struct inotify_event) char buf[65536];
        ssize_t n;

        while ((n = read(c->fd, buf, sizeof buf)) > 0) {
                for (const char *p = buf; p < buf + n;) {
                        const struct inotify_event *in = (const void *)p;
                        size_t at = (size_t)(in->wd - c->first) * (STORM_FILES / STORM_DIRS) + (in->len ? strtoul(in->name, NULL, 10) : 0);

                        p += sizeof *in + in->len;
                        c->overflow |= (in->mask & IN_Q_OVERFLOW) != 0;
                        if (in->len && in->wd >= c->first && at < STORM_FILES && !c->heard[at]) {
                                c->heard[at] = true;
                                c->count++;
                        }
                }
        }
}

static int tool_sh(const char *script, const char *dir)
{
        const char *const argv[] = {"sh", "-ec", script, "sh", dir, NULL};

        return tool_run(argv);
}

static long peak_kb(struct side *s)
{
        json_t *status = side_status(s);
        long pid = (long)json_integer_value(json_object_get(status, "pid")), kb = -1;
        CLEANUP_FREE char *text = NULL;
        char path[64];
        const char *at;

        json_decref(status);
        snprintf(path, sizeof path, "/proc/%ld/status", pid);
        if (fd_read_file(AT_FDCWD, path, 1 << 16, &text) > 0 && (at = strstr(text, "VmHWM:")))
                kb = strtol(at + 6, NULL, 10);
        return kb;
}

/* The queue of an inotify watcher is short: it has to be emptied while the checkout is under way. */
static pid_t start_checkout(const char *source, const char *branch)
{
        pid_t pid = fork();

        if (pid == 0) {
                execlp("git", "git", "-C", source, "-c", "advice.detachedHead=false", "checkout", "-q", branch, (char *)NULL);
                _exit(127);
        }
        return pid;
}

static double since(unsigned long long begin)
{
        return (double)(clock_now_ns() - begin) / 1e9;
}

bool heard_storm(const struct options *o, struct side *s, const char *source, json_t *entries, bool *ok)
{
        static const char make[] =
                "cd \"$1\"; git init -q; git config user.name b; git config user.email b@localhost; git config gc.auto 0; "
                "for k in 1 2; do for d in $(seq 0 199); do mkdir -p storm/$d; for f in $(seq 0 99); do echo $k $d $f >storm/$d/$f; done; "
                "done; "
                "git add storm; git commit -qm $k; git tag k$k; done; git checkout -q k1";
        unsigned long long begin;
        struct crowd mount, host;
        double took, settled;
        int status;
        bool held;
        pid_t pid;
        long kb;

        if (tool_sh(make, source) || side_settle(s) || !crowd_watch(&mount, s->root) || !crowd_watch(&host, source)) {
                fprintf(stderr, "%s: the storm can't be prepared\n", o->program);
                return false;
        }
        begin = clock_now_ns();
        pid = start_checkout(source, "k2");
        while (pid > 0 && waitpid(pid, &status, WNOHANG) == 0) {
                struct pollfd p[] = {{.fd = mount.fd, .events = POLLIN}, {.fd = host.fd, .events = POLLIN}};

                (void)poll(p, ARRAY_LEN(p), 1);
                crowd_take(&mount);
                crowd_take(&host);
        }
        took = since(begin);
        pid = fork();
        if (pid == 0)
                _exit(side_settle(s) != 0);
        while (pid > 0 && waitpid(pid, &status, WNOHANG) == 0) {
                struct pollfd p = {.fd = mount.fd, .events = POLLIN};

                (void)poll(&p, 1, 1);
                crowd_take(&mount);
        }
        settled = since(begin);
        crowd_take(&mount);
        crowd_take(&host);
        kb = peak_kb(s);
        held = settled <= storm_ratio * took && mount.count == host.count && host.count == STORM_FILES && kb >= 0 &&
               (double)kb / 1024 <= storm_rss_mb;
        printf("storm: checkout of %d files %.2f s, settled after %.2f s (%.2f times), heard of %zu of %zu%s, agent's peak %.1f MiB  %s\n",
               STORM_FILES, took, settled, settled / took, mount.count, host.count, mount.overflow ? " (overflow)" : "", (double)kb / 1024,
               held ? "ok" : "MISS");
        *ok &= held;
        json_array_append_new(entries, json_pack("{ss sf sf sf si si sb si sb}", "name", "storm", "checkout_s", took, "settled_s", settled,
                                                 "ratio", settled / took, "heard", (int)mount.count, "heard_on_source", (int)host.count,
                                                 "overflow", mount.overflow, "agent_peak_kb", (int)kb, "ok", held));
        free(mount.heard);
        free(host.heard);
        close(mount.fd);
        close(host.fd);
        return true;
}
