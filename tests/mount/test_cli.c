/*
 * The command line as a user meets it: the real program, real mounts, what it prints and how it exits. Each test has a mount namespace, a
 * runtime and a state directory of its own.
 */
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

#define TEST_UID 12345
#define URING_SWITCH "/sys/module/fuse/parameters/enable_uring"
#define ARGS_MAX 12

static struct box {
        char base[96];
        char src[128];        /* base/app, with a file "greeting" */
        char mnt[128];        /* base/mnt, empty */
        uid_t uid;            /* whom dsfs runs as */
        struct proc_result r; /* of the last command */
} box;

static void put(const char *dir, const char *name, const char *text)
{
        CLEANUP_FREE char *path = NULL;
        CLEANUP_FD int fd = -1;

        cr_assert_gt(asprintf(&path, "%s/%s", dir, name), 0);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
        cr_assert_eq(fd_write_full(fd, text, strlen(text)), 0);
}

static void expect_content(const char *dir, const char *name, const char *want)
{
        CLEANUP_FREE char *path = NULL;
        CLEANUP_FREE char *text = NULL;
        ssize_t n;

        cr_assert_gt(asprintf(&path, "%s/%s", dir, name), 0);
        n = fd_read_file(AT_FDCWD, path, 4096, &text);
        cr_assert_geq(n, 0, "%s: %s", path, strerror((int)-n));
        cr_assert_str_eq(text, want);
}

static void set_directory(const char *variable, const char *name, char *ret, size_t size)
{
        snprintf(ret, size, "%s/%s", box.base, name);
        cr_assert_eq(mkdir(ret, 0700), 0, "%s: %s", ret, strerror(errno));
        if (variable)
                cr_assert_eq(setenv(variable, ret, 1), 0);
}

static void start(void)
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
static int dsfs(const char *const args[])
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

static bool is_dsfs(const char *path)
{
        char type[64];

        mount_type(path, type, sizeof(type));
        return strcmp(type, "fuse.dsfs") == 0;
}

static bool is_mounted(const char *path)
{
        char type[64];

        mount_type(path, type, sizeof(type));
        return *type != '\0';
}

/* With all its threads: its first thread alone being a zombie is not enough. */
static bool is_gone(void *arg)
{
        CLEANUP_FD int fd = (int)syscall(SYS_pidfd_open, *(pid_t *)arg, 0);
        struct pollfd p = {.fd = fd, .events = POLLIN};

        return fd < 0 || poll(&p, 1, 0) > 0;
}

/* The first mount in `status --json`: owned. */
static json_t *status_mount(int code)
{
        json_t *root;
        json_t *m;

        expect_exit(code, "status", "--json");
        root = json_loads(box.r.out, 0, NULL);
        cr_assert(root, "not JSON: %s", box.r.out);
        cr_assert_eq(json_integer_value(json_object_get(root, "version")), 1);
        m = json_incref(json_array_get(json_object_get(root, "mounts"), 0));
        cr_assert(m, "no mount in %s", box.r.out);
        json_decref(root);
        return m;
}

static pid_t agent_pid(void)
{
        json_t *m = status_mount(0);
        pid_t pid = (pid_t)json_integer_value(json_object_get(m, "pid"));

        json_decref(m);
        cr_assert_gt(pid, 1);
        return pid;
}

static void kill_agent(void)
{
        pid_t pid = agent_pid();

        cr_assert_eq(kill(pid, SIGKILL), 0);
        cr_assert(proc_until(is_gone, &pid));
}

/* Whatever a test left. */
static void stop(void)
{
        (void)DSFS("umount", "--all", "--lazy");
        (void)umount2(box.mnt, MNT_DETACH);
        remove_tree(box.base);
}

TestSuite(cli, .init = start, .fini = stop, .timeout = 600);

