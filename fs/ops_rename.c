/*
 * Renaming. Where the backing can't do it, because the layers are on different mounts, a worker copies.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/cross.h"
#include "fs/guard.h"
#include "fs/inject.h"
#include "fs/later.h"
#include "fs/ops.h"
#include "fs/own.h"
#include "fs/owner.h"
#include "fs/rename.h"
#include "fs/shadow.h"
#include "fs/victim.h"
#include "fs/worker.h"

#define FLAGS_KNOWN ((unsigned)(RENAME_EXCHANGE | RENAME_NOREPLACE | RENAME_WHITEOUT))
#define END_NONE ((struct end){.p = {.fd = -1, .held = {.fd = -1, .slot = -1}}})

static int end_open(struct fs_mount *m, struct end *e, fuse_ino_t parent, const char *name)
{
        *e = END_NONE;
        e->dir = mount_node(m, parent);
        e->name = name;
        if (!e->dir || own_is_name(parent, name))
                return e->dir ? -EROFS : own_refusal(parent);
        e->belief = node_hold(m->nodes, name_belief(m->names, node_id_of(e->dir), name, strlen(name)));
        return 0;
}

static void end_close(struct fs_mount *m, struct end *e)
{
        if (e->belief)
                mount_forget(m, e->belief, 1);
        place_end(m, &e->p);
}

/* Where what is called `name` in *from is to be. */
static int find_target(struct fs_mount *m, const struct end *from, struct end *to)
{
        struct stat st = {0};
        int rc;

        if (m->overlay && fstatat(from->p.fd, from->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        rc = place_make(m, to->dir, to->name, S_ISDIR(st.st_mode), &to->p);
        if (rc == -EEXIST)
                return S_ISDIR(st.st_mode) ? -ENOTDIR : -EISDIR;
        return rc;
}

/* Would something of the other kind be looked for under this name in the layer where it is now? */
static int may_change_kind(struct fs_mount *m, const struct end *e, bool is_dir)
{
        struct place p = PLACE_NONE;
        int rc = place_make(m, e->dir, e->name, is_dir, &p);

        place_end(m, &p);
        return rc == -EEXIST ? -EXDEV : rc;
}

/* A file and a directory that change places may each come to a name that is another layer's for them. */
static int check_exchange(struct fs_mount *m, const struct end *from, const struct end *to)
{
        struct stat a, b;
        int rc;

        if (!m->overlay)
                return 0;
        if (fstatat(from->p.fd, from->name, &a, AT_SYMLINK_NOFOLLOW) < 0 || fstatat(to->p.fd, to->name, &b, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (S_ISDIR(a.st_mode) == S_ISDIR(b.st_mode))
                return 0;
        rc = may_change_kind(m, from, S_ISDIR(b.st_mode));
        return rc < 0 ? rc : may_change_kind(m, to, S_ISDIR(a.st_mode));
}

static bool is_readonly(const struct end *e)
{
        return e->p.is & NODE_READONLY;
}

static int find_ends(struct fs_mount *m, struct end *from, struct end *to, unsigned flags)
{
        int rc = place_find(m, from->dir, from->name, &from->p);

        if (rc == 0 && from->p.fd < 0)
                rc = -ENOENT;
        if (rc == 0)
                rc = flags & RENAME_EXCHANGE ? place_find(m, to->dir, to->name, &to->p) : find_target(m, from, to);
        if (rc == 0 && to->p.fd < 0)
                rc = -ENOENT;
        if (rc == 0 && (is_readonly(from) || is_readonly(to)))
                rc = -EROFS;
        if (rc == 0)
                rc = guard_rename(m, from->dir, &from->p, from->name, to->dir, &to->p, to->name);
        if (rc == 0 && (flags & RENAME_EXCHANGE))
                rc = check_exchange(m, from, to);
        if (rc == 0 && (flags & RENAME_EXCHANGE))
                rc = guard_rename(m, to->dir, &to->p, to->name, from->dir, &from->p, from->name);
        return rc;
}

/* The kernel now has at `e` what it believed to be `moved`. If that isn't what the backing has there, because the host had changed the
 * name and the event is still on its way, the event will name the place it was: so this place is examined too. */
static void end_moved(struct fs_mount *m, struct end *e, struct node *moved)
{
        uint32_t seq = atomic_load(&e->dir->seq);
        size_t len = strlen(e->name);
        struct ident ident, is;

        if (moved)
                name_set(m->names, node_id_of(e->dir), e->name, len, moved);
        else
                name_clear(m->names, node_id_of(e->dir), e->name, len);
        if (!moved || layer_ident(e->p.layer, e->p.fd, e->name, &ident) < 0 ||
            !(is = node_ident(m->nodes, moved), ident_equal(&ident, &is)) || atomic_load(&e->dir->seq) != seq)
                later_entry(m, e->dir, e->name, len);
        if (moved && !S_ISDIR(moved->type))
                later_attr(m, moved);
        if (moved && m->overlay) {
                atomic_store(&moved->is, guard_is(m, moved, e->p.is, LINKS_UNKNOWN));
                /* What is below it is elsewhere too. */
                if (S_ISDIR(moved->type))
                        overlay_raise_epoch(m->overlay);
        }
        later_attr(m, e->dir);
        place_changed(m, e->dir, &e->p, e->name);
}

void renamed(struct renaming *r)
{
        struct fs_mount *m = r->m;

        if (r->flags & RENAME_EXCHANGE) {
                end_moved(m, &r->from, r->to.belief);
        } else {
                name_clear(m->names, node_id_of(r->from.dir), r->from.name, strlen(r->from.name));
                later_attr(m, r->from.dir);
                place_changed(m, r->from.dir, &r->from.p, r->from.name);
        }
        end_moved(m, &r->to, r->from.belief);
}

/* What comes from an artifact to the source is the source owner's again. */
static int claim(struct fs_mount *m, const struct end *from, const struct end *to, struct owner_claim *ret)
{
        if (to->p.layer == &m->source && from->p.layer != &m->source)
                return owner_claim(m, from->p.fd, from->name, ret);
        return 0;
}

int rename_plainly(const struct renaming *r)
{
        const struct end *from = &r->from, *to = &r->to;
        struct owner_claim there = OWNER_CLAIM_NONE;
        struct owner_claim back = OWNER_CLAIM_NONE;
        int rc = claim(r->m, from, to, &there);

        if (rc == 0 && (r->flags & RENAME_EXCHANGE))
                rc = claim(r->m, to, from, &back);
        if (rc == 0 && renameat2(from->p.fd, from->name, to->p.fd, to->name, r->flags) < 0)
                rc = -errno;
        owner_claim_end(&there, rc == 0);
        owner_claim_end(&back, rc == 0);
        return rc;
}

static int rename_ends(struct renaming *r)
{
        struct victim v = {0};
        int rc = 0;

        if (!(r->flags & RENAME_EXCHANGE))
                rc = victim_take(r->m, r->to.dir, r->to.p.fd, r->to.name, &v);
        if (rc < 0)
                return rc;
        rc = shadow_rename(r, v.node);
        if (rc == 0)
                renamed(r);
        victim_release(r->m, &v, rc == 0);
        return rc;
}

static int rename_here(struct renaming *r)
{
        int rc;

        cross_enter(r->m);
        rc = find_ends(r->m, &r->from, &r->to, r->flags);
        if (rc == 0 && (r->flags & RENAME_WHITEOUT))
                rc = worker_create_in(r->m, r->req, &r->from.p);
        if (rc == 0)
                rc = rename_ends(r);
        cross_leave(r->m);
        return rc;
}

static void close_ends(struct renaming *r)
{
        end_close(r->m, &r->from);
        end_close(r->m, &r->to);
}

static void answer(struct renaming *r)
{
        close_ends(r);
        fuse_reply_err(r->req, r->rc == -ESTALE ? ENOENT : -r->rc);
}

static void answer_job(struct job *j)
{
        answer((struct renaming *)j);
        free(j);
}

static void cross_job(struct job *j)
{
        struct renaming *r = (struct renaming *)j;
        struct victim v = {0};

        r->rc = victim_take(r->m, r->to.dir, r->to.p.fd, r->to.name, &v);
        if (r->rc == 0) {
                r->rc = cross_move(r);
                victim_release(r->m, &v, r->rc == 0);
        }
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent, const char *newname, unsigned int flags)
{
        struct renaming r = {.req = req, .m = worker_serve(req, OP_RENAME), .from = END_NONE, .to = END_NONE, .flags = flags};
        struct renaming *later = NULL;

        r.rc = flags & ~FLAGS_KNOWN ? -EINVAL : 0;
        if (r.rc == 0)
                r.rc = end_open(r.m, &r.from, parent, name);
        if (r.rc == 0)
                r.rc = end_open(r.m, &r.to, newparent, newname);
        if (r.rc == 0 && inject_rename(r.m, req, r.from.dir, name, r.to.dir, newname)) {
                close_ends(&r);
                return;
        }
        if (r.rc == 0)
                r.rc = rename_here(&r);
        if (r.rc == -EXDEV && cross_can(&r))
                later = malloc(sizeof(*later));
        if (!later) {
                answer(&r);
                return;
        }
        *later = r;
        later->job.work = cross_job;
        later->job.answer = answer_job;
        offload_run(r.m->offload, &later->job, fuse_req_is_uring(req));
}
