#include "cache/base/gitdir.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache/base/fd.h"

#define FILE_MAX 4096U
#define GITDIR "gitdir: "

int gitdir_open_file(int at, const char *path)
{
        struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
        CLEANUP_FD int fd = (int)syscall(SYS_openat2, at, path, &how, sizeof(how));
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        return S_ISREG(st.st_mode) ? fd_steal(&fd) : -EINVAL;
}

/* Of the directory that a small file in `at` names, after `lead`. */
static int open_named(int at, const char *file, const char *lead)
{
        CLEANUP_FD int from = gitdir_open_file(at, file);
        char text[FILE_MAX + 1];
        ssize_t n = from < 0 ? -1 : fd_read_full(from, text, FILE_MAX);
        int fd;

        if (n < 0)
                return -ENOENT;
        text[n] = '\0';
        text[strcspn(text, "\n")] = '\0';
        if (strncmp(text, lead, strlen(lead)) != 0)
                return -ENOENT;
        fd = openat(at, text + strlen(lead), O_PATH | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

int gitdir_open(int root)
{
        int fd = openat(root, ".git", O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (fd >= 0 || errno != ENOTDIR)
                return fd < 0 ? -errno : fd;
        return open_named(root, ".git", GITDIR);
}

int gitdir_open_common(int git)
{
        int fd = open_named(git, "commondir", "");

        if (fd != -ENOENT)
                return fd;
        fd = openat(git, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

bool gitdir_has_lock(int git)
{
        struct stat st;

        return fstatat(git, "index.lock", &st, AT_SYMLINK_NOFOLLOW) == 0;
}