/* Nothing is mounted, nobody serves, and no record says otherwise. */
static void expect_nothing_left(void)
{
        expect_exit(4, "status");
        cr_assert_not(is_mounted(box.mnt), "%s is mounted", box.mnt);
}

static void trim(char *line)
{
        line[strcspn(line, "\n")] = '\0';
}

Test(cli, mounts_at_a_place_of_its_own_and_leaves_nothing)
{
        char place[PROC_OUTPUT_MAX];
        pid_t pid;

        expect_exit(0, "mount", box.src);
        memcpy(place, box.r.out, sizeof(place));
        trim(place);
        expect_said(place, "/run/dsfs/mnt/app");
        cr_assert(is_dsfs(place));
        expect_content(place, "greeting", "hello\n");
        pid = agent_pid();
        expect_exit(0, "umount", "app");
        cr_assert(is_gone(&pid), "the agent outlives its umount");
        cr_assert_eq(access(place, F_OK), -1, "%s is still there", place);
        expect_nothing_left();
}

Test(cli, mounts_at_a_given_place)
{
        expect_exit(0, "mount", box.src, box.mnt);
        trim(box.r.out);
        cr_assert_str_eq(box.r.out, box.mnt);
        expect_content(box.mnt, "greeting", "hello\n");
        put(box.mnt, "made", "inside\n");
        expect_content(box.src, "made", "inside\n");
        expect_exit(0, "umount", box.mnt);
        cr_assert_eq(access(box.mnt, F_OK), 0, "a place that we did not make is not ours to remove");
        expect_nothing_left();
}

Test(cli, relative_paths_work)
{
        cr_assert_eq(chdir(box.base), 0);
        expect_exit(0, "mount", "app", "mnt/", "-o", "name=rel");
        expect_exit(0, "status", "mnt");
        expect_exit(0, "umount", "./mnt");
        expect_nothing_left();
}

static void expect_refusal(const char *src, const char *mnt, const char *named, const char *because)
{
        expect_exit(1, "mount", src, mnt);
        cr_assert_str_eq(box.r.out, "");
        expect_said(box.r.err, named);
        expect_said(box.r.err, because);
        cr_assert_eq(strchr(box.r.err, '\n'), box.r.err + strlen(box.r.err) - 1, "not one line: %s", box.r.err);
        expect_exit(4, "status");
}

Test(cli, what_can_not_be_mounted_is_refused_and_nothing_changes)
{
        CLEANUP_FREE char *inside = NULL;
        CLEANUP_FREE char *file = NULL;
        CLEANUP_FREE char *missing = NULL;

        cr_assert_gt(asprintf(&inside, "%s/inside", box.src), 0);
        cr_assert_gt(asprintf(&file, "%s/greeting", box.src), 0);
        cr_assert_gt(asprintf(&missing, "%s/nonesuch", box.base), 0);
        cr_assert_eq(mkdir(inside, 0755), 0);
        expect_refusal(missing, box.mnt, missing, "does not exist");
        expect_refusal(file, box.mnt, file, "not a directory");
        expect_refusal(box.src, missing, missing, "does not exist");
        expect_refusal(box.src, file, file, "inside the source");
        expect_refusal(box.src, inside, inside, "inside the source");
        expect_refusal(box.src, box.src, box.src, "inside the source");
        expect_refusal(inside, box.src, box.src, "would hide it");
        put(box.mnt, "x", "");
        expect_refusal(box.src, box.mnt, box.mnt, "not empty");
        cr_assert_not(is_mounted(box.mnt));
        cr_assert_eq(mount("none", box.mnt, "tmpfs", 0, NULL), 0);
        expect_refusal(box.src, box.mnt, box.mnt, "mount point already (tmpfs)");
        cr_assert_eq(umount(box.mnt), 0);
}

