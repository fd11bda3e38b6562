#include "fs/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/ident.h"
#include "fs/mount.h"
#include "fs/overlay.h"

#define BCACHEFS_MAGIC 0xca451a4eU
#define ZFS_MAGIC 0x2fc12fc1U

/* What is added to inode numbers of another filesystem. */
#define FOREIGN_INO ((ino_t)1 << 62)

/* A private copy of the one mount that `path` is on: mounts below it don't show, and later changes to the mount tree don't matter. */
static int open_private(const char *path, bool readonly)
{
        struct mount_attr quiet = {.attr_set = MOUNT_ATTR_NOATIME, .attr_clr = MOUNT_ATTR__ATIME};
        CLEANUP_FD int tree = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        int fd;

        if (tree < 0)
                return -errno;
        if (readonly && syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &quiet, sizeof(quiet)) < 0)
                return -errno;
        fd = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static bool mount_id(int dirfd, const char *path, uint64_t *ret)
{
        struct statx stx;

        if (statx(dirfd, path, AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx) < 0 ||
            !(stx.stx_mask & STATX_MNT_ID))
                return false;
        *ret = stx.stx_mnt_id;
        return true;
}

static bool is_same_mount(int a, int b)
{
        uint64_t of_a, of_b;

        return mount_id(a, "", &of_a) && mount_id(b, "", &of_b) && of_a == of_b;
}

/* The length of the shortest path above `path` that is on the same mount. */
static size_t mount_point_len(const char *path, uint64_t id)
{
        char above[PATH_MAX];
        size_t len = strlen(path);
        uint64_t other;

        if (len >= sizeof(above))
                return len;
        memcpy(above, path, len + 1);
        while (len > 1) {
                size_t up = (size_t)(strrchr(above, '/') - above);

                above[up ? up : 1] = '\0';
                if (!mount_id(AT_FDCWD, above, &other) || other != id)
                        break;
                len = up ? up : 1;
        }
        return len;
}

static bool keeps_acls(int fd)
{
        return fgetxattr(fd, "system.posix_acl_access", NULL, 0) >= 0 || errno == ENODATA;
}

static bool hashes_offsets(uint32_t magic)
{
        return magic == EXT4_SUPER_MAGIC || magic == BCACHEFS_MAGIC || magic == ZFS_MAGIC;
}

/* Takes *fd. */
static int look_at(int *fd, struct layer *ret)
{
        CLEANUP_FD int probe = -1;
        struct ident ident;
        struct statfs fs;
        struct stat st;
        bool acl;
        int rc;

        if (fstatfs(*fd, &fs) < 0 || fstat(*fd, &st) < 0)
                return -errno;
        rc = ident_of(*fd, "", &ident);
        if (rc < 0)
                return rc;
        probe = ident_open(*fd, &ident, O_PATH | O_CLOEXEC);
        acl = keeps_acls(*fd);
        *ret = (struct layer){
                .dev = st.st_dev,
                .by_handle = probe >= 0,
                .acl = acl,
                .hashed_offsets = hashes_offsets((uint32_t)fs.f_type),
                .uid = st.st_uid,
                .gid = st.st_gid,
                .root_fd = fd_steal(fd),
        };
        return 0;
}

int layer_open(const char *source, bool readonly, struct layer *ret)
{
        CLEANUP_FD int fd = open_private(source, readonly);

        if (fd < 0)
                fd = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : look_at(&fd, ret);
}

