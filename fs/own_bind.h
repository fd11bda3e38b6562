/*
 * Binding a unix socket in a mount of ours, so that those who have the mount can connect to it: the kernel finds such a socket by its
 * inode.
 *
 * It is bound through a private copy of the mount. A socket keeps the mount busy that it was bound through, and so do its connections; the
 * copy is nobody's, so the mount itself can still be unmounted, and the copy lasts as long as the socket and its connections are open.
 * Where only a user namespace allows us to copy mounts, a child makes one, binds, and hands the socket over.
 */
#pragma once

#include <sys/types.h>

#include "cache/base/err.h"

/* Bind OWN_SOCKET_PATH in the mount at `mountpoint`, if it is still the one of that connection, and listen. `expect` is told before who it
 * is (a thread's or process's id) that asks the mount for it. The descriptor, or -errno and *why (one phrase, the caller frees). Blocks:
 * not on a thread that serves. */
int own_bind(const char *mountpoint, unsigned connection, void (*expect)(void *arg, pid_t binder), void *arg, char **why);

/* Put a phrase in *why and return `rc`. */
int own_bind_why(char **why, int rc, const char *fmt, ...) PRINTF_LIKE(3, 4);
