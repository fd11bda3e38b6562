/*
 * The table of operations. What is not in it the kernel does itself (locks, permission checks, poll) or is told ENOSYS once, which is how
 * FLUSH comes never to be sent. OPEN and OPENDIR say so themselves where that is the profile (DESIGN: warm reads send no request at all).
 */
#include "fs/ops.h"

#include "fs/mount.h"
#include "fs/session.h"

const struct fuse_lowlevel_ops fs_ops = {
        .init = session_init,
        .lookup = op_lookup,
        .forget = op_forget,
        .forget_multi = op_forget_multi,
        .getattr = op_getattr,
        .setattr = op_setattr,
        .readlink = op_readlink,
        .mknod = op_mknod,
        .mkdir = op_mkdir,
        .unlink = op_unlink,
        .rmdir = op_rmdir,
        .symlink = op_symlink,
        .rename = op_rename,
        .link = op_link,
        .open = op_open,
        .release = op_release,
        .read = op_read,
        .write = op_write,
        .statfs = op_statfs,
        .fsync = op_fsync,
        .setxattr = op_setxattr,
        .getxattr = op_getxattr,
        .listxattr = op_listxattr,
        .removexattr = op_removexattr,
        .opendir = op_opendir,
        .readdir = op_readdir,
        .readdirplus = op_readdirplus,
        .fsyncdir = op_fsyncdir,
        .create = op_create,
        .tmpfile = op_tmpfile,
        .fallocate = op_fallocate,
        .lseek = op_lseek,
        .copy_file_range = op_copy_file_range,
        .statx = op_statx,
        .ioctl = op_ioctl,
};