static int open_below(int dirfd, const char *path)
{
        while (*path == '/')
                path++;
        return openat(dirfd, *path ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* A directory through a private copy of the mount that begins one above it: its neighbours are to be had by "..". */
static int layer_open_below(const char *path, struct layer *ret)
{
        CLEANUP_FD int above = -1;
        CLEANUP_FD int fd = -1;
        const char *name = strrchr(path, '/') + 1;
        char dir[PATH_MAX];

        if ((size_t)(name - path) >= sizeof(dir))
                return -ENAMETOOLONG;
        memcpy(dir, path, (size_t)(name - path));
        dir[name - path] = '\0';
        above = open_private(dir, false);
        fd = above < 0 ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : open_below(above, name);
        return fd < 0 ? -errno : look_at(&fd, ret);
}

int layer_open_both(const char *source, const char *tree, struct layer *source_ret, struct layer *tree_ret)
{
        CLEANUP_FD int whole = -1;
        CLEANUP_FD int source_fd = -1;
        CLEANUP_FD int tree_fd = -1;
        char point[PATH_MAX];
        uint64_t a, b;
        int rc;

        if (mount_id(AT_FDCWD, source, &a) && mount_id(AT_FDCWD, tree, &b) && a == b && strlen(source) < sizeof(point)) {
                size_t len = mount_point_len(source, a);

                memcpy(point, source, len);
                point[len] = '\0';
                whole = open_private(point, false);
                source_fd = whole < 0 ? -1 : open_below(whole, source + len);
                tree_fd = whole < 0 ? -1 : open_below(whole, tree + len);
        }
        if (source_fd < 0 || tree_fd < 0) {
                rc = layer_open(source, false, source_ret);
                return rc < 0 ? rc : layer_open_below(tree, tree_ret);
        }
        rc = look_at(&source_fd, source_ret);
        return rc < 0 ? rc : look_at(&tree_fd, tree_ret);
}

int layer_copy(const struct layer *l, struct layer *ret)
{
        int fd = fcntl(l->root_fd, F_DUPFD_CLOEXEC, 0);

        if (fd < 0)
                return -errno;
        *ret = *l;
        ret->root_fd = fd;
        return 0;
}

void layer_release(struct layer *l)
{
        fd_close(&l->root_fd);
}

void layer_apart(struct layer *l, const struct layer *other)
{
        l->fs = l->dev != other->dev;
}

bool layer_same_mount(const struct layer *a, const struct layer *b)
{
        return is_same_mount(a->root_fd, b->root_fd);
}

int layer_ident(const struct layer *l, int dirfd, const char *name, struct ident *ret)
{
        int rc = ident_of(dirfd, name, ret);

        if (rc == 0)
                ret->fs = l->fs & 1;
        return rc;
}

/* Filesystems count from below. */
ino_t layer_ino(const struct layer *l, ino_t ino)
{
        return l->fs ? ino ^ FOREIGN_INO : ino;
}

/* Deleted directories have paths too, with this behind; but so may a living one's name end. */
static bool is_deleted(int fd, const char *path, size_t len)
{
        static const char gone[] = " (deleted)";
        struct stat st;

        if (len < sizeof(gone) || strcmp(path + len - sizeof(gone) + 1, gone) != 0)
                return false;
        return fstatat(fd, "", &st, AT_EMPTY_PATH) < 0 || st.st_nlink == 0;
}

static ssize_t path_of(int fd, char *ret, size_t size)
{
        ssize_t n = readlink(fd_proc_path(fd).text, ret, size);

        if (n < 0)
                return -errno;
        if ((size_t)n >= size || ret[0] != '/')
                return -ENAMETOOLONG;
        ret[n] = '\0';
        return n;
}

int layer_path(const struct layer *l, int fd, char *ret, size_t size)
{
        char path[PATH_MAX + 16], root[PATH_MAX];
        ssize_t len = path_of(fd, path, sizeof(path));
        ssize_t above = len < 0 ? 0 : path_of(l->root_fd, root, sizeof(root));

        if (len < 0 || above < 0)
                return (int)(len < 0 ? len : above);
        if (is_deleted(fd, path, (size_t)len))
                return -ENOENT;
        /* The root directory itself; of a private copy perhaps, as other layers may have theirs: all paths are below it. */
        if (above == 1) {
                if (!is_same_mount(fd, l->root_fd))
                        return -EXDEV;
                above = 0;
        }
        if (above > len || memcmp(path, root, (size_t)above) != 0 || (path[above] && path[above] != '/'))
                return -EXDEV;
        above += path[above] == '/';
        if ((size_t)(len - above) >= size)
                return -ENAMETOOLONG;
        memcpy(ret, path + above, (size_t)(len - above) + 1);
        return 0;
}

int layer_path_of(const struct layer *l, int fd, const char *name, char *ret)
{
        int rc = layer_path(l, fd, ret, PATH_MAX);
        size_t len = rc < 0 ? 0 : strlen(ret);

        if (rc < 0)
                return rc;
        return snprintf(ret + len, PATH_MAX - len, "%s%s", len ? "/" : "", name) < (int)(PATH_MAX - len) ? 0 : -ENAMETOOLONG;
}

int layer_sync(int fd)
{
        CLEANUP_FD int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return own < 0 || fsync(own) < 0 ? -errno : 0;
}

const struct layer *layer_of(const struct fs_mount *m, const struct node *n)
{
        return node_is(n, NODE_OVERLAY) ? &m->overlay->layer : &m->source;
}
