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
#include "sync/agent/cmd.h"
#include "sync/agent/daemon.h"
#include "sync/agent/mountinfo.h"
#include "sync/serve/json.h"

#define STOP_MS 60000

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

int follow_mount(const struct making *m, const struct daemon *d, char **why)
{
        sigset_t set = end_signals();
        CLEANUP_FD int signals = signalfd(-1, &set, SFD_CLOEXEC);
        CLEANUP_FD int agent = (int)syscall(SYS_pidfd_open, m->agent, 0);
        CLEANUP_FD int changes = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
        struct pollfd p[] = {{.fd = signals, .events = POLLIN}, {.fd = agent, .events = POLLIN}, {.fd = changes, .events = POLLPRI}};
        unsigned connection = connection_at(m->mountpoint);

        if (signals < 0 || changes < 0)
                return why_set(why, -errno, "the mount at %s can't be followed: %s", m->mountpoint, strerror(errno));
        while (connection && connection_at(m->mountpoint) == connection) {
                struct signalfd_siginfo info;

                if (agent < 0 || p[1].revents)
                        return why_set(why, -ESRCH, "the agent that served %s has died; `dsfs mount` it again", m->mountpoint);
                if (poll(p, ARRAY_LEN(p), -1) < 0 && errno != EINTR)
                        return why_set(why, -errno, "the mount at %s can't be followed: %s", m->mountpoint, strerror(errno));
                if (!(p[0].revents & POLLIN))
                        continue;
                (void)!read(signals, &info, sizeof(info));
                daemon_stopping(d);
                return follow_stop(m, why);
        }
        daemon_stopping(d);
        return 0;
}
