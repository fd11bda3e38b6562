/*
 * Changing attributes, and extended ones.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/xattr.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "fs/backing.h"
#include "fs/cross.h"
#include "fs/entry.h"
#include "fs/inject.h"
#include "fs/later.h"
#include "fs/ops.h"
#include "fs/own.h"
#include "fs/owner.h"
#include "fs/place.h"
#include "fs/privs.h"
#include "fs/reach.h"
#include "fs/room.h"
#include "fs/worker.h"

#define SET_OWNER (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)
#define SET_TIMES (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)

static int set_owner(struct fs_mount *m, struct node *n, int fd, const struct stat *attr, int to_set)
{
        struct owner o = {
                .uid = to_set & FUSE_SET_ATTR_UID ? attr->st_uid : (uid_t)-1,
                .gid = to_set & FUSE_SET_ATTR_GID ? attr->st_gid : (gid_t)-1,
        };

        return owner_set(m, n, fd, o);
}

static int set_mode(struct fs_mount *m, struct node *n, int fd, mode_t mode)
{
        if (m->options.squash && !S_ISDIR(n->type))
                mode &= ~(mode_t)(S_ISUID | S_ISGID);
        return privs_chmod(fd, mode);
}

/* truncate() to the size that it has changes no time on some filesystems, ftruncate() does. To no size is taken for O_TRUNC, which comes
 * here without a file, too. */
static int cut(int fd, off_t size, bool by_path)
{
        if (by_path && size && truncate(fd_proc_path(fd).text, size) == 0)
                return 0;
        return ftruncate(fd, size) < 0 ? -errno : 0;
}

static int set_size(struct fs_mount *m, struct node *n, off_t size, bool by_path, bool kill)
{
        struct held h;
        int rc = reach(m, n, SLOT_WRITE, &h);

        if (rc < 0)
                return rc;
        later_writer(m);
        rc = cut(h.fd, size, by_path);
        if (rc == 0 && kill)
                rc = privs_drop(h.fd);
        slots_release(m->slots, &h);
        return rc;
}

static struct timespec time_of(int to_set, int set, int set_now, struct timespec given)
{
        if (to_set & set_now)
                return (struct timespec){.tv_nsec = UTIME_NOW};
        return to_set & set ? given : (struct timespec){.tv_nsec = UTIME_OMIT};
}

static int set_times(int fd, const struct stat *attr, int to_set)
{
        struct timespec ts[2] = {
                time_of(to_set, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW, attr->st_atim),
                time_of(to_set, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW, attr->st_mtim),
        };

        return utimensat(fd, "", ts, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
        struct fs_mount *m = worker_serve(req, OP_SETATTR);
        struct node *n = mount_node(m, ino);
        struct stat st;
        struct held h;
        bool key;
        int rc;

        if (n && inject_setattr(m, req, n))
                return;
        cross_enter(m);
        rc = !n ? own_refusal(ino) : node_is(n, NODE_READONLY) ? -EROFS : reach(m, n, SLOT_PATH, &h);
        if (rc < 0) {
                cross_leave(m);
                fuse_reply_err(req, -rc);
                return;
        }
        key = place_touch(m, n);
        if (to_set & SET_OWNER)
                rc = set_owner(m, n, h.fd, attr, to_set);
        if (rc == 0 && (to_set & FUSE_SET_ATTR_MODE))
                rc = set_mode(m, n, h.fd, attr->st_mode);
        if (rc == 0 && (to_set & FUSE_SET_ATTR_SIZE))
                rc = set_size(m, n, attr->st_size, !fi, to_set & FUSE_SET_ATTR_KILL_SUID);
        if (rc == 0 && (to_set & SET_TIMES))
                rc = set_times(h.fd, attr, to_set);
        if (rc == 0 && fstatat(h.fd, "", &st, AT_EMPTY_PATH) < 0)
                rc = -errno;
        slots_release(m->slots, &h);
        cross_leave(m);
        place_touched(m, n, key, rc == 0);
        if (rc < 0) {
                fuse_reply_err(req, -rc);
                return;
        }
        entry_show(m, n, &st);
        fuse_reply_attr(req, &st, backing_attr_timeout(m, n));
}

/* An object whose extended attributes are asked for: by descriptor where one is open, else by way of procfs, which follows to the object
 * itself. */
struct bearer {
        struct fs_mount *m;
        struct node *n;
        struct held h;
        bool open;
        bool key;
        struct fd_path path;
};

static int bearer_begin(struct bearer *b, fuse_req_t req, enum op op, fuse_ino_t ino)
{
        struct node *n;
        int rc;

        b->m = worker_serve(req, op);
        b->h = HELD_NONE;
        b->n = NULL;
        b->key = false;
        /* Said once, the kernel doesn't ask again. */
        if (!b->m->options.xattr)
                return -ENOSYS;
        n = mount_node(b->m, ino);
        if (!n)
                return own_refusal(ino);
        b->n = n;
        b->open = S_ISREG(n->type) && slots_get(b->m->slots, n, SLOT_READ, &b->h);
        if (b->open)
                return 0;
        rc = reach(b->m, n, SLOT_PATH, &b->h);
        if (rc == 0)
                b->path = fd_proc_path(b->h.fd);
        return rc;
}

/* Of a change. */
static int bearer_begin_change(struct bearer *b, fuse_req_t req, enum op op, fuse_ino_t ino)
{
        int rc;

        cross_enter(fuse_req_userdata(req));
        rc = bearer_begin(b, req, op, ino);
        return rc == 0 && node_is(b->n, NODE_READONLY) ? -EROFS : rc;
}

static void bearer_end_change(struct bearer *b, fuse_req_t req, int rc)
{
        slots_release(b->m->slots, &b->h);
        cross_leave(b->m);
        if (b->n)
                place_touched(b->m, b->n, b->key, rc == 0);
        fuse_reply_err(req, -rc);
}

/* The value is as the mount shows it. */
static int xattr_write(const struct bearer *b, const char *name, const char *value, size_t size, int flags)
{
        CLEANUP_FREE char *copy = malloc(size + 1);
        ssize_t rc;

        if (!copy)
                return -ENOMEM;
        memcpy(copy, value, size);
        owner_swap_acl(b->m, name, copy, size);
        rc = WITH_ROOM(b->m, b->open ? fsetxattr(b->h.fd, name, copy, size, flags) : setxattr(b->path.text, name, copy, size, flags));
        return rc < 0 ? -errno : 0;
}

void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
        struct bearer b;
        int rc = bearer_begin_change(&b, req, OP_SETXATTR, ino);

        /* As with set-uid: nothing made through the mount runs with more than its user has. */
        if (rc == 0 && b.m->options.squash && strcmp(name, XATTR_NAME_CAPS) == 0)
                rc = -EPERM;
        if (rc == 0) {
                b.key = place_touch(b.m, b.n);
                rc = xattr_write(&b, name, value, size, flags);
        }
        bearer_end_change(&b, req, rc);
}

