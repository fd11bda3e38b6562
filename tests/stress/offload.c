/*
 * fs/offload.c on a small filesystem of its own, over io_uring and /dev/fuse: an operation that blocks stops nobody else, and a mount that
 * ends, is unmounted or aborted answers every job first, once, on the thread that took the request.
 *
 * Each case runs in a process; the parent aborts its mounts and kills it when it takes too long.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "cache/base/thread.h"
#include "fs/offload.h"
#include "tests/lib/child.h"

#define ENABLE_URING "/sys/module/fuse/parameters/enable_uring"
#define CASE_SECONDS 120
#define STEP_SECONDS 60
#define MOUNTS 2
#define QUICK_OPS 1000
#define HAMMER_THREADS 8
#define HAMMER_NS 3000000000ULL
#define FILE_BYTES (1 << 20)
#define READ_BYTES 4096

enum {
        INO_SLOW = 2, /* its reads block until they are released */
        INO_FAST,     /* served inline */
        INO_MIXED,    /* a worker reads it */
        INO_END,
};
static const char *const names[INO_END] = {[INO_SLOW] = "slow", [INO_FAST] = "fast", [INO_MIXED] = "mixed"};

struct tiny {
        char mnt[80];
        struct offload *offload;
        struct fuse_session *se;
        pthread_t loop;
        atomic_bool ended;
        atomic_uint by_uring; /* requests */
        atomic_uint elsewhere;
        atomic_uint started, answered; /* jobs */
        atomic_uint blocked;
        struct mutex lock;
        struct cond changed;
        bool released GUARDED_BY(lock);
};

struct read_job {
        struct job job;
        struct tiny *t;
        fuse_req_t req;
        fuse_ino_t ino;
        size_t size;
        off_t off;
        pthread_t asked;
        char *buf;
        bool own; /* buf is ours, not the request's payload */
};

static const char *base;
static bool uring;

/* Connections of the case that runs, for the parent to abort. With requests at a dead server's rings the kernel doesn't do it itself. */
struct connections {
        atomic_uint count;
        atomic_uint ids[MOUNTS];
};
static struct connections *connections;

/* False if there is none left. */
static bool abort_all(void)
{
        bool any = false;

        for (unsigned i = 0; i < connections->count; i++) {
                char path[96];
                FILE *f;

                snprintf(path, sizeof(path), "%s/ctl/%u/abort", base, (unsigned)connections->ids[i]);
                f = fopen(path, "we");
                if (!f)
                        continue;
                any |= fputs("1", f) >= 0;
                fclose(f);
        }
        return any;
}

static unsigned char byte_at(fuse_ino_t ino, off_t off)
{
        return (unsigned char)((off_t)ino * 31 + off + off / READ_BYTES);
}

static void read_work(struct job *job)
{
        struct read_job *j = (struct read_job *)job;
        struct tiny *t = j->t;

        if (!pthread_equal(pthread_self(), j->asked))
                t->elsewhere++;
        if (j->ino == INO_SLOW) {
                mutex_lock(&t->lock);
                t->blocked++;
                while (!t->released)
                        cond_wait(&t->changed, &t->lock);
                mutex_unlock(&t->lock);
        }
        for (size_t i = 0; i < j->size; i++)
                j->buf[i] = (char)byte_at(j->ino, j->off + (off_t)i);
}

static void read_answer(struct job *job)
{
        struct read_job *j = (struct read_job *)job;

        errno = 0;
        must(pthread_equal(pthread_self(), j->asked), "answered on another thread");
        must(!j->t->ended, "answered after the session's end");
        j->t->answered++;
        fuse_reply_buf(j->req, j->buf, j->size);
        if (j->own)
                free(j->buf);
        free(j);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
        struct tiny *t = fuse_req_userdata(req);
        struct read_job *j = calloc(1, sizeof(*j));
        size_t room;

        (void)fi;
        must(j, "out of memory");
        *j = (struct read_job){.job = {.work = read_work, .answer = read_answer},
                               .t = t,
                               .req = req,
                               .ino = ino,
                               .size = size,
                               .off = off,
                               .asked = pthread_self()};
        if (fuse_req_get_payload(req, &j->buf, &room, NULL) < 0) {
                j->buf = malloc(size);
                j->own = true;
        }
        must(j->buf, "out of memory");
        t->started++;
        if (ino == INO_FAST) {
                read_work(&j->job);
                read_answer(&j->job);
        } else {
                offload_run(t->offload, &j->job, fuse_req_is_uring(req));
        }
}