Test(cli, a_live_mount_is_in_the_way)
{
        CLEANUP_FREE char *other = NULL;

        cr_assert_gt(asprintf(&other, "%s/other", box.base), 0);
        cr_assert_eq(mkdir(other, 0755), 0);
        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(1, "mount", other, box.mnt);
        expect_said(box.r.err, box.mnt);
        expect_said(box.r.err, "already mounted at");
        expect_content(box.mnt, "greeting", "hello\n");
        expect_exit(0, "umount", box.mnt);
}

Test(cli, a_source_is_mounted_once)
{
        CLEANUP_FREE char *other = NULL;

        cr_assert_gt(asprintf(&other, "%s/other", box.base), 0);
        cr_assert_eq(mkdir(other, 0755), 0);
        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(1, "mount", box.src, other);
        expect_said(box.r.err, "already mounted at");
        expect_said(box.r.err, box.mnt);
        cr_assert_not(is_mounted(other));
        expect_exit(0, "umount", "app");
        expect_exit(0, "mount", box.src, other);
        expect_exit(0, "umount", other);
}

Test(cli, folders_of_one_name_get_two)
{
        CLEANUP_FREE char *dir = NULL;
        CLEANUP_FREE char *twin = NULL;

        cr_assert_gt(asprintf(&dir, "%s/b", box.base), 0);
        cr_assert_gt(asprintf(&twin, "%s/b/app", box.base), 0);
        cr_assert(mkdir(dir, 0755) == 0 && mkdir(twin, 0755) == 0);
        expect_exit(0, "mount", box.src);
        expect_exit(0, "mount", twin);
        expect_said(box.r.out, "/mnt/app-");
        expect_exit(1, "mount", dir, "-o", "name=app");
        expect_said(box.r.err, "is taken");
        expect_exit(0, "umount", "--all");
        expect_nothing_left();
}

Test(cli, usage_errors_say_what_is_allowed)
{
        expect_exit(2, "mount");
        expect_exit(2, "mount", box.src, box.mnt, "third");
        expect_exit(2, "mount", box.src, "-o", "transport=fast");
        expect_said(box.r.err, "auto, uring, dev");
        expect_exit(2, "mount", box.src, "-o", "nonesuch");
        expect_said(box.r.err, "transport, watch");
        expect_exit(2, "mount", "--nonesuch", box.src);
        expect_exit(2, "umount");
        expect_exit(2, "umount", "--all", "x");
        expect_exit(2, "status", "a", "b");
        expect_exit(2, "wait", "--timeout", "soon");
        expect_exit(2, "doctor", "x");
        expect_exit(2, "nonesuch");
        expect_nothing_left();
}

Test(cli, every_command_has_help)
{
        static const char *const commands[] = {"mount", "umount", "status", "wait", "doctor"};

        expect_exit(0, "--help");
        for (size_t i = 0; i < ARRAY_LEN(commands); i++)
                expect_said(box.r.out, commands[i]);
        for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
                expect_exit(0, commands[i], "--help");
                expect_said(box.r.out, "usage: dsfs");
        }
        expect_exit(0, "mount", "--help");
        expect_said(box.r.out, "transport");
}

Test(cli, unknown_mounts_are_exit_4)
{
        expect_exit(4, "status");
        expect_exit(4, "status", "--json");
        expect_exit(4, "wait");
        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(4, "status", "nonesuch");
        expect_exit(4, "umount", "nonesuch");
        expect_exit(4, "umount", box.src);
        expect_exit(4, "wait", "nonesuch");
        expect_exit(0, "umount", "app");
        expect_exit(4, "umount", "app");
}

