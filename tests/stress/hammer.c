/*
 * Eight threads hammer a handful of names through two mounts while the host edits the same names, with replays on: what a container does
 * has its effect whatever is being replayed at that moment, nobody waits for ever, and in the end the mounts show what the host has.
 *
 *   hammer [SECONDS [SEED]]
 *
 * Effects that nobody else can take back are looked at where they were made: each thread has names of its own, which the host touches (a
 * replay of it is under way all the time) and never changes; every operation on them that says it worked must show on the host at once. On
 * the names that all share anything goes, but for errors that those calls can't give. If nothing moves for 20 seconds, all stacks are
 * shown.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "tests/lib/mount.h"
#include "tests/lib/oracle.h"

#define THREADS 8u
#define SHARED 6u
#define SECONDS_DEFAULT 6
#define STUCK_S 20
#define LIFE 3600

static struct fixture *f;
static atomic_uint end;
static atomic_ullong moved, own_checks, swallowed;

struct thread {
        pthread_t thread;
        unsigned id;
        struct dice dice;
        const char *root; /* a mount, or the source */
};

/* at() is for one thread. */
struct path {
        char text[256];
};

static struct path path_in(const char *root, const char *kind, unsigned a, unsigned b)
{
        struct path p;

        snprintf(p.text, sizeof(p.text), "%s/h/%s%u-%u", root, kind, a, b);
        return p;
}

/* Something of each kind. False when it failed as it may: somebody else was there before. */
static bool hammer(struct dice *dice, const char *name, const char *other)
{
        CLEANUP_FD int fd = -1;
        int rc = 0;

        switch (dice_roll(dice, 9)) {
        case 0:
                fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
                rc = fd;
                break;
        case 1:
                rc = unlink(name);
                break;
        case 2:
                rc = rename(name, other);
                break;
        case 3:
                rc = utimensat(AT_FDCWD, name, NULL, 0);
                break;
        case 4:
                rc = mkdir(name, 0755);
                break;
        case 5:
                rc = rmdir(name);
                break;
        case 6:
                rc = symlink("nowhere", name);
                break;
        case 7:
                fd = open(name, O_WRONLY | O_CLOEXEC);
                rc = fd < 0 ? -1 : (int)write(fd, "x", 1);
                break;
        default:
                rc = link(name, other);
        }
        if (rc >= 0)
                return true;
        /* EIO is what the kernel says of a thing just made by us that somebody has replaced by another kind of thing before we could look.
         */
        must(errno == EIO || errno == ENOENT || errno == EEXIST || errno == EISDIR || errno == ENOTDIR || errno == ENOTEMPTY ||
                     errno == EPERM || errno == ESTALE || errno == ELOOP || errno == EBUSY,
             "%s", name);
        return false;
}

static void *keep_hammering(void *arg)
{
        struct thread *t = arg;

        while (!atomic_load(&end)) {
                struct path a = path_in(t->root, "s", 0, dice_roll(&t->dice, SHARED));
                struct path b = path_in(t->root, "s", 0, dice_roll(&t->dice, SHARED));

                (void)hammer(&t->dice, a.text, b.text);
                atomic_fetch_add(&moved, 1);
        }
        return NULL;
}

static void expect(bool holds, const char *what, const char *path)
{
        atomic_fetch_add(&own_checks, 1);
        if (holds)
                return;
        atomic_fetch_add(&swallowed, 1);
        fprintf(stderr, "%s: %s had no effect\n", path, what);
}

static bool is_there(const char *path, mode_t type)
{
        struct stat st;

        return lstat(path, &st) == 0 && (st.st_mode & S_IFMT) == type;
}

