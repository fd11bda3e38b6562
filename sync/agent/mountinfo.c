#include "sync/agent/mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/serve/why.h"

#define FILESYSTEM_TYPE "fuse.dsfs"
#define CONNECTIONS "/sys/fs/fuse/connections"
#define FUSE_CONTROL_MAGIC 0x65735543
#define PROBE_MS 3000

extern char **environ;

void mount_unescape(char *text)
{
        char *to = text;

        for (const char *from = text; *from; to++) {
                if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' && from[3] >= '0' &&
                    from[3] <= '7') {
                        *to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
                        from += 4;
                } else {
                        *to = *from++;
                }
        }
        *to = '\0';
}

/* "36 35 98:0 /root /path options [tag…] - type source options" */
static int parse_line(char *line, struct mount_entry *ret)
{
        char *rest = line;
        char *field[5];
        char *type;
        char *shared;
        unsigned major;
        unsigned minor;

        for (size_t i = 0; i < ARRAY_LEN(field); i++) {
                field[i] = strsep(&rest, " ");
                if (!rest)
                        return -EINVAL;
        }
        type = strstr(rest, " - ");
        if (!type || sscanf(field[2], "%u:%u", &major, &minor) != 2)
                return -EINVAL;
        type += 3;
        type[strcspn(type, " ")] = '\0';
        shared = strstr(rest, " shared:");
        ret->shared = shared && shared < type;
        mount_unescape(field[4]);
        ret->dev = minor;
        ret->path = strdup(field[4]);
        ret->type = strdup(type);
        if (!ret->path || !ret->type) {
                free(ret->path);
                free(ret->type);
                return -ENOMEM;
        }
        return 0;
}

int mount_list_read(struct mount_list *ret)
{
        FILE *f = fopen("/proc/self/mountinfo", "re");
        struct mount_list l = {0};
        CLEANUP_FREE char *line = NULL;
        size_t size = 0;
        int rc = 0;

        if (!f)
                return -errno;
        while (rc == 0 && getline(&line, &size, f) > 0) {
                struct mount_entry *grown = realloc(l.entries, (l.count + 1) * sizeof(*grown));

                if (grown)
                        l.entries = grown;
                rc = grown ? parse_line(line, &l.entries[l.count]) : -ENOMEM;
                if (rc == 0)
                        l.count++;
                else if (rc == -EINVAL)
                        rc = 0; /* a line that we don't understand is not one of ours */
        }
        fclose(f);
        if (rc) {
                mount_list_release(&l);
                return rc;
        }
        *ret = l;
        return 0;
}

void mount_list_release(struct mount_list *l)
{
        for (size_t i = 0; i < l->count; i++) {
                free(l->entries[i].path);
                free(l->entries[i].type);
        }
        free(l->entries);
        memset(l, 0, sizeof(*l));
}

const struct mount_entry *mount_at(const struct mount_list *l, const char *path)
{
        for (size_t i = l->count; i > 0; i--) {
                if (strcmp(l->entries[i - 1].path, path) == 0)
                        return &l->entries[i - 1];
        }
        return NULL;
}

bool mount_is_dsfs(const struct mount_entry *m)
{
        return strcmp(m->type, FILESYSTEM_TYPE) == 0;
}

/* Attributes that the kernel remembers say nothing about who serves: ask past them. */
static int probe_errno(const char *path)
{
        struct statx stx;

        return statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &stx) < 0 ? errno : 0;
}

enum mount_life mount_probe(const char *path)
{
        CLEANUP_FD int pidfd = -1;
        pid_t pid = fork();
        siginfo_t info = {0};
        struct pollfd p;

        if (pid == 0) {
                /* Should it hang, it must not keep a lock or a pipe of ours. */
                (void)close_range(STDERR_FILENO + 1, ~0U, 0);
                _exit(probe_errno(path));
        }
        if (pid < 0)
                return MOUNT_SILENT;
        pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        p = (struct pollfd){.fd = pidfd, .events = POLLIN};
        while (poll(&p, 1, PROBE_MS) < 0 && errno == EINTR)
                ;
        if (!(p.revents & POLLIN)) {
                /* It may be beyond killing until the connection is aborted: nobody waits for it. */
                (void)kill(pid, SIGKILL);
                return MOUNT_SILENT;
        }
        if (waitid(P_PID, (id_t)pid, &info, WEXITED) < 0 || info.si_code != CLD_EXITED)
                return MOUNT_SILENT;
        return info.si_status == ENOTCONN || info.si_status == ECONNABORTED ? MOUNT_DEAD : MOUNT_LIVE;
}

/* The control filesystem, mounted nowhere. */
static int connections_apart(void)
{
        CLEANUP_FD int context = (int)syscall(SYS_fsopen, "fusectl", FSOPEN_CLOEXEC);
        int fd;

        if (context < 0 || syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return -errno;
        fd = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
        return fd < 0 ? -errno : fd;
}

int mount_connections(void)
{
        CLEANUP_FD int fd = open(CONNECTIONS, O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct statfs fs;

        if (fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == FUSE_CONTROL_MAGIC)
                return fd_steal(&fd);
        return connections_apart();
}

int mount_abort_open(int connections, unsigned dev)
{
        char path[32];
        int fd;

        snprintf(path, sizeof(path), "%u/abort", dev);
        fd = openat(connections, path, O_WRONLY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

int mount_abort(unsigned dev)
{
        CLEANUP_FD int connections = mount_connections();
        CLEANUP_FD int fd = connections < 0 ? connections : mount_abort_open(connections, dev);

        return fd < 0 ? fd : fd_write_full(fd, "1", 1);
}

static int fusermount(const char *path, bool lazy)
{
        char *const argv[] = {"fusermount3", "-u", "-q", lazy ? "-z" : "--", lazy ? "--" : (char *)path, lazy ? (char *)path : NULL, NULL};
        int status;
        pid_t pid;
        int rc = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);

        if (rc)
                return -rc;
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        /* It does not say why; all but EBUSY are rare enough. */
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

int mount_remove(const char *path, bool lazy)
{
        if (umount2(path, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
                return 0;
        if (errno == EPERM)
                return fusermount(path, lazy);
        return -errno;
}
