#include "tests/lib/child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"

extern char **environ;

static void (*fail_hook)(const char *message);
static pid_t fail_pid;

void test_on_fail(void (*fail)(const char *message))
{
        fail_hook = fail;
        fail_pid = getpid();
}

_Noreturn void test_fail(const char *file, int line, const char *fmt, ...)
{
        int saved = errno;
        char text[4096];
        char message[4608];
        va_list args;

        va_start(args, fmt);
        vsnprintf(text, sizeof(text), fmt, args);
        va_end(args);
        snprintf(message, sizeof(message), "%s:%d: %s%s%s", file, line, text, saved ? ": " : "", saved ? strerror(saved) : "");
        if (fail_hook && fail_pid == getpid())
                fail_hook(message);
        fprintf(stderr, "%s\n", message);
        fflush(stderr);
        _exit(1);
}

static void become(const struct who *who)
{
        if (!who)
                return;
        errno = 0;
        must(setgroups(who->group_count, who->groups) == 0, "setgroups");
        must(setresgid(who->gid, who->gid, who->gid) == 0, "setresgid %u", who->gid);
        must(setresuid(who->uid, who->uid, who->uid) == 0, "setresuid %u", who->uid);
}

/* In the new child: end with the parent, which may have ended already. */
static void end_with_parent(pid_t parent)
{
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(1);
}

pid_t child_start(const struct who *who, int (*fn)(void *arg), void *arg)
{
        pid_t parent = getpid();
        pid_t pid;

        fflush(stdout);
        fflush(stderr);
        pid = fork();
        must(pid >= 0, "fork");
        if (pid > 0)
                return pid;
        become(who);
        end_with_parent(parent);
        errno = 0;
        _exit(fn(arg));
}

int child_wait(pid_t pid)
{
        int status;

        while (waitpid(pid, &status, 0) < 0)
                must(errno == EINTR, "waitpid");
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int child_run(const struct who *who, int (*fn)(void *arg), void *arg)
{
        return child_wait(child_start(who, fn, arg));
}

static _Noreturn void exec_now(const char *const argv[], const char *const env[], const struct who *who, int out)
{
        become(who);
        for (size_t i = 0; env && env[i]; i++)
                putenv((char *)env[i]);
        if (out >= 0)
                dup2(out, STDOUT_FILENO);
        execvp(argv[0], (char *const *)argv);
        fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
}

int child_exec(const char *const argv[], const char *const env[], const struct who *who, char *out, size_t size)
{
        int ends[2] = {-1, -1};
        size_t len = 0;
        pid_t pid;

        must(!out || pipe2(ends, O_CLOEXEC) == 0, "pipe");
        fflush(stdout);
        pid = fork();
        must(pid >= 0, "fork");
        if (pid == 0)
                exec_now(argv, env, who, ends[1]);
        fd_close(&ends[1]);
        while (out && len + 1 < size) {
                ssize_t n = read(ends[0], out + len, size - 1 - len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        break;
                len += (size_t)n;
        }
        if (out)
                out[len] = '\0';
        fd_close(&ends[0]);
        return child_wait(pid);
}

void *shared_new(size_t size)
{
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        must(p != MAP_FAILED, "mmap %zu", size);
        return p;
}

struct gate *gate_new(unsigned count)
{
        struct gate *g = shared_new(sizeof(*g));
        pthread_barrierattr_t attr;

        pthread_barrierattr_init(&attr);
        pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
        must(pthread_barrier_init(&g->barrier, &attr, count) == 0, "pthread_barrier_init");
        pthread_barrierattr_destroy(&attr);
        return g;
}

void gate_pass(struct gate *g)
{
        pthread_barrier_wait(&g->barrier);
}

bool wait_until(bool (*check)(void *arg), void *arg, int seconds)
{
        struct timespec start, now;

        clock_gettime(CLOCK_MONOTONIC, &start);
        for (;;) {
                if (check(arg))
                        return true;
                clock_gettime(CLOCK_MONOTONIC, &now);
                if (now.tv_sec - start.tv_sec >= seconds)
                        return false;
                poll(NULL, 0, 5);
        }
}

unsigned dice_roll(struct dice *d, unsigned below)
{
        d->state += 0x9e3779b97f4a7c15ull;
        unsigned long long z = d->state;

        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return (unsigned)((z ^ (z >> 31)) % below);
}
