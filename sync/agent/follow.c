#include "sync/agent/follow.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "cache/base/thread.h"
#include "sync/agent/cmd.h"
#include "sync/agent/daemon.h"
#include "sync/agent/mountinfo.h"
#include "sync/agent/record.h"
#include "sync/serve/json.h"

#define STOP_MS 60000
/* How long the next agent may take, and how often that is looked at. */
#define NEXT_NS 30000000000ULL
#define STEP_MS 10

static sigset_t end_signals(void)
{
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        return set;
}

void follow_hold_signals(bool hold)
{
        sigset_t set = end_signals();

        (void)sigprocmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static int ask_stop(const struct making *m, bool lazy, char **why)
{
        struct record r = {.pid = m->agent, .mountpoint = m->mountpoint};
        json_t *answer = NULL;
        pid_t pid;
        int rc;

        memcpy(r.id, m->id, sizeof(r.id));
        rc = command_ask(m->run, &r, "stop",
                         json_pack("{s:b, s:o}", "lazy", (int)lazy, "mountpoint", bytes_to_json(m->mountpoint, strlen(m->mountpoint))),
                         STOP_MS, &answer, &pid, why);
        json_decref(answer);
        return rc;
}

int follow_stop(const struct making *m, char **why)
{
        int rc = ask_stop(m, false, why);

        if (rc != -EBUSY)
                return rc;
        free(steal_ptr(why));
        log_warn("%s is in use: it is detached, and those who use it lose it", m->mountpoint);
        return ask_stop(m, true, why);
}

/* The connection that is mounted there, 0 for none. */
static unsigned connection_at(const char *mountpoint)
{
        struct mount_list mounts;
        const struct mount_entry *e;
        unsigned dev = 0;

        if (mount_list_read(&mounts))
                return 0;
        e = mount_at(&mounts, mountpoint);
        if (e && mount_is_dsfs(e))
                dev = e->dev;
        mount_list_release(&mounts);
        return dev;
}

/* The agent that serves the mount in the place of one that died, with its connection. 0 when there is none, and none to come. */
static pid_t next_agent(const struct making *m, pid_t dead, unsigned *connection)
{
        unsigned long long deadline = clock_now_ns() + NEXT_NS;

        do {
                struct record_list records;
                bool alive = false;
                pid_t pid = 0;
                unsigned now;

                if (record_list_read(m->run, &records))
                        return 0;
                for (size_t i = 0; i < records.count; i++) {
                        if (strcmp(records.records[i].id, m->id) != 0)
                                continue;
                        alive = records.records[i].alive;
                        pid = records.records[i].pid;
                }
                record_list_release(&records);
                if (!alive)
                        return 0;
                now = connection_at(m->mountpoint);
                if (pid != dead && now && now != *connection) {
                        *connection = now;
                        return pid;
                }
                (void)poll(NULL, 0, STEP_MS);
        } while (clock_now_ns() < deadline);
        return 0;
}

static bool is_gone(int pidfd)
{
        struct pollfd p = {.fd = pidfd, .events = POLLIN};

        return pidfd < 0 || poll(&p, 1, 0) > 0;
}

/* Wait for a signal, the agent's end, or that something is mounted or unmounted. True when it was a signal. */
static bool was_told_to_end(int signals, int agent, int changes)
{
        struct pollfd p[] = {{.fd = signals, .events = POLLIN}, {.fd = agent, .events = POLLIN}, {.fd = changes, .events = POLLPRI}};
        struct signalfd_siginfo info;

        if (poll(p, ARRAY_LEN(p), -1) < 0 || !(p[0].revents & POLLIN))
                return false;
        return read(signals, &info, sizeof(info)) == sizeof(info);
}

int follow_mount(const struct making *m, const struct daemon *d, char **why)
{
        sigset_t set = end_signals();
        CLEANUP_FD int signals = signalfd(-1, &set, SFD_CLOEXEC);
        CLEANUP_FD int changes = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
        unsigned connection = connection_at(m->mountpoint);
        pid_t pid = m->agent, next;
        bool mounted;

        if (signals < 0 || changes < 0)
                return why_set(why, -errno, "the mount at %s can't be followed: %s", m->mountpoint, strerror(errno));
        while (pid) {
                CLEANUP_FD int agent = (int)syscall(SYS_pidfd_open, pid, 0);

                while (!is_gone(agent) && connection && connection_at(m->mountpoint) == connection) {
                        if (!was_told_to_end(signals, agent, changes))
                                continue;
                        daemon_stopping(d);
                        return follow_stop(m, why);
                }
                if (!is_gone(agent))
                        break;
                /* Its end may be that of the mount, too. */
                mounted = connection_at(m->mountpoint) != 0;
                next = next_agent(m, pid, &connection);
                if (!next && !mounted)
                        break;
                pid = next;
        }
        if (!pid)
                return why_set(why, -ESRCH, "the agent that served %s has died; `dsfs mount` it again", m->mountpoint);
        daemon_stopping(d);
        return 0;
}
