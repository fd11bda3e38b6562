#include "fs/entry.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "fs/backing.h"
#include "fs/guard.h"
#include "fs/later.h"
#include "fs/owner.h"
#include "fs/reach.h"

#define WRITE_BITS ((mode_t)(S_IWUSR | S_IWGRP | S_IWOTH))

/* File handle types of the kernel's generic encodings, in which the inode number can be read. */
#define FILEID_INO32_GEN 1
#define INO32_GEN_BYTES 8
#define SHMEM_BYTES 12 /* tmpfs uses the same type for generation, then 64 bits of inode number */

/* Can it be seen that the handle is this inode's? Two calls looked at a name, which may have changed hands in between. */
static bool ident_shows_inode(const struct ident *ident, ino_t ino)
{
        uint32_t words[SHMEM_BYTES / sizeof(uint32_t)];

        if (ident->how != IDENT_HANDLE || ident->type != FILEID_INO32_GEN)
                return false;
        memcpy(words, ident->bytes, sizeof(words));
        if (ident->len == INO32_GEN_BYTES)
                return words[0] == ino;
        if (ident->len == SHMEM_BYTES)
                return ((uint64_t)words[2] << 32 | words[1]) == ino;
        return false;
}

static int look_held(const struct layer *l, int dirfd, const char *name, struct ident *ident, struct stat *st)
{
        CLEANUP_FD int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0 || fstatat(fd, "", st, AT_EMPTY_PATH) < 0)
                return -errno;
        if (st->st_dev != l->dev)
                return -EXDEV;
        return layer_ident(l, fd, "", ident);
}

int entry_look(const struct layer *l, int dirfd, const char *name, struct ident *ident, struct stat *st)
{
        int rc;

        if (fstatat(dirfd, name, st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (st->st_dev != l->dev)
                return -EXDEV;
        rc = layer_ident(l, dirfd, name, ident);
        if (rc == 0 && ident_shows_inode(ident, st->st_ino))
                return 0;
        return look_held(l, dirfd, name, ident, st);
}

struct entry_since entry_since(const struct fs_mount *m, const struct node *dir)
{
        return (struct entry_since){.seq = atomic_load(&dir->seq), .changes = atomic_load(&m->changes)};
}

static mode_t mode_shown(const struct node *n, mode_t mode)
{
        return node_is(n, NODE_READONLY) && !S_ISDIR(mode) ? mode & ~WRITE_BITS : mode;
}

void entry_show(const struct fs_mount *m, const struct node *n, struct stat *st)
{
        const struct layer *l = layer_of(m, n);
        struct owner o = owner_shown(m, l, (struct owner){.uid = st->st_uid, .gid = st->st_gid});

        st->st_ino = layer_ino(l, st->st_ino);
        st->st_mode = mode_shown(n, st->st_mode);
        st->st_uid = o.uid;
        st->st_gid = o.gid;
}

void entry_show_statx(const struct fs_mount *m, const struct node *n, struct statx *stx)
{
        const struct layer *l = layer_of(m, n);
        struct owner o = owner_shown(m, l, (struct owner){.uid = stx->stx_uid, .gid = stx->stx_gid});

        stx->stx_ino = layer_ino(l, stx->stx_ino);
        stx->stx_mode = (uint16_t)mode_shown(n, stx->stx_mode);
        stx->stx_uid = o.uid;
        stx->stx_gid = o.gid;
}

int entry_fill(struct fs_mount *m, struct node *dir, const struct place *p, const char *name, struct fuse_entry_param *ret)
{
        struct entry_since since = entry_since(m, dir);
        struct ident ident;
        struct node *n;
        int rc;

        memset(ret, 0, sizeof(*ret));
        rc = p->fd < 0 ? -ENOENT : entry_look(p->layer, p->fd, name, &ident, &ret->attr);
        if (rc < 0)
                return rc;
        n = entry_tell(m, dir, p, name, &since, &ident, ret);
        return n ? 0 : -ENOMEM;
}

struct node *entry_tell(struct fs_mount *m, struct node *dir, const struct place *p, const char *name, const struct entry_since *since,
                        const struct ident *ident, struct fuse_entry_param *ret)
{
        struct node *n = node_intern(m->nodes, ident, ret->attr.st_mode, p->is);
        size_t len = strlen(name);
        struct stat now;

        if (!n)
                return NULL;
        if (name_set(m->names, node_id_of(dir), name, len, n))
                later_doubt(m, dir, name, len);
        else if (atomic_load(&dir->seq) != since->seq)
                later_entry(m, dir, name, len);
        atomic_store(&n->is, guard_is(m, n, p->is, ret->attr.st_nlink));
        if (atomic_load(&m->changes) != since->changes && entry_attr(m, n, &now) == 0)
                ret->attr = now;
        else
                entry_show(m, n, &ret->attr);
        ret->ino = node_id_of(n);
        ret->entry_timeout = m->timeout;
        ret->attr_timeout = backing_attr_timeout(m, n);
        return n;
}

void entry_absent(struct fs_mount *m, struct node *dir, const char *name, uint32_t seq, struct fuse_entry_param *ret)
{
        memset(ret, 0, sizeof(*ret));
        if (name_clear(m->names, node_id_of(dir), name, strlen(name)))
                later_doubt(m, dir, name, strlen(name));
        else if (atomic_load(&dir->seq) != seq)
                later_entry(m, dir, name, strlen(name));
        /* Without epochs absent names in the root can't be taken back all at once: those are not remembered. */
        ret->entry_timeout = !m->epoch && node_id_of(dir) == NODE_ROOT ? 0 : m->timeout;
}

int entry_attr(struct fs_mount *m, struct node *n, struct stat *ret)
{
        struct held h;
        int rc = reach(m, n, SLOT_PATH, &h);

        if (rc < 0)
                return rc;
        if (fstatat(h.fd, "", ret, AT_EMPTY_PATH) < 0)
                rc = -errno;
        else
                entry_show(m, n, ret);
        slots_release(m->slots, &h);
        return rc;
}

void entry_reply(fuse_req_t req, struct fs_mount *m, int rc, const struct fuse_entry_param *e)
{
        struct node *n;

        if (rc < 0) {
                fuse_reply_err(req, -rc);
                return;
        }
        if (fuse_reply_entry(req, e) < 0 && e->ino) {
                n = mount_node(m, e->ino);
                if (n)
                        mount_forget(m, n, 1);
        }
}
