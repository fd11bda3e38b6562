/*
 * Making things: each makes the backing object, answers with its entry, and has the directory's attributes told again (the kernel
 * invalidates them itself, but an answer that is on its way may bring the old ones back).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
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
#include "fs/reach.h"
#include "fs/room.h"
#include "fs/worker.h"

#define CREATE_TRIES 64
/* What no rule is about: unnamed files live where their directory does. */
#define NO_NAME ""

/* A name that is being made. */
struct making {
        struct fs_mount *m;
        struct node *dir;
        const char *name;
        struct place p;
};

static int making_begin(struct making *k, fuse_req_t req, enum op op, fuse_ino_t parent, const char *name, bool is_dir)
{
        int rc;

        k->m = worker_serve(req, op);
        k->dir = mount_node(k->m, parent);
        k->name = name;
        k->p = PLACE_NONE;
        cross_enter(k->m);
        rc = own_is_name(parent, name) ? -EROFS : k->dir ? place_make(k->m, k->dir, name, is_dir, &k->p) : own_refusal(parent);
        return rc == -ESTALE ? -ENOENT : rc;
}

/* Reply with the entry, if rc is 0. */
static void making_end(struct making *k, fuse_req_t req, int rc)
{
        struct fuse_entry_param e;

        if (rc == 0)
                rc = entry_fill(k->m, k->dir, &k->p, k->name, &e);
        if (rc == 0) {
                later_attr(k->m, k->dir);
                place_changed(k->m, k->dir, &k->p, k->name);
        }
        place_end(k->m, &k->p);
        cross_leave(k->m);
        entry_reply(req, k->m, rc, &e);
}

/* Nothing made through the mount runs as somebody else. */
static mode_t mode_allowed(const struct fs_mount *m, mode_t mode)
{
        return m->options.squash && !S_ISDIR(mode) ? mode & ~(mode_t)(S_ISUID | S_ISGID) : mode;
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
        struct making k;
        int rc;

        if (inject_make(fuse_req_userdata(req), req, parent, name) || own_mknod(fuse_req_userdata(req), req, parent, name, mode))
                return;
        rc = making_begin(&k, req, OP_MKNOD, parent, name, false);
        if (rc == 0 && (S_ISBLK(mode) || (S_ISCHR(mode) && rdev != 0)))
                rc = -EPERM;
        if (rc == 0)
                rc = worker_create_in(k.m, req, &k.p);
        if (rc == 0 && WITH_ROOM(k.m, mknodat(k.p.fd, name, mode_allowed(k.m, mode), rdev)) < 0)
                rc = -errno;
        making_end(&k, req, rc);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
        struct making k;
        int rc;

        if (inject_make(fuse_req_userdata(req), req, parent, name))
                return;
        rc = making_begin(&k, req, OP_MKDIR, parent, name, true);
        if (rc == 0)
                rc = worker_create_in(k.m, req, &k.p);
        if (rc == 0 && WITH_ROOM(k.m, mkdirat(k.p.fd, name, mode)) < 0)
                rc = -errno;
        making_end(&k, req, rc);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
        struct making k;
        int rc;

        if (inject_make(fuse_req_userdata(req), req, parent, name))
                return;
        rc = making_begin(&k, req, OP_SYMLINK, parent, name, false);
        if (rc == 0)
                rc = worker_create_in(k.m, req, &k.p);
        if (rc == 0 && WITH_ROOM(k.m, symlinkat(target, k.p.fd, name)) < 0)
                rc = -errno;
        making_end(&k, req, rc);
}

static bool is_nameless(int fd)
{
        struct stat st;

        return fstatat(fd, "", &st, AT_EMPTY_PATH) == 0 && st.st_nlink == 0;
}

/* A file that has no name yet gets its first one where the rules want it, where that can be. A read-only one gets no other name, as in a
 * read-only mount. */
static int link_held(struct making *k, const struct node *n, int fd)
{
        struct owner_claim claim = OWNER_CLAIM_NONE;
        bool crosses = layer_of(k->m, n) != k->p.layer;
        int rc = 0;

        if ((node_is(n, NODE_READONLY) || crosses) && !is_nameless(fd))
                return -EXDEV;
        if (crosses && k->p.layer == &k->m->source)
                rc = owner_claim(k->m, fd, "", &claim);
        if (rc == 0 && WITH_ROOM(k->m, linkat(AT_FDCWD, fd_proc_path(fd).text, k->p.fd, k->name, AT_SYMLINK_FOLLOW)) < 0)
                rc = -errno;
        owner_claim_end(&claim, rc == 0);
        return rc;
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
        struct making k;
        struct held h;
        struct node *n = NULL;
        int rc;

        if (inject_link(fuse_req_userdata(req), req, ino, newparent, newname))
                return;
        rc = making_begin(&k, req, OP_LINK, newparent, newname, false);
        if (rc == 0) {
                n = mount_node(k.m, ino);
                rc = n ? reach(k.m, n, SLOT_PATH, &h) : own_is(ino) ? -EXDEV : -ESTALE;
        }
        if (rc == 0) {
                rc = link_held(&k, n, h.fd);
                if (rc == 0) {
                        slots_unpin(k.m->slots, n);
                        later_writer(k.m);
                        later_attr(k.m, n);
                }
                slots_release(k.m->slots, &h);
        }
        making_end(&k, req, rc);
}

/* Keep the descriptor that a file was made with; without a name (`pin`) nothing else leads to it. Takes fd. False if it can't be kept. */
static bool keep_writer(struct fs_mount *m, struct node *n, int fd, bool pin)
{
        struct held h = slots_put(m->slots, n, SLOT_WRITE, fd);
        bool kept = !pin || slots_pin(m->slots, n);

        slots_release(m->slots, &h);
        later_writer(m);
        return kept;
}