static struct stat attr_of(fuse_ino_t ino)
{
        bool root = ino == FUSE_ROOT_ID;

        return (struct stat){
                .st_ino = ino, .st_mode = root ? S_IFDIR | 0755 : S_IFREG | 0644, .st_nlink = 1, .st_size = root ? 0 : FILE_BYTES};
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
        (void)parent;
        for (fuse_ino_t ino = INO_SLOW; ino < INO_END; ino++) {
                if (strcmp(names[ino], name) == 0) {
                        struct fuse_entry_param e = {.ino = ino, .attr = attr_of(ino), .entry_timeout = CASE_SECONDS};

                        fuse_reply_entry(req, &e);
                        return;
                }
        }
        fuse_reply_err(req, ENOENT);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        struct tiny *t = fuse_req_userdata(req);
        struct stat st = attr_of(ino);

        (void)fi;
        if (fuse_req_is_uring(req))
                t->by_uring++;
        fuse_reply_attr(req, &st, 0);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        (void)ino;
        fi->direct_io = 1;
        fuse_reply_open(req, fi);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
        (void)userdata;
        conn->no_interrupt = 1;
}

static const struct fuse_lowlevel_ops ops = {
        .init = op_init,
        .lookup = op_lookup,
        .getattr = op_getattr,
        .open = op_open,
        .read = op_read,
};

static void *run_loop(void *arg)
{
        struct tiny *t = arg;
        struct fuse_loop_config *config = fuse_loop_cfg_create();

        must(config, "out of memory");
        fuse_session_loop_mt(t->se, config);
        t->ended = true;
        fuse_loop_cfg_destroy(config);
        return NULL;
}

static struct tiny *tiny_new(const char *name, struct offload *o)
{
        struct tiny *t = calloc(1, sizeof(*t));
        char *argv[] = {"offload", "-ofsname=offload", uring ? "-oio_uring" : "-ofsname=offload", NULL};
        struct fuse_args args = FUSE_ARGS_INIT(3, argv);
        struct stat st;

        must(t, "out of memory");
        t->offload = o;
        mutex_init(&t->lock);
        cond_init(&t->changed);
        snprintf(t->mnt, sizeof(t->mnt), "%s/%s", base, name);
        must(mkdir(t->mnt, 0755) == 0 || errno == EEXIST, "mkdir %s", t->mnt);
        t->se = fuse_session_new(&args, &ops, sizeof(ops), t);
        must(t->se && fuse_session_mount(t->se, t->mnt) == 0, "mounting %s", t->mnt);
        fuse_opt_free_args(&args);
        must(pthread_create(&t->loop, NULL, run_loop, t) == 0, "starting the loop");
        must(stat(t->mnt, &st) == 0, "%s", t->mnt);
        connections->ids[connections->count] = minor(st.st_dev);
        connections->count++;
        errno = 0;
        must((t->by_uring > 0) == uring, "the transport is not the one asked for");
        return t;
}

/* The mount must have ended, or be about to. */
static void tiny_free(struct tiny *t)
{
        pthread_join(t->loop, NULL);
        must(t->started == t->answered, "%u jobs, %u answers", (unsigned)t->started, (unsigned)t->answered);
        fuse_session_unmount(t->se);
        fuse_session_destroy(t->se);
        cond_release(&t->changed);
        mutex_release(&t->lock);
        free(t);
}

static void release(struct tiny *t)
{
        mutex_lock(&t->lock);
        t->released = true;
        cond_broadcast(&t->changed);
        mutex_unlock(&t->lock);
}

static int open_file(const struct tiny *t, fuse_ino_t ino)
{
        char path[PATH_MAX];
        int fd;

        snprintf(path, sizeof(path), "%s/%s", t->mnt, names[ino]);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        must(fd >= 0, "opening %s", path);
        return fd;
}

