/*
 * The agent is killed again and again, at random points while it replays the host's edits, tells the kernel and serves, by both transports.
 * Its holder has to start the next one: no client hangs, nobody stays behind half dead, the mounts are usable again, and what a client was
 * told is written stands in the source.
 *
 *     agent_kill [KILLS [SEED [PACE_MS]]]
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "tests/lib/mount.h"

#define KILLS 12
/* The holder answers this many deaths a minute at once; a longer run has to be slower. */
#define PACE_MS 200
#define MOUNTS 2
#define WRITERS 2 /* a mount */
#define EDITORS 2
#define FILES 24
#define PATIENCE_SECONDS 60
#define NS_PER_MS 1000000ULL

/* What a process is at, and how far it is. */
struct actor {
        unsigned number;
        _Atomic unsigned long long steps;
        _Atomic unsigned long long since; /* when its last step that worked began */
        _Atomic unsigned failures;
        unsigned versions[FILES]; /* of each file: what was written last; its own */
};

static struct shared {
        atomic_bool stop;
        struct actor writers[MOUNTS][WRITERS], editors[EDITORS];
        /* From this moment on success is the next agent's. */
        _Atomic unsigned long long dead_ns;
        _Atomic unsigned long long back_ns[MOUNTS]; /* when a step begun after it had worked */
} * shared;

static struct fixture *f;

/*
 * Writers: in the mounts
 */

static int write_version(const char *path, unsigned version)
{
        CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        char text[16];
        int len = snprintf(text, sizeof(text), "%u\n", version);

        return fd < 0 ? -errno : fd_write_full(fd, text, (size_t)len);
}

/* What anybody does in a checkout, so that the kernel knows names for which edits are replayed. */
static void look_around(const char *dir)
{
        for (unsigned e = 0; e < EDITORS; e++) {
                for (unsigned i = 0; i < FILES; i++) {
                        CLEANUP_FREE char *text = NULL;

                        (void)fd_read_file(AT_FDCWD, at(dir, "host%u/dir%u/f%u", e, i % 4, i), 64, &text);
                }
        }
}

static void note_success(unsigned mount, unsigned long long began)
{
        unsigned long long dead = atomic_load(&shared->dead_ns), none = 0;

        if (dead && began > dead)
                (void)atomic_compare_exchange_strong(&shared->back_ns[mount], &none, clock_now_ns());
}

struct place {
        unsigned mount;
        struct actor *actor;
};

static int write_on(void *arg)
{
        const struct place *p = arg;
        struct actor *a = p->actor;
        struct dice d = {.state = a->number + 1};
        CLEANUP_FREE char *dir = strdup(p->mount ? f->second : f->mnt);

        while (!atomic_load(&shared->stop)) {
                unsigned i = dice_roll(&d, FILES);
                unsigned long long began = clock_now_ns();

                /* Until it worked, so that what there has to be is known. */
                for (int rc; (rc = write_version(at(dir, "w%u.%u/f%u", p->mount, a->number, i), a->versions[i] + 1)) < 0;) {
                        struct timespec moment = {.tv_nsec = 200000};

                        atomic_fetch_add(&a->failures, 1);
                        errno = -rc;
                        must(rc == -ENOTCONN || rc == -ECONNABORTED || rc == -ECANCELED, "%s/w%u.%u/f%u", dir, p->mount, a->number, i);
                        nanosleep(&moment, NULL);
                        began = clock_now_ns();
                }
                a->versions[i]++;
                note_success(p->mount, began);
                atomic_store(&a->since, began);
                if (atomic_fetch_add(&a->steps, 1) % 16 == 0)
                        look_around(dir);
        }
        return 0;
}

/*
 * Editors: on the host
 */