/* The kernel found no such name, but the host has made one since, and then the kernel asks nobody whether it may be opened. Whom nothing
 * would forbid it gets it as it is; others look it up once more (ESTALE), and the kernel decides. */
static int open_made_since(const struct making *k, fuse_req_t req, int flags, struct stat *st)
{
        CLEANUP_FD int fd = reach_openat(k->p.fd, k->name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
        uid_t uid = fuse_req_ctx(req)->uid;
        struct owner o;

        if (fd == -ENOENT || fd == -EMFILE || fd == -ENFILE)
                return fd;
        if (fd < 0 || fstat(fd, st) < 0 || !S_ISREG(st->st_mode) || st->st_dev != k->p.layer->dev)
                return -ESTALE;
        o = owner_shown(k->m, k->p.layer, (struct owner){.uid = st->st_uid, .gid = st->st_gid});
        if (uid != 0 && (uid != o.uid || !(st->st_mode & S_IRUSR) || !(st->st_mode & S_IWUSR)))
                return -ESTALE;
        if ((flags & O_TRUNC) && (ftruncate(fd, 0) < 0 || fstat(fd, st) < 0))
                return -errno;
        return fd_steal(&fd);
}

static int create_at(struct making *k, fuse_req_t req, mode_t mode, int flags, struct stat *st)
{
        /* The host may make and remove the name as fast as we look. */
        for (int i = 0; i < CREATE_TRIES; i++) {
                CLEANUP_FD int fd =
                        reach_openat(k->p.fd, k->name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK | O_CLOEXEC, mode_allowed(k->m, mode));
                int rc = fd;

                if (fd >= 0)
                        return fstat(fd, st) < 0 ? -errno : fd_steal(&fd);
                if (rc == -EEXIST && !(flags & O_EXCL))
                        rc = open_made_since(k, req, flags, st);
                if (rc != -ENOENT && !(i == 0 && room_awaited(k->m, rc)))
                        return rc;
        }
        return -ESTALE;
}

/* Answer with a new file, open as `fi` asks: e->attr and e->ino are set. Takes what is in *fd. */
static void created(fuse_req_t req, struct fs_mount *m, struct node *n, int *fd, bool pin, struct fuse_entry_param *e,
                    struct fuse_file_info *fi)
{
        int rc = backing_in_use(m) ? backing_open(m, req, n, *fd, fi) : -ENOSYS;
        bool passed = rc == 0;

        if (rc == -ENOSYS) {
                fi->keep_cache = 1;
                rc = 0;
        }
        /* A file that is passed through and has a name is the kernel's to keep open, and to close for the host's watchers. */
        if (rc == 0 && (pin || !passed) && !keep_writer(m, n, fd_steal(fd), pin))
                rc = -ENFILE;
        e->attr_timeout = backing_attr_timeout(m, n);
        if (rc < 0)
                fuse_reply_err(req, -rc);
        else
                rc = fuse_reply_create(req, e, fi);
        if (rc < 0) {
                if (passed)
                        backing_unopen(m, n, fi->flags);
                mount_forget(m, n, 1);
        }
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
        CLEANUP_FD int fd = -1;
        struct fuse_entry_param e = {0};
        struct ident ident;
        struct making k;
        struct node *n = NULL;
        struct entry_since since = {0};
        int rc = making_begin(&k, req, OP_CREATE, parent, name, false);

        if (rc == 0)
                rc = worker_create_in(k.m, req, &k.p);
        if (rc == 0) {
                since = entry_since(k.m, k.dir);
                fd = rc = create_at(&k, req, mode, fi->flags, &e.attr);
        }
        if (rc >= 0)
                rc = layer_ident(k.p.layer, fd, "", &ident);
        if (rc >= 0) {
                n = entry_tell(k.m, k.dir, &k.p, name, &since, &ident, &e);
                rc = n ? 0 : -ENOMEM;
        }
        if (rc == 0)
                place_changed(k.m, k.dir, &k.p, name);
        place_end(k.m, &k.p);
        if (n) {
                later_attr(k.m, k.dir);
                created(req, k.m, n, &fd, false, &e, fi);
        } else {
                fuse_reply_err(req, -rc);
        }
        cross_leave(k.m);
}

void op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
        CLEANUP_FD int fd = -1;
        struct fuse_entry_param e = {0};
        struct making k;
        struct ident ident;
        struct node *n = NULL;
        int rc = making_begin(&k, req, OP_TMPFILE, parent, NO_NAME, false);

        if (rc == 0)
                rc = worker_create_in(k.m, req, &k.p);
        if (rc == 0) {
                fd = reach_openat(k.p.fd, ".", O_RDWR | O_TMPFILE | O_CLOEXEC | (fi->flags & O_EXCL), mode_allowed(k.m, mode));
                rc = fd < 0 ? fd : fstat(fd, &e.attr) < 0 ? -errno : layer_ident(k.p.layer, fd, "", &ident);
        }
        if (rc == 0) {
                n = node_intern(k.m->nodes, &ident, e.attr.st_mode, k.p.is);
                rc = n ? 0 : -ENOMEM;
        }
        place_end(k.m, &k.p);
        if (n) {
                entry_show(k.m, n, &e.attr);
                e.ino = node_id_of(n);
                e.entry_timeout = k.m->timeout;
                created(req, k.m, n, &fd, true, &e, fi);
        } else {
                fuse_reply_err(req, -rc);
        }
        cross_leave(k.m);
}