Test(cli, status_says_how_it_is)
{
        json_t *m;

        expect_exit(0, "mount", box.src, box.mnt, "-o", "transport=dev,prewarm=off");
        expect_content(box.mnt, "greeting", "hello\n");
        m = status_mount(0);
        cr_assert_str_eq(json_string_value(json_object_get(m, "verdict")), "ok");
        cr_assert_str_eq(json_string_value(json_object_get(m, "name")), "app");
        cr_assert_str_eq(json_string_value(json_object_get(m, "source")), box.src);
        cr_assert_str_eq(json_string_value(json_object_get(m, "mountpoint")), box.mnt);
        cr_assert_str_eq(json_string_value(json_object_get(m, "profile")), "source");
        cr_assert_str_eq(json_string_value(json_object_get(m, "transport")), "/dev/fuse");
        cr_assert_str_eq(json_string_value(json_object_get(m, "coherence")), "events");
        cr_assert_str_eq(json_string_value(json_object_get(m, "watch")), "fanotify");
        cr_assert_str_eq(json_string_value(json_object_get(json_object_get(m, "prewarm"), "state")), "off");
        cr_assert_gt(json_integer_value(json_object_get(json_object_get(m, "requests"), "LOOKUP")), 0);
        cr_assert_geq(json_integer_value(json_object_get(m, "nodes")), 2);
        cr_assert_gt(json_integer_value(json_object_get(m, "rss")), 1 << 20);
        cr_assert_eq(json_array_size(json_object_get(m, "warnings")), 0);
        json_decref(m);
        expect_exit(0, "status", "app");
        cr_assert_eq(strncmp(box.r.out, "ok: app\n", 8), 0, "the verdict comes first: %s", box.r.out);
}

Test(cli, options_reach_the_mount)
{
        json_t *m;
        int fd;

        expect_exit(0, "mount", box.src, box.mnt, "-o", "ro,coherence=strict,name=my app");
        m = status_mount(0);
        cr_assert_str_eq(json_string_value(json_object_get(m, "name")), "my app");
        cr_assert_str_eq(json_string_value(json_object_get(m, "coherence")), "strict");
        cr_assert_str_eq(json_string_value(json_object_get(m, "watch")), "none");
        cr_assert(json_is_true(json_object_get(m, "readonly")));
        json_decref(m);
        cr_assert_eq(chdir(box.mnt), 0);
        fd = open("new", O_WRONLY | O_CREAT, 0644);
        cr_assert(fd < 0 && errno == EROFS, "%s", strerror(errno));
        cr_assert_eq(chdir("/"), 0);
        expect_exit(0, "umount", "my app");
}

Test(cli, names_are_bytes)
{
        CLEANUP_FREE char *odd = NULL;
        json_t *m;

        cr_assert_gt(asprintf(&odd, "%s/a, \\b\n\xff", box.base), 0);
        cr_assert_eq(mkdir(odd, 0755), 0);
        put(odd, "x", "odd\n");
        expect_exit(0, "mount", odd);
        trim(box.r.out);
        m = status_mount(0);
        expect_said(json_string_value(json_object_get(m, "source")), "/a, \\\\b\n\\xff");
        json_decref(m);
        expect_exit(0, "umount", "a, \\b\n\xff");
        expect_nothing_left();
}

Test(cli, wait_is_a_barrier)
{
        expect_exit(0, "mount", box.src, box.mnt);
        expect_content(box.mnt, "greeting", "hello\n");
        for (int i = 0; i < 20; i++) {
                char text[32];

                snprintf(text, sizeof(text), "number %d\n", i);
                put(box.src, "greeting", text);
                expect_exit(0, "wait", "--timeout", "60");
                expect_content(box.mnt, "greeting", text);
        }
        cr_assert_eq(chdir(box.mnt), 0);
        expect_exit(0, "wait");
        cr_assert_eq(chdir("/"), 0);
}

