#include "fs/owner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <linux/xattr.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "fs/place.h"
#include "fs/privs.h"

/* How deep a tree may be that is renamed into the source. */
#define DEPTH_MAX 128U

static struct owner owner_of(const struct stat *st)
{
        return (struct owner){.uid = st->st_uid, .gid = st->st_gid};
}

static struct owner sources_owner(const struct fs_mount *m)
{
        return (struct owner){.uid = m->source.uid, .gid = m->source.gid};
}

/*
 * Showing
 */

static uint32_t shown(uint32_t view, uint32_t owners, uint32_t id, bool all)
{
        return view == FS_VIEW_AS_IS || (id != owners && !all) ? id : view;
}

struct owner owner_shown(const struct fs_mount *m, const struct layer *l, struct owner o)
{
        bool all = l == &m->source;

        return (struct owner){
                .uid = shown(m->options.view_uid, m->source.uid, o.uid, all),
                .gid = shown(m->options.view_gid, m->source.gid, o.gid, all),
        };
}

/* Who is meant on disk by whom a program in the mount names. */
static struct owner meant(const struct fs_mount *m, struct owner o)
{
        return (struct owner){
                .uid = o.uid == m->options.view_uid && o.uid != FS_VIEW_AS_IS ? m->source.uid : o.uid,
                .gid = o.gid == m->options.view_gid && o.gid != FS_VIEW_AS_IS ? m->source.gid : o.gid,
        };
}

static uint32_t swapped(uint32_t id, uint32_t view, uint32_t owners)
{
        if (view == FS_VIEW_AS_IS)
                return id;
        return id == view ? owners : id == owners ? view : id;
}

void owner_swap_acl(const struct fs_mount *m, const char *name, void *value, size_t size)
{
        struct posix_acl_xattr_entry e;
        char *at = value;

        if (strcmp(name, XATTR_NAME_POSIX_ACL_ACCESS) != 0 && strcmp(name, XATTR_NAME_POSIX_ACL_DEFAULT) != 0)
                return;
        for (size_t off = sizeof(struct posix_acl_xattr_header); off + sizeof(e) <= size; off += sizeof(e)) {
                memcpy(&e, at + off, sizeof(e));
                if (le16toh(e.e_tag) == ACL_USER)
                        e.e_id = htole32(swapped(le32toh(e.e_id), m->options.view_uid, m->source.uid));
                else if (le16toh(e.e_tag) == ACL_GROUP)
                        e.e_id = htole32(swapped(le32toh(e.e_id), m->options.view_gid, m->source.gid));
                memcpy(at + off, &e, sizeof(e));
        }
}

/*
 * Making
 */

int owner_of_new(const struct fs_mount *m, struct fuse_req *req, const struct place *p, struct owner *ret)
{
        const struct fuse_ctx *ctx = fuse_req_ctx(req);
        struct stat st;

        if (!m->options.squash) {
                *ret = meant(m, (struct owner){.uid = ctx->uid, .gid = ctx->gid});
                return 0;
        }
        *ret = sources_owner(m);
        if (!m->privileged || p->layer == &m->source || p->shadow)
                return 0;
        if (fstatat(p->fd, "", &st, AT_EMPTY_PATH) < 0)
                return -errno;
        *ret = owner_of(&st);
        return 0;
}

/*
 * Changing
 */

static bool is_changed_by(struct owner have, struct owner o)
{
        return (o.uid != (uid_t)-1 && o.uid != have.uid) || (o.gid != (gid_t)-1 && o.gid != have.gid);
}

int owner_set(struct fs_mount *m, struct node *n, int fd, struct owner o)
{
        struct stat st;

        o = meant(m, o);
        if (m->options.squash && (!m->privileged || !place_is_artifact(m, n))) {
                if (fstatat(fd, "", &st, AT_EMPTY_PATH) < 0)
                        return -errno;
                if (is_changed_by(owner_of(&st), o))
                        atomic_fetch_add(&m->chowns_ignored, 1);
        } else if (fchownat(fd, "", o.uid, o.gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0) {
                return -errno;
        }
        return privs_drop(fd);
}

/*
 * Claiming
 */

/* Is all of the tree the source owner's? 0, -EXDEV or -errno. */
static int look_through(const struct fs_mount *m, int dirfd, unsigned depth, unsigned *budget)
{
        DIR *dir = NULL;
        struct dirent *d;
        int rc = 0;
        int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0 || !(dir = fdopendir(fd))) {
                rc = -errno;
                fd_close(&fd);
                return rc;
        }
        while (rc == 0 && (d = readdir(dir))) {
                struct stat st;

                if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
                        continue;
                if (fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
                        rc = errno == ENOENT ? 0 : -errno;
                        continue;
                }
                if (*budget == 0 || depth == 0 || is_changed_by(owner_of(&st), sources_owner(m)))
                        rc = -EXDEV;
                else
                        --*budget;
                if (rc == 0 && S_ISDIR(st.st_mode)) {
                        CLEANUP_FD int child = openat(fd, d->d_name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

                        rc = child < 0 ? -errno : look_through(m, child, depth - 1, budget);
                }
        }
        closedir(dir);
        return rc;
}

int owner_claim(const struct fs_mount *m, int dirfd, const char *name, struct owner_claim *ret)
{
        unsigned budget = OWNER_TREE_MAX;
        CLEANUP_FD int fd = -1;
        struct stat st;
        int rc = 0;

        *ret = OWNER_CLAIM_NONE;
        if (!m->options.squash || !m->privileged)
                return 0;
        fd = *name ? openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC) : fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0 || fstatat(fd, "", &st, AT_EMPTY_PATH) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                rc = look_through(m, fd, DEPTH_MAX, &budget);
        if (rc < 0 || !is_changed_by(owner_of(&st), sources_owner(m)))
                return rc;
        if (fchownat(fd, "", m->source.uid, m->source.gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        ret->was = owner_of(&st);
        ret->fd = fd_steal(&fd);
        return 0;
}

void owner_claim_end(struct owner_claim *c, bool went)
{
        if (c->fd >= 0 && !went)
                (void)!fchownat(c->fd, "", c->was.uid, c->was.gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
        fd_close(&c->fd);
}
