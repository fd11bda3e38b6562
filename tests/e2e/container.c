#include "tests/e2e/container.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/e2e/tool.h"
#include "tests/lib/proc.h"

#define ARGS_MAX 64
#define OUTPUT_MAX 65536

const char *format(const char *fmt, ...)
{
        char text[PATH_MAX];
        va_list args;

        va_start(args, fmt);
        must(vsnprintf(text, sizeof(text), fmt, args) < (int)sizeof(text), "too long: %s", text);
        va_end(args);
        return keep(text);
}

struct containers {
        const char *dir;
        pid_t pid;
};

/* Append a NULL-terminated list to another. */
static void add_args(const char *argv[ARGS_MAX], const char *const args[])
{
        size_t n = 0;

        while (argv[n])
                n++;
        for (; args && *args; args++) {
                must(n + 1 < ARGS_MAX, "too many arguments");
                argv[n++] = *args;
                argv[n] = NULL;
        }
}

static bool shell(const char *command)
{
        return child_exec((const char *const[]){"sh", "-c", command, NULL}, NULL, NULL, NULL, 0) == 0;
}

/* It answers, or never will. */
static bool is_decided(void *arg)
{
        struct containers *c = arg;

        if (waitpid(c->pid, NULL, WNOHANG) != 0)
                c->pid = 0;
        return !c->pid || shell("docker version >/dev/null 2>&1");
}

static void make_dir(const char *path)
{
        must(mkdir(path, 0755) == 0 || errno == EEXIST, "mkdir %s", path);
}

/* The end of its log. */
static const char *last_words(const struct containers *c)
{
        static char out[OUTPUT_MAX];

        child_exec((const char *const[]){"tail", "-n", "20", format("%s/log", c->dir), NULL}, NULL, NULL, out, sizeof(out));
        return out;
}

/* No network of its own: the machine's firewall is not a test's to change. */
struct containers *containers_start_with(const struct fixture *f, const char *const args[])
{
        struct containers *c = calloc(1, sizeof(*c));
        const char *argv[ARGS_MAX] = {"dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false", NULL};

        must(c, "memory");
        must(shell("command -v docker && command -v dockerd"), "docker is not installed: packaging/deps --for test");
        c->dir = keep(at(f->base, "docker"));
        make_dir(c->dir);
        must(setenv("DOCKER_HOST", format("unix://%s/sock", c->dir), 1) == 0, "setenv");
        /* Nobody's settings. */
        must(setenv("DOCKER_CONFIG", c->dir, 1) == 0, "setenv");
        add_args(argv, (const char *const[]){"--data-root", format("%s/data", c->dir), "--exec-root", format("%s/exec", c->dir),
                                             "--pidfile", format("%s/pid", c->dir), "--host", getenv("DOCKER_HOST"), NULL});
        add_args(argv, args);
        c->pid = proc_start(argv, 0, format("%s/log", c->dir));
        must(proc_until(is_decided, c) && c->pid, "dockerd does not answer:\n%s", last_words(c));
        return c;
}

struct containers *containers_start(const struct fixture *f)
{
        return containers_start_with(f, NULL);
}

const char *containers_dir(const struct containers *c)
{
        return c->dir;
}

void containers_end(struct containers *c)
{
        const char *left = docker_text((const char *const[]){"ps", "-aq", NULL});

        must(!*left, "containers are left behind: %s", left);
        must(kill(c->pid, SIGTERM) == 0 && proc_wait(c->pid) == 0, "dockerd does not end");
        /* The one thing it leaves: the host's network, which containers have. */
        (void)umount2(format("%s/exec/netns/default", c->dir), MNT_DETACH);
        free(c);
}

void containers_image(struct fixture *f, const char *name)
{
        tool(f, f->base, "container.sh", format("image %s", name));
}

int docker(const char *const args[], char *out, size_t size)
{
        const char *argv[ARGS_MAX] = {"docker", NULL};

        add_args(argv, args);
        return child_exec(argv, NULL, NULL, out, size);
}

const char *docker_text(const char *const args[])
{
        static char out[OUTPUT_MAX];
        int rc = docker(args, out, sizeof(out));

        errno = 0;
        must(rc == 0, "docker %s: %d, after: %s", args[0], rc, out);
        out[strlen(out) - (*out && out[strlen(out) - 1] == '\n')] = '\0';
        return keep(out);
}

const char *container_start(const char *const args[])
{
        const char *run = getenv("DSFS_TEST_RUN"), *argv[ARGS_MAX] = {"run", "--detach", "--network=host", "--pull=never", NULL};

        if (run)
                add_args(argv, (const char *const[]){"--env", format("DSFS_TEST_RUN=%s", run), NULL});
        add_args(argv, args);
        return docker_text(argv);
}

void container_remove(const char *id)
{
        docker_text((const char *const[]){"rm", "--force", "--volumes", id, NULL});
}
