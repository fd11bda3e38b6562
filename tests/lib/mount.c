#include "tests/lib/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/lib/area.h"
#include "tests/lib/schema.h"

#define URING_SWITCH "/sys/module/fuse/parameters/enable_uring"
#define GONE_SECONDS 60
#define STATUS_MAX (1 << 20)

static const char *program(void)
{
        const char *bin = getenv("DSFS_BIN");

        return bin && *bin ? bin : "build/dsfs";
}

/* io_uring is asked of the kernel for all connections at once; a mount by /dev/fuse doesn't mind. */
static void need_uring(void)
{
        CLEANUP_FREE char *text = NULL;
        CLEANUP_FD int fd = -1;

        must(fd_read_file(AT_FDCWD, URING_SWITCH, 16, &text) > 0, "this kernel has no FUSE over io_uring (%s)", URING_SWITCH);
        if (text[0] == 'Y')
                return;
        fd = open(URING_SWITCH, O_WRONLY | O_CLOEXEC);
        must(fd >= 0 && write(fd, "Y", 1) == 1, "io_uring can't be switched on: write Y to %s", URING_SWITCH);
}

/* Other tests' mounts don't reach us, nor wake up an agent that we start. */
static void own_mounts(void)
{
        must(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "a private mount namespace");
}

/* An unprivileged mount needs the device as every distribution has it, 0666. Where it isn't, we see one of our own there. */
static void need_fuse_device(struct fixture *f)
{
        const char *own = at(f->base, "fuse");
        struct stat st;

        must(stat("/dev/fuse", &st) == 0, "/dev/fuse");
        if ((st.st_mode & 0666) == 0666)
                return;
        own_mounts();
        must(mknod(own, S_IFCHR | 0666, st.st_rdev) == 0 && chmod(own, 0666) == 0, "mknod %s", own);
        must(mount(own, "/dev/fuse", NULL, MS_BIND, NULL) == 0, "bind %s", own);
}

/*
 * The janitor
 */

static void detach_all(const char *path)
{
        while (umount2(path, MNT_DETACH) == 0)
                continue;
}

/* Take down what a test that ended badly left. Does no harm after one that ended well. */
static void clean_up(const struct fixture *f)
{
        detach_all(f->mnt);
        detach_all(f->second);
        if (f->holder > 0)
                kill(f->holder, SIGKILL);
        if (f->pid > 0)
                kill(f->pid, SIGKILL);
        area_remove(f->base, f->area);
}

static _Noreturn void janitor_run(const struct fixture *f, int leash)
{
        unsigned life = f->variant.life ? f->variant.life : FIXTURE_LIFE;
        struct pollfd end = {.fd = leash};
        struct fixture copy = *f;
        ssize_t n;

        setsid();
        signal(SIGINT, SIG_IGN);
        signal(SIGTERM, SIG_IGN);
        signal(SIGPIPE, SIG_IGN);
        if (leash != 3)
                end.fd = dup2(leash, 3);
        close_range(4, ~0u, 0);
        if (!freopen("/dev/null", "r", stdin) || !freopen("/dev/null", "w", stdout))
                _exit(1);
        end.events = POLLIN;
        for (;;) {
                if (poll(&end, 1, (int)life * 1000) <= 0) {
                        fprintf(stderr, "%s: still there after %u s: taking it down\n", f->base, life);
                        break;
                }
                pid_t pids[2]; /* the agent's and its holder's, once known */

                n = read(end.fd, pids, sizeof(pids));
                if (n != sizeof(pids))
                        break;
                copy.pid = pids[0];
                copy.holder = pids[1];
        }
        clean_up(&copy);
        _exit(0);
}

static void janitor_start(struct fixture *f)
{
        int ends[2];

        must(pipe2(ends, O_CLOEXEC) == 0, "pipe");
        fflush(NULL);
        f->janitor = fork();
        must(f->janitor >= 0, "fork");
        if (f->janitor == 0) {
                close(ends[1]);
                janitor_run(f, ends[0]);
        }
        close(ends[0]);
        f->leash = ends[1];
}

/*
 * Talking to the agent
 */

