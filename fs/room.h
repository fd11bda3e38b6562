/*
 * Removed files that nobody has open any more are closed, and their space is free, only when the kernel has had us forget them: a moment
 * after the removal has returned. Who needs the space by then waits for that.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <sys/types.h>

#include "fs/mount.h"

/* Did `rc`, a negative errno or not, say that there is no room, and may there be now? Waits for what is about to be forgotten. Any thread
 * that serves or works; errno stays. */
bool room_awaited(struct fs_mount *m, ssize_t rc);

/* A call that answers -1 with errno, and once more if it may find room then. */
#define WITH_ROOM(m, call)                                                                                                                 \
        ({                                                                                                                                 \
                ssize_t room_rc = (call);                                                                                                  \
                room_rc < 0 && room_awaited((m), -errno) ? (ssize_t)(call) : room_rc;                                                      \
        })