Test(cli, pre_warming_finishes_and_counts)
{
        json_t *m = NULL;
        const char *state = "";
        unsigned long long patience = 5000;

        for (int i = 0; i < 100; i++) {
                char name[32];

                snprintf(name, sizeof(name), "file%d", i);
                put(box.src, name, "some bytes\n");
        }
        expect_exit(0, "mount", box.src, box.mnt);
        do {
                json_decref(m);
                m = status_mount(0);
                state = json_string_value(json_object_get(json_object_get(m, "prewarm"), "state"));
        } while (strcmp(state, "running") == 0 && --patience);
        /* A machine short of memory may stop it, but not this early without saying so. */
        cr_assert(strcmp(state, "done") == 0 || strcmp(state, "stopped") == 0, "%s", state);
        if (strcmp(state, "done") == 0) {
                cr_assert_eq(json_integer_value(json_object_get(json_object_get(m, "prewarm"), "entries")), 101);
                cr_assert_eq(json_integer_value(json_object_get(json_object_get(m, "prewarm"), "files")), 101);
        }
        json_decref(m);
        expect_exit(0, "umount", "app");
}

Test(cli, a_mount_in_use_is_not_unmounted_unless_lazily)
{
        CLEANUP_FREE char *path = NULL;
        CLEANUP_FD int fd = -1;
        pid_t pid;

        expect_exit(0, "mount", box.src, box.mnt);
        pid = agent_pid();
        cr_assert_gt(asprintf(&path, "%s/greeting", box.mnt), 0);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        cr_assert_geq(fd, 0);
        expect_exit(1, "umount", "app");
        expect_said(box.r.err, "--lazy");
        expect_content(box.mnt, "greeting", "hello\n");
        expect_exit(0, "umount", "--lazy", "app");
        cr_assert(is_gone(&pid));
        expect_nothing_left();
}

Test(cli, unmounting_by_other_means_ends_the_agent)
{
        pid_t pid;

        expect_exit(0, "mount", box.src, box.mnt);
        pid = agent_pid();
        /* Busy while pre-warming reads it. */
        while (umount(box.mnt) < 0)
                cr_assert_eq(errno, EBUSY);
        cr_assert(proc_until(is_gone, &pid), "the agent stays");
        expect_nothing_left();
}

Test(cli, sigterm_unmounts)
{
        pid_t pid;

        expect_exit(0, "mount", box.src, box.mnt);
        pid = agent_pid();
        cr_assert_eq(kill(pid, SIGTERM), 0);
        cr_assert(proc_until(is_gone, &pid), "the agent stays");
        expect_nothing_left();
}

static int notify_socket(char *path, size_t size)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        snprintf(path, size, "%s/notify", box.base);
        cr_assert_lt(strlen(path), sizeof(addr.sun_path));
        memcpy(addr.sun_path, path, strlen(path));
        cr_assert_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
        cr_assert_eq(setenv("NOTIFY_SOCKET", path, 1), 0);
        return fd;
}

static void expect_notice(int fd, const char *want)
{
        struct pollfd p = {.fd = fd, .events = POLLIN};
        char text[256] = "";

        cr_assert_gt(poll(&p, 1, PROC_PATIENCE_S * 1000), 0, "no %s", want);
        cr_assert_gt(recv(fd, text, sizeof(text) - 1, 0), 0);
        cr_assert_str_eq(text, want);
}

