/*
 * Mount points: the part of a mount that the kernel's mount tree knows.
 */
#pragma once

#include "fs/mount.h"

/* The options for fuse_session_new(), a string that the caller frees; NULL without memory. */
char *attach_options(const struct fs_mount *m);

/* Mount the session at its mount point. With privilege also over a dead mount, which is not looked at. 0 or -errno. */
int attach(struct fs_mount *m);