void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
        struct bearer b;
        int rc = bearer_begin_change(&b, req, OP_REMOVEXATTR, ino);

        if (rc == 0) {
                b.key = place_touch(b.m, b.n);
                rc = b.open ? fremovexattr(b.h.fd, name) : removexattr(b.path.text, name);
                if (rc < 0)
                        rc = -errno;
        }
        bearer_end_change(&b, req, rc);
}

/* The value of `name`, or the list of names without one. */
static ssize_t xattr_read(struct bearer *b, const char *name, char *buf, size_t size)
{
        ssize_t n;

        if (name)
                n = b->open ? fgetxattr(b->h.fd, name, buf, size) : getxattr(b->path.text, name, buf, size);
        else
                n = b->open ? flistxattr(b->h.fd, buf, size) : listxattr(b->path.text, buf, size);
        return n < 0 ? -errno : n;
}

/* Without the names that only the privileged are shown, as we are. The length that is left. */
static ssize_t list_for_everybody(char *list, ssize_t len)
{
        char *to = list;

        for (const char *name = list, *end = list + len; name < end;) {
                size_t size = strlen(name) + 1;

                if (strncmp(name, XATTR_TRUSTED_PREFIX, XATTR_TRUSTED_PREFIX_LEN) != 0)
                        to = (char *)memmove(to, name, size) + size;
                name += size;
        }
        return to - list;
}

static void xattr_answer(fuse_req_t req, enum op op, fuse_ino_t ino, const char *name, size_t size)
{
        bool everybody = !name && fuse_req_ctx(req)->uid != 0;
        size_t room = everybody ? XATTR_LIST_MAX : size < XATTR_SIZE_MAX ? size : XATTR_SIZE_MAX;
        CLEANUP_FREE char *buf = NULL;
        struct bearer b;
        ssize_t n = bearer_begin(&b, req, op, ino);

        if (n == 0 && room) {
                buf = malloc(room);
                if (!buf)
                        n = -ENOMEM;
        }
        if (n == 0)
                n = xattr_read(&b, name, buf, room);
        if (own_is(ino))
                n = name ? -ENODATA : 0;
        if (n > 0 && name && size)
                owner_swap_acl(b.m, name, buf, (size_t)n);
        slots_release(b.m->slots, &b.h);
        if (n > 0 && everybody)
                n = list_for_everybody(buf, n);
        if (n > 0 && size && (size_t)n > size)
                n = -ERANGE;
        if (n < 0)
                fuse_reply_err(req, (int)-n);
        else if (size)
                fuse_reply_buf(req, buf, (size_t)n);
        else
                fuse_reply_xattr(req, (size_t)n);
}

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
        xattr_answer(req, OP_GETXATTR, ino, name, size);
}

void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
        xattr_answer(req, OP_LISTXATTR, ino, NULL, size);
}
