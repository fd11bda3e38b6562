#include "sync/agent/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"

#define REASON_MAX 8192
#define READY '+'
#define FAILED '-'
#define CHILD_PIPE 3

/* sd_notify(3), without its library. */
static void notify_manager(const char *state)
{
        const char *path = getenv("NOTIFY_SOCKET");
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        CLEANUP_FD int fd = -1;
        size_t len;

        if (!path || (path[0] != '/' && path[0] != '@'))
                return;
        len = strlen(path);
        if (len >= sizeof(addr.sun_path))
                return;
        memcpy(addr.sun_path, path, len);
        if (path[0] == '@')
                addr.sun_path[0] = '\0';
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return;
        if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&addr,
                   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
                log_warn("the service manager can't be told \"%s\" through %s: %s", state, path, strerror(errno));
}

/* The parent: one byte says how it went, the rest why. */
static _Noreturn void wait_for_child(int pipe, pid_t child)
{
        char said[REASON_MAX + 1];
        ssize_t n = fd_read_full(pipe, said, REASON_MAX);
        int status;

        said[n > 0 ? n : 0] = '\0';
        if (said[0] == READY) {
                printf("%s\n", said + 1);
                exit(fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS);
        }
        if (said[0] == FAILED)
                log_error("%s", said + 1);
        else if (waitpid(child, &status, 0) == child && WIFSIGNALED(status))
                log_error("the agent was killed by a signal (%s) before it could mount", strsignal(WTERMSIG(status)));
        else
                log_error("the agent ended before it could mount");
        exit(EXIT_FAILURE);
}

int daemon_start(struct daemon *d, bool foreground)
{
        int ends[2];
        pid_t child;

        d->foreground = foreground;
        d->held = false;
        d->pipe = -1;
        if (foreground)
                return 0;
        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        child = fork();
        if (child < 0) {
                int rc = -errno;

                close(ends[0]);
                close(ends[1]);
                return rc;
        }
        if (child > 0) {
                close(ends[1]);
                wait_for_child(ends[0], child);
        }
        /* What the caller had open (a terminal multiplexer's, a build tool's) must not live on in an agent. */
        if (dup3(ends[1], CHILD_PIPE, O_CLOEXEC) < 0 && ends[1] != CHILD_PIPE)
                return -errno;
        d->pipe = CHILD_PIPE;
        if (close_range(CHILD_PIPE + 1, ~0U, 0) < 0 || setsid() < 0 || chdir("/") < 0)
                return -errno;
        return 0;
}

static void leave_terminal(void)
{
        CLEANUP_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        if (null < 0)
                return;
        (void)dup2(null, STDIN_FILENO);
        (void)dup2(null, STDOUT_FILENO);
        (void)dup2(null, STDERR_FILENO);
}

/* In one piece: the parent takes what is there at the end as the whole. */
static int tell_parent(struct daemon *d, char how, const char *text)
{
        char said[REASON_MAX];
        size_t len = strlen(text);
        int rc;

        if (len > sizeof(said) - 1)
                len = sizeof(said) - 1;
        said[0] = how;
        memcpy(said + 1, text, len);
        rc = fd_write_full(d->pipe, said, len + 1);
        fd_close(&d->pipe);
        return rc;
}

int daemon_ready(struct daemon *d, const char *word)
{
        if (d->foreground) {
                if (!d->held)
                        notify_manager("READY=1");
                return 0;
        }
        leave_terminal();
        return d->pipe < 0 ? 0 : tell_parent(d, READY, word);
}

void daemon_held_ready(struct daemon *d)
{
        if (d->foreground) {
                notify_manager("READY=1");
                return;
        }
        leave_terminal();
        fd_close(&d->pipe);
}

void daemon_failed(struct daemon *d, const char *why)
{
        if (d->pipe < 0)
                log_error("%s", why);
        else
                (void)tell_parent(d, FAILED, why);
}

void daemon_stopping(const struct daemon *d)
{
        if (d->foreground && !d->held)
                notify_manager("STOPPING=1");
}

void daemon_say(const struct daemon *d, const char *status)
{
        char state[256];

        if (!d->foreground)
                return;
        snprintf(state, sizeof(state), "STATUS=%s", status);
        notify_manager(state);
}
