/*
 *                         RUNNING --- agent exits -----------------------------> the same exit
 *                          |   ^
 *     its line breaks, or  |   |  agent says ready, or just lives
 *     it says: a fault     v   |
 *                         DYING --- reaped ---> WAITING --- time is up ---> the next agent, RUNNING
 *                                                  |
 *                                                  +--- too many, or asked to end ---> clear away or leave, exit
 *
 * That the line breaks comes first (holding.c): the connections are aborted then, which is what lets the rest of the agent die.
 */
#include "sync/agent/holder_self.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "cache/base/thread.h"
#include "sync/agent/daemon.h"
#include "sync/agent/place.h"

/* Within WINDOW: so many deaths are answered at once, so many at all. And so many agents in a row that were never ready. */
#define WINDOW_NS (60 * 1000000000ULL)
#define AT_ONCE 20
#define UNREADY_MAX 6
#define PAUSE_MS 100
#define PAUSE_DOUBLES 4
/* A dying agent that takes longer is worth a line in the log. */
#define DYING_MS 5000
#define BADNESS_FILE "/proc/self/oom_score_adj"
#define BADNESS "-900"

/*
 * Agents
 */

/* For what is killed when memory is short: the agent, if anything of ours. */
static void shield(struct holder *h)
{
        CLEANUP_FREE char *text = NULL;
        CLEANUP_FD int fd = -1;

        if (fd_read_file(AT_FDCWD, BADNESS_FILE, BADNESS_MAX - 1, &text) <= 0)
                return;
        fd = open(BADNESS_FILE, O_WRONLY | O_CLOEXEC);
        if (fd >= 0 && fd_write_full(fd, BADNESS, strlen(BADNESS)) == 0)
                snprintf(h->badness, sizeof(h->badness), "%s", text);
}

static void unshield(const struct holder *h)
{
        CLEANUP_FD int fd = *h->badness ? open(BADNESS_FILE, O_WRONLY | O_CLOEXEC) : -1;

        if (fd >= 0)
                (void)fd_write_full(fd, h->badness, strlen(h->badness));
}

static void bequeath(struct holder *h, int channel, int life, struct heritage *ret)
{
        static struct held_mount mounts[HOLD_MOUNTS_MAX];

        *ret = (struct heritage){.holder = getppid(),
                                 .channel = channel,
                                 .life = life,
                                 .deaths = h->deaths,
                                 .died_at = h->died_at,
                                 .claim = h->claim,
                                 .listener = h->listener,
                                 .mounts = mounts};
        memcpy(ret->died_of, h->died_of, sizeof(ret->died_of));
        for (size_t i = 0; i < HOLD_MOUNTS_MAX; i++) {
                if (!h->kept[i].used)
                        continue;
                mounts[ret->count++] = h->kept[i].mount;
                fd_close(&h->kept[i].abort);
        }
}

/* 0 in the agent, its pid in the holder, or -errno. */
static pid_t make_agent(struct holder *h, struct heritage *ret)
{
        int channel[2], life[2];
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) < 0)
                return -errno;
        if (pipe2(life, O_CLOEXEC) < 0) {
                int rc = -errno;

                close(channel[0]);
                close(channel[1]);
                return rc;
        }
        pid = fork();
        if (pid == 0) {
                close(channel[0]);
                close(life[0]);
                fd_close(&h->signals);
                unshield(h);
                bequeath(h, channel[1], life[1], ret);
                h->daemon->held = true;
                (void)prctl(PR_SET_NAME, "dsfs");
                (void)sigprocmask(SIG_SETMASK, &h->before, NULL);
                return 0;
        }
        close(channel[1]);
        close(life[1]);
        if (pid < 0) {
                close(channel[0]);
                close(life[0]);
                return -EAGAIN;
        }
        h->agent = pid;
        h->channel = channel[0];
        h->life = life[0];
        h->ready = h->dying = h->faulty = h->stopping = false;
        return pid;
}

/* Whatever it was of, its line or its channel: nobody is to wait for it. */
static void agent_dies(struct holder *h)
{
        fd_close(&h->life);
        holder_hear(h);
        holder_abort_all(h);
        h->dying = true;
}