static int edit_on(void *arg)
{
        struct actor *a = arg;
        struct dice d = {.state = a->number + 100};
        const struct timespec pace = {.tv_nsec = NS_PER_MS};

        while (!atomic_load(&shared->stop)) {
                unsigned i = dice_roll(&d, FILES);
                CLEANUP_FREE char *path = strdup(at(f->src, "host%u/dir%u/f%u", a->number, i % 4, i));
                CLEANUP_FREE char *other = strdup(at(f->src, "host%u/dir%u/new", a->number, i % 4));

                switch (dice_roll(&d, 5)) {
                case 0: /* in place */
                        must(write_version(path, a->versions[i] + 1) == 0, "%s", path);
                        break;
                case 1: /* as editors save */
                        must(write_version(other, a->versions[i] + 1) == 0 && rename(other, path) == 0, "%s", path);
                        break;
                case 2: /* made anew */
                        must(unlink(path) == 0 && write_version(path, a->versions[i] + 1) == 0, "%s", path);
                        break;
                case 3: /* there and back */
                        must(write_version(path, a->versions[i] + 1) == 0 && rename(path, other) == 0 && rename(other, path) == 0, "%s",
                             path);
                        break;
                default: /* a directory that comes and goes */
                        must(mkdir(other, 0755) == 0 && rmdir(other) == 0 && write_version(path, a->versions[i] + 1) == 0, "%s", other);
                }
                a->versions[i]++;
                /* Faster than can be replayed they would be queued for minutes. */
                if (atomic_fetch_add(&a->steps, 1) % 16 == 0)
                        nanosleep(&pace, NULL);
        }
        return 0;
}

/*
 * Kills
 */

static bool is_gone(void *arg)
{
        CLEANUP_FD int fd = (int)syscall(SYS_pidfd_open, *(pid_t *)arg, 0);
        struct pollfd p = {.fd = fd, .events = POLLIN};

        return fd < 0 || poll(&p, 1, 0) > 0;
}

static bool all_are_back(void *arg)
{
        (void)arg;
        for (unsigned m = 0; m < MOUNTS; m++) {
                if (atomic_load(&shared->back_ns[m]) == 0)
                        return false;
                for (unsigned w = 0; w < WRITERS; w++) {
                        if (atomic_load(&shared->writers[m][w].since) <= atomic_load(&shared->dead_ns))
                                return false;
                }
        }
        return true;
}

static bool has_begun(void *arg)
{
        (void)arg;
        for (unsigned m = 0; m < MOUNTS; m++) {
                for (unsigned w = 0; w < WRITERS; w++) {
                        if (atomic_load(&shared->writers[m][w].steps) < 32)
                                return false;
                }
        }
        return true;
}

static pid_t number_of(const char *key)
{
        int64_t n = 0;

        must(fixture_status(f, key, &n) && n > 0, "status has no %s", key);
        return (pid_t)n;
}

/* How long the mounts were away, in ms: the longest. */
static double kill_once(pid_t holder)
{
        pid_t agent = number_of("pid");
        CLEANUP_FD int pidfd = (int)syscall(SYS_pidfd_open, agent, 0);
        struct pollfd end = {.fd = pidfd, .events = POLLIN};
        unsigned long long killed, back = 0;

        must(pidfd >= 0, "pidfd of %d", agent);
        must(number_of("holder_pid") == holder, "another holder");
        atomic_store(&shared->dead_ns, 0);
        for (unsigned m = 0; m < MOUNTS; m++)
                atomic_store(&shared->back_ns[m], 0);
        killed = clock_now_ns();
        must(kill(agent, SIGKILL) == 0, "kill %d", agent);
        /* With all its threads. */
        must(poll(&end, 1, PATIENCE_SECONDS * 1000) == 1, "the agent (%d) outlives SIGKILL", agent);
        atomic_store(&shared->dead_ns, clock_now_ns());
        must(wait_until(all_are_back, NULL, PATIENCE_SECONDS), "a client hangs after the agent (%d) was killed", agent);
        for (unsigned m = 0; m < MOUNTS; m++) {
                if (atomic_load(&shared->back_ns[m]) > back)
                        back = atomic_load(&shared->back_ns[m]);
        }
        return (double)(back - killed) / (double)NS_PER_MS;
}

