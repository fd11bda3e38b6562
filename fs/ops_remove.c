/*
 * Taking names away: unlink, rmdir, rename. A connection without OPEN doesn't tell whether a file is in use, so what loses its last name
 * keeps a descriptor until the kernel forgets it, which for a file that nobody uses is at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fs/entry.h"
#include "fs/guard.h"
#include "fs/inject.h"
#include "fs/later.h"
#include "fs/ops.h"
#include "fs/owner.h"
#include "fs/place.h"
#include "fs/reach.h"
#include "fs/worker.h"

#define PATIENCE_MS 1000 /* of a removal with FORGETs of earlier ones */
#define MS_NS 1000000L

/* Removals may run ahead of the FORGETs that give their descriptors back: better wait a moment than refuse. */
static bool pin_patiently(struct fs_mount *m, struct node *n)
{
        static const struct timespec moment = {.tv_nsec = MS_NS};
        bool pinned = reach_pin(m, n);

        if (pinned)
                return true;
        if (atomic_fetch_add(&m->patient, 1) < MOUNT_PATIENT_MAX) {
                for (int ms = 0; ms < PATIENCE_MS && !pinned; ms++) {
                        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
                        pinned = reach_pin(m, n);
                }
        }
        atomic_fetch_sub(&m->patient, 1);
        return pinned;
}

/* The name that goes, and the node that the kernel believes it to be, with a reference; NULL if it isn't known. */
struct victim {
        struct node *node;
        bool linked_elsewhere;
};

/* 0 or -errno: the removal is refused if the victim could not be reached afterwards. */
static int victim_take(struct fs_mount *m, struct node *dir, int dirfd, const char *name, struct victim *ret)
{
        struct stat st;

        *ret = (struct victim){.node = node_hold(m->nodes, name_belief(m->names, node_id_of(dir), name, strlen(name)))};
        if (!ret->node)
                return 0;
        if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode) && st.st_nlink > 1) {
                ret->linked_elsewhere = true;
                return 0;
        }
        if (pin_patiently(m, ret->node))
                return 0;
        mount_forget(m, ret->node, 1);
        ret->node = NULL;
        return -ENFILE;
}

static void victim_release(struct fs_mount *m, struct victim *v, bool gone)
{
        if (!v->node)
                return;
        if (gone && v->linked_elsewhere)
                later_attr(m, v->node); /* its link count */
        if (!gone) {
                slots_unpin(m->slots, v->node);
                later_writer(m); /* what was pinned may be one */
        }
        mount_forget(m, v->node, 1);
}

static void remove_name(fuse_req_t req, enum op op, fuse_ino_t parent, const char *name, int flags)
{
        struct fs_mount *m = worker_serve(req, op);
        struct node *dir = mount_node(m, parent);
        struct place p = PLACE_NONE;
        struct victim v;
        int rc;

        if (dir && inject_remove(m, req, dir, name))
                return;
        rc = dir ? place_find(m, dir, name, &p) : -ESTALE;
        if (rc == 0 && (p.is & NODE_READONLY))
                rc = -EROFS;
        if (rc == 0)
                rc = victim_take(m, dir, p.fd, name, &v);
        if (rc == 0) {
                if (unlinkat(p.fd, name, flags) < 0)
                        rc = -errno;
                if (rc == 0) {
                        name_clear(m->names, node_id_of(dir), name, strlen(name));
                        later_attr(m, dir);
                        place_changed(m, dir, &p, name);
                }
                victim_release(m, &v, rc == 0);
        }
        place_end(m, &p);
        fuse_reply_err(req, rc == -ESTALE ? ENOENT : -rc);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
        remove_name(req, OP_UNLINK, parent, name, 0);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
        remove_name(req, OP_RMDIR, parent, name, AT_REMOVEDIR);
}

/* One end of a rename. */
struct end {
        struct node *dir;
        struct place p;
        const char *name;
        struct node *belief; /* with a reference */
};
#define END_NONE ((struct end){.p = {.fd = -1, .held = {.fd = -1, .slot = -1}}})

