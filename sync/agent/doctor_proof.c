/*
 * The proof that it works here: a source and a mount of the doctor's own, edited on the host. What is read in the mount, and what a watcher
 * there hears, is timed.
 */
#include "sync/agent/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "sync/agent/mountinfo.h"
#include "sync/serve/why.h"

#define EDITS 9
#define PATIENCE_MS 30000
#define HEARD_MS 1000 /* when the first edit isn't heard by then, none will be */
#define READ_MS 5000
#define NS_PER_MS 1000000ULL
#define SAID_MAX 1024

extern char **environ;

struct probe {
        char base[64];
        char src[80], mnt[80], said[80], host[96], inside[96];
        bool mounted;
        double read_ms[EDITS], heard_ms[EDITS];
        bool heard;
};

/* One `dsfs ARGS…` with directories of its own, so that nothing else is touched. Its exit status, or -errno. */
static int run_dsfs(const struct probe *p, const char *const args[])
{
        static const char *const ours[] = {"XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME"};
        CLEANUP_FREE char *runtime = text_new("XDG_RUNTIME_DIR=%s/run", p->base);
        CLEANUP_FREE char *state = text_new("XDG_STATE_HOME=%s/state", p->base);
        CLEANUP_FREE char *config = text_new("XDG_CONFIG_HOME=%s/config", p->base);
        char *env[64] = {runtime, state, config};
        size_t n = ARRAY_LEN(ours);
        posix_spawn_file_actions_t files;
        posix_spawnattr_t attr;
        sigset_t none;
        pid_t pid;
        int status, rc;

        if (!runtime || !state || !config)
                return -ENOMEM;
        for (char **e = environ; *e && n + 1 < ARRAY_LEN(env); e++) {
                if (strncmp(*e, "XDG_", 4) != 0 && strncmp(*e, "DSFS_", 5) != 0 && strncmp(*e, "NOTIFY_SOCKET", 13) != 0)
                        env[n++] = *e;
        }
        sigemptyset(&none);
        posix_spawn_file_actions_init(&files);
        posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        posix_spawn_file_actions_addopen(&files, STDERR_FILENO, p->said, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        posix_spawnattr_init(&attr);
        posix_spawnattr_setsigmask(&attr, &none);
        posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
        rc = posix_spawn(&pid, "/proc/self/exe", &files, &attr, (char *const *)args, env);
        posix_spawnattr_destroy(&attr);
        posix_spawn_file_actions_destroy(&files);
        if (rc)
                return -rc;
        {
                CLEANUP_FD int end = (int)syscall(SYS_pidfd_open, pid, 0);
                struct pollfd wait = {.fd = end, .events = POLLIN};

                if (end >= 0 && poll(&wait, 1, PATIENCE_MS) == 0)
                        (void)kill(pid, SIGKILL);
        }
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
        (void)st;
        (void)flag;
        (void)ftw;
        (void)remove(path);
        return 0;
}

static void clear(struct probe *p)
{
        if (p->mounted && run_dsfs(p, (const char *const[]){"dsfs", "umount", "--lazy", p->mnt, NULL}) != 0)
                (void)mount_remove(p->mnt, true);
        (void)nftw(p->base, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static int write_edit(const char *path, unsigned n)
{
        CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        char text[16];

        snprintf(text, sizeof(text), "edit %03u\n", n);
        return fd < 0 ? -errno : fd_write_full(fd, text, strlen(text));
}

static bool reads_edit(const char *path, unsigned n)
{
        CLEANUP_FREE char *text = NULL;
        char want[16];

        snprintf(want, sizeof(want), "edit %03u\n", n);
        return fd_read_file(AT_FDCWD, path, sizeof(want), &text) > 0 && strcmp(text, want) == 0;
}

static double since_ms(unsigned long long began)
{
        return (double)(clock_now_ns() - began) / (double)NS_PER_MS;
}

/* What a watcher has heard until now. */
static bool hears(int watcher)
{
        char events[4096] __attribute__((aligned(8)));

        return read(watcher, events, sizeof(events)) > 0;
}

/* 0, or -ETIMEDOUT when the new bytes aren't read. */
static int time_edit(struct probe *p, int watcher, unsigned n)
{
        unsigned long long began;
        bool was_read = false, was_heard = !p->heard;
        int rc = write_edit(p->host, n);

        began = clock_now_ns();
        while (rc == 0 && !(was_read && was_heard)) {
                double now = since_ms(began);

                /* One event an edit; who is woken by it must not read the old bytes. */
                if (!was_heard && hears(watcher)) {
                        if (!reads_edit(p->inside, n))
                                return -ESTALE;
                        was_heard = true;
                        p->heard_ms[n] = since_ms(began);
                }
                if (!was_read && reads_edit(p->inside, n)) {
                        was_read = true;
                        p->read_ms[n] = since_ms(began);
                }
                if (!was_heard && now > HEARD_MS)
                        p->heard = false, was_heard = true;
                if (!was_read && now > READ_MS)
                        return -ETIMEDOUT;
        }
        return rc;
}

static int by_value(const void *a, const void *b)
{
        double x = *(const double *)a;
        double y = *(const double *)b;

        return (x > y) - (x < y);
}

static double median(double *list)
{
        qsort(list, EDITS, sizeof(*list), by_value);
        return list[EDITS / 2];
}

static int prepare(struct probe *p, char **why)
{
        static const char *const below[] = {"src", "mnt", "run", "state", "config"};
        const char *tmp = getenv("TMPDIR");
        CLEANUP_FREE char *said = NULL;
        int rc;

        if (snprintf(p->base, sizeof(p->base), "%s/dsfs-probe.XXXXXX", tmp && *tmp == '/' ? tmp : "/tmp") >= (int)sizeof(p->base))
                snprintf(p->base, sizeof(p->base), "/tmp/dsfs-probe.XXXXXX");
        if (!mkdtemp(p->base))
                return why_set(why, -errno, "%s can't be made: %s", p->base, strerror(errno));
        for (size_t i = 0; i < ARRAY_LEN(below); i++) {
                CLEANUP_FREE char *dir = text_new("%s/%s", p->base, below[i]);

                if (!dir || mkdir(dir, 0700) < 0)
                        return why_set(why, -errno, "%s can't be made: %s", dir ? dir : p->base, strerror(errno));
        }
        snprintf(p->src, sizeof(p->src), "%s/src", p->base);
        snprintf(p->mnt, sizeof(p->mnt), "%s/mnt", p->base);
        snprintf(p->said, sizeof(p->said), "%s/said", p->base);
        snprintf(p->host, sizeof(p->host), "%s/file", p->src);
        snprintf(p->inside, sizeof(p->inside), "%s/file", p->mnt);
        rc = write_edit(p->host, EDITS);
        if (rc)
                return why_set(why, rc, "%s can't be written: %s", p->host, strerror(-rc));
        rc = run_dsfs(p, (const char *const[]){"dsfs", "mount", p->src, p->mnt, "-o", "prewarm=off", NULL});
        p->mounted = rc == 0;
        if (rc == 0)
                return 0;
        (void)fd_read_file(AT_FDCWD, p->said, SAID_MAX, &said);
        if (said)
                said[strcspn(said, "\n")] = '\0';
        return why_set(why, -EIO, "a mount of its own can't be had: %s", said && *said ? said : strerror(rc < 0 ? -rc : EIO));
}

static int prove(struct probe *p, char **why)
{
        CLEANUP_FD int watcher = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

        if (watcher < 0 || inotify_add_watch(watcher, p->inside, IN_CLOSE_WRITE) < 0)
                return why_set(why, -errno, "%s can't be watched: %s", p->inside, strerror(errno));
        if (!reads_edit(p->inside, EDITS))
                return why_set(why, -EIO, "%s does not hold what %s does", p->inside, p->host);
        p->heard = true;
        for (unsigned i = 0; i < EDITS; i++) {
                int rc = time_edit(p, watcher, i);

                if (rc == -ESTALE)
                        return why_set(why, rc, "a watcher in the mount heard of an edit on the host, and read what was there before it");
                if (rc)
                        return why_set(why, rc, "an edit on the host was not read in the mount after %d seconds", READ_MS / 1000);
        }
        return 0;
}

static void tell(struct doctor *d, struct probe *p)
{
        double read_ms = median(p->read_ms);

        if (p->heard)
                doctor_found(
                        d, DOCTOR_FINE,
                        text_new("proved with a mount of its own: a watcher there heard of an edit on the host after %.2f ms, and read "
                                 "it after %.2f ms (medians of %d)",
                                 median(p->heard_ms), read_ms, EDITS),
                        NULL);
        else
                doctor_found(
                        d, geteuid() == 0 ? DOCTOR_DEGRADED : DOCTOR_NOTE,
                        text_new("proved with a mount of its own: an edit on the host was read there after %.2f ms (median of %d), but "
                                 "watchers there did not hear of it",
                                 read_ms, EDITS),
                        text_new("%s", geteuid() == 0 ? "dsfs logs, and a report of what it says"
                                                      : "mount as root, for that needs fanotify; or let tools poll"));
}

void doctor_proof(struct doctor *d)
{
        struct probe p = {0};
        CLEANUP_FREE char *why = NULL;
        sigset_t held, before;
        int rc;

        if (d->no_proof)
                return;
        /* What is interrupted would leave a mount. */
        sigemptyset(&held);
        sigaddset(&held, SIGINT);
        sigaddset(&held, SIGTERM);
        sigaddset(&held, SIGHUP);
        (void)sigprocmask(SIG_BLOCK, &held, &before);
        rc = prepare(&p, &why);
        if (rc == 0)
                rc = prove(&p, &why);
        if (rc)
                doctor_found(d, DOCTOR_DEGRADED, text_new("the proof failed: %s", why_text(why)),
                             text_new("put right what stands above, then run `dsfs doctor` again"));
        else
                tell(d, &p);
        clear(&p);
        (void)sigprocmask(SIG_SETMASK, &before, NULL);
}
