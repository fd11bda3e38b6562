/*
 * fs/offload.c on a small filesystem of its own, over io_uring and /dev/fuse: an operation that blocks stops nobody else, and a mount that
 * ends, is unmounted or aborted answers every job first, once, on the thread that took the request.
 *
 * Each case runs in a process; the parent aborts its mounts and kills it when it takes too long.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "cache/base/thread.h"
#include "fs/offload.h"
#include "tests/lib/child.h"
#include "tests/stress/tiny.h"

#define ENABLE_URING "/sys/module/fuse/parameters/enable_uring"
#define CASE_SECONDS 120
#define STEP_SECONDS 60
#define QUICK_OPS 1000
#define HAMMER_THREADS 8
#define HAMMER_NS 3000000000ULL

static void stay_on(unsigned cpu)
{
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        (void)sched_setaffinity(0, sizeof(set), &set); /* a processor that isn't ours: anywhere will do */
}

/* A process of its own, without the server's descriptors: when the server dies, so does the connection, and the read ends. */
struct reader {
        const struct tiny *t;
        pid_t pid;
};

/* Exits with the read's error; 0 if it gave the file's bytes. */
static int read_slow(void *arg)
{
        const struct reader *r = arg;
        char buf[TINY_READ];
        int fd;

        must(close_range(STDERR_FILENO + 1, UINT_MAX, 0) == 0, "close_range");
        stay_on(0);
        fd = tiny_open(r->t, INO_SLOW);
        if (pread(fd, buf, sizeof(buf), 0) != (ssize_t)sizeof(buf))
                return errno ? errno : EIO;
        return (unsigned char)buf[1] == tiny_byte_at(INO_SLOW, 1) ? 0 : EILSEQ;
}

static bool is_blocked(void *arg)
{
        struct tiny *t = arg;

        return t->blocked > 0;
}

/* A read that blocks, from processor 0. */
static void start_slow(struct tiny *t, struct reader *r)
{
        r->t = t;
        r->pid = child_start(NULL, read_slow, r);
        must(wait_until(is_blocked, t, STEP_SECONDS), "the read never came");
}

static int end_slow(struct reader *r)
{
        int error = child_wait(r->pid);

        errno = 0;
        return error;
}

static struct offload *new_offload(unsigned threads, size_t queue_max)
{
        struct offload *o;

        must(offload_new(threads, queue_max, NULL, NULL, &o) == 0, "offload_new");
        return o;
}

static int blocking_stops_nobody(void *arg)
{
        struct offload *o = new_offload(2, 16);
        struct tiny *t = tiny_new("a", o);
        struct reader r;
        int fast;
        int mixed;
        struct stat st;

        (void)arg;
        start_slow(t, &r);
        stay_on(0);
        fast = tiny_open(t, INO_FAST);
        mixed = tiny_open(t, INO_MIXED);
        for (unsigned i = 0; i < QUICK_OPS; i++) {
                must(fstat(fast, &st) == 0 && st.st_size == TINY_BYTES, "fstat");
                tiny_must_read(fast, INO_FAST, i);
                tiny_must_read(mixed, INO_MIXED, i);
        }
        must(t->answered + 1 == t->started, "the slow read was answered unreleased");
        must(!tiny_uring || t->elsewhere == QUICK_OPS + 1, "not all went to a worker");
        must(tiny_uring || t->elsewhere == 0, "something went to a worker");
        tiny_release(t);
        must(end_slow(&r) == 0, "the slow read failed");
        close(fast);
        close(mixed);
        must(umount2(t->mnt, 0) == 0, "umount");
        tiny_free(t);
        offload_free(o);
        return 0;
}

static int unmounting_waits_for_jobs(void *arg)
{
        struct offload *o = new_offload(1, 16);
        struct tiny *t = tiny_new("a", o);
        struct reader r;

        (void)arg;
        start_slow(t, &r);
        must(umount2(t->mnt, 0) < 0 && errno == EBUSY, "a busy mount was unmounted");
        must(umount2(t->mnt, MNT_DETACH) == 0, "umount -l");
        tiny_release(t);
        must(end_slow(&r) == 0, "the slow read failed");
        tiny_free(t);
        offload_free(o);
        return 0;
}

