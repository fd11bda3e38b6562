#include "fs/own_bind.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "fs/own.h"

#define BACKLOG 64
/* From <sys/mount.h>, which can't be had beside <linux/mount.h> everywhere. */
#define PROPAGATION_PRIVATE (1UL << 18)

int own_bind_why(char **why, int rc, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        if (vasprintf(why, fmt, ap) < 0)
                *why = NULL;
        va_end(ap);
        return rc;
}

/*
 * These only make system calls: a child that was forked from a process with threads can do no more.
 */

/* A copy of the mount that nobody else has, and in which nothing that is mounted on the mount appears. The descriptor or -errno. */
static int copy_mount(const char *mountpoint, unsigned connection)
{
        struct mount_attr alone = {.propagation = PROPAGATION_PRIVATE};
        CLEANUP_FD int tree = (int)syscall(SYS_open_tree, AT_FDCWD, mountpoint, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        struct stat st;

        if (tree < 0 || fstat(tree, &st) < 0)
                return -errno;
        /* Something else has been mounted there since. */
        if (minor(st.st_dev) != connection)
                return -ESTALE;
        if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &alone, sizeof(alone)) < 0)
                return -errno;
        return fd_steal(&tree);
}

/* The descriptor or -errno. */
static int bind_in(int tree)
{
        CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct sockaddr_un addr = {.sun_family = AF_UNIX};

        if (fd < 0)
                return -errno;
        snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/" OWN_SOCKET_PATH, fd_proc_path(tree).text);
        if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, BACKLOG) < 0)
                return -errno;
        return fd_steal(&fd);
}

/*
 * By a child
 */

struct handing {
        char control[CMSG_SPACE(sizeof(int))];
        int rc; /* what goes with it */
        struct iovec iov;
        struct msghdr msg;
};

static void handing_init(struct handing *h)
{
        memset(h, 0, sizeof(*h));
        h->iov = (struct iovec){.iov_base = &h->rc, .iov_len = sizeof(h->rc)};
        h->msg = (struct msghdr){.msg_iov = &h->iov, .msg_iovlen = 1, .msg_control = h->control, .msg_controllen = sizeof(h->control)};
}

static void hand_over(int to, int rc)
{
        struct handing h;

        handing_init(&h);
        h.rc = rc < 0 ? rc : 0;
        if (rc < 0) {
                h.msg.msg_control = NULL;
                h.msg.msg_controllen = 0;
        } else {
                struct cmsghdr *c = CMSG_FIRSTHDR(&h.msg);

                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(c), &rc, sizeof(int));
        }
        (void)sendmsg(to, &h.msg, MSG_NOSIGNAL);
}

/* The descriptor or -errno. */
static int take_over(int from)
{
        struct handing h;
        const struct cmsghdr *c;
        ssize_t n;
        int fd;

        handing_init(&h);
        do
                n = recvmsg(from, &h.msg, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        c = CMSG_FIRSTHDR(&h.msg);
        if ((size_t)n != sizeof(h.rc) || (h.rc == 0 && !c))
                return -ECHILD;
        if (h.rc < 0)
                return h.rc;
        memcpy(&fd, CMSG_DATA(c), sizeof(int));
        return fd;
}

/* The child's. */
_Noreturn static void bind_apart(int parent, const char *mountpoint, unsigned connection)
{
        CLEANUP_FD int tree = -1;
        char go;
        int rc = unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 ? -errno : 0;

        if (rc == 0)
                rc = tree = copy_mount(mountpoint, connection);
        /* It is known who we are when this comes. */
        if (rc >= 0 && read(parent, &go, 1) == 1)
                rc = bind_in(tree);
        hand_over(parent, rc);
        _exit(0);
}

static int bind_by_child(const char *mountpoint, unsigned connection, void (*expect)(void *arg, pid_t binder), void *arg)
{
        CLEANUP_FD int ours = -1;
        CLEANUP_FD int theirs = -1;
        int ends[2];
        pid_t pid;
        int rc;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
                return -errno;
        ours = ends[0];
        theirs = ends[1];
        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0)
                bind_apart(theirs, mountpoint, connection);
        fd_close(&theirs);
        expect(arg, pid);
        (void)send(ours, "", 1, MSG_NOSIGNAL);
        rc = take_over(ours);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
        return rc;
}

/*
 * By us
 */

int own_bind(const char *mountpoint, unsigned connection, void (*expect)(void *arg, pid_t binder), void *arg, char **why)
{
        CLEANUP_FD int tree = copy_mount(mountpoint, connection);
        int rc = tree;

        if (tree >= 0) {
                expect(arg, gettid());
                rc = bind_in(tree);
        } else if (tree == -EPERM) {
                rc = bind_by_child(mountpoint, connection, expect, arg);
                if (rc == -EPERM || rc == -ENOSPC || rc == -EACCES)
                        return own_bind_why(why, rc, "without privilege it takes a user namespace, and none is to be had: %s",
                                            strerror(-rc));
        }
        return rc < 0 ? own_bind_why(why, rc, "the socket can't be bound: %s", strerror(-rc)) : rc;
}
