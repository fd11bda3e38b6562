/*
 * What agents say to their holder, and what it keeps of it: which mounts there are, how their connections are aborted, the claim, the
 * listener.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "sync/agent/daemon.h"
#include "sync/agent/holder_self.h"

static struct kept *kept_of(struct holder *h, uint32_t connection)
{
        for (size_t i = 0; i < HOLD_MOUNTS_MAX; i++) {
                if (h->kept[i].used && h->kept[i].fresh && h->kept[i].mount.connection == connection)
                        return &h->kept[i];
        }
        return NULL;
}

static void forget(struct kept *k)
{
        fd_close(&k->abort);
        k->used = false;
}

/* In the place of what a dead agent had there. Takes `fd`. */
static void keep_mount(struct holder *h, const struct hold_message *m, int fd)
{
        struct kept *place = NULL;

        for (size_t i = 0; i < HOLD_MOUNTS_MAX; i++) {
                struct kept *k = &h->kept[i];

                if (k->used && !k->fresh && strcmp(k->mount.as.mountpoint, m->mount.mountpoint) == 0)
                        forget(k);
                if (!k->used && !place)
                        place = k;
        }
        if (!place) {
                log_warn("%s has more mounts than can be kept; %s is not mounted again should the agent die", h->source,
                         m->mount.mountpoint);
                fd_close(&fd);
                return;
        }
        *place = (struct kept){.used = true, .fresh = true, .abort = fd, .mount = {.as = m->mount, .connection = m->connection}};
}

void holder_abort_all(struct holder *h)
{
        for (size_t i = 0; i < HOLD_MOUNTS_MAX; i++) {
                struct kept *k = &h->kept[i];

                if (k->used && k->abort >= 0) {
                        (void)fd_write_full(k->abort, "1", 1);
                        fd_close(&k->abort);
                }
        }
}

/* What the agent before could not bring back, it has said why. */
static void became_ready(struct holder *h)
{
        for (size_t i = 0; i < HOLD_MOUNTS_MAX; i++) {
                if (h->kept[i].used && !h->kept[i].fresh)
                        forget(&h->kept[i]);
        }
        h->ready = true;
        h->unready = 0;
        if (!h->ever_ready)
                daemon_held_ready(h->daemon);
        else
                daemon_say(h->daemon, "the agent had died, and was started again");
        h->ever_ready = true;
}

static void replace_fd(int *kept, int *fd)
{
        fd_close(kept);
        *kept = fd_steal(fd);
}

static void take_message(struct holder *h, const struct hold_message *m, int *fd)
{
        struct kept *k = kept_of(h, m->connection);

        switch ((enum hold_kind)m->kind) {
        case HOLD_READY:
                became_ready(h);
                break;
        case HOLD_STOPPING:
                daemon_stopping(h->daemon);
                h->stopping = true;
                break;
        case HOLD_AGAIN:
                h->again = true;
                break;
        case HOLD_FAULT:
                h->faulty = true;
                holder_abort_all(h);
                break;
        case HOLD_CLAIM:
                replace_fd(&h->claim, fd);
                break;
        case HOLD_LISTENER:
                replace_fd(&h->listener, fd);
                break;
        case HOLD_MOUNT:
                h->stopping = false;
                keep_mount(h, m, fd_steal(fd));
                break;
        case HOLD_LEAVE:
        case HOLD_STAY:
                /* What an agent at fault does before it is gone is not its users' wish. */
                if (k && !h->faulty)
                        k->mount.leaving = m->kind == HOLD_LEAVE;
                break;
        case HOLD_GONE:
                if (k && !h->faulty)
                        forget(k);
                break;
        }
}

static int fd_of(struct msghdr *msg)
{
        const struct cmsghdr *c = CMSG_FIRSTHDR(msg);
        int fd = -1;

        if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(fd)))
                memcpy(&fd, CMSG_DATA(c), sizeof(fd));
        return fd;
}

void holder_hear(struct holder *h)
{
        static struct hold_message m;

        for (;;) {
                struct iovec text = {.iov_base = &m, .iov_len = sizeof(m)};
                union {
                        struct cmsghdr align;
                        char bytes[CMSG_SPACE(sizeof(int))];
                } space;
                struct msghdr msg = {.msg_iov = &text, .msg_iovlen = 1, .msg_control = space.bytes, .msg_controllen = sizeof(space.bytes)};
                ssize_t n = recvmsg(h->channel, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
                CLEANUP_FD int fd = -1;

                if (n < 0 && errno == EINTR)
                        continue;
                if (n == 0)
                        fd_close(&h->channel); /* its last words */
                if (n <= 0)
                        return;
                fd = fd_of(&msg);
                if ((size_t)n < offsetof(struct hold_message, mount) || (m.kind == HOLD_MOUNT && (size_t)n < sizeof(m)))
                        continue;
                m.mount.name[sizeof(m.mount.name) - 1] = '\0';
                m.mount.mountpoint[sizeof(m.mount.mountpoint) - 1] = '\0';
                m.mount.options[sizeof(m.mount.options) - 1] = '\0';
                take_message(h, &m, &fd);
        }
}