Test(cli, the_foreground_tells_the_service_manager)
{
        const char *argv[] = {getenv("DSFS_BIN"), "mount", box.src, box.mnt, "--foreground", NULL};
        char path[128];
        CLEANUP_FD int notices = notify_socket(path, sizeof(path));
        CLEANUP_FD int held = -1;
        pid_t pid = proc_start(argv, 0, NULL);

        expect_notice(notices, "READY=1");
        cr_assert_eq(unsetenv("NOTIFY_SOCKET"), 0);
        cr_assert_eq(agent_pid(), pid);
        expect_content(box.mnt, "greeting", "hello\n");
        /* In use: it ends all the same, and well. */
        held = open(box.mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        cr_assert_eq(kill(pid, SIGTERM), 0);
        expect_notice(notices, "STOPPING=1");
        cr_assert_eq(proc_wait(pid), 0);
        expect_nothing_left();
}

/* Both ways that requests take; io_uring is switched on if it isn't. */
static void set_up_transport(const char *name)
{
        if (strcmp(name, "uring") == 0)
                put("/sys/module/fuse/parameters", "enable_uring", "Y");
}

struct transport_case {
        char name[8];
};

static struct transport_case transports[] = {{"uring"}, {"dev"}};

static void mount_by(const char *transport)
{
        char option[32];
        json_t *m;

        set_up_transport(transport);
        snprintf(option, sizeof(option), "transport=%s", transport);
        expect_exit(0, "mount", box.src, box.mnt, "-o", option);
        m = status_mount(0);
        cr_assert_str_eq(json_string_value(json_object_get(m, "transport")), strcmp(transport, "dev") ? "io_uring" : "/dev/fuse");
        json_decref(m);
}

ParameterizedTestParameters(cli, a_killed_agent_is_recovered_by_mounting_again)
{
        return cr_make_param_array(struct transport_case, transports, ARRAY_LEN(transports));
}

ParameterizedTest(struct transport_case *t, cli, a_killed_agent_is_recovered_by_mounting_again, .timeout = 600)
{
        json_t *m;

        mount_by(t->name);
        for (int i = 0; i < 3; i++) {
                kill_agent();
                m = status_mount(1);
                cr_assert_str_eq(json_string_value(json_object_get(m, "verdict")), "broken");
                expect_said(json_string_value(json_array_get(json_object_get(m, "warnings"), 0)), "dsfs umount");
                json_decref(m);
                expect_exit(4, "wait", "app");
                mount_by(t->name);
                expect_content(box.mnt, "greeting", "hello\n");
        }
        expect_exit(0, "umount", box.mnt);
        cr_assert_not(is_mounted(box.mnt), "a dead layer is left");
        expect_nothing_left();
}

/* A client that asks the agent all the time. */
static pid_t start_asking(void)
{
        pid_t pid = fork();
        char path[160];

        if (pid)
                return pid;
        for (unsigned i = 0;; i++) {
                snprintf(path, sizeof(path), "%s/made%u", box.mnt, i % 64);
                int fd = open(path, O_RDWR | O_CREAT, 0644);

                if (fd < 0)
                        _exit(0);
                (void)!write(fd, path, sizeof(path));
                close(fd);
                (void)unlink(path);
        }
}

static bool is_asking(void *arg)
{
        json_t *m = status_mount(0);
        bool yes = json_integer_value(json_object_get(m, "requests_total")) > 2000;

        (void)arg;
        json_decref(m);
        return yes;
}

ParameterizedTestParameters(cli, an_agent_killed_at_work_is_recovered)
{
        return cr_make_param_array(struct transport_case, transports, ARRAY_LEN(transports));
}

ParameterizedTest(struct transport_case *t, cli, an_agent_killed_at_work_is_recovered, .timeout = 600)
{
        pid_t asking[3];

        mount_by(t->name);
        for (size_t i = 0; i < ARRAY_LEN(asking); i++)
                asking[i] = start_asking();
        cr_assert(proc_until(is_asking, NULL));
        kill_agent();
        mount_by(t->name);
        expect_content(box.mnt, "greeting", "hello\n");
        for (size_t i = 0; i < ARRAY_LEN(asking); i++) {
                (void)kill(asking[i], SIGKILL);
                cr_assert_neq(proc_wait(asking[i]), PROC_HUNG, "who waited for the dead agent waits for ever");
        }
        expect_exit(0, "umount", box.mnt);
        expect_nothing_left();
}

Test(cli, umount_clears_away_after_a_killed_agent)
{
        char place[PROC_OUTPUT_MAX];

        expect_exit(0, "mount", box.src);
        memcpy(place, box.r.out, sizeof(place));
        trim(place);
        kill_agent();
        expect_exit(0, "umount", place);
        cr_assert_not(is_mounted(place));
        cr_assert_eq(access(place, F_OK), -1);
        expect_nothing_left();
}

Test(cli, a_source_whose_agent_was_killed_can_move)
{
        CLEANUP_FREE char *other = NULL;

        cr_assert_gt(asprintf(&other, "%s/other", box.base), 0);
        cr_assert_eq(mkdir(other, 0755), 0);
        expect_exit(0, "mount", box.src, box.mnt);
        kill_agent();
        expect_exit(0, "mount", box.src, other);
        expect_content(other, "greeting", "hello\n");
        cr_assert_not(is_mounted(box.mnt), "the dead mount is left");
        expect_exit(0, "umount", other);
}

Test(cli, doctor_finds_and_removes_what_the_dead_left)
{
        expect_exit(0, "mount", box.src, box.mnt);
        kill_agent();
        expect_exit(3, "doctor");
        expect_said(box.r.out, box.mnt);
        expect_said(box.r.out, "dsfs umount");
        cr_assert(is_mounted(box.mnt), "looking changes nothing");
        (void)DSFS("doctor", "--fix", "--json");
        expect_said(box.r.out, "fixed");
        expect_nothing_left();
        (void)DSFS("doctor", "--json");
        cr_assert_null(strstr(box.r.out, box.mnt), "%s", box.r.out);
}

Test(cli, doctor_switches_io_uring_on)
{
        CLEANUP_FREE char *file = NULL;

        /* A file of ours in place of the switch: others use the real one. */
        cr_assert_gt(asprintf(&file, "%s/switch", box.base), 0);
        put(box.base, "switch", "N\n");
        cr_assert_eq(mount(file, URING_SWITCH, NULL, MS_BIND, NULL), 0, "%s", strerror(errno));
        (void)DSFS("doctor");
        expect_said(box.r.out, "echo Y > " URING_SWITCH);
        expect_content(box.base, "switch", "N\n");
        (void)DSFS("doctor", "--fix");
        expect_content(box.base, "switch", "Y\n");
        cr_assert_eq(umount(URING_SWITCH), 0);
}

/* fusermount3 wants its user to have a name. */
static void name_user(void)
{
        CLEANUP_FREE char *passwd = NULL;
        CLEANUP_FREE char *text = NULL;
        CLEANUP_FREE char *more = NULL;

        cr_assert_gt(fd_read_file(AT_FDCWD, "/etc/passwd", 1 << 20, &text), 0);
        cr_assert_gt(asprintf(&more, "%sdsfs-test:x:%d:%d::/:/bin/sh\n", text, TEST_UID, TEST_UID), 0);
        cr_assert_gt(asprintf(&passwd, "%s/passwd", box.base), 0);
        put(box.base, "passwd", more);
        cr_assert_eq(mount(passwd, "/etc/passwd", NULL, MS_BIND, NULL), 0);
}

static void become_unprivileged(void)
{
        CLEANUP_FREE char *fuse = NULL;
        const char *const own[] = {"run", "state", "app", "mnt", "app/greeting"};
        struct stat st;

        /* The device as every distribution has it. */
        cr_assert_eq(stat("/dev/fuse", &st), 0);
        cr_assert_gt(asprintf(&fuse, "%s/fuse", box.base), 0);
        cr_assert_eq(mknod(fuse, S_IFCHR | 0666, st.st_rdev), 0);
        cr_assert(chmod(fuse, 0666) == 0 && mount(fuse, "/dev/fuse", NULL, MS_BIND, NULL) == 0);
        for (size_t i = 0; i < ARRAY_LEN(own); i++) {
                char path[192];

                snprintf(path, sizeof(path), "%s/%s", box.base, own[i]);
                cr_assert_eq(chown(path, TEST_UID, TEST_UID), 0);
        }
        name_user();
        box.uid = TEST_UID;
}

static void user_conf(const char *text)
{
        CLEANUP_FREE char *path = NULL;

        put(box.base, "fuse.conf", text);
        cr_assert_gt(asprintf(&path, "%s/fuse.conf", box.base), 0);
        cr_assert_eq(mount(path, "/etc/fuse.conf", NULL, MS_BIND, NULL), 0);
}

static void expect_readable_by(uid_t uid)
{
        const char *argv[] = {"cat", box.mnt, NULL};
        char path[160];

        snprintf(path, sizeof(path), "%s/greeting", box.mnt);
        argv[1] = path;
        proc_run(argv, uid, &box.r);
        cr_assert_eq(box.r.status, 0, "%s", box.r.err);
        cr_assert_str_eq(box.r.out, "hello\n");
}

Test(cli, a_user_mounts_and_unmounts)
{
        json_t *m;

        become_unprivileged();
        expect_exit(0, "mount", box.src, box.mnt);
        m = status_mount(0);
        cr_assert_str_eq(json_string_value(json_object_get(m, "watch")), "inotify");
        json_decref(m);
        expect_readable_by(TEST_UID);
        expect_exit(0, "wait", box.mnt);
        expect_exit(0, "umount", box.mnt);
        expect_nothing_left();
}

Test(cli, a_user_recovers_from_a_killed_agent)
{
        become_unprivileged();
        expect_exit(0, "mount", box.src, box.mnt);
        kill_agent();
        (void)DSFS("status");
        expect_exit(0, "mount", box.src, box.mnt);
        expect_readable_by(TEST_UID);
        kill_agent();
        expect_exit(0, "umount", box.mnt);
        expect_nothing_left();
}

Test(cli, a_user_may_let_others_in_when_fuse_conf_permits)
{
        become_unprivileged();
        user_conf("# nothing\n");
        expect_exit(1, "mount", box.src, box.mnt, "-o", "allow_other");
        expect_said(box.r.err, "user_allow_other");
        expect_said(box.r.err, "/etc/fuse.conf");
        expect_nothing_left();
        cr_assert_eq(umount("/etc/fuse.conf"), 0);
        user_conf("user_allow_other\n");
        cr_assert_eq(chmod(box.src, 0755), 0);
        expect_exit(0, "mount", box.src, box.mnt, "-o", "allow_other");
        expect_readable_by(TEST_UID + 1);
        expect_exit(0, "umount", box.mnt);
}

Test(cli, what_a_user_serves_lazily_ends_too)
{
        CLEANUP_FD int held = -1;
        pid_t pid;

        become_unprivileged();
        user_conf("user_allow_other\n");
        expect_exit(0, "mount", box.src, box.mnt, "-o", "allow_other");
        pid = agent_pid();
        held = open(box.mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        cr_assert_geq(held, 0);
        expect_exit(1, "umount", box.mnt);
        expect_exit(0, "umount", "--lazy", box.mnt);
        cr_assert(is_gone(&pid));
        expect_nothing_left();
}

Test(cli, two_mounts_at_once_make_one)
{
        const char *argv[] = {getenv("DSFS_BIN"), "mount", box.src, NULL};
        pid_t pids[6];
        int ok = 0;

        for (size_t i = 0; i < ARRAY_LEN(pids); i++)
                pids[i] = proc_start(argv, 0, NULL);
        for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
                int code = proc_wait(pids[i]);

                cr_assert(code == 0 || code == 1, "exit %d", code);
                ok += code == 0;
        }
        cr_assert_eq(ok, 1, "%d of them mounted", ok);
        expect_exit(0, "umount", "app");
        expect_nothing_left();
}

Test(cli, a_runtime_directory_that_others_enter_is_refused)
{
        char dir[160];

        snprintf(dir, sizeof(dir), "%s/run/dsfs", box.base);
        cr_assert(mkdir(dir, 0755) == 0 && chmod(dir, 0755) == 0);
        expect_exit(1, "mount", box.src, box.mnt);
        expect_said(box.r.err, dir);
        expect_said(box.r.err, "chmod 700");
}
