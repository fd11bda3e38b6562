#include "sync/agent/git.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "sync/serve/why.h"

#define PATIENCE_MS 10000
#define ANSWER_MAX (64 * 1024 * 1024)
#define SAID_MAX 4096
#define ARGS_MAX 16
#define ENV_MAX 10
#define PASSWD_BYTES 4096
#define CANT_EXEC 127

void git_answer_release(struct git_answer *a)
{
        free(a->text);
        free(a->said);
        memset(a, 0, sizeof(*a));
}

/*
 * Running it
 */

/* Whom git runs as, and whose lists count: we, or for root the source's owner. Texts are owned. */
struct whom {
        bool other;
        uid_t uid;
        gid_t gid;
        char *home, *config; /* where ~ and $XDG_CONFIG_HOME are */
};

/* All that the child needs, ready before the fork: after it nothing may be allocated. */
struct launch {
        const char *dir;
        const char *argv[ARGS_MAX + 10];
        char *env[ENV_MAX]; /* owned */
        struct whom whom;
        int out, err;
};

static void whom_release(struct whom *w)
{
        free(w->home);
        free(w->config);
}

static int whom_init(struct whom *w, const char *dir)
{
        const char *home = getenv("HOME"), *config = getenv("XDG_CONFIG_HOME");
        char space[PASSWD_BYTES];
        struct passwd entry, *found = NULL;
        struct stat st;

        if (stat(dir, &st) < 0)
                return -errno;
        *w = (struct whom){.other = geteuid() == 0 && st.st_uid != 0, .uid = st.st_uid, .gid = st.st_gid};
        if (w->other) {
                (void)getpwuid_r(w->uid, &entry, space, sizeof(space), &found);
                home = found ? found->pw_dir : NULL;
                config = NULL;
        }
        w->home = strdup(home ? home : "/nonexistent");
        w->config = config && config[0] == '/' ? strdup(config) : w->home ? text_new("%s/.config", w->home) : NULL;
        if (w->config)
                return 0;
        whom_release(w);
        return -ENOMEM;
}

static void launch_release(struct launch *l)
{
        for (size_t i = 0; i < ENV_MAX; i++)
                free(l->env[i]);
        whom_release(&l->whom);
        fd_close(&l->out);
        fd_close(&l->err);
}

static void fill_arguments(struct launch *l, const char *const args[])
{
        /* What a checkout's own settings could make git start. */
        static const char *const first[] = {"git", "--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"};
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_LEN(first); i++)
                l->argv[n++] = first[i];
        for (size_t i = 0; args[i] && i < ARGS_MAX; i++)
                l->argv[n++] = args[i];
        l->argv[n] = NULL;
}

/* No GIT_* of ours. */
static int fill_environment(struct launch *l)
{
        const char *path = getenv("PATH");
        size_t n = 0;

        l->env[n++] = text_new("PATH=%s", path ? path : "/usr/local/bin:/usr/bin:/bin");
        l->env[n++] = text_new("HOME=%s", l->whom.home);
        l->env[n++] = text_new("XDG_CONFIG_HOME=%s", l->whom.config);
        l->env[n++] = text_new("LC_ALL=C");
        l->env[n++] = text_new("GIT_OPTIONAL_LOCKS=0");
        l->env[n++] = text_new("GIT_TERMINAL_PROMPT=0");
        l->env[n++] = text_new("GIT_NO_LAZY_FETCH=1");
        l->env[n++] = text_new("GIT_ALLOW_PROTOCOL=");
        for (size_t i = 0; i < n; i++) {
                if (!l->env[i])
                        return -ENOMEM;
        }
        return 0;
}

static int launch_init(struct launch *l, const char *dir, const char *const args[])
{
        int rc;

        *l = (struct launch){.dir = dir, .out = -1, .err = -1};
        rc = whom_init(&l->whom, dir);
        if (rc)
                return rc;
        fill_arguments(l, args);
        l->out = memfd_create("git-out", MFD_CLOEXEC);
        l->err = memfd_create("git-err", MFD_CLOEXEC);
        if (l->out < 0 || l->err < 0)
                return -errno;
        return fill_environment(l);
}

/* The child: only what may be done between fork and exec in a process that has threads. */
static _Noreturn void become_git(const struct launch *l)
{
        struct rlimit size = {.rlim_cur = ANSWER_MAX, .rlim_max = ANSWER_MAX};
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        sigset_t none;

        sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        (void)signal(SIGPIPE, SIG_DFL);
        if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(l->out, STDOUT_FILENO) < 0 || dup2(l->err, STDERR_FILENO) < 0 ||
            setrlimit(RLIMIT_FSIZE, &size) < 0)
                _exit(CANT_EXEC);
        if (l->whom.other &&
            (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setgid, l->whom.gid) < 0 || syscall(SYS_setuid, l->whom.uid) < 0))
                _exit(CANT_EXEC);
        if (setpgid(0, 0) < 0 || chdir(l->dir) < 0)
                _exit(CANT_EXEC);
        (void)execvpe("git", (char *const *)l->argv, l->env);
        _exit(CANT_EXEC);
}