static void must_read(int fd, fuse_ino_t ino, off_t off)
{
        unsigned char buf[READ_BYTES];

        must(pread(fd, buf, sizeof(buf), off) == (ssize_t)sizeof(buf), "reading %s", names[ino]);
        errno = 0;
        for (size_t i = 0; i < sizeof(buf); i++)
                must(buf[i] == byte_at(ino, off + (off_t)i), "%s has wrong bytes at %ld", names[ino], (long)off);
}

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
        char buf[READ_BYTES];
        int fd;

        must(close_range(STDERR_FILENO + 1, UINT_MAX, 0) == 0, "close_range");
        stay_on(0);
        fd = open_file(r->t, INO_SLOW);
        if (pread(fd, buf, sizeof(buf), 0) != (ssize_t)sizeof(buf))
                return errno ? errno : EIO;
        return (unsigned char)buf[1] == byte_at(INO_SLOW, 1) ? 0 : EILSEQ;
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
        fast = open_file(t, INO_FAST);
        mixed = open_file(t, INO_MIXED);
        for (unsigned i = 0; i < QUICK_OPS; i++) {
                must(fstat(fast, &st) == 0 && st.st_size == FILE_BYTES, "fstat");
                must_read(fast, INO_FAST, i);
                must_read(mixed, INO_MIXED, i);
        }
        must(t->answered + 1 == t->started, "the slow read was answered unreleased");
        must(!uring || t->elsewhere == QUICK_OPS + 1, "not all went to a worker");
        must(uring || t->elsewhere == 0, "something went to a worker");
        release(t);
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
        release(t);
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
        must(abort_all(), "no connection could be aborted");
        must(end_slow(&r) != 0, "a read on an aborted connection gave data");
        /* Over /dev/fuse the job itself holds its thread. */
        must(!uring || wait_until(is_stopping, t, STEP_SECONDS), "libfuse never saw the abort");
        errno = 0;
        must(!t->ended && t->answered == 0, "the session ended before its job");
        release(t);
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
        int fast = open_file(h->t, INO_FAST);
        int mixed = open_file(h->t, INO_MIXED);
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
                        must_read(fast, INO_FAST, dice_roll(&d, FILE_BYTES - READ_BYTES));
                        break;
                default:
                        must_read(mixed, INO_MIXED, dice_roll(&d, FILE_BYTES - READ_BYTES));
                }
        }
        close(fast);
        close(mixed);
        return NULL;
}

/* Two mounts share the workers; a short queue is often full. */
static int mixed_load_is_answered_right(void *arg)
{
        static const char *const dirs[MOUNTS] = {"a", "b"};
        struct offload *o = new_offload(2, 2);
        struct tiny *t[MOUNTS];
        struct hammer h[HAMMER_THREADS] = {0};

        (void)arg;
        for (unsigned i = 0; i < MOUNTS; i++)
                t[i] = tiny_new(dirs[i], o);
        for (unsigned i = 0; i < HAMMER_THREADS; i++) {
                h[i].t = t[i % MOUNTS];
                h[i].seed = i + 1;
                must(pthread_create(&h[i].thread, NULL, hammer_run, &h[i]) == 0, "starting a thread");
        }
        for (unsigned i = 0; i < HAMMER_THREADS; i++) {
                pthread_join(h[i].thread, NULL);
                must(h[i].ops > 0, "a thread did nothing");
        }
        for (unsigned i = 0; i < MOUNTS; i++) {
                must((t[i]->elsewhere > 0) == uring, "%u reads went to a worker", (unsigned)t[i]->elsewhere);
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
        static const char *const dirs[MOUNTS] = {"a", "b"};

        (void)abort_all();
        for (unsigned i = 0; i < MOUNTS; i++) {
                char path[80];

                snprintf(path, sizeof(path), "%s/%s", base, dirs[i]);
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

        connections->count = 0;
        pid = child_start(NULL, case_main, &n);
        ok = wait_until(has_exited, &pid, CASE_SECONDS);

        if (!ok) {
                fprintf(stderr, "%s: hangs\n", cases[n].name);
                clear_mounts();
                kill(pid, SIGKILL);
        }
        ok &= child_wait(pid) == 0;
        clear_mounts();
        printf("%s %s over %s\n", ok ? "ok  " : "FAIL", cases[n].name, uring ? "io_uring" : "/dev/fuse");
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
        base = mkdtemp(dir);
        must(base, "mkdtemp");
        connections = shared_new(sizeof(*connections));
        snprintf(ctl, sizeof(ctl), "%s/ctl", base);
        must(mkdir(ctl, 0755) == 0 && mount("fusectl", ctl, "fusectl", 0, NULL) == 0, "mounting fusectl");
        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                ok &= run_case(i);
        was = set_uring_switch('Y');
        if (was) {
                uring = true;
                for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                        ok &= run_case(i);
                set_uring_switch(was);
        } else {
                printf("skip: this kernel has no FUSE over io_uring\n");
        }
        (void)umount2(ctl, MNT_DETACH);
        rmdir(ctl);
        rmdir(base);
        return ok ? 0 : 1;
}
