#include "fs/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/fd.h"

#define URING_DEPTH "16"
#define OPTIONS_BYTES 256U

/* "fsname=dsfs:NAME,subtype=dsfs,…"; commas and backslashes in the name escaped. */
char *attach_options(const struct fs_mount *m)
{
        size_t size = 2 * strlen(m->options.name) + OPTIONS_BYTES;
        char *text = malloc(size);
        size_t n;

        if (!text)
                return NULL;
        n = (size_t)snprintf(text, size, "default_permissions,subtype=dsfs,fsname=dsfs:");
        for (const char *c = m->options.name; *c; c++) {
                if (*c == ',' || *c == '\\')
                        text[n++] = '\\';
                text[n++] = *c;
        }
        text[n] = '\0';
        if (m->options.allow_other)
                n += (size_t)snprintf(text + n, size - n, ",allow_other");
        if (m->options.readonly)
                n += (size_t)snprintf(text + n, size - n, ",ro");
        if (m->options.transport != FS_TRANSPORT_DEV)
                snprintf(text + n, size - n, ",io_uring,io_uring_q_depth=" URING_DEPTH);
        return text;
}

/* What libfuse's own way would do but for one thing: it looks at the mount point first, which fails on a dead mount, and mounting over
 * that is what heals it for those who see it through a slave mount. */
static int attach_directly(struct fs_mount *m)
{
        unsigned long flags = MS_NOSUID | MS_NODEV | (m->options.readonly ? MS_RDONLY : 0);
        CLEANUP_FD int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
        CLEANUP_FREE char *source = NULL;
        char data[OPTIONS_BYTES];
        char path[32];
        int rc;

        if (fd < 0)
                return -errno;
        if (asprintf(&source, "dsfs:%s", m->options.name) < 0) {
                source = NULL;
                return -ENOMEM;
        }
        snprintf(data, sizeof(data), "fd=%d,rootmode=%o,user_id=%u,group_id=%u,default_permissions%s", fd, S_IFDIR, getuid(), getgid(),
                 m->options.allow_other ? ",allow_other" : "");
        if (mount(source, m->options.mountpoint, "fuse.dsfs", flags, data) < 0)
                return -errno;
        snprintf(path, sizeof(path), "/dev/fd/%d", fd);
        rc = fuse_session_mount(m->session, path);
        if (rc == 0)
                (void)fd_steal(&fd); /* the session's now */
        else
                umount2(m->options.mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW);
        return rc == 0 ? 0 : -EIO;
}

int attach(struct fs_mount *m)
{
        if (m->privileged)
                return attach_directly(m);
        return fuse_session_mount(m->session, m->options.mountpoint) == 0 ? 0 : -EIO;
}

/* Without privilege only the set-uid helper can unmount. */
static int helper_umount(const char *mountpoint, bool lazy)
{
        pid_t pid = fork();
        int status;

        if (pid < 0)
                return -errno;
        if (pid == 0) {
                execlp("fusermount3", "fusermount3", lazy ? "-uzq" : "-uq", "--", mountpoint, (char *)NULL);
                _exit(127);
        }
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
                return -ENOENT;
        return status == 0 ? 0 : -EBUSY;
}

int fs_mount_stop(struct fs_mount *m, bool lazy)
{
        struct stat st;

        /* Somebody else's mount on top of ours is not ours to unmount. */
        if (m->connection && stat(m->options.mountpoint, &st) == 0 && minor(st.st_dev) != m->connection)
                return -EBUSY;
        if (!m->privileged)
                return helper_umount(m->options.mountpoint, lazy);
        return umount2(m->options.mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) < 0 ? -errno : 0;
}
