/*
 * Reading directories. On a connection without OPENDIR there is nothing to keep a stream in: each request opens the backing directory and
 * goes on from the backing's own offset. One pass of getdents64() and, for READDIRPLUS, a look at each entry.
 *
 * A directory of the source is read first in the source, then in the overlay, of each what the rules put there. The offset says where one
 * is: its last bit in which of the two.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "fs/entry.h"
#include "fs/ops.h"
#include "fs/own.h"
#include "fs/place.h"
#include "fs/reach.h"
#include "fs/worker.h"

#define DENTS_BYTES 32768U
#define OFFSET_END (((off_t)1 << 62) - 1)

/* A reply that is being put together. */
struct listing {
        fuse_req_t req;
        struct fs_mount *m;
        struct node *dir;
        struct place_pair places;
        bool root; /* the directory is the mount's */
        bool both; /* there are two places to read */
        bool plus;
        char *buf;
        size_t size, used;
};

static bool is_dots(const char *name)
{
        return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

/* Offsets of hashing filesystems have no bit to spare, but their last hardly ever tells entries apart, and seeking finds the next one. What
 * is too large elsewhere means the end. */
static off_t cookie_of(const struct layer *l, off_t off, bool second)
{
        if (l->hashed_offsets)
                return (off & ~(off_t)1) | second;
        return (off < OFFSET_END ? off : OFFSET_END) << 1 | second;
}

static off_t offset_of(const struct layer *l, off_t cookie)
{
        return l->hashed_offsets ? cookie & ~(off_t)1 : cookie >> 1;
}

/* False when the entry doesn't fit any more. */
static bool add_plain(struct listing *l, const struct place *p, const struct dirent64 *d, off_t next)
{
        struct stat st = {.st_ino = layer_ino(p->layer, d->d_ino), .st_mode = DTTOIF(d->d_type)};
        size_t need = fuse_add_direntry(l->req, l->buf + l->used, l->size - l->used, d->d_name, &st, next);

        if (need > l->size - l->used)
                return false;
        l->used += need;
        return true;
}

static bool add_plus(struct listing *l, const struct place *p, const struct dirent64 *d, off_t next)
{
        struct fuse_entry_param e;
        size_t need = fuse_add_direntry_plus(l->req, NULL, 0, d->d_name, NULL, 0);
        int rc;

        /* The reference on the node is the kernel's only if the entry gets to it: so first see that it fits. */
        if (need > l->size - l->used)
                return false;
        rc = is_dots(d->d_name) ? -EISDIR : entry_fill(l->m, l->dir, p, d->d_name, &e);
        if (rc == -ENOENT)
                return true;
        if (rc < 0) {
                /* The name without a node: the kernel asks itself when somebody uses it. */
                memset(&e, 0, sizeof(e));
                e.attr.st_ino = layer_ino(p->layer, d->d_ino);
                e.attr.st_mode = DTTOIF(d->d_type);
        }
        l->used += fuse_add_direntry_plus(l->req, l->buf + l->used, l->size - l->used, d->d_name, &e, next);
        return true;
}

static bool add_entry(struct listing *l, const struct place *from, const struct dirent64 *d)
{
        bool second = from == &l->places.overlay;
        off_t next = l->both ? cookie_of(from->layer, d->d_off, second) : d->d_off;
        struct place p = *from;

        if (l->root && own_is_name(NODE_ROOT, d->d_name))
                return true;
        if (is_dots(d->d_name) ? second : !place_shows(l->m, l->dir, &l->places, from, d->d_name, d->d_type, &p.is))
                return true;
        return l->plus ? add_plus(l, &p, d, next) : add_plain(l, &p, d, next);
}

/* To the end, or until the reply is full: *full. 0 or -errno; an error after the first entries ends the reply instead. */
static int read_place(struct listing *l, const struct place *p, bool *full)
{
        _Alignas(struct dirent64) char dents[DENTS_BYTES];

        for (;;) {
                ssize_t n = getdents64(p->fd, dents, sizeof(dents));

                if (n <= 0) {
                        *full = n < 0;
                        return n == 0 || l->used ? 0 : -errno;
                }
                for (ssize_t at = 0; at < n;) {
                        const struct dirent64 *d = (const struct dirent64 *)(dents + at);

                        *full = !add_entry(l, p, d);
                        if (*full)
                                return 0;
                        at += d->d_reclen;
                }
        }
}

static int go_to(const struct place *p, off_t off)
{
        return off && lseek(p->fd, off, SEEK_SET) < 0 ? -errno : 0;
}

static int read_both(struct listing *l, off_t cookie)
{
        const struct place *source = &l->places.source;
        const struct place *overlay = &l->places.overlay;
        bool second = cookie & 1;
        bool full = false;
        int rc = 0;

        if (!second)
                rc = go_to(source, offset_of(source->layer, cookie));
        if (!second && rc == 0)
                rc = read_place(l, source, &full);
        if (rc < 0 || full || overlay->fd < 0)
                return rc;
        rc = second ? go_to(overlay, offset_of(overlay->layer, cookie)) : 0;
        return rc < 0 ? rc : read_place(l, overlay, &full);
}

static int read_from(struct listing *l, off_t off)
{
        bool full;
        int rc;

        l->both = l->m->overlay && !(l->places.source.is & NODE_OVERLAY);
        if (l->both)
                return read_both(l, off);
        rc = go_to(&l->places.source, off);
        return rc < 0 ? rc : read_place(l, &l->places.source, &full);
}

static void list(fuse_req_t req, struct fs_mount *m, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
        CLEANUP_FREE char *own = NULL;
        struct listing l = {.req = req, .m = m, .dir = mount_node(m, ino), .root = ino == NODE_ROOT, .plus = plus, .size = size};
        size_t payload;
        int rc = -ESTALE;

        if (!l.dir && own_list(m, req, ino, size, off, plus))
                return;
        if (l.dir)
                rc = place_list(m, l.dir, &l.places);
        if (rc == 0) {
                void *p;

                if (fuse_req_get_payload(req, (char **)&p, &payload, NULL) == 0 && payload >= size)
                        l.buf = p;
                else
                        l.buf = own = malloc(size);
                rc = l.buf ? read_from(&l, off) : -ENOMEM;
        }
        if (l.dir)
                place_list_end(m, &l.places);
        if (rc < 0)
                fuse_reply_err(req, rc == -ESTALE ? ENOENT : -rc);
        else
                fuse_reply_buf(req, l.buf, l.used);
}

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        const struct fs_mount *m = worker_serve(req, OP_OPENDIR);

        (void)ino;
        if (m->options.coherence == FS_COHERENCE_EVENTS)
                fuse_reply_err(req, ENOSYS);
        else
                fuse_reply_open(req, fi);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
        (void)fi;
        list(req, worker_serve(req, OP_READDIR), ino, size, off, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
        (void)fi;
        list(req, worker_serve(req, OP_READDIRPLUS), ino, size, off, true);
}
