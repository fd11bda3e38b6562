/*
 * Why nothing stale survives.
 *
 * The kernel keeps names, attributes, pages and listings for ever, until told. What it was told may be overtaken while the answer is on
 * its way: served before a change on the host, taken in by the kernel after the change was told. For each kind of answer:
 *
 * - Names: the kernel takes in the answers to LOOKUP, CREATE, … and READDIRPLUS under the directory's lock, which INVAL_ENTRY takes as
 *   well: it waits for those under way and drops what they brought. (A revalidation doesn't hold that lock, but the dropped name it then
 *   renews is out of the tree.)
 * - A name that already stands for what is there need not be dropped, which spares our own changes, and the working directories of
 *   processes, when the watcher can't tell who did it. What the kernel believes is in the name index; it is written before an answer
 *   leaves. Event and answer each write first and read then, so one of them sees the other:
 *
 *        event: raise dir->seq; read the backing; read the belief     answer: read dir->seq; read the backing; write the belief; read
 * dir->seq
 *
 *   If the answer finds dir->seq raised, it has the name examined once more (later_entry).
 *   Answers that name the same entry can be under way together (LOOKUP and READDIRPLUS share the directory's lock), and the kernel need not
 *   take them in in the order in which they wrote the belief. Two that agree do no harm; one that overwrites another belief than its own
 *   has the name dropped whatever it then seems to be (later_doubt).
 * - Listings: READDIR fills the listing's pages under the directory's lock too. INVAL_ENTRY comes first, if only with a name that can't
 *   be, and INVAL_INODE after it drops what an older READDIR brought.
 * - Attributes: INVAL_INODE raises the inode's version, and the kernel ignores attributes that were asked for before. An inode that the
 *   kernel doesn't have yet may be on its way in the answer to a name, which it takes in under the directory's lock: INVAL_ENTRY waits for
 *   that, then INVAL_INODE finds the inode. A node that isn't in the table yet may be about to be made: so
 *
 *        event: raise m->changes; find the node; read its names     answer: read m->changes; read the attributes; make the node; write
 * its name; read m->changes
 *
 *   and an answer that finds m->changes raised reads the attributes again. What the kernel
 *   itself invalidates after one of its own changes (create, unlink, link, rename) does not raise it: so the directories and hard links
 *   concerned are told again later (later_attr).
 * - Pages: those being read are locked; INVAL_INODE waits for them and drops them.
 * - A rename moves what the kernel believes: if that was wrong, what stands there now is compared once more (fs/ops_remove.c).
 */
#include "fs/tell.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "cache/base/log.h"
#include "fs/later.h"
#include "fs/place.h"
#include "fs/reach.h"

/* No entry has this name: INVAL_ENTRY with it only waits for the directory's lock. */
#define NO_NAME "/"

/* Attributes, and pages from `off` on if that isn't negative. */
static void tell_inode(struct fs_mount *m, struct node *n, off_t off)
{
        char text[NAME_BYTES_MAX + 1];
        node_id dir;

        if (fuse_lowlevel_notify_inval_inode(m->session, node_id_of(n), off, 0) != -ENOENT)
                return;
        for (unsigned nth = 0; (dir = name_of_node(m->names, n, nth, text)) != NODE_NONE; nth++)
                (void)fuse_lowlevel_notify_inval_entry(m->session, dir, NO_NAME, sizeof(NO_NAME) - 1);
        (void)fuse_lowlevel_notify_inval_inode(m->session, node_id_of(n), off, 0);
}

void tell_attr(struct fs_mount *m, struct node *n)
{
        atomic_fetch_add(&m->told_attrs, 1);
        tell_inode(m, n, -1);
}

void tell_content(struct fs_mount *m, struct node *n)
{
        atomic_fetch_add(&m->told_content, 1);
        tell_inode(m, n, 0);
}

/* The node that `name` of `dir` is in the backing now, if the kernel knows it; with a reference. */
static struct node *node_there(struct fs_mount *m, struct node *dir, const char *name, size_t len)
{
        char text[NAME_BYTES_MAX + 1];
        struct place p;
        struct ident ident;
        int rc;

        memcpy(text, name, len);
        text[len] = '\0';
        rc = place_find(m, dir, text, &p);
        if (rc == 0)
                rc = p.fd < 0 ? -ENOENT : layer_ident(p.layer, p.fd, text, &ident);
        place_end(m, &p);
        return rc < 0 ? NULL : node_find(m->nodes, &ident);
}

/* A name of it is gone; by which it may have been written to, what other names show as well: inotify tells of the name alone. */
static void tell_lost_name(struct fs_mount *m, struct node *n)
{
        char text[NAME_BYTES_MAX + 1];

        if (S_ISREG(n->type) && name_of_node(m->names, n, 0, text) != NODE_NONE)
                tell_content(m, n);
        else
                tell_attr(m, n);
}