static int by_size(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

/*
 * The end
 */

static void must_hold(const char *path, unsigned version)
{
        CLEANUP_FREE char *text = NULL;
        char want[16];

        snprintf(want, sizeof(want), "%u\n", version);
        must(fd_read_file(AT_FDCWD, path, 64, &text) >= 0, "%s", path);
        errno = 0;
        must(strcmp(text, want) == 0, "%s holds \"%s\", not %u", path, text, version);
}

static void check_all(void)
{
        const char *const roots[] = {f->src, f->mnt, f->second};

        fixture_wait(f);
        for (unsigned r = 0; r < ARRAY_LEN(roots); r++) {
                for (unsigned i = 0; i < FILES; i++) {
                        for (unsigned e = 0; e < EDITORS; e++)
                                must_hold(at(roots[r], "host%u/dir%u/f%u", e, i % 4, i), shared->editors[e].versions[i]);
                        for (unsigned m = 0; m < MOUNTS; m++) {
                                for (unsigned w = 0; w < WRITERS; w++)
                                        must_hold(at(roots[r], "w%u.%u/f%u", m, w, i), shared->writers[m][w].versions[i]);
                        }
                }
        }
}

static void fill(void)
{
        for (unsigned e = 0; e < EDITORS; e++) {
                must(mkdir(at(f->src, "host%u", e), 0755) == 0, "mkdir");
                for (unsigned i = 0; i < FILES; i++) {
                        must(mkdir(at(f->src, "host%u/dir%u", e, i % 4), 0755) == 0 || errno == EEXIST, "mkdir");
                        must(write_version(at(f->src, "host%u/dir%u/f%u", e, i % 4, i), 0) == 0, "write");
                }
                shared->editors[e].number = e;
        }
        for (unsigned m = 0; m < MOUNTS; m++) {
                for (unsigned w = 0; w < WRITERS; w++) {
                        must(mkdir(at(f->src, "w%u.%u", m, w), 0755) == 0, "mkdir");
                        for (unsigned i = 0; i < FILES; i++)
                                must(write_version(at(f->src, "w%u.%u/f%u", m, w, i), 0) == 0, "write");
                        shared->writers[m][w].number = w;
                }
        }
}

static size_t start_all(pid_t *ret)
{
        static struct place places[MOUNTS][WRITERS];
        size_t n = 0;

        for (unsigned e = 0; e < EDITORS; e++)
                ret[n++] = child_start(NULL, edit_on, &shared->editors[e]);
        for (unsigned m = 0; m < MOUNTS; m++) {
                for (unsigned w = 0; w < WRITERS; w++) {
                        places[m][w] = (struct place){m, &shared->writers[m][w]};
                        ret[n++] = child_start(NULL, write_on, &places[m][w]);
                }
        }
        return n;
}

static void pause_ms(unsigned ms)
{
        struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000L};

        nanosleep(&t, NULL);
}

int main(int argc, char **argv)
{
        static const struct variant v = {
                .backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .life = 3600, .options = "replay=on"};
        unsigned kills = argc > 1 ? (unsigned)atoi(argv[1]) : KILLS;
        struct dice d = {.state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1};
        unsigned pace = argc > 3 ? (unsigned)atoi(argv[3]) : PACE_MS;
        CLEANUP_FREE double *away = calloc(kills, sizeof(*away));
        pid_t children[EDITORS + MOUNTS * WRITERS];
        int64_t replayed = 0, restarts = 0;
        unsigned long long steps = 0;
        size_t count;
        pid_t holder;

        must(away && kills > 0, "memory");
        f = fixture_prepare(&v);
        shared = shared_new(sizeof(*shared));
        fill();
        fixture_mount(f);
        fixture_mount_second(f, "transport=dev");
        holder = number_of("holder_pid");
        count = start_all(children);
        for (unsigned i = 0; i < kills; i++) {
                int64_t n = 0;

                must(wait_until(has_begun, NULL, PATIENCE_SECONDS), "no client gets anywhere");
                pause_ms(pace / 2 + dice_roll(&d, pace));
                must(fixture_status(f, "replayed", &n), "status has no replayed");
                replayed += n;
                away[i] = kill_once(holder);
                if (i % 4 == 0)
                        fixture_wait(f);
        }
        must(fixture_status(f, "restarts", &restarts) && restarts == (int64_t)kills, "status says %lld restarts", (long long)restarts);
        atomic_store(&shared->stop, true);
        for (size_t i = 0; i < count; i++)
                must(child_wait(children[i]) == 0, "a client failed");
        must(replayed > 0, "nothing was replayed");
        check_all();
        for (unsigned m = 0; m < MOUNTS; m++)
                steps += atomic_load(&shared->writers[m][0].steps);
        qsort(away, kills, sizeof(*away), by_size);
        printf("%u kills, %lld edits replayed, %llu writes; away p50 %.1f ms, p90 %.1f ms, at most %.1f ms\n", kills, (long long)replayed,
               steps, away[kills / 2], away[kills * 9 / 10], away[kills - 1]);
        f->pid = number_of("pid");
        fixture_free(f);
        must(wait_until(is_gone, &holder, PATIENCE_SECONDS), "the holder outlives its mounts");
        return 0;
}
