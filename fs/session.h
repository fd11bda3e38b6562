/*
 * What is agreed with the kernel when a mount begins.
 */
#pragma once

#include <fuse_lowlevel.h>

extern const struct fuse_lowlevel_ops fs_ops;

void session_init(void *userdata, struct fuse_conn_info *conn);
