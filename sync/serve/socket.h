/*
 * Unix sockets of a daemon: made so that nobody ever finds one with wider permissions or without a listener; and who is at the other end.
 */
#pragma once

#include <stdbool.h>

/* How many may wait to be accepted. */
#define SOCKET_BACKLOG 64

/* Listen at `name` in the directory `dirfd`, in place of what was there: mode 0600, close-on-exec, not blocking. The descriptor or -errno.
 */
int socket_listen(int dirfd, const char *name);

/* Does the other end run as we do, or as root? */
bool socket_peer_is_owner(int fd);
