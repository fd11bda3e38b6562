/*
 * How the inotify backend reaches, watches and reads directories. A directory is watched first and read then, so that nothing made in
 * between is missed; what reading finds is told, for it may have been made, filled and read by others before the watch was there.
 *
 * The tree shows places as of the last event handled, the filesystem those of now. So what is opened by a path is believed only when
 * its identity is the one we look for, and a directory found takes its place in the tree by its watch descriptor, which is the inode's.
 *
 * Symlinks and mount points inside the source are not followed.
 */
#include "sync/watch_inotify.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache/base/fd.h"

#define MASK                                                                                                                               \
        (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF |    \
         IN_ONLYDIR)

/* Directories still to be read, by descriptor, for they may go meanwhile. */
struct todo {
        int *wds; /* owned */
        size_t count;
        size_t room;
};

static int todo_add(struct todo *t, int wd)
{
        if (t->count == t->room) {
                size_t room = t->room ? t->room * 2 : 64;
                int *wds = realloc(t->wds, room * sizeof(*wds));

                if (!wds)
                        return -ENOMEM;
                t->wds = wds;
                t->room = room;
        }
        t->wds[t->count++] = wd;
        return 0;
}

static int open_below(int dirfd, const char *path)
{
        struct open_how how = {
                .flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
        };
        long fd;

        do
                fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
        while (fd < 0 && (errno == EINTR || errno == EAGAIN));
        return fd < 0 ? -errno : (int)fd;
}

/* Open `d`, which is below `from`; `from_fd` is that directory. The path is put together from its end; one longer than the kernel
 * takes is walked in pieces. The descriptor, or -errno; -ESTALE when it isn't below, or not the directory we mean. */
static int reach(const struct watch_dir *from, int from_fd, const struct watch_dir *d)
{
        char path[PATH_MAX];
        char *at = path + sizeof(path) - 1;
        const struct watch_dir *up = d;
        CLEANUP_FD int start = -1;
        CLEANUP_FD int fd = -1;
        struct ident id;
        int rc;

        *at = '\0';
        for (; up != from; up = up->parent) {
                if (!up->parent)
                        return -ESTALE;
                if (at - path < up->len + 1)
                        break;
                if (*at)
                        *--at = '/';
                at -= up->len;
                memcpy(at, up->name, up->len);
        }
        if (up != from) {
                start = reach(from, from_fd, up);
                if (start < 0)
                        return start;
        }
        fd = open_below(start >= 0 ? start : from_fd, *at ? at : ".");
        if (fd < 0)
                return fd;
        rc = ident_of(fd, "", &id);
        if (rc)
                return rc;
        return ident_equal(&id, &d->ident) ? fd_steal(&fd) : -ESTALE;
}

bool ino_has_moved(int rc)
{
        return rc == -ENOENT || rc == -ESTALE || rc == -ENOTDIR || rc == -ELOOP;
}

/* A directory could not be watched or read. */
static void cannot_see(struct ino *n, int rc)
{
        if (rc == -ENOSPC)
                n->limit_hit = true;
        else if (!ino_has_moved(rc) && rc != -EXDEV)
                n->blind_error = -rc;
}

int ino_dir_fd(struct ino *n, const struct watch_dir *d)
{
        int fd;

        if (d == n->tree.root)
                return n->c->root;
        if (d->wd == n->at_wd)
                return n->at_fd;
        ino_forget_fd(n);
        if (!n->tree.root)
                return -ENOENT;
        fd = reach(n->tree.root, n->c->root, d);
        if (fd >= 0) {
                n->at_wd = d->wd;
                n->at_fd = fd;
        } else if (fd != -EACCES) {
                cannot_see(n, fd);
        }
        return fd;
}

void ino_forget_fd(struct ino *n)
{
        fd_close(&n->at_fd);
        n->at_wd = -1;
}

/* Watch the directory `fd`. In *ret its record, perhaps an old one. 0 or -errno. */
static int watch_fd(struct ino *n, int fd, struct watch_dir **ret)
{
        struct fd_path path = fd_proc_path(fd);
        struct watch_core *c = n->c;
        struct watch_dir *d;
        struct ident id;
        int rc = ident_of(fd, "", &id);
        int wd;

        if (rc)
                return rc;
        wd = inotify_add_watch(c->fd, path.text, MASK);
        if (wd < 0)
                return -errno;
        d = watch_tree_find(&n->tree, wd);
        if (!d) {
                /* Only a new watch counts against a limit of our own. */
                if (c->options.max_watches && n->tree.count >= c->options.max_watches) {
                        inotify_rm_watch(c->fd, wd);
                        return -ENOSPC;
                }
                d = watch_tree_add(&n->tree, wd, &id);
                if (!d) {
                        inotify_rm_watch(c->fd, wd);
                        return -ENOMEM;
                }
                atomic_fetch_add_explicit(&c->watches, 1, memory_order_relaxed);
        }
        d->seen = true;
        *ret = d;
        return 0;
}

/* Watch the entry `name` of `parent`, open as `dirfd`, and give it its place. *ret_fd is the directory, O_PATH. 0 or -errno; -EXDEV when
 * it isn't ours to watch: on another filesystem, or where we can't search and nobody can reach it through us. */
static int watch_child(struct ino *n, struct watch_dir *parent, int dirfd, const char *name, struct watch_dir **ret, int *ret_fd)
{
        CLEANUP_FD int fd = open_below(dirfd, name);
        struct watch_dir *d;
        struct stat st;
        int rc;

        if (fd < 0)
                return fd == -EACCES ? -EXDEV : fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_dev != n->c->dev)
                return -EXDEV;
        rc = watch_fd(n, fd, &d);
        if (rc == -EACCES && faccessat(dirfd, name, X_OK, AT_EACCESS) < 0)
                return -EXDEV;
        if (rc)
                return rc;
        rc = watch_tree_place(&n->tree, d, parent, name, strlen(name));
        if (rc == -ELOOP)
                n->resync = true;
        if (rc)
                return rc;
        *ret = d;
        *ret_fd = fd_steal(&fd);
        return 0;
}

