/*
 * Reading directories. On a connection without OPENDIR there is nothing to keep a stream in: each request opens the backing directory and
 * goes on from the backing's own offset. One pass of getdents64() and, for READDIRPLUS, a look at each entry.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "fs/entry.h"
#include "fs/ops.h"
#include "fs/reach.h"
#include "fs/worker.h"

#define DENTS_BYTES 32768U

/* A reply that is being put together. */
struct listing {
        fuse_req_t req;
        struct fs_mount *m;
        struct node *dir;
        int fd;
        bool plus;
        char *buf;
        size_t size, used;
};

static bool is_dots(const char *name)
{
        return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

/* False when the entry doesn't fit any more. */
static bool add_plain(struct listing *l, const struct dirent64 *d)
{
        struct stat st = {.st_ino = d->d_ino, .st_mode = DTTOIF(d->d_type)};
        size_t need = fuse_add_direntry(l->req, l->buf + l->used, l->size - l->used, d->d_name, &st, d->d_off);

        if (need > l->size - l->used)
                return false;
        l->used += need;
        return true;
}

static bool add_plus(struct listing *l, const struct dirent64 *d)
{
        struct fuse_entry_param e;
        size_t need = fuse_add_direntry_plus(l->req, NULL, 0, d->d_name, NULL, 0);
        int rc;

        /* The reference on the node is the kernel's only if the entry gets to it: so first see that it fits. */
        if (need > l->size - l->used)
                return false;
        rc = is_dots(d->d_name) ? -EISDIR : entry_fill(l->m, l->dir, l->fd, d->d_name, &e);
        if (rc == -ENOENT)
                return true;
        if (rc < 0) {
                /* The name without a node: the kernel asks itself when somebody uses it. */
                memset(&e, 0, sizeof(e));
                e.attr.st_ino = d->d_ino;
                e.attr.st_mode = DTTOIF(d->d_type);
        }
        l->used += fuse_add_direntry_plus(l->req, l->buf + l->used, l->size - l->used, d->d_name, &e, d->d_off);
        return true;
}

/* 0 or -errno; an error after the first entries ends the reply instead. */
static int listing_fill(struct listing *l)
{
        _Alignas(struct dirent64) char dents[DENTS_BYTES];

        for (;;) {
                ssize_t n = getdents64(l->fd, dents, sizeof(dents));

                if (n < 0)
                        return l->used ? 0 : -errno;
                if (n == 0)
                        return 0;
                for (ssize_t at = 0; at < n;) {
                        const struct dirent64 *d = (const struct dirent64 *)(dents + at);

                        if (!(l->plus ? add_plus(l, d) : add_plain(l, d)))
                                return 0;
                        at += d->d_reclen;
                }
        }
}

static void list(fuse_req_t req, struct fs_mount *m, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
        CLEANUP_FD int fd = -1;
        CLEANUP_FREE char *own = NULL;
        struct listing l = {.req = req, .m = m, .dir = mount_node(m, ino), .plus = plus, .size = size};
        size_t payload;
        int rc = l.dir ? reach_directory(m, l.dir) : -ESTALE;

        if (rc >= 0) {
                l.fd = fd = rc;
                rc = off && lseek(fd, off, SEEK_SET) < 0 ? -errno : 0;
        } else if (rc == -ESTALE) {
                rc = -ENOENT;
        }
        if (rc == 0) {
                void *p;

                if (fuse_req_get_payload(req, (char **)&p, &payload, NULL) == 0 && payload >= size)
                        l.buf = p;
                else
                        l.buf = own = malloc(size);
                rc = l.buf ? listing_fill(&l) : -ENOMEM;
        }
        if (rc < 0)
                fuse_reply_err(req, -rc);
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
