/*
 * Looking: names, attributes, symlink targets, and what is forgotten again.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "fs/backing.h"
#include "fs/entry.h"
#include "fs/inject.h"
#include "fs/ops.h"
#include "fs/own.h"
#include "fs/reach.h"
#include "fs/worker.h"

#define FORGET_GATHER_NS 2000000L

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
        struct fs_mount *m = worker_serve(req, OP_LOOKUP);
        struct node *dir = mount_node(m, parent);
        struct place p = PLACE_NONE;
        struct fuse_entry_param e;
        uint32_t seq = dir ? atomic_load(&dir->seq) : 0;
        int rc;

        if (own_lookup(m, req, parent, name))
                return;
        if (dir && inject_lookup(m, req, dir, name))
                return;
        rc = dir ? place_find(m, dir, name, &p) : -ESTALE;
        if (rc == 0)
                rc = entry_fill(m, dir, &p, name, &e);
        place_end(m, &p);
        if (rc == -ENOENT) {
                entry_absent(m, dir, name, seq, &e);
                rc = 0;
        }
        /* The directory is gone: nothing is in it. */
        entry_reply(req, m, rc == -ESTALE ? -ENOENT : rc, &e);
}

/* With io_uring the threads that read /dev/fuse serve nothing but FORGETs, and the kernel wakes one for each. Resting for a moment, one at
 * a time, they find many in one batch, and leave the processor to those who do something. */
static void gather_forgets(struct fs_mount *m)
{
        static const struct timespec moment = {.tv_nsec = FORGET_GATHER_NS};

        if (!atomic_load_explicit(&m->uring, memory_order_relaxed))
                return;
        mutex_lock(&m->forget_gate);
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
        mutex_unlock(&m->forget_gate);
}

void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
        struct fuse_forget_data one = {.ino = ino, .nlookup = nlookup};

        op_forget_multi(req, 1, &one);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
        struct fs_mount *m = worker_serve(req, OP_FORGET);

        atomic_fetch_add(&m->forgetting, 1);
        for (size_t i = 0; i < count; i++) {
                struct node *n = mount_node(m, forgets[i].ino);

                if (n)
                        mount_forget(m, n, forgets[i].nlookup);
        }
        atomic_fetch_sub(&m->forgetting, 1);
        fuse_reply_none(req);
        gather_forgets(m);
}

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        struct fs_mount *m = worker_serve(req, OP_GETATTR);
        struct node *n = mount_node(m, ino);
        struct stat st;
        int rc;

        (void)fi;
        if (!n && own_getattr(m, req, ino))
                return;
        if (n && inject_getattr(m, req, n))
                return;
        rc = n ? entry_attr(m, n, &st) : -ESTALE;
        if (rc < 0)
                fuse_reply_err(req, -rc);
        else
                fuse_reply_attr(req, &st, backing_attr_timeout(m, n));
}

void op_statx(fuse_req_t req, fuse_ino_t ino, int flags, int mask, struct fuse_file_info *fi)
{
        struct fs_mount *m = worker_serve(req, OP_STATX);
        struct node *n = mount_node(m, ino);
        struct statx stx;
        struct held h;
        int rc = n ? reach(m, n, SLOT_PATH, &h) : -ESTALE;

        (void)fi;
        if (!n && own_statx(m, req, ino))
                return;
        if (rc == 0) {
                if (statx(h.fd, "", AT_EMPTY_PATH | (flags & AT_STATX_SYNC_TYPE), (unsigned)mask, &stx) < 0)
                        rc = -errno;
                else
                        entry_show_statx(m, n, &stx);
                slots_release(m->slots, &h);
        }
        if (rc < 0)
                fuse_reply_err(req, -rc);
        else
                fuse_reply_statx(req, 0, &stx, backing_attr_timeout(m, n));
}

void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
        struct fs_mount *m = worker_serve(req, OP_READLINK);
        struct node *n = mount_node(m, ino);
        char target[PATH_MAX + 1];
        ssize_t len = -1;
        struct held h;
        int rc = n ? reach(m, n, SLOT_PATH, &h) : -ESTALE;

        if (rc == 0) {
                len = readlinkat(h.fd, "", target, sizeof(target) - 1);
                if (len < 0)
                        rc = -errno;
                slots_release(m->slots, &h);
        }
        if (rc < 0) {
                fuse_reply_err(req, -rc);
                return;
        }
        target[len] = '\0';
        fuse_reply_readlink(req, target);
}

void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
        struct fs_mount *m = worker_serve(req, OP_STATFS);
        const struct node *n = mount_node(m, own_is(ino) ? NODE_ROOT : ino);
        struct statvfs st;

        if (!n || fstatvfs(layer_of(m, n)->root_fd, &st) < 0)
                fuse_reply_err(req, n ? errno : ESTALE);
        else
                fuse_reply_statfs(req, &st);
}
