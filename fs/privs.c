#include "fs/privs.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache/base/fd.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

#define MODE_BITS 07777U

int privs_chmod(int fd, mode_t mode)
{
        if (syscall(SYS_fchmodat2, fd, "", mode & MODE_BITS, AT_EMPTY_PATH) == 0)
                return 0;
        if (errno != ENOSYS && errno != EINVAL)
                return -errno;
        /* Kernels before 6.6. */
        return chmod(fd_proc_path(fd).text, mode & MODE_BITS) < 0 ? -errno : 0;
}

int privs_drop(int fd)
{
        struct stat st;
        mode_t mode;

        if (fstatat(fd, "", &st, AT_EMPTY_PATH) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return 0;
        mode = st.st_mode & ~(mode_t)S_ISUID;
        /* Without group execution the bit means mandatory locking, not privilege. */
        if (mode & S_IXGRP)
                mode &= ~(mode_t)S_ISGID;
        return mode == st.st_mode ? 0 : privs_chmod(fd, mode);
}
