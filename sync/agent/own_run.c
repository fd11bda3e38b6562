#include "sync/agent/own_run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/fd.h"

#define PROGRAM "/proc/self/exe"
#define ARGS_MAX 16
#define SAID_MAX (64 * 1024)
#define MS_PER_S 1000
#define KILLED 128

extern char **environ;

/* Ours, but for what is between us and a service manager, and with another configuration. The array is the caller's to free. */
static const char **environment(const char *config_entry)
{
        static const char *const not [] = {"NOTIFY_SOCKET=", "LISTEN_FDS=", "LISTEN_PID=", "LISTEN_FDNAMES=", "WATCHDOG_"};
        size_t count = 0;
        size_t n = 0;
        const char **env;

        while (environ[count])
                count++;
        env = malloc((count + 2) * sizeof(*env));
        for (size_t i = 0; env && i < count; i++) {
                bool left_out = config_entry && strncmp(environ[i], config_entry, strcspn(config_entry, "=") + 1) == 0;

                for (size_t k = 0; k < ARRAY_LEN(not ); k++)
                        left_out = left_out || strncmp(environ[i], not [k], strlen(not [k])) == 0;
                if (!left_out)
                        env[n++] = environ[i];
        }
        if (env && config_entry)
                env[n++] = config_entry;
        if (env)
                env[n] = NULL;
        return env;
}

static int spawn(pid_t *pid, const char *const argv[], const char *const env[], int said)
{
        posix_spawn_file_actions_t files;
        posix_spawnattr_t attr;
        sigset_t none, all;
        int rc;

        sigemptyset(&none);
        sigfillset(&all);
        (void)posix_spawn_file_actions_init(&files);
        (void)posix_spawnattr_init(&attr);
        rc = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (rc == 0)
                rc = posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        if (rc == 0)
                rc = posix_spawn_file_actions_adddup2(&files, said, STDERR_FILENO);
        /* Threads have their signals blocked; a program doesn't want that. */
        (void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        (void)posix_spawnattr_setsigmask(&attr, &none);
        (void)posix_spawnattr_setsigdefault(&attr, &all);
        if (rc == 0)
                rc = posix_spawn(pid, PROGRAM, &files, &attr, (char *const *)argv, (char *const *)env);
        (void)posix_spawn_file_actions_destroy(&files);
        (void)posix_spawnattr_destroy(&attr);
        return -rc;
}

static int wait_for(pid_t pid, int seconds)
{
        CLEANUP_FD int fd = (int)syscall(SYS_pidfd_open, pid, 0);
        struct pollfd p = {.fd = fd, .events = POLLIN};
        bool late = false;
        int status, n;

        while ((n = poll(&p, 1, seconds * MS_PER_S)) < 0 && errno == EINTR)
                ;
        if (n == 0) {
                late = true;
                (void)kill(pid, SIGKILL);
        }
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        if (late)
                return -ETIMEDOUT;
        return WIFEXITED(status) ? WEXITSTATUS(status) : KILLED + WTERMSIG(status);
}

/* The last line, without what stands in front of every message. */
static char *last_line(char *text)
{
        static const char *const fronts[] = {"dsfs: ", "error: ", "warning: "};
        char *line;

        for (size_t len = strlen(text); len && text[len - 1] == '\n';)
                text[--len] = '\0';
        line = strrchr(text, '\n');
        line = line ? line + 1 : text;
        for (size_t i = 0; i < ARRAY_LEN(fronts); i++) {
                if (strncmp(line, fronts[i], strlen(fronts[i])) == 0)
                        line += strlen(fronts[i]);
        }
        return *line ? strdup(line) : NULL;
}

int own_run(const char *const args[], const char *config, int seconds, char **said)
{
        CLEANUP_FREE char *entry = config ? text_new("DSFS_CFG_PATH=%s", config) : NULL;
        CLEANUP_FREE const char **env = environment(entry);
        CLEANUP_FD int out = memfd_create("dsfs-said", MFD_CLOEXEC);
        CLEANUP_FREE char *text = NULL;
        const char *argv[ARGS_MAX + 2] = {"dsfs"};
        pid_t pid;
        int rc;

        *said = NULL;
        if (out < 0)
                return -errno;
        if (!env || (config && !entry))
                return -ENOMEM;
        for (size_t i = 0; args[i]; i++) {
                if (i == ARGS_MAX)
                        return -E2BIG;
                argv[i + 1] = args[i];
        }
        rc = spawn(&pid, argv, env, out);
        if (rc)
                return rc;
        rc = wait_for(pid, seconds);
        if (fd_read_file(AT_FDCWD, fd_proc_path(out).text, SAID_MAX, &text) > 0)
                *said = last_line(text);
        return rc;
}
