/*
 * How the holder learns at once that we died: a killed process may live on as a zombie for as long as one of its threads waits in the
 * kernel, and its files stay open with it, so neither its parent nor who reads from it hears a thing. Here a thread has a table of
 * descriptors of its own, with one end of a pipe in it and nothing else. It waits for nothing that can't be interrupted, so it dies of the
 * same SIGKILL within microseconds, and the pipe with it.
 *
 * A fault of our own (SIGSEGV, SIGABRT, …) is told by the signal's handler: the kernel keeps all threads and their files until a core is
 * written.
 */
#include "sync/agent/holding.h"

#include <errno.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "cache/base/thread.h"
#include "sync/agent/mountinfo.h"

struct holding {
        atomic_int holder; /* 0: it has died */
        int channel;
        int connections; /* fusectl's directory, -1: out of reach */
        pthread_t line;
        bool line_started;
        int life;
        struct mutex lock;
        struct cond changed;
        bool apart GUARDED_BY(lock); /* the line's thread has its own descriptors */
};

/* For handlers. */
static atomic_int fault_channel = -1;

static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP, SIGQUIT};

static void tell_fault(int number)
{
        static const struct hold_message m = {.kind = HOLD_FAULT};
        int saved = errno;

        (void)send(atomic_load(&fault_channel), &m, offsetof(struct hold_message, mount), MSG_DONTWAIT | MSG_NOSIGNAL);
        errno = saved;
        (void)raise(number); /* its default now: SA_RESETHAND */
}

static void watch_faults(int channel)
{
        struct sigaction ours = {.sa_handler = tell_fault, .sa_flags = SA_RESETHAND | SA_NODEFER};
        struct sigaction before;

        atomic_store(&fault_channel, channel);
        sigemptyset(&ours.sa_mask);
        for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
                /* A sanitizer's own end in SIGABRT. */
                if (sigaction(faults[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
                        (void)sigaction(faults[i], &ours, NULL);
        }
}

static void *keep_line(void *arg)
{
        struct holding *h = arg;
        struct pollfd p = {.fd = h->life};

        /* Not through the library: what watches descriptors in a sanitizer knows but one table. */
        if (h->life > 0)
                (void)syscall(SYS_close_range, 0U, (unsigned)h->life - 1, CLOSE_RANGE_UNSHARE);
        (void)syscall(SYS_close_range, (unsigned)h->life + 1, ~0U, CLOSE_RANGE_UNSHARE);
        mutex_lock(&h->lock);
        h->apart = true;
        cond_signal(&h->changed);
        mutex_unlock(&h->lock);
        /* Until we are killed, or the other end goes. */
        while (poll(&p, 1, -1) < 0 && errno == EINTR)
                continue;
        return NULL;
}

static int start_line(struct holding *h)
{
        int rc = thread_start(&h->line, "dsfs-line", keep_line, h);

        if (rc)
                return rc;
        h->line_started = true;
        mutex_lock(&h->lock);
        while (!h->apart)
                cond_wait(&h->changed, &h->lock);
        mutex_unlock(&h->lock);
        return 0;
}

int holding_new(pid_t holder, int channel, int life, struct holding **ret)
{
        static const struct timeval patience = {.tv_sec = 1};
        struct holding *h = calloc(1, sizeof(*h));
        int rc;

        if (!h) {
                close(channel);
                close(life);
                return -ENOMEM;
        }
        (void)setsockopt(channel, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        atomic_init(&h->holder, (int)holder);
        h->channel = channel;
        h->life = life;
        mutex_init(&h->lock);
        cond_init(&h->changed);
        h->connections = mount_connections();
        if (h->connections < 0)
                log_info("the connections' control files are out of reach (%s): nothing is done that a killed process could hang in",
                         strerror(-h->connections));
        rc = start_line(h);
        close(life); /* the thread has its own */
        if (rc) {
                holding_free(h);
                return rc;
        }
        watch_faults(channel);
        *ret = h;
        return 0;
}

/* The line's thread stays, with what it uses: its end is how the holder learns of ours. */
void holding_free(struct holding *h)
{
        if (!h)
                return;
        atomic_store(&fault_channel, -1);
        fd_close(&h->channel);
        if (h->connections >= 0)
                fd_close(&h->connections);
        if (h->line_started)
                return;
        mutex_release(&h->lock);
        cond_release(&h->changed);
        free(h);
}

pid_t holding_pid(const struct holding *h)
{
        return h ? (pid_t)atomic_load(&h->holder) : 0;
}

int holding_channel(const struct holding *h)
{
        return h ? h->channel : -1;
}

void holding_lost(struct holding *h)
{
        if (h)
                atomic_store(&h->holder, 0);
}

bool holding_can_abort(const struct holding *h)
{
        return holding_pid(h) > 0 && h->connections >= 0;
}

/* 0 or -errno: -EAGAIN when the holder doesn't listen, which is as good as none. */
static int say(const struct holding *h, const struct hold_message *m, int fd)
{
        struct iovec text = {.iov_base = (void *)m, .iov_len = m->kind == HOLD_MOUNT ? sizeof(*m) : offsetof(struct hold_message, mount)};
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int))];
        } space = {0};
        struct msghdr msg = {.msg_iov = &text, .msg_iovlen = 1};

        if (holding_pid(h) == 0)
                return -EPIPE;
        if (fd >= 0) {
                msg.msg_control = space.bytes;
                msg.msg_controllen = sizeof(space.bytes);
                *CMSG_FIRSTHDR(&msg) =
                        (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(fd))};
                memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), &fd, sizeof(fd));
        }
        return sendmsg(h->channel, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int holding_mount(struct holding *h, unsigned connection, const struct hold_mount *mount)
{
        CLEANUP_FD int fd = -1;
        struct hold_message *m;
        int rc;

        if (holding_pid(h) == 0)
                return 0;
        if (h->connections >= 0) {
                fd = mount_abort_open(h->connections, connection);
                if (fd < 0)
                        return fd;
        }
        m = malloc(sizeof(*m));
        if (!m)
                return -ENOMEM;
        *m = (struct hold_message){.kind = HOLD_MOUNT, .connection = connection, .mount = *mount};
        rc = say(h, m, fd);
        free(m);
        return rc;
}

void holding_park(struct holding *h, enum hold_kind kind, int fd)
{
        const struct hold_message m = {.kind = kind};
        int rc = fd >= 0 && holding_pid(h) > 0 ? say(h, &m, fd) : 0;

        if (rc)
                log_warn("the holder (process %d) can't be told: %s", (int)holding_pid(h), strerror(-rc));
}

void holding_say(struct holding *h, enum hold_kind kind, unsigned connection)
{
        const struct hold_message m = {.kind = kind, .connection = connection};
        int rc = holding_pid(h) > 0 ? say(h, &m, -1) : 0;

        if (rc)
                log_warn("the holder (process %d) can't be told: %s", (int)holding_pid(h), strerror(-rc));
}
