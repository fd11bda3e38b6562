/*
 * What becomes of a mount whose agent is killed, or whose source goes away; as another mount namespace sees it, too.
 */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"

#define ROUNDS 3
#define PATIENCE_SECONDS 60
#define STATUS_MAX 65536
#define EXIT_DEGRADED 3

static const struct variant killed[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .no_holder = true},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .no_holder = true},
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY},
};

static const struct variant lost[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_INOTIFY},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY},
};

/* Mounts of our own, and a shared mount with the mount point in it, as a container's bind mount has it. */
static void share_parent(struct fixture *f)
{
        char parent[80];

        must(snprintf(parent, sizeof(parent), "%s/shared", f->base) < (int)sizeof(parent), "%s is long", f->base);
        must(snprintf(f->mnt, sizeof(f->mnt), "%s/shared/m", f->base) < (int)sizeof(f->mnt), "%s is long", f->base);
        must(mkdir(parent, 0755) == 0 && mkdir(f->mnt, 0755) == 0, "mkdir %s", f->mnt);
        must(mount(parent, parent, NULL, MS_BIND, NULL) == 0, "bind %s", parent);
        must(mount(NULL, parent, NULL, MS_REC | MS_SHARED, NULL) == 0, "share %s", parent);
}

static int here(void)
{
        int ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);

        must(ns >= 0, "/proc/self/ns/mnt");
        return ns;
}

/* A mount namespace that gets what happens in ours, and nothing back. */
static int slave_namespace(void)
{
        CLEANUP_FD int home = here();
        int slave;

        must(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) == 0, "a slave mount namespace");
        slave = here();
        must(setns(home, CLONE_NEWNS) == 0, "setns");
        return slave;
}

struct view {
        const char *mnt;
        int ns;         /* -1: ours */
        const char *is; /* what the file says; NULL: nothing is mounted */
};

static int look(void *arg)
{
        const struct view *v = arg;
        CLEANUP_FREE char *text = NULL;
        char type[64];

        must(v->ns < 0 || setns(v->ns, CLONE_NEWNS) == 0, "setns");
        errno = 0;
        mount_type(v->mnt, type, sizeof(type));
        must(strcmp(type, v->is ? "fuse.dsfs" : "") == 0, "%s is \"%s\"", v->mnt, type);
        if (!v->is)
                return 0;
        must(fd_read_file(AT_FDCWD, at(v->mnt, "greeting"), 64, &text) >= 0, "read through %s", v->mnt);
        must(strcmp(text, v->is) == 0, "it says \"%s\", not \"%s\"", text, v->is);
        put_text(at(v->mnt, "made"), v->is);
        return 0;
}

static void must_see(struct fixture *f, int ns, const char *is)
{
        struct view v = {.mnt = f->mnt, .ns = ns, .is = is};

        must(child_run(NULL, look, &v) == 0, "as seen %s", ns < 0 ? "here" : "in the other namespace");
        must(!is || access(at(f->src, "made"), F_OK) == 0, "what was written through the mount is not in the source");
        must(!is || unlink(at(f->src, "made")) == 0, "unlink");
        if (is)
                fixture_wait(f); /* or the next look may write to what has just gone */
}

/* With all its threads. */
static bool is_gone(void *arg)
{
        CLEANUP_FD int fd = (int)syscall(SYS_pidfd_open, *(pid_t *)arg, 0);
        struct pollfd p = {.fd = fd, .events = POLLIN};

        return fd < 0 || poll(&p, 1, 0) > 0;
}

static void kill_agent(struct fixture *f)
{
        pid_t pid = f->pid;

        must(kill(pid, SIGKILL) == 0, "kill %d", pid);
        must(wait_until(is_gone, &pid, PATIENCE_SECONDS), "%d outlives SIGKILL", pid);
}

/* By its holder. */
static bool is_served_again(void *arg)
{
        static char text[STATUS_MAX];
        struct fixture *f = arg;
        int64_t pid;

        if (fixture_dsfs(f, (const char *const[]){"status", "--json", NULL}, text, sizeof(text)) != 0 || !fixture_status(f, "pid", &pid) ||
            pid == f->pid)
                return false;
        f->pid = (pid_t)pid;
        return true;
}

ParameterizedTestParameters(recover, killed_agents_are_mounted_over_everywhere)
{
        return cr_make_param_array(struct variant, (void *)killed, ARRAY_LEN(killed));
}

ParameterizedTest(struct variant *v, recover, killed_agents_are_mounted_over_everywhere, .timeout = CASE_SECONDS)
{
        CLEANUP_FD int other = -1;
        struct fixture *f;

        test_on_fail(case_failed);
        must(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "a private mount namespace");
        f = fixture_prepare(v);
        share_parent(f);
        other = slave_namespace();
        put_text(at(f->src, "greeting"), "hello");
        if (!f->bind) {
                fixture_mount(f);
                for (int i = 0; i < ROUNDS; i++) {
                        char text[32];

                        kill_agent(f);
                        snprintf(text, sizeof(text), "hello %d", i);
                        put_text(at(f->src, "greeting"), text);
                        if (v->no_holder)
                                fixture_mount(f);
                        else
                                must(wait_until(is_served_again, f, PATIENCE_SECONDS), "the holder starts no agent");
                        fixture_wait(f);
                        must_see(f, -1, text);
                        must_see(f, other, text);
                }
                fixture_umount(f);
                must_see(f, -1, NULL);
                must_see(f, other, NULL);
        }
        must(umount2(at(f->base, "shared"), 0) == 0, "umount %s/shared", f->base);
        fixture_free(f);
}

static bool is_degraded(void *arg)
{
        static char text[STATUS_MAX];

        return fixture_dsfs(arg, (const char *const[]){"status", "--json", NULL}, text, sizeof(text)) == EXIT_DEGRADED;
}

CASE_WITH(recover, a_source_that_moved_away_is_told, lost)
{
        static char text[STATUS_MAX];
        char verdict[32];

        if (f->bind)
                return;
        must(fixture_dsfs(f, (const char *const[]){"status", NULL}, text, sizeof(text)) == 0, "before: %s", text);
        must(rename(f->src, at(f->area, "moved")) == 0, "rename");
        must(wait_until(is_degraded, f, PATIENCE_SECONDS), "dsfs status doesn't notice");
        must(fixture_status_text(f, "verdict", verdict, sizeof(verdict)), "status has no verdict");
        errno = 0;
        must(strcmp(verdict, "degraded") == 0, "the verdict is %s", verdict);
        must(fixture_dsfs(f, (const char *const[]){"status", NULL}, text, sizeof(text)) == EXIT_DEGRADED, "status says %s", text);
        must(strncmp(text, "degraded: ", 10) == 0, "the verdict comes first: %s", text);
        must(strstr(text, "moved away") && strstr(text, "unmount, and mount it where it is now"), "it doesn't say what to do: %s", text);
}
