#include "bench/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "cache/base/fd.h"

extern char **environ;

enum {
        DRAIN_BYTES = 1 << 20,
};

int tool_start(const char *const argv[], int in, int out, pid_t *ret)
{
        posix_spawn_file_actions_t actions;
        int err;

        err = posix_spawn_file_actions_init(&actions);
        if (err)
                return -err;
        if (in >= 0)
                err = posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
        else
                err = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (!err && out >= 0)
                err = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
        else if (!err)
                err = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        if (!err)
                err = posix_spawnp(ret, argv[0], &actions, NULL, (char *const *)argv, environ);
        posix_spawn_file_actions_destroy(&actions);
        if (err)
                fprintf(stderr, "cannot run %s\n", argv[0]);
        return -err;
}

int tool_wait(pid_t pid)
{
        int status;

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int tool_run(const char *const argv[])
{
        pid_t pid;
        int err = tool_start(argv, -1, -1, &pid);

        return err ? err : tool_wait(pid);
}

/* All that comes out of `fd`. 0 or -errno. */
static int gather(int fd, char **ret)
{
        size_t cap = 65536, len = 0;
        char *text = malloc(cap);

        while (text) {
                ssize_t n = fd_read_full(fd, text + len, cap - len - 1);

                if (n < 0) {
                        free(text);
                        return (int)n;
                }
                len += (size_t)n;
                if (len < cap - 1) {
                        text[len] = '\0';
                        *ret = text;
                        return 0;
                }
                char *more = realloc(text, cap *= 2);

                if (!more)
                        free(text);
                text = more;
        }
        return -ENOMEM;
}

bool tool_exists(const char *program)
{
        const char *path = getenv("PATH");
        char file[4096];

        for (const char *at = path ? path : ""; *at; at += strcspn(at, ":"), at += *at == ':') {
                snprintf(file, sizeof file, "%.*s/%s", (int)strcspn(at, ":"), at, program);
                if (!access(file, X_OK))
                        return true;
        }
        return false;
}

int tool_count(const char *const argv[], size_t *bytes)
{
        CLEANUP_FD int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
        CLEANUP_FD int from = -1;
        CLEANUP_FD int to = -1;
        int ends[2], err;
        ssize_t n;
        pid_t pid;

        *bytes = 0;
        if (nowhere < 0 || pipe2(ends, O_CLOEXEC))
                return -errno;
        from = ends[0];
        to = ends[1];
        fcntl(from, F_SETPIPE_SZ, DRAIN_BYTES);
        err = tool_start(argv, -1, to, &pid);
        if (err)
                return err;
        fd_close(&to);
        while ((n = splice(from, NULL, nowhere, NULL, DRAIN_BYTES, 0)) > 0)
                *bytes += (size_t)n;
        fd_close(&from);
        return tool_wait(pid);
}

int tool_capture(const char *const argv[], char **ret)
{
        CLEANUP_FREE char *text = NULL;
        CLEANUP_FD int from = -1;
        CLEANUP_FD int to = -1;
        int ends[2], err, status;
        pid_t pid;

        if (pipe2(ends, O_CLOEXEC))
                return -errno;
        from = ends[0];
        to = ends[1];
        err = tool_start(argv, -1, to, &pid);
        if (err)
                return err;
        fd_close(&to);
        err = gather(from, &text);
        fd_close(&from);
        status = tool_wait(pid);
        if (err)
                return err;
        if (status >= 0)
                *ret = steal_ptr(&text);
        return status;
}