void tell_entry(struct fs_mount *m, struct node *dir, const char *name, size_t len, bool force)
{
        struct node *there;
        node_id belief;

        if (len == 0 || len > NAME_BYTES_MAX)
                return;
        atomic_fetch_add(&dir->seq, 1);
        there = node_there(m, dir, name, len);
        belief = name_belief(m->names, node_id_of(dir), name, len);
        atomic_fetch_add(&m->told_entries, 1);
        /* It came from elsewhere, and took what is below with it. */
        if (m->overlay && there && S_ISDIR(there->type) && belief != node_id_of(there))
                overlay_raise_epoch(m->overlay);
        if (there && belief == node_id_of(there) && !force) {
                (void)fuse_lowlevel_notify_inval_entry(m->session, node_id_of(dir), NO_NAME, sizeof(NO_NAME) - 1);
        } else {
                /* Seen there is enough: it may be open, and has lost a link. */
                struct node *was = node_hold(m->nodes, name_known(m->names, node_id_of(dir), name, len));

                name_clear(m->names, node_id_of(dir), name, len);
                if (there)
                        name_saw(m->names, node_id_of(dir), name, len, there);
                (void)fuse_lowlevel_notify_inval_entry(m->session, node_id_of(dir), name, len);
                if (was) {
                        tell_lost_name(m, was);
                        mount_forget(m, was, 1);
                }
        }
        /* A rename or link changed the object as well. */
        if (there) {
                tell_attr(m, there);
                mount_forget(m, there, 1);
        }
        tell_inode(m, dir, 0);
}

struct node *tell_find(struct fs_mount *m, const struct ident *ident)
{
        atomic_fetch_add(&m->changes, 1);
        return node_find(m->nodes, ident);
}

void fs_tell_entry(struct fs_mount *m, const struct ident *dir, const char *name, size_t len)
{
        struct node *n = tell_find(m, dir);

        if (!n)
                return;
        tell_entry(m, n, name, len, false);
        mount_forget(m, n, 1);
}

void fs_tell_content(struct fs_mount *m, const struct ident *file)
{
        struct node *n = tell_find(m, file);

        if (!n)
                return;
        if (S_ISDIR(n->type)) {
                atomic_fetch_add(&n->seq, 1);
                atomic_store(&m->names_doubted, true);
        }
        tell_content(m, n);
        mount_forget(m, n, 1);
}

void fs_tell_attr(struct fs_mount *m, const struct ident *object)
{
        struct node *n = tell_find(m, object);

        if (!n)
                return;
        tell_attr(m, n);
        mount_forget(m, n, 1);
}

void fs_soon_entry(struct fs_mount *m, const struct ident *dir, const char *name, size_t len)
{
        struct node *n = tell_find(m, dir);

        if (!n)
                return;
        later_entry(m, n, name, len);
        mount_forget(m, n, 1);
}

void fs_soon_content(struct fs_mount *m, const struct ident *object)
{
        struct node *n = tell_find(m, object);

        if (!n)
                return;
        later_content(m, n);
        mount_forget(m, n, 1);
}

void fs_keep(struct fs_mount *m, const struct ident *object)
{
        struct node *n = node_find(m->nodes, object);

        if (!n)
                return;
        if (!reach_pin(m, n))
                log_warn("%s: an artifact that is replaced can't be kept for those who use it: too many files are", m->options.mountpoint);
        mount_forget(m, n, 1);
}

static bool tell_everything_about(void *arg, struct node *n)
{
        struct fs_mount *m = arg;
        char text[NAME_BYTES_MAX + 1];
        node_id dir;

        atomic_fetch_add(&n->seq, 1);
        for (unsigned nth = 0; !m->epoch && (dir = name_of_node(m->names, n, nth, text)) != NODE_NONE; nth++)
                (void)fuse_lowlevel_notify_inval_entry(m->session, dir, text, strlen(text));
        (void)fuse_lowlevel_notify_inval_entry(m->session, node_id_of(n), NO_NAME, sizeof(NO_NAME) - 1);
        (void)fuse_lowlevel_notify_inval_inode(m->session, node_id_of(n), 0, 0);
        return true;
}

static void put_node(void *arg, struct node *n)
{
        mount_forget(arg, n, 1);
}

/* Names by the epoch, which the kernel compares when it next uses one; without it name by name (absent names are then kept for no time at
 * all, see fs/session.c). */
void fs_tell_all(struct fs_mount *m)
{
        atomic_fetch_add(&m->told_all, 1);
        atomic_fetch_add(&m->changes, 1);
        if (m->epoch)
                (void)fuse_lowlevel_notify_increment_epoch(m->session);
        node_each(m->nodes, tell_everything_about, put_node, m);
}

void tell_names(struct fs_mount *m)
{
        if (!atomic_exchange(&m->names_doubted, false))
                return;
        if (m->epoch)
                (void)fuse_lowlevel_notify_increment_epoch(m->session);
        else
                fs_tell_all(m);
}

void fs_settle(struct fs_mount *m)
{
        later_flush(m);
}
