#include "sync/run/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"

#define NS_PER_MS 1000000ULL
#define SIGNAL_CODE 128
/* Of an exit so long after a key, the key is the reason. */
#define TYPED_MS 5000

/* What the keeper knows. */
struct keeping {
        const struct keeper_task *task;
        int fd;      /* to dsfs run; closed there: it is gone */
        int signals; /* a signalfd */
        pid_t group;
        bool in_group;    /* the keeper is, so that it hears the keys that the terminal's foreground hears */
        bool exited;      /* the command has */
        bool alone;       /* dsfs run is gone */
        int64_t typed;    /* when a key meant the command to end; 0: none did */
        int64_t patience; /* alone: when the group is killed; below 0: that was done, or we aren't */
};

static int64_t now_ms(void)
{
        return (int64_t)(clock_now_ns() / NS_PER_MS);
}

static int code_of(int status)
{
        return WIFEXITED(status) ? WEXITSTATUS(status) : SIGNAL_CODE + WTERMSIG(status);
}

static void tell(const struct keeping *k, enum keeper_said said, int arg, bool typed)
{
        struct keeper_report r = {.said = said, .arg = arg, .typed = typed};

        (void)send(k->fd, &r, sizeof(r), MSG_NOSIGNAL);
}

/*
 * The command's process, before it is the command
 */

static _Noreturn void become(const struct keeper_task *t, pid_t keeper, int failed)
{
        int err;

        (void)setpgid(0, 0);
        if (t->lend)
                terminal_lend(t->lend, getpid());
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == keeper) {
                (void)!chdir(t->dir);
                (void)signal(SIGPIPE, SIG_DFL);
                (void)sigprocmask(SIG_SETMASK, t->mask, NULL);
                (void)execvp(t->argv[0], t->argv);
        }
        err = errno;
        (void)fd_write_full(failed, &err, sizeof(err));
        _exit(127);
}

/* Start it. 0, or the errno for which it can't be. */
static int start_command(struct keeping *k)
{
        CLEANUP_FD int told = -1;
        CLEANUP_FD int failed = -1;
        pid_t self = getpid();
        int ends[2], err = 0;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return errno;
        told = ends[0];
        failed = ends[1];
        k->group = fork();
        if (k->group < 0)
                return errno;
        if (k->group == 0)
                become(k->task, self, failed);
        (void)setpgid(k->group, k->group);
        k->in_group = setpgid(0, k->group) == 0;
        fd_close(&failed);
        return fd_read_full(told, &err, sizeof(err)) == (ssize_t)sizeof(err) ? err : 0;
}

/*
 * The group
 */

/* So that what is done to the group isn't done to us, and that it can be seen to be empty. */
static void leave_group(struct keeping *k)
{
        if (k->in_group)
                (void)setpgid(0, 0);
        k->in_group = false;
}

static void signal_group(struct keeping *k, int signal)
{
        /* From here on it is this that ends it, unless another key is typed. */
        k->typed = 0;
        if (signal == SIGKILL)
                leave_group(k);
        (void)kill(-k->group, signal);
        /* Who is stopped hears nothing else. */
        if (signal == SIGTERM || signal == SIGHUP || signal == SIGINT || signal == SIGQUIT || signal == k->task->signal)
                (void)kill(-k->group, SIGCONT);
}

static bool is_empty(const struct keeping *k)
{
        return kill(-k->group, 0) < 0 && errno == ESRCH;
}

static void hear_signals(struct keeping *k)
{
        struct signalfd_siginfo s;

        while (read(k->signals, &s, sizeof(s)) == (ssize_t)sizeof(s)) {
                /* The terminal's, not one that somebody sent. */
                if (s.ssi_signo != SIGCHLD && s.ssi_code == SI_KERNEL)
                        k->typed = now_ms();
        }
}

static void reap(struct keeping *k)
{
        int status;
        pid_t pid;

        while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
                if (pid != k->group)
                        continue;
                if (WIFSTOPPED(status)) {
                        tell(k, KEEPER_STOPPED, WSTOPSIG(status), false);
                        continue;
                }
                /* What ended it has reached us too. */
                hear_signals(k);
                leave_group(k);
                k->exited = true;
                tell(k, KEEPER_EXITED, code_of(status), k->typed && now_ms() - k->typed < TYPED_MS);
        }
}