/* In the mount, and each time a look at the host's side of it. */
static void own_round(struct thread *t, unsigned n)
{
        struct path a = path_in(t->root, "own", t->id, n), b = path_in(t->root, "new", t->id, n);
        struct path host_a = path_in(f->src, "own", t->id, n), host_b = path_in(f->src, "new", t->id, n);
        struct stat st;
        CLEANUP_FD int fd = open(a.text, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

        must(fd >= 0, "create %s", a.text);
        expect(is_there(host_a.text, S_IFREG), "create", a.text);
        must(write(fd, "mine", 4) == 4, "write");
        fd_close(&fd);
        fd = open(a.text, O_WRONLY | O_APPEND | O_CLOEXEC);
        must(fd >= 0 && write(fd, "more", 4) == 4, "append %s", a.text);
        fd_close(&fd);
        expect(lstat(host_a.text, &st) == 0 && st.st_size == 8, "writing", a.text);
        must(utimensat(AT_FDCWD, a.text, (struct timespec[]){{.tv_sec = 1000}, {.tv_sec = 2000 + n}}, 0) == 0, "utimensat %s", a.text);
        /* The host's touch may come after it. */
        expect(lstat(host_a.text, &st) == 0 && (st.st_mtime == 2000 + (time_t)n || st.st_mtime == 1), "utimensat", a.text);
        must(rename(a.text, b.text) == 0, "rename %s", a.text);
        expect(is_there(host_b.text, S_IFREG) && access(host_a.text, F_OK) < 0, "rename", a.text);
        must(symlink("x", a.text) == 0, "symlink %s", a.text);
        expect(is_there(host_a.text, S_IFLNK), "symlink", a.text);
        must(rename(a.text, b.text) == 0, "rename over %s", b.text);
        expect(is_there(host_b.text, S_IFLNK), "rename over", b.text);
        must(unlink(b.text) == 0, "unlink %s", b.text);
        expect(!is_there(host_b.text, S_IFLNK), "unlink", b.text);
        must(mkdir(a.text, 0755) == 0, "mkdir %s", a.text);
        expect(is_there(host_a.text, S_IFDIR), "mkdir", a.text);
        must(rmdir(a.text) == 0, "rmdir %s", a.text);
        expect(!is_there(host_a.text, S_IFDIR), "rmdir", a.text);
}

static void *keep_own(void *arg)
{
        struct thread *t = arg;

        for (unsigned n = 0; !atomic_load(&end); n = (n + 1) % 3) {
                own_round(t, n);
                atomic_fetch_add(&moved, 1);
        }
        return NULL;
}

/* The host: the shared names as everybody, and touches of those which are others' own. */
static void *keep_editing(void *arg)
{
        struct thread *t = arg;

        while (!atomic_load(&end)) {
                struct path a = path_in(t->root, "s", 0, dice_roll(&t->dice, SHARED));
                struct path b = path_in(t->root, "s", 0, dice_roll(&t->dice, SHARED));
                struct path own = path_in(t->root, "own", dice_roll(&t->dice, THREADS), dice_roll(&t->dice, 3));

                (void)hammer(&t->dice, a.text, b.text);
                (void)utimensat(AT_FDCWD, own.text, (struct timespec[]){{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1}}, AT_SYMLINK_NOFOLLOW);
                atomic_fetch_add(&moved, 1);
        }
        return NULL;
}

/* Where everybody stands, ours and the agent's. */
static _Noreturn void show_stacks(void)
{
        char script[256];

        snprintf(script, sizeof(script),
                 "for t in /proc/%d/task/* /proc/%d/task/*; do echo $t $(cat $t/comm); cat $t/wchan $t/stack; done >&2", getpid(), f->pid);
        fprintf(stderr, "nothing moves:\n");
        (void)!system(script);
        /* What hangs in the kernel hangs on the connection. */
        snprintf(script, sizeof(script), "for c in /sys/fs/fuse/connections/*; do cat $c/waiting; done >&2");
        (void)!system(script);
        kill(f->pid, SIGKILL);
        _exit(1);
}

static void watch_over(unsigned seconds)
{
        const struct timespec moment = {.tv_nsec = 100000000};
        unsigned long long begin = clock_now_ns(), last_move = begin, last = 0;

        while (clock_now_ns() - begin < seconds * 1000000000ULL) {
                unsigned long long now = atomic_load(&moved);

                if (now != last)
                        last_move = clock_now_ns();
                last = now;
                if (clock_now_ns() - last_move > STUCK_S * 1000000000ULL)
                        show_stacks();
                clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
        }
        atomic_store(&end, 1);
}

static void join(struct thread *threads, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                struct timespec deadline;

                clock_gettime(CLOCK_REALTIME, &deadline);
                deadline.tv_sec += STUCK_S;
                if (pthread_timedjoin_np(threads[i].thread, NULL, &deadline) != 0)
                        show_stacks();
        }
}

static unsigned compare(const char *mount)
{
        struct trace *want = trace_new(), *have = trace_new();
        unsigned wrong;

        tree_describe(want, at(f->src, "h"), TREE_IDENTITY);
        tree_describe(have, at(mount, "h"), TREE_IDENTITY);
        wrong = want->len != have->len || memcmp(want->bytes, have->bytes, want->len) != 0;
        if (wrong)
                fprintf(stderr, "the source has\n%s\nand %s\n%s\n", want->bytes, mount, have->bytes);
        trace_free(want);
        trace_free(have);
        return wrong;
}

int main(int argc, char **argv)
{
        const struct variant v = {.backing = ON_EXT4, .transport = BY_URING, .options = "replay=on", .life = LIFE};
        unsigned seconds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : SECONDS_DEFAULT;
        unsigned long long seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (unsigned long long)time(NULL);
        struct thread threads[THREADS + 2] = {0};
        unsigned wrong;

        f = fixture_prepare(&v);
        must(mkdir(at(f->src, "h"), 0755) == 0, "mkdir");
        fixture_mount(f);
        fixture_mount_second(f, "transport=dev");
        for (unsigned i = 0; i < THREADS + 2; i++) {
                void *(*run)(void *arg) = i >= THREADS ? keep_editing : i % 4 < 2 ? keep_hammering : keep_own;

                threads[i] = (struct thread){.id = i, .dice = {seed * 16 + i}, .root = i >= THREADS ? f->src : i % 2 ? f->second : f->mnt};
                must(thread_start(&threads[i].thread, "hammer", run, &threads[i]) == 0, "thread");
        }
        watch_over(seconds);
        join(threads, ARRAY_LEN(threads));
        fixture_wait(f);
        wrong = compare(f->mnt) + compare(f->second);
        fixture_free(f);
        printf("operations=%llu own=%llu swallowed=%llu differing=%u seconds=%u seed=%llu\n", (unsigned long long)moved,
               (unsigned long long)own_checks, (unsigned long long)swallowed, wrong, seconds, seed);
        return wrong || swallowed;
}