/* libfuse's threads that read /dev/fuse have ended: it is about to stop those of the rings. */
static bool is_stopping(void *arg)
{
        DIR *d = opendir("/proc/self/task");
        struct dirent *e;
        bool stopping = true;

        (void)arg;
        must(d, "/proc/self/task");
        while ((e = readdir(d))) {
                char path[64 + NAME_MAX];
                char comm[32] = "";
                FILE *f;

                snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
                f = fopen(path, "re");
                if (!f)
                        continue;
                if (fgets(comm, sizeof(comm), f) && strncmp(comm, "fuse_worker", strlen("fuse_worker")) == 0)
                        stopping = false;
                fclose(f);
        }
        closedir(d);
        return stopping;
}

static int aborting_waits_for_jobs(void *arg)
{
        struct offload *o = new_offload(1, 16);
        struct tiny *t = tiny_new("a", o);
        struct reader r;

        (void)arg;
        start_slow(t, &r);
        must(tiny_abort_all(), "no connection could be aborted");
        must(end_slow(&r) != 0, "a read on an aborted connection gave data");
        /* Over /dev/fuse the job itself holds its thread. */
        must(!tiny_uring || wait_until(is_stopping, t, STEP_SECONDS), "libfuse never saw the abort");
        errno = 0;
        must(!t->ended && t->answered == 0, "the session ended before its job");
        tiny_release(t);
        tiny_free(t);
        (void)umount2(t->mnt, MNT_DETACH);
        offload_free(o);
        return 0;
}

struct hammer {
        pthread_t thread;
        struct tiny *t;
        unsigned seed;
        unsigned long ops;
};

static void *hammer_run(void *arg)
{
        struct hammer *h = arg;
        struct dice d = {.state = h->seed};
        unsigned long long end = clock_now_ns() + HAMMER_NS;
        int fast = tiny_open(h->t, INO_FAST);
        int mixed = tiny_open(h->t, INO_MIXED);
        long cpus = sysconf(_SC_NPROCESSORS_CONF);
        struct stat st;

        while (clock_now_ns() < end) {
                if (h->ops++ % 64 == 0)
                        stay_on(dice_roll(&d, (unsigned)cpus));
                switch (dice_roll(&d, 4)) {
                case 0:
                        must(fstat(fast, &st) == 0, "fstat");
                        break;
                case 1:
                        tiny_must_read(fast, INO_FAST, dice_roll(&d, TINY_BYTES - TINY_READ));
                        break;
                default:
                        tiny_must_read(mixed, INO_MIXED, dice_roll(&d, TINY_BYTES - TINY_READ));
                }
        }
        close(fast);
        close(mixed);
        return NULL;
}

/* Two mounts share the workers; a short queue is often full. */
static int mixed_load_is_answered_right(void *arg)
{
        static const char *const dirs[TINY_MOUNTS] = {"a", "b"};
        struct offload *o = new_offload(2, 2);
        struct tiny *t[TINY_MOUNTS];
        struct hammer h[HAMMER_THREADS] = {0};

        (void)arg;
        for (unsigned i = 0; i < TINY_MOUNTS; i++)
                t[i] = tiny_new(dirs[i], o);
        for (unsigned i = 0; i < HAMMER_THREADS; i++) {
                h[i].t = t[i % TINY_MOUNTS];
                h[i].seed = i + 1;
                must(pthread_create(&h[i].thread, NULL, hammer_run, &h[i]) == 0, "starting a thread");
        }
        for (unsigned i = 0; i < HAMMER_THREADS; i++) {
                pthread_join(h[i].thread, NULL);
                must(h[i].ops > 0, "a thread did nothing");
        }
        for (unsigned i = 0; i < TINY_MOUNTS; i++) {
                must((t[i]->elsewhere > 0) == tiny_uring, "%u reads went to a worker", (unsigned)t[i]->elsewhere);
                must(umount2(t[i]->mnt, 0) == 0, "umount");
                tiny_free(t[i]);
        }
        offload_free(o);
        return 0;
}