int fixture_dsfs(struct fixture *f, const char *const args[], char *out, size_t size)
{
        const char *argv[16] = {program()};

        for (size_t i = 0; args[i]; i++) {
                must(i + 2 < ARRAY_LEN(argv), "too many arguments");
                argv[i + 1] = args[i];
        }
        return child_exec(argv, f->env, f->variant.unprivileged ? &f->agent : NULL, out, size);
}

static json_t *find_key(json_t *in, const char *key)
{
        json_t *found = json_object_get(in, key);
        const char *name;
        json_t *value;

        if (found)
                return found;
        json_object_foreach(in, name, value)
        {
                found = json_is_object(value) ? find_key(value, key) : NULL;
                if (found)
                        return found;
        }
        return NULL;
}

/* The whole answer; its first mount's object, which is the only one in this runtime directory, in *mount. */
static json_t *ask_status(struct fixture *f, json_t **mount)
{
        CLEANUP_FREE char *text = malloc(STATUS_MAX);
        json_error_t error;
        json_t *root;
        int rc;

        must(text, "memory");
        rc = fixture_dsfs(f, (const char *const[]){"status", "--json", NULL}, text, STATUS_MAX);
        must(rc == 0 || rc == 3, "dsfs status: %d: %s", rc, text);
        root = json_loads(text, JSON_DECODE_ANY, &error);
        must(root, "dsfs status --json: %s in: %s", error.text, text);
        must(!schema_violation("status", root), "dsfs status --json: %s", schema_violation("status", root));
        *mount = json_array_get(json_object_get(root, "mounts"), 0);
        must(*mount, "dsfs status --json has no mount: %s", text);
        return root;
}

bool fixture_status(struct fixture *f, const char *key, int64_t *ret)
{
        json_t *mount;
        json_t *root = ask_status(f, &mount);
        json_t *value = find_key(mount, key);
        bool found = json_is_integer(value) || json_is_boolean(value);

        if (found)
                *ret = json_is_integer(value) ? json_integer_value(value) : json_is_true(value);
        json_decref(root);
        return found;
}

bool fixture_status_text(struct fixture *f, const char *key, char *ret, size_t size)
{
        json_t *mount;
        json_t *root = ask_status(f, &mount);
        const char *value = json_string_value(find_key(mount, key));

        snprintf(ret, size, "%s", value ? value : "");
        json_decref(root);
        return value;
}

void fixture_wait(struct fixture *f)
{
        int rc;

        if (f->bind)
                return;
        rc = fixture_dsfs(f, (const char *const[]){"wait", f->mnt, NULL}, NULL, 0);
        errno = 0;
        must(rc == 0, "dsfs wait: %d", rc);
}

/*
 * Mounting
 */

static void mount_options(const struct fixture *f, char *ret, size_t size)
{
        const struct variant *v = &f->variant;
        int len = snprintf(ret, size, "transport=%s,watch=%s,prewarm=%s", v->transport == BY_URING ? "uring" : "dev",
                           v->watch == WATCH_BY_FANOTIFY ? "fanotify" : "inotify", v->prewarm ? "on" : "off");

        if (v->profile == PROFILE_DATA)
                len += snprintf(ret + len, size - (size_t)len, ",profile=data");
        if (v->max_fds)
                len += snprintf(ret + len, size - (size_t)len, ",max_fds=%u", v->max_fds);
        if (*v->options)
                len += snprintf(ret + len, size - (size_t)len, ",%s", v->options);
        must((size_t)len < size, "options too long");
}

static void tell_janitor(struct fixture *f, pid_t agent, pid_t holder)
{
        const pid_t pids[2] = {agent, holder};

        f->pid = agent;
        f->holder = holder;
        must(write(f->leash, pids, sizeof(pids)) == sizeof(pids), "janitor");
}

