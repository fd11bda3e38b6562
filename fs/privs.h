/*
 * Set-user-ID and set-group-ID bits. With HANDLE_KILLPRIV_V2 the kernel leaves it to the server to drop them when somebody else writes,
 * truncates or changes the owner.
 */
#pragma once

#include "fs/mount.h"

/* Drop them from what `fd` is (a path descriptor will do), if it is a regular file that has them. 0 or -errno. */
int privs_drop(int fd);

/* chmod what `fd` is; a path descriptor will do. 0 or -errno. */
int privs_chmod(int fd, mode_t mode);