/* Its status, or -ETIMEDOUT. What it has started ends with it. */
static int wait_for(pid_t pid)
{
        CLEANUP_FD int fd = (int)syscall(SYS_pidfd_open, pid, 0);
        struct pollfd p = {.fd = fd, .events = POLLIN};
        unsigned long long deadline = clock_now_ns() + PATIENCE_MS * 1000000ULL;
        int status = 0, rc;

        do {
                unsigned long long now = clock_now_ns();

                rc = fd < 0 ? 1 : poll(&p, 1, now < deadline ? (int)((deadline - now) / 1000000ULL) + 1 : 0);
        } while (rc < 0 && errno == EINTR);
        if (rc == 0)
                (void)kill(-pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (rc == 0)
                return -ETIMEDOUT;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The first line of what it said. */
static char *first_line(int fd)
{
        char *text = NULL;

        if (fd_read_file(AT_FDCWD, fd_proc_path(fd).text, SAID_MAX, &text) < 0)
                return strdup("");
        text[strcspn(text, "\n")] = '\0';
        return text;
}

int git_ask(const char *dir, const char *const args[], struct git_answer *ret, char **why)
{
        CLEANUP(launch_release) struct launch l;
        ssize_t len;
        pid_t pid;
        int rc = launch_init(&l, dir, args);

        memset(ret, 0, sizeof(*ret));
        if (rc)
                return why_set(why, rc, "git can't be asked about %s: %s", dir, strerror(-rc));
        pid = fork();
        if (pid == 0)
                become_git(&l);
        rc = pid < 0 ? -errno : wait_for(pid);
        if (rc == CANT_EXEC)
                return why_set(why, -ENOENT, "git can't be started, which gitignored needs; install it, or set gitignored: off");
        if (rc < 0)
                return why_set(why, rc, "git can't be asked about %s: %s", dir, strerror(-rc));
        ret->status = rc;
        ret->said = first_line(l.err);
        len = fd_read_file(AT_FDCWD, fd_proc_path(l.out).text, ANSWER_MAX, &ret->text);
        if (len < 0 || !ret->said) {
                git_answer_release(ret);
                return why_set(why, len < 0 ? (int)len : -ENOMEM, "git's answer about %s can't be read: %s", dir,
                               strerror(len < 0 ? (int)-len : ENOMEM));
        }
        ret->len = (size_t)len;
        return 0;
}

/*
 * What it makes of a source
 */

void git_place_release(struct git_place *p)
{
        free(p->top);
        free(p->prefix);
        free(p->dir);
        free(p->exclude);
        free(p->global);
        memset(p, 0, sizeof(*p));
}

/* Whether there is a .git here or above, so that git has something to say. */
static bool is_below_git(const char *source)
{
        CLEANUP_FREE char *dir = strdup(source);

        while (dir) {
                CLEANUP_FREE char *git = text_new("%s/.git", dir);
                char *slash = strrchr(dir, '/');

                if (git && faccessat(AT_FDCWD, git, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                        return true;
                if (!slash || !*dir)
                        return false;
                *slash = '\0';
        }
        return false;
}

/* One path that git prints, absolute; *ret stays NULL when it has nothing to say (status 1). */
static int ask_path(const char *source, const char *const args[], char **ret, char **why)
{
        struct git_answer a CLEANUP(git_answer_release) = {0};
        int rc = git_ask(source, args, &a, why);

        if (rc)
                return rc;
        if (a.status > 1)
                return why_set(why, -EPERM, "git won't look at %s: %s", source, a.said);
        if (a.len > 0 && (a.text[a.len - 1] == '\n' || a.text[a.len - 1] == '\0'))
                a.text[--a.len] = '\0';
        if (a.status == 1 || a.len == 0)
                return 0;
        *ret = a.text[0] == '/' ? strdup(a.text) : text_new("%s/%s", source, a.text);
        return *ret ? 0 : why_set(why, -ENOMEM, "out of memory");
}

static int find_top(const char *source, struct git_place *p, char **why)
{
        static const char *const args[] = {"rev-parse", "--show-toplevel", NULL};
        size_t len;
        int rc = ask_path(source, args, &p->top, why);

        if (rc)
                return rc;
        len = p->top ? strlen(p->top) : 0;
        if (!p->top || strncmp(source, p->top, len) != 0 || (source[len] && source[len] != '/' && len > 1))
                return why_set(why, -EPERM, "git won't look at %s: it says that its working tree is %s", source, p->top ? p->top : "none");
        p->prefix = strdup(source + len + (source[len] == '/'));
        return p->prefix ? 0 : why_set(why, -ENOMEM, "out of memory");
}

/* The user's list: what core.excludesFile says, else git's own place for it. */
static int find_global(const char *source, struct git_place *p, char **why)
{
        static const char *const args[] = {"config", "-z", "--type=path", "--get", "core.excludesFile", NULL};
        struct whom whom CLEANUP(whom_release) = {0};
        int rc = ask_path(source, args, &p->global, why);

        if (rc || p->global)
                return rc;
        rc = whom_init(&whom, source);
        if (rc == 0)
                p->global = text_new("%s/git/ignore", whom.config);
        return p->global ? 0 : why_set(why, rc ? rc : -ENOMEM, "git's list of the user can't be found: %s", strerror(rc ? -rc : ENOMEM));
}

int git_find(const char *source, struct git_place *ret, char **why)
{
        static const char *const dir[] = {"rev-parse", "--absolute-git-dir", NULL};
        static const char *const exclude[] = {"rev-parse", "--git-path", "info/exclude", NULL};
        int rc;

        memset(ret, 0, sizeof(*ret));
        ret->repository = is_below_git(source);
        if (!ret->repository) {
                ret->top = strdup(source);
                ret->prefix = strdup("");
                return ret->top && ret->prefix ? 0 : why_set(why, -ENOMEM, "out of memory");
        }
        rc = find_top(source, ret, why);
        if (rc == 0)
                rc = ask_path(source, dir, &ret->dir, why);
        if (rc == 0)
                rc = ask_path(source, exclude, &ret->exclude, why);
        if (rc == 0)
                rc = find_global(source, ret, why);
        if (rc)
                git_place_release(ret);
        return rc;
}
