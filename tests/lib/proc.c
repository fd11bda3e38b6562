#include "tests/lib/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"

#define NS_PER_S 1000000000ULL
#define NS_PER_MS 1000000ULL
#define STEP_NS 2000000

static _Noreturn void become(const char *const argv[], uid_t uid, int out, int err)
{
        CLEANUP_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        (void)dup2(null, STDIN_FILENO);
        (void)dup2(out < 0 ? null : out, STDOUT_FILENO);
        (void)dup2(err < 0 ? null : err, STDERR_FILENO);
        if (uid && (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0))
                _exit(126);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
}

static int status_of(pid_t pid)
{
        int status;

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int left_ms(unsigned long long deadline)
{
        unsigned long long now = clock_now_ns();

        return now >= deadline ? 0 : (int)((deadline - now) / NS_PER_MS) + 1;
}

int proc_wait(pid_t pid)
{
        CLEANUP_FD int fd = (int)syscall(SYS_pidfd_open, pid, 0);
        struct pollfd p = {.fd = fd, .events = POLLIN};

        if (fd < 0 || poll(&p, 1, PROC_PATIENCE_S * 1000) <= 0)
                return PROC_HUNG;
        return status_of(pid);
}

/* Take what is there. False at the end. */
static bool take(int fd, char *text, size_t *len)
{
        char beyond[4096];
        size_t room = PROC_OUTPUT_MAX - 1 - *len;
        ssize_t n = read(fd, room ? text + *len : beyond, room ? room : sizeof(beyond));

        if (n > 0 && room)
                *len += (size_t)n;
        return n > 0;
}

static bool collect(int out, int err, struct proc_result *r)
{
        unsigned long long deadline = clock_now_ns() + PROC_PATIENCE_S * NS_PER_S;
        struct pollfd p[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
        size_t len[2] = {0};

        while (p[0].fd >= 0 || p[1].fd >= 0) {
                if (poll(p, 2, left_ms(deadline)) <= 0)
                        return false;
                for (int i = 0; i < 2; i++) {
                        if (p[i].fd >= 0 && p[i].revents && !take(p[i].fd, i ? r->err : r->out, &len[i]))
                                p[i].fd = -1;
                }
        }
        return true;
}

void proc_run(const char *const argv[], uid_t uid, struct proc_result *r)
{
        int out[2];
        int err[2];
        pid_t pid;
        bool ended;

        memset(r, 0, sizeof(*r));
        if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
                abort();
        pid = fork();
        if (pid == 0)
                become(argv, uid, out[1], err[1]);
        close(out[1]);
        close(err[1]);
        ended = collect(out[0], err[0], r);
        close(out[0]);
        close(err[0]);
        r->status = ended ? proc_wait(pid) : PROC_HUNG;
        if (r->status == PROC_HUNG)
                (void)kill(pid, SIGKILL);
}

pid_t proc_start(const char *const argv[], uid_t uid, const char *err_path)
{
        CLEANUP_FD int err = err_path ? open(err_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
        pid_t pid = fork();

        if (pid == 0)
                become(argv, uid, -1, err);
        return pid;
}

bool proc_until(bool (*check)(void *arg), void *arg)
{
        unsigned long long deadline = clock_now_ns() + PROC_PATIENCE_S * NS_PER_S;

        while (!check(arg)) {
                if (clock_now_ns() > deadline)
                        return false;
                (void)nanosleep(&(struct timespec){.tv_nsec = STEP_NS}, NULL);
        }
        return true;
}
