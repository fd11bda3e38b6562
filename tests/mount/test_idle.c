/*
 * What the agent costs when nothing happens: memory a node, and no wake-ups. A program of its own: nothing else may make the kernel forget.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"
#include "tests/mount/numbered.h"

#define DIRS 500
#define NODE_BYTES 200
#define NAME_BYTES 24 /* "file-N" with its allocation */
#define RSS_MAX_KB (30 << 10)
#define SETTLE_SECONDS 60
#define QUIET_SECONDS 3

static const struct variant lonely[] = {
        {.backing = ON_TMPFS, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .own_fs = true},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .own_fs = true},
};

static long rss_kb(const struct fixture *f)
{
        CLEANUP_FREE char *text = NULL;
        const char *line;
        long kb = -1;

        must(fd_read_file(AT_FDCWD, at("/proc", "%d/status", f->pid), 1 << 16, &text) > 0, "/proc/%d/status", f->pid);
        line = strstr(text, "VmRSS:");
        must(line && sscanf(line, "VmRSS: %ld", &kb) == 1, "VmRSS");
        return kb;
}

/* How often all of the agent's threads have gone to sleep: each wake-up ends in one more. */
static long long switches(const struct fixture *f)
{
        DIR *dir = opendir(at("/proc", "%d/task", f->pid));
        long long sum = 0;
        struct dirent *e;

        must(dir, "/proc/%d/task", f->pid);
        while ((e = readdir(dir))) {
                CLEANUP_FREE char *text = NULL;
                const char *line;
                long long n;

                if (e->d_name[0] == '.')
                        continue;
                if (fd_read_file(AT_FDCWD, at("/proc", "%d/task/%s/status", f->pid, e->d_name), 1 << 16, &text) < 0)
                        continue; /* a thread that ended */
                line = strstr(text, "\nvoluntary_ctxt_switches:");
                if (line && sscanf(line, "\nvoluntary_ctxt_switches: %lld", &n) == 1)
                        sum += n;
        }
        closedir(dir);
        return sum;
}

struct quiet {
        struct fixture *f;
        long long last;
        struct timespec since;
};

/* True once nothing woke up for QUIET_SECONDS. */
static bool has_been_quiet(void *arg)
{
        struct quiet *q = arg;
        long long now = switches(q->f);
        struct timespec time;

        clock_gettime(CLOCK_MONOTONIC, &time);
        if (now != q->last) {
                q->last = now;
                q->since = time;
        }
        return time.tv_sec - q->since.tv_sec > QUIET_SECONDS;
}

/* Once is enough: whoever else is on this machine may make the kernel drop what it cached. */
static bool reads_wake_nobody(void *arg)
{
        const struct fixture *f = arg;
        long long before = switches(f);

        read_tree(f->mnt, 3);
        return switches(f) == before;
}

/* A sanitizer needs memory of its own. */
static bool sanitized(void)
{
        const char *variant = getenv("VARIANT");

        return variant && (strcmp(variant, "asan") == 0 || strcmp(variant, "tsan") == 0);
}

CASE_WITH(idle, fifty_thousand_nodes_idle_in_little, lonely)
{
        struct quiet quiet = {.f = f, .last = -1};
        int64_t nodes, bytes;

        if (f->bind)
                return;
        make_tree(f->src, DIRS);
        fixture_wait(f);
        read_tree(f->mnt, DIRS);
        nodes = ask(f, "nodes");
        bytes = ask(f, "node_bytes");
        errno = 0;
        must(nodes >= DIRS * FILES, "%ld nodes known", (long)nodes);
        must(bytes / nodes > 20 && bytes / nodes < NODE_BYTES + NAME_BYTES, "%ld bytes a node", (long)(bytes / nodes));
        must(sanitized() || rss_kb(f) < RSS_MAX_KB, "%ld KiB resident", rss_kb(f));
        must(wait_until(has_been_quiet, &quiet, SETTLE_SECONDS), "the agent wakes up though nothing happens");
        must(wait_until(reads_wake_nobody, f, SETTLE_SECONDS), "reading what is cached wakes the agent every time");
}