static int end_open(struct fs_mount *m, struct end *e, fuse_ino_t parent, const char *name)
{
        *e = END_NONE;
        e->dir = mount_node(m, parent);
        e->name = name;
        if (!e->dir)
                return -ESTALE;
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
                rc = guard_rename(m, to->dir, &to->p, to->name, from->dir, &from->p, from->name);
        return rc;
}

/* The kernel now has at `e` what it believed to be `moved`. If that isn't what the backing has there, because the host had changed the
 * name and the event is still on its way, the event will name the place it was: so this place is examined too. */
static void end_moved(struct fs_mount *m, struct end *e, struct node *moved)
{
        uint32_t seq = atomic_load(&e->dir->seq);
        size_t len = strlen(e->name);
        struct ident ident;

        if (moved)
                name_set(m->names, node_id_of(e->dir), e->name, len, moved);
        else
                name_clear(m->names, node_id_of(e->dir), e->name, len);
        if (!moved || layer_ident(e->p.layer, e->p.fd, e->name, &ident) < 0 || !ident_equal(&ident, &moved->ident) ||
            atomic_load(&e->dir->seq) != seq)
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

/* What comes from an artifact to the source is the source owner's again. */
static int claim(struct fs_mount *m, const struct end *from, const struct end *to, struct owner_claim *ret)
{
        if (to->p.layer == &m->source && from->p.layer != &m->source)
                return owner_claim(m, from->p.fd, from->name, ret);
        return 0;
}

static int rename_owned(struct fs_mount *m, const struct end *from, const struct end *to, unsigned flags)
{
        struct owner_claim there = OWNER_CLAIM_NONE;
        struct owner_claim back = OWNER_CLAIM_NONE;
        int rc = claim(m, from, to, &there);

        if (rc == 0 && (flags & RENAME_EXCHANGE))
                rc = claim(m, to, from, &back);
        if (rc == 0 && renameat2(from->p.fd, from->name, to->p.fd, to->name, flags) < 0)
                rc = -errno;
        owner_claim_end(&there, rc == 0);
        owner_claim_end(&back, rc == 0);
        return rc;
}

static int rename_ends(struct fs_mount *m, struct end *from, struct end *to, unsigned flags)
{
        struct victim v = {0};
        int rc = 0;

        if (!(flags & RENAME_EXCHANGE))
                rc = victim_take(m, to->dir, to->p.fd, to->name, &v);
        if (rc < 0)
                return rc;
        rc = rename_owned(m, from, to, flags);
        if (rc == 0) {
                if (flags & RENAME_EXCHANGE) {
                        end_moved(m, from, to->belief);
                } else {
                        name_clear(m->names, node_id_of(from->dir), from->name, strlen(from->name));
                        later_attr(m, from->dir);
                        place_changed(m, from->dir, &from->p, from->name);
                }
                end_moved(m, to, from->belief);
        }
        victim_release(m, &v, rc == 0);
        return rc;
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent, const char *newname, unsigned int flags)
{
        struct fs_mount *m = worker_serve(req, OP_RENAME);
        struct end from = END_NONE;
        struct end to = END_NONE;
        int rc = flags & ~(unsigned)(RENAME_EXCHANGE | RENAME_NOREPLACE | RENAME_WHITEOUT) ? -EINVAL : 0;

        if (rc == 0)
                rc = end_open(m, &from, parent, name);
        if (rc == 0)
                rc = end_open(m, &to, newparent, newname);
        if (rc == 0 && inject_rename(m, req, from.dir, name, to.dir, newname)) {
                end_close(m, &from);
                end_close(m, &to);
                return;
        }
        if (rc == 0)
                rc = find_ends(m, &from, &to, flags);
        if (rc == 0 && (flags & RENAME_WHITEOUT))
                rc = worker_create_in(m, req, &from.p);
        if (rc == 0)
                rc = rename_ends(m, &from, &to, flags);
        end_close(m, &from);
        end_close(m, &to);
        fuse_reply_err(req, rc == -ESTALE ? ENOENT : -rc);
}