static void tell_file(struct ino *n, int dirfd, const char *name)
{
        struct ident id;

        if (ident_of(dirfd, name, &id) == 0)
                watch_tell_content(n->c, &id, NULL, 0);
}

static int read_entry(struct ino *n, struct watch_dir *d, int dirfd, const struct dirent *e, bool tell, struct todo *todo)
{
        struct watch_dir *child;
        CLEANUP_FD int fd = -1;
        int rc = -ENOTDIR;

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                return 0;
        if (tell)
                watch_tell_entry(n->c, &(struct watch_name){&d->ident, e->d_name, strlen(e->d_name)}, NULL, 0);
        if (e->d_type == DT_DIR || e->d_type == DT_UNKNOWN)
                rc = watch_child(n, d, dirfd, e->d_name, &child, &fd);
        if (rc == 0 && tell)
                watch_tell_attr(n->c, &child->ident, NULL, 0);
        if (rc == 0)
                return child->read ? 0 : todo_add(todo, child->wd);
        cannot_see(n, rc);
        if (tell && e->d_type != DT_DIR && e->d_type != DT_LNK)
                tell_file(n, dirfd, e->d_name);
        return 0;
}

/* A descriptor to read the directory `fd` with. Our looking is no access of the developer's: it leaves the access time alone, where the
 * directory is ours to say so. */
static int open_to_read(int fd)
{
        int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME);

        return own < 0 && errno == EPERM ? openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : own;
}

/* Read the directory `fd`; the directories in it are watched and put on `todo`. */
static void read_dir(struct ino *n, struct watch_dir *d, int fd, bool tell, struct todo *todo)
{
        int own = open_to_read(fd);
        DIR *dir = own < 0 ? NULL : fdopendir(own);
        const struct dirent *e;
        int rc = 0;

        d->read = true;
        if (!dir) {
                cannot_see(n, -errno);
                fd_close(&own);
                return;
        }
        if (tell)
                watch_tell_content(n->c, &d->ident, NULL, 0);
        while (rc == 0 && (errno = 0, e = readdir(dir)))
                rc = read_entry(n, d, own, e, tell, todo);
        if (rc == 0)
                rc = -errno;
        cannot_see(n, rc == 0 ? -ENOENT : rc);
        closedir(dir);
}

/* Read `base`, open as `fd`, and all below it. */
static void read_below(struct ino *n, struct watch_dir *base, int fd, bool tell)
{
        struct todo todo = {0};

        read_dir(n, base, fd, tell, &todo);
        while (todo.count) {
                struct watch_dir *d = watch_tree_find(&n->tree, todo.wds[--todo.count]);
                CLEANUP_FD int below = -1;

                if (!d || d->read)
                        continue;
                below = reach(base, fd, d);
                if (below >= 0)
                        read_dir(n, d, below, tell, &todo);
                else if (ino_has_moved(below) && d->parent)
                        ino_put_off(n, d->parent->wd, INO_ENTER, d->name, d->len);
                else
                        cannot_see(n, below);
        }
        free(todo.wds);
}

void ino_enter(struct ino *n, struct watch_dir *parent, const char *name, size_t len)
{
        int dirfd = ino_dir_fd(n, parent);
        CLEANUP_FD int fd = -1;
        struct watch_dir *d;
        int rc;

        if (ino_has_moved(dirfd))
                ino_put_off(n, parent->wd, INO_ENTER, name, len);
        if (dirfd < 0)
                return;
        rc = watch_child(n, parent, dirfd, name, &d, &fd);
        if (rc) {
                cannot_see(n, rc);
                return;
        }
        watch_tell_attr(n->c, &d->ident, NULL, 0);
        if (!d->read)
                read_below(n, d, fd, true);
}

int ino_watch_root(struct ino *n)
{
        CLEANUP_FD int parent = openat(n->c->root, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct ident id;
        int rc;

        n->parent_wd = -1;
        if (parent >= 0 && ident_of(parent, "", &id) == 0 && !ident_equal(&id, &n->c->root_ident)) {
                struct fd_path path = fd_proc_path(parent);

                n->parent_wd = inotify_add_watch(n->c->fd, path.text, IN_DELETE | IN_MOVED_FROM | IN_ONLYDIR);
        }
        rc = watch_fd(n, n->c->root, &n->tree.root);
        if (rc)
                return rc;
        read_below(n, n->tree.root, n->c->root, false);
        return 0;
}

void ino_drop(struct ino *n, struct watch_dir *d)
{
        struct watch_dir *leaf;

        do {
                leaf = d;
                while (leaf->child)
                        leaf = leaf->child;
                inotify_rm_watch(n->c->fd, leaf->wd);
                atomic_fetch_sub_explicit(&n->c->watches, 1, memory_order_relaxed);
                watch_tree_remove(&n->tree, leaf);
        } while (leaf != d);
}

void ino_rescan(struct ino *n)
{
        struct watch_dir *d;
        size_t at = 0;

        if (!n->tree.root)
                return;
        n->limit_hit = n->limit_told = n->blind_told = false;
        n->blind_error = 0;
        watch_tree_forget_places(&n->tree);
        n->tree.root->seen = true;
        read_below(n, n->tree.root, n->c->root, false);
        while ((d = watch_tree_next_unseen(&n->tree, &at)))
                ino_drop(n, d);
}