/* What was asked for is what is there, else the tests below test nothing. */
static void check_mounted(struct fixture *f)
{
        const char *want_profile = f->variant.profile == PROFILE_DATA && !f->variant.unprivileged ? "data" : "source";
        char type[64], transport[32], profile[32];
        int64_t pid, holder = 0;

        mount_type(f->mnt, type, sizeof(type));
        errno = 0;
        must(strcmp(type, "fuse.dsfs") == 0, "%s is not mounted (type \"%s\")", f->mnt, type);
        must(fixture_status_text(f, "transport", transport, sizeof(transport)), "status has no transport");
        must(strcmp(transport, f->variant.transport == BY_URING ? "io_uring" : "/dev/fuse") == 0, "the transport is %s", transport);
        must(fixture_status_text(f, "profile", profile, sizeof(profile)), "status has no profile");
        must(strcmp(profile, want_profile) == 0, "the profile is %s", profile);
        must(fixture_status(f, "pid", &pid) && pid > 0, "status has no pid");
        must(fixture_status(f, "holder_pid", &holder) == !f->variant.no_holder, "the holder's pid is %d", (int)holder);
        tell_janitor(f, (pid_t)pid, (pid_t)holder);
}

static int set_nofile(unsigned limit, struct rlimit *before)
{
        struct rlimit want = {limit, limit};

        if (!limit)
                return 0;
        must(getrlimit(RLIMIT_NOFILE, before) == 0, "getrlimit");
        want.rlim_max = before->rlim_max; /* the agent may raise what it may; max_fds and this bound what it does */
        return setrlimit(RLIMIT_NOFILE, &want);
}

void fixture_mount(struct fixture *f)
{
        char options[256], out[PATH_MAX];
        struct rlimit before;
        int rc;

        if (f->bind) {
                must(mount(f->src, f->mnt, NULL, MS_BIND, NULL) == 0, "bind");
                f->mounted = true;
                return;
        }
        if (f->variant.transport == BY_URING)
                need_uring();
        mount_options(f, options, sizeof(options));
        must(set_nofile(f->variant.nofile, &before) == 0, "setrlimit");
        rc = fixture_dsfs(f,
                          (const char *const[]){"mount", f->src, f->mnt, "-o", options, f->variant.no_holder ? "--no-holder" : NULL, NULL},
                          out, sizeof(out));
        if (f->variant.nofile)
                setrlimit(RLIMIT_NOFILE, &before);
        errno = 0;
        must(rc == 0, "dsfs mount %s %s -o %s: %d", f->src, f->mnt, options, rc);
        f->mounted = true;
        check_mounted(f);
}

void fixture_mount_second(struct fixture *f, const char *more)
{
        char options[256], out[PATH_MAX], type[64];
        size_t len;
        int rc;

        mount_options(f, options, sizeof(options));
        len = strlen(options);
        must((size_t)snprintf(options + len, sizeof(options) - len, "%s%s", *more ? "," : "", more) < sizeof(options) - len, "options");
        if (f->bind) {
                must(mount(f->src, f->second, NULL, MS_BIND, NULL) == 0, "bind");
        } else {
                if (strstr(options, "transport=uring"))
                        need_uring();
                rc = fixture_dsfs(f, (const char *const[]){"mount", f->src, f->second, "-o", options, NULL}, out, sizeof(out));
                errno = 0;
                must(rc == 0, "dsfs mount %s %s -o %s: %d", f->src, f->second, options, rc);
                mount_type(f->second, type, sizeof(type));
                must(strcmp(type, "fuse.dsfs") == 0, "%s is not mounted (type \"%s\")", f->second, type);
        }
        f->mounted_second = true;
}

void fixture_umount_second(struct fixture *f)
{
        char type[64];
        int rc;

        if (!f->mounted_second)
                return;
        f->mounted_second = false;
        rc = f->bind ? umount2(f->second, 0) : fixture_dsfs(f, (const char *const[]){"umount", f->second, NULL}, NULL, 0);
        must(rc == 0, "dsfs umount %s: %d", f->second, rc);
        mount_type(f->second, type, sizeof(type));
        must(!*type, "%s is still mounted (%s) after dsfs umount", f->second, type);
}

/* Dead is gone: whoever inherits the agent may take its time to bury it. */
static bool process_gone(void *arg)
{
        const pid_t *pid = arg;
        CLEANUP_FREE char *text = NULL;
        char path[64];
        const char *state;

        snprintf(path, sizeof(path), "/proc/%d/stat", *pid);
        if (fd_read_file(AT_FDCWD, path, 4096, &text) < 0)
                return true;
        state = strrchr(text, ')');
        return state && state[1] == ' ' && (state[2] == 'Z' || state[2] == 'X');
}

