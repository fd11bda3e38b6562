#include "fs/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/ident.h"
#include "fs/mount.h"

/* A private copy of the one mount that the source is on: mounts below it don't show, and later changes to the mount tree don't matter. */
static int open_private(const char *source, bool readonly)
{
        struct mount_attr quiet = {.attr_set = MOUNT_ATTR_NOATIME, .attr_clr = MOUNT_ATTR__ATIME};
        CLEANUP_FD int tree = (int)syscall(SYS_open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        int fd;

        if (tree < 0)
                return -errno;
        if (readonly && syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &quiet, sizeof(quiet)) < 0)
                return -errno;
        fd = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static bool keeps_acls(int fd)
{
        return fgetxattr(fd, "system.posix_acl_access", NULL, 0) >= 0 || errno == ENODATA;
}

int layer_open(const char *source, bool readonly, struct layer *ret)
{
        CLEANUP_FD int fd = open_private(source, readonly);
        CLEANUP_FD int probe = -1;
        struct ident ident;
        struct stat st;
        bool acl;
        int rc;

        if (fd < 0)
                fd = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        rc = ident_of(fd, "", &ident);
        if (rc < 0)
                return rc;
        probe = ident_open(fd, &ident, O_PATH | O_CLOEXEC);
        acl = keeps_acls(fd);
        *ret = (struct layer){
                .dev = st.st_dev,
                .by_handle = probe >= 0,
                .acl = acl,
                .uid = st.st_uid,
                .gid = st.st_gid,
                .root_fd = fd_steal(&fd),
        };
        return 0;
}

void layer_release(struct layer *l)
{
        fd_close(&l->root_fd);
}

const struct layer *layer_route(const struct fs_mount *m, const struct node *dir, const char *name)
{
        (void)dir;
        (void)name;
        return &m->source;
}

const struct layer *layer_of(const struct fs_mount *m, const struct node *n)
{
        (void)n;
        return &m->source;
}