/* True when it is no more, with *status. */
static bool reap(struct holder *h, int *status)
{
        if (waitpid(h->agent, status, WNOHANG) != h->agent)
                return false;
        agent_dies(h);
        fd_close(&h->channel);
        for (size_t i = 0; i < HOLD_MOUNTS_MAX; i++)
                h->kept[i].fresh = false;
        return true;
}

/*
 * After a death
 */

static void describe(struct holder *h, int status)
{
        h->died_at = (int64_t)time(NULL);
        if (h->again)
                snprintf(h->died_of, sizeof(h->died_of), "saw the source come back");
        else if (WIFSIGNALED(status))
                snprintf(h->died_of, sizeof(h->died_of), "was killed (signal %d, %s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
        else
                snprintf(h->died_of, sizeof(h->died_of), "ended (exit %d)", WEXITSTATUS(status));
        h->again = false;
        h->died_ns[h->deaths++ % DEATHS_MAX] = clock_now_ns();
        h->unready += !h->ready;
}

static unsigned recent_deaths(const struct holder *h)
{
        unsigned long long now = clock_now_ns();
        unsigned n = 0;

        for (unsigned i = 0; i < DEATHS_MAX && i < h->deaths; i++)
                n += now - h->died_ns[i] < WINDOW_NS;
        return n;
}

/* How long the next agent has to wait, in milliseconds; -1: there is to be none. */
static int pause_ms(const struct holder *h)
{
        unsigned recent = recent_deaths(h);
        unsigned over = recent > AT_ONCE ? recent - AT_ONCE : h->unready;

        if (recent >= DEATHS_MAX || h->unready >= UNREADY_MAX)
                return -1;
        if (over == 0)
                return 0;
        return PAUSE_MS << (over - 1 < PAUSE_DOUBLES ? over - 1 : PAUSE_DOUBLES);
}

/* Asked to end, but it was killed before it had: what it left is unmounted here. */
static void clear_away(struct holder *h)
{
        struct record_list records = {0};

        fd_close(&h->claim); /* what it stands for is dead */
        fd_close(&h->listener);
        if (record_list_read(h->run, &records))
                return;
        for (size_t i = 0; i < HOLD_MOUNTS_MAX; i++) {
                const struct hold_mount *m = &h->kept[i].mount.as;
                unsigned removed;

                if (!h->kept[i].used)
                        continue;
                if (place_remove_dead(m->mountpoint, &records, &removed))
                        log_error("the dead mount at %s can't be removed; `dsfs umount %s`", m->mountpoint, m->mountpoint);
                else if (m->own_place)
                        (void)rmdir(m->mountpoint);
        }
        record_list_release(&records);
        (void)record_drop_dead(h->run, h->id, NULL);
}

static _Noreturn void give_up(struct holder *h)
{
        log_error("the agent of %s %s %u times within a minute, or before it could mount: it is not started again. Its mounts are dead; "
                  "`dsfs mount` serves them again, `dsfs umount` clears them away",
                  h->source, h->died_of, recent_deaths(h));
        daemon_say(h->daemon, "the agent died too often; its mounts are dead");
        exit(EXIT_FAILURE);
}

/* The end, if it is one: else the next agent is due. */
static void after(struct holder *h, int status)
{
        bool unserved = WIFEXITED(status) && WEXITSTATUS(status) == 0 && h->ever_ready && !h->ready;

        if (unserved) {
                /* Its users had unmounted everything while there was no agent. Whoever holds the gate may be waiting for us. */
                fd_close(&h->claim);
                fd_close(&h->listener);
                (void)record_drop_dead(h->run, h->id, NULL);
        }
        if (unserved || (WIFEXITED(status) && (h->ready || !h->ever_ready)))
                exit(WEXITSTATUS(status));
        describe(h, status);
        if (!h->ever_ready) {
                char why[128];

                snprintf(why, sizeof(why), "the agent %s before it could mount", h->died_of);
                daemon_failed(h->daemon, why);
                exit(EXIT_FAILURE);
        }
        if (h->ending) {
                log_warn("the agent of %s %s while it was unmounting", h->source, h->died_of);
                clear_away(h);
                exit(EXIT_FAILURE);
        }
        log_warn("the agent of %s (process %d) %s", h->source, (int)h->agent, h->died_of);
}

/*
 * The loop
 */

static void signal_came(struct holder *h)
{
        struct signalfd_siginfo info;

        while (read(h->signals, &info, sizeof(info)) == sizeof(info)) {
                if (info.ssi_signo == SIGCHLD)
                        continue;
                h->ending = true;
                if (h->agent > 0)
                        (void)kill(h->agent, SIGTERM);
        }
}

/* Let `ms` pass, or be asked to end. */
static void wait_pause(struct holder *h, int ms)
{
        unsigned long long deadline = clock_now_ns() + (unsigned long long)ms * 1000000ULL;

        h->agent = 0;
        for (unsigned long long now = clock_now_ns(); now < deadline && !h->ending; now = clock_now_ns()) {
                struct pollfd p = {.fd = h->signals, .events = POLLIN};

                (void)poll(&p, 1, (int)((deadline - now) / 1000000ULL) + 1);
                signal_came(h);
        }
        if (!h->ending)
                return;
        clear_away(h);
        exit(EXIT_SUCCESS);
}

/* Until the agent is no more: its wait status. */
static int watch_agent(struct holder *h)
{
        bool told = false;
        int status;

        while (!reap(h, &status)) {
                struct pollfd p[] = {{.fd = h->signals, .events = POLLIN}, {.fd = h->channel, .events = POLLIN}, {.fd = h->life}};
                int n = poll(p, ARRAY_LEN(p), h->dying && !told ? DYING_MS : -1);

                if (n == 0) {
                        /* A mount that was under way may have come to be since. */
                        record_free_dying(h->run, h->id, h->agent);
                        log_warn("the agent of %s (process %d) was killed, but something of it still waits in the kernel: its mounts are "
                                 "served again when that has ended",
                                 h->source, (int)h->agent);
                        told = true;
                }
                if (n <= 0)
                        continue;
                if (p[1].revents)
                        holder_hear(h);
                if (p[2].revents) {
                        agent_dies(h);
                        /* Or it was killed between mounting and saying so. One that ends has no such mount, and another agent may be there.
                         */
                        if (!h->stopping)
                                record_free_dying(h->run, h->id, h->agent);
                }
                if (p[0].revents)
                        signal_came(h);
        }
        return status;
}

static int take_signals(struct holder *h)
{
        static const int ours[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
        sigset_t set;

        sigemptyset(&set);
        for (size_t i = 0; i < ARRAY_LEN(ours); i++)
                sigaddset(&set, ours[i]);
        if (sigprocmask(SIG_BLOCK, &set, &h->before) < 0)
                return -errno;
        sigdelset(&h->before, SIGTERM);
        sigdelset(&h->before, SIGINT);
        h->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return h->signals < 0 ? -errno : 0;
}

int holder_start(struct daemon *d, const char *run, const char *id, const char *source, int claim, struct heritage *ret)
{
        static struct holder holder;
        struct holder *h = &holder;
        int rc = take_signals(h);
        pid_t pid;

        if (rc)
                return rc;
        h->daemon = d;
        h->run = run;
        h->id = id;
        h->source = source;
        h->claim = claim;
        h->listener = h->channel = h->life = -1;
        for (size_t i = 0; i < HOLD_MOUNTS_MAX; i++)
                h->kept[i].abort = -1;
        pid = make_agent(h, ret);
        if (pid < 0)
                return pid;
        if (pid == 0)
                return 0;
        (void)prctl(PR_SET_NAME, "dsfs-holder");
        shield(h);
        for (;;) {
                int pause;

                after(h, watch_agent(h));
                pause = pause_ms(h);
                if (pause < 0)
                        give_up(h);
                wait_pause(h, pause);
                pid = make_agent(h, ret);
                if (pid == 0)
                        return 0;
                if (pid < 0) {
                        log_error("there is no process for the agent of %s: %s", source, strerror(-pid));
                        give_up(h);
                }
        }
}
