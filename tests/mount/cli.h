/*
 * The command line as a user meets it: the real program, real mounts, what it prints and how it exits. Each test has a mount namespace, a
 * runtime and a state directory of its own.
 */
#pragma once

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/lib/mount.h"
#include "tests/lib/proc.h"
#include "tests/lib/schema.h"

#define ARGS_MAX 12

static struct box {
        char base[96];
        char src[128];        /* base/app, with a file "greeting" */
        char mnt[128];        /* base/mnt, empty */
        uid_t uid;            /* whom dsfs runs as */
        struct proc_result r; /* of the last command */
} box;

static inline void put(const char *dir, const char *name, const char *text)
{
        CLEANUP_FREE char *path = NULL;
        CLEANUP_FD int fd = -1;

        cr_assert_gt(asprintf(&path, "%s/%s", dir, name), 0);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
        cr_assert_eq(fd_write_full(fd, text, strlen(text)), 0);
}

static inline void expect_content(const char *dir, const char *name, const char *want)
{
        CLEANUP_FREE char *path = NULL;
        CLEANUP_FREE char *text = NULL;
        ssize_t n;

        cr_assert_gt(asprintf(&path, "%s/%s", dir, name), 0);
        n = fd_read_file(AT_FDCWD, path, 4096, &text);
        cr_assert_geq(n, 0, "%s: %s", path, strerror((int)-n));
        cr_assert_str_eq(text, want);
}

static inline void set_directory(const char *variable, const char *name, char *ret, size_t size)
{
        snprintf(ret, size, "%s/%s", box.base, name);
        cr_assert_eq(mkdir(ret, 0700), 0, "%s: %s", ret, strerror(errno));
        if (variable)
                cr_assert_eq(setenv(variable, ret, 1), 0);
}

static inline void start(void)
{
        const char *tmp = getenv("TMPDIR");
        char dir[128];

        if (geteuid() != 0)
                cr_assert_fail("run as root: it takes mounts of its own");
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                cr_assert_fail("no mount namespace: %s", strerror(errno));
        umask(022);
        snprintf(box.base, sizeof(box.base), "%s/cli.XXXXXX", tmp ? tmp : "/tmp");
        cr_assert(mkdtemp(box.base));
        cr_assert_eq(chmod(box.base, 0755), 0);
        set_directory("XDG_RUNTIME_DIR", "run", dir, sizeof(dir));
        set_directory("XDG_STATE_HOME", "state", dir, sizeof(dir));
        set_directory(NULL, "app", box.src, sizeof(box.src));
        set_directory(NULL, "mnt", box.mnt, sizeof(box.mnt));
        put(box.src, "greeting", "hello\n");
        box.uid = 0;
}

/* Run `dsfs ARGS…`. */
static inline int dsfs(const char *const args[])
{
        const char *argv[ARGS_MAX + 2] = {getenv("DSFS_BIN") ? getenv("DSFS_BIN") : "build/dsfs"};
        int n = 0;

        for (; args[n]; n++) {
                cr_assert_lt(n, ARGS_MAX);
                argv[n + 1] = args[n];
        }
        proc_run(argv, box.uid, &box.r);
        cr_assert_neq(box.r.status, PROC_HUNG, "dsfs %s hangs", args[0]);
        return box.r.status;
}
#define DSFS(...) dsfs((const char *const[]){__VA_ARGS__, NULL})

#define expect_exit(code, ...)                                                                                                             \
        cr_assert_eq(DSFS(__VA_ARGS__), code, "exit %d, not %d" SAID_IN(code), box.r.status, code, box.r.out, box.r.err)
#define SAID_IN(code) "\n  out: %s\n  err: %s"
#define expect_said(where, text) cr_assert(strstr(where, text), "nothing says \"%s\"" SAID_IN(0), text, box.r.out, box.r.err)

static inline bool is_dsfs(const char *path)
{
        char type[64];

        mount_type(path, type, sizeof(type));
        return strcmp(type, "fuse.dsfs") == 0;
}

static inline bool is_mounted(const char *path)
{
        char type[64];

        mount_type(path, type, sizeof(type));
        return *type != '\0';
}

/* With all its threads: its first thread alone being a zombie is not enough. */
static inline bool is_gone(void *arg)
{
        CLEANUP_FD int fd = (int)syscall(SYS_pidfd_open, *(pid_t *)arg, 0);
        struct pollfd p = {.fd = fd, .events = POLLIN};

        return fd < 0 || poll(&p, 1, 0) > 0;
}

/* Kill the agent; and before it its holder, so that nobody starts it again. */
static inline void kill_for_good(const json_t *mount)
{
        pid_t pid = (pid_t)json_integer_value(json_object_get(mount, "pid"));
        pid_t holder = (pid_t)json_integer_value(json_object_get(mount, "holder_pid"));

        cr_assert_gt(pid, 1);
        if (holder > 1)
                cr_assert_eq(kill(holder, SIGKILL), 0);
        cr_assert_eq(kill(pid, SIGKILL), 0);
        cr_assert(proc_until(is_gone, &pid));
        cr_assert(holder <= 1 || proc_until(is_gone, &holder));
}

/* The first mount in `status --json`: owned. */
static inline json_t *status_mount(int code)
{
        const char *violation;
        json_t *root;
        json_t *m;

        expect_exit(code, "status", "--json");
        root = json_loads(box.r.out, 0, NULL);
        cr_assert(root, "not JSON: %s", box.r.out);
        violation = schema_violation("status", root);
        cr_assert_null(violation, "%s\n%s", violation, box.r.out);
        cr_assert_eq(json_integer_value(json_object_get(root, "version")), 1);
        m = json_incref(json_array_get(json_object_get(root, "mounts"), 0));
        cr_assert(m, "no mount in %s", box.r.out);
        json_decref(root);
        return m;
}

static inline pid_t agent_pid(void)
{
        json_t *m = status_mount(0);
        pid_t pid = (pid_t)json_integer_value(json_object_get(m, "pid"));

        json_decref(m);
        cr_assert_gt(pid, 1);
        return pid;
}

static inline void kill_agent(void)
{
        json_t *m = status_mount(0);

        kill_for_good(m);
        json_decref(m);
}

/* Whatever a test left. */
static inline void stop(void)
{
        (void)DSFS("umount", "--all", "--lazy");
        (void)umount2(box.mnt, MNT_DETACH);
        remove_tree(box.base);
}

/* Nothing is mounted, nobody serves, and no record says otherwise. */
static inline void expect_nothing_left(void)
{
        expect_exit(4, "status");
        cr_assert_not(is_mounted(box.mnt), "%s is mounted", box.mnt);
}

static inline void trim(char *line)
{
        line[strcspn(line, "\n")] = '\0';
}