static const struct {
        const char *name;
        int (*run)(void *arg);
} cases[] = {
        {"blocking_stops_nobody", blocking_stops_nobody},
        {"unmounting_waits_for_jobs", unmounting_waits_for_jobs},
        {"aborting_waits_for_jobs", aborting_waits_for_jobs},
        {"mixed_load_is_answered_right", mixed_load_is_answered_right},
};

static bool has_exited(void *arg)
{
        siginfo_t info = {0};

        return waitid(P_PID, (id_t) * (pid_t *)arg, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
}

/* Whatever became of the case: nothing stays mounted, nobody hangs. */
static void clear_mounts(void)
{
        static const char *const dirs[TINY_MOUNTS] = {"a", "b"};

        (void)tiny_abort_all();
        for (unsigned i = 0; i < TINY_MOUNTS; i++) {
                char path[80];

                snprintf(path, sizeof(path), "%s/%s", tiny_base, dirs[i]);
                (void)umount2(path, MNT_DETACH);
                (void)rmdir(path);
        }
}

/* Threads that wait for an answer can't end: abort before the process exits. */
static void case_failed(const char *message)
{
        (void)message;
        clear_mounts();
}

static int case_main(void *arg)
{
        size_t n = *(size_t *)arg;

        test_on_fail(case_failed);
        return cases[n].run(NULL);
}

static bool run_case(size_t n)
{
        pid_t pid;
        bool ok;

        tiny_forget();
        pid = child_start(NULL, case_main, &n);
        ok = wait_until(has_exited, &pid, CASE_SECONDS);

        if (!ok) {
                fprintf(stderr, "%s: hangs\n", cases[n].name);
                clear_mounts();
                kill(pid, SIGKILL);
        }
        ok &= child_wait(pid) == 0;
        clear_mounts();
        printf("%s %s over %s\n", ok ? "ok  " : "FAIL", cases[n].name, tiny_uring ? "io_uring" : "/dev/fuse");
        return ok;
}

static char set_uring_switch(char to)
{
        char was = 0;
        FILE *f = fopen(ENABLE_URING, "re");

        if (!f)
                return 0;
        was = (char)fgetc(f);
        fclose(f);
        if (was == to)
                return was;
        f = fopen(ENABLE_URING, "we");
        errno = 0;
        must(f && fputc(to, f) != EOF && fclose(f) == 0, ENABLE_URING);
        return was;
}

int main(void)
{
        const char *tmp = getenv("TMPDIR");
        char dir[64];
        char ctl[80];
        char was;
        bool ok = true;

        must(geteuid() == 0, "this needs root");
        must(snprintf(dir, sizeof(dir), "%s/offload-XXXXXX", tmp ? tmp : "/tmp") < (int)sizeof(dir), "TMPDIR is too long");
        tiny_base = mkdtemp(dir);
        must(tiny_base, "mkdtemp");
        tiny_share();
        snprintf(ctl, sizeof(ctl), "%s/ctl", tiny_base);
        must(mkdir(ctl, 0755) == 0 && mount("fusectl", ctl, "fusectl", 0, NULL) == 0, "mounting fusectl");
        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                ok &= run_case(i);
        was = set_uring_switch('Y');
        if (was) {
                tiny_uring = true;
                for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                        ok &= run_case(i);
                set_uring_switch(was);
        } else {
                printf("skip: this kernel has no FUSE over io_uring\n");
        }
        (void)umount2(ctl, MNT_DETACH);
        rmdir(ctl);
        rmdir(tiny_base);
        return ok ? 0 : 1;
}