void fixture_umount(struct fixture *f)
{
        char type[64], out[PATH_MAX];
        int rc;

        fixture_umount_second(f);
        if (!f->mounted)
                return;
        f->mounted = false;
        if (f->bind) {
                must(umount2(f->mnt, 0) == 0, "umount %s", f->mnt);
                return;
        }
        rc = fixture_dsfs(f, (const char *const[]){"umount", f->mnt, NULL}, out, sizeof(out));
        errno = 0;
        must(rc == 0, "dsfs umount %s: %d", f->mnt, rc);
        mount_type(f->mnt, type, sizeof(type));
        must(!*type, "%s is still mounted (%s) after dsfs umount", f->mnt, type);
        must(wait_until(process_gone, &f->pid, GONE_SECONDS), "the agent (%d) is still there after dsfs umount", f->pid);
        must(!f->holder || wait_until(process_gone, &f->holder, GONE_SECONDS), "the holder (%d) is still there after dsfs umount",
             f->holder);
        tell_janitor(f, 0, 0);
}

/*
 * Making and taking away
 */

static void make_dir(const char *path, uid_t owner)
{
        must(mkdir(path, 0755) == 0, "mkdir %s", path);
        must(owner == 0 || chown(path, owner, owner) == 0, "chown %s", path);
}

static void make_dirs(struct fixture *f)
{
        uid_t runs_as = f->variant.unprivileged ? FIXTURE_UID : 0;
        uid_t owner = f->variant.unprivileged ? FIXTURE_UID : f->variant.owner;

        snprintf(f->src, sizeof(f->src), "%s/src", f->area);
        snprintf(f->plain, sizeof(f->plain), "%s/plain", f->area);
        snprintf(f->mnt, sizeof(f->mnt), "%s/mnt", f->base);
        snprintf(f->second, sizeof(f->second), "%s/second", f->base);
        make_dir(f->src, owner);
        make_dir(f->plain, owner);
        make_dir(f->mnt, runs_as);
        make_dir(f->second, runs_as);
        make_dir(at(f->base, "run"), runs_as);
        make_dir(at(f->base, "state"), runs_as);
        make_dir(at(f->base, "config"), runs_as);
        snprintf(f->env_runtime, sizeof(f->env_runtime), "XDG_RUNTIME_DIR=%s/run", f->base);
        snprintf(f->env_state, sizeof(f->env_state), "XDG_STATE_HOME=%s/state", f->base);
        snprintf(f->env_config, sizeof(f->env_config), "XDG_CONFIG_HOME=%s/config", f->base);
        f->env[0] = f->env_runtime;
        f->env[1] = f->env_state;
        f->env[2] = f->env_config;
}

struct fixture *fixture_prepare(const struct variant *v)
{
        struct fixture *f = calloc(1, sizeof(*f));
        const char *bind = getenv("DSFS_TEST_BIND"), *profile = getenv("DSFS_TEST_PROFILE");

        must(f, "memory");
        must(geteuid() == 0, "the mount tests need root: they mount filesystems and become other users");
        umask(022);
        f->variant = *v;
        if (profile && strcmp(profile, "data") == 0)
                f->variant.profile = PROFILE_DATA;
        f->bind = bind && *bind == '1';
        f->agent = (struct who){.uid = FIXTURE_UID, .gid = FIXTURE_UID};
        area_new_base(f->base, sizeof(f->base));
        if (v->own_fs)
                own_mounts();
        if (v->unprivileged)
                need_fuse_device(f);
        f->area_fd = area_new(f->base, v->backing, v->own_fs, f->area, sizeof(f->area));
        make_dirs(f);
        janitor_start(f);
        return f;
}

struct fixture *fixture_new(const struct variant *v)
{
        struct fixture *f = fixture_prepare(v);

        fixture_mount(f);
        return f;
}

void fixture_free(struct fixture *f)
{
        if (!f)
                return;
        fixture_umount(f);
        fd_close(&f->area_fd);
        must(area_remove(f->base, f->area), "%s can't be removed", f->base);
        close(f->leash);
        child_wait(f->janitor);
        free(f);
}