/* dsfs run is gone: what it would have done is ours to do. */
static void be_alone(struct keeping *k)
{
        k->alone = true;
        k->patience = now_ms() + k->task->grace_ms;
        signal_group(k, k->task->signal);
}

static void take_orders(struct keeping *k)
{
        int order;
        ssize_t n = recv(k->fd, &order, sizeof(order), MSG_DONTWAIT);

        if (n == (ssize_t)sizeof(order))
                signal_group(k, order);
        else if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
                be_alone(k);
}

static void keep_group(struct keeping *k)
{
        while (!k->exited || !is_empty(k)) {
                struct pollfd p[] = {{.fd = k->signals, .events = POLLIN}, {.fd = k->alone ? -1 : k->fd, .events = POLLIN}};
                int64_t left = k->patience < 0 ? -1 : k->patience - now_ms();

                if (k->patience >= 0 && left <= 0) {
                        k->patience = -1;
                        signal_group(k, SIGKILL);
                        continue;
                }
                if (poll(p, ARRAY_LEN(p), (int)left) < 0 && errno != EINTR)
                        return;
                hear_signals(k);
                if (p[1].revents)
                        take_orders(k);
                reap(k);
        }
}

static _Noreturn void keep(const struct keeper_task *task, int fd)
{
        struct keeping k = {.task = task, .fd = fd, .signals = -1, .patience = -1};
        sigset_t all;
        int err;

        (void)prctl(PR_SET_NAME, "dsfs-keeper");
        /* A connection that dsfs run gives up is to be given up. */
        for (size_t i = 0; i < ARRAY_LEN(task->ours); i++) {
                if (task->ours[i] >= 0)
                        close(task->ours[i]);
        }
        (void)sigfillset(&all);
        (void)sigprocmask(SIG_SETMASK, &all, NULL);
        (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
        /* Not in dsfs run's group: who kills that as a whole leaves us to clear up. */
        (void)setpgid(0, 0);
        (void)sigemptyset(&all);
        for (size_t i = 0; i < 4; i++)
                (void)sigaddset(&all, (const int[]){SIGCHLD, SIGINT, SIGQUIT, SIGHUP}[i]);
        k.signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
        err = k.signals < 0 ? errno : start_command(&k);
        if (err) {
                tell(&k, KEEPER_REFUSED, err, false);
                _exit(0);
        }
        tell(&k, KEEPER_STARTED, k.group, false);
        keep_group(&k);
        if (k.alone && task->changed)
                (void)unlink(task->changed);
        tell(&k, KEEPER_GONE, 0, false);
        _exit(0);
}

/*
 * In dsfs run
 */

int keeper_start(const struct keeper_task *task, struct keeper *ret)
{
        int ends[2];
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return -errno;
        pid = fork();
        if (pid == 0) {
                close(ends[0]);
                keep(task, ends[1]);
        }
        close(ends[1]);
        if (pid < 0) {
                int rc = -errno;

                close(ends[0]);
                return rc;
        }
        *ret = (struct keeper){.pid = pid, .fd = ends[0]};
        return 0;
}

void keeper_signal(const struct keeper *k, int signal)
{
        if (k->pid == 0)
                return;
        (void)send(k->fd, &signal, sizeof(signal), MSG_NOSIGNAL | MSG_DONTWAIT);
        /* In case somebody stopped it with the group. */
        (void)kill(k->pid, SIGCONT);
}

int keeper_report(struct keeper *k, struct keeper_report *ret)
{
        ssize_t n = recv(k->fd, ret, sizeof(*ret), MSG_DONTWAIT);

        /* It left without having read an order; what it said before is still to be had. */
        if (n < 0 && errno == ECONNRESET)
                n = recv(k->fd, ret, sizeof(*ret), MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return -EAGAIN;
        if (n == (ssize_t)sizeof(*ret)) {
                if (ret->said == KEEPER_STARTED)
                        k->group = ret->arg;
                return 0;
        }
        /* It was killed. */
        if (k->group)
                (void)kill(-k->group, SIGKILL);
        *ret = (struct keeper_report){.said = k->group ? KEEPER_EXITED : KEEPER_GONE, .arg = SIGNAL_CODE + SIGKILL};
        k->group = 0;
        return 0;
}

bool keeper_reaped(struct keeper *k, pid_t pid)
{
        if (pid != k->pid)
                return false;
        k->pid = 0;
        return true;
}

void keeper_release(struct keeper *k)
{
        fd_close(&k->fd);
        *k = (struct keeper){.fd = -1};
}
