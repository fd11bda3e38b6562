/*
 * What the host did, told to the kernel and replayed for those who watch the mount. Telling comes first where a reader who is woken could
 * otherwise read what was; names are replayed first, for a name that was taken back would have no watcher any more. In either order what
 * the kernel holds afterwards is what telling alone would have left (fs/tell.c), so a replay that fails costs an event and nothing else.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/backing.h"
#include "fs/entry.h"
#include "fs/inject.h"
#include "fs/own.h"
#include "fs/tell.h"

/* A name with its directory, as an event brings it. */
struct at {
        struct node *dir; /* with a reference; NULL: the kernel doesn't know it, so nobody watches it */
        char name[NAME_BYTES_MAX + 1];
        size_t len;
};

static void at_find(struct fs_mount *m, struct at *a, const struct ident *dir, const char *name, size_t len)
{
        a->dir = len <= NAME_BYTES_MAX ? tell_find(m, dir) : NULL;
        /* The source's own is not what the mount shows there. */
        if (a->dir && len == sizeof(OWN_NAME) - 1 && node_id_of(a->dir) == NODE_ROOT && memcmp(name, OWN_NAME, len) == 0) {
                mount_forget(m, a->dir, 1);
                a->dir = NULL;
        }
        a->len = a->dir ? len : 0;
        memcpy(a->name, name, a->len);
        a->name[a->len] = '\0';
}

static void at_begin(struct fs_mount *m, struct at *a, const struct ident *dir, const char *name, size_t len)
{
        at_find(m, a, dir, name, len);
        if (a->dir)
                atomic_fetch_add(&a->dir->seq, 1);
}

/* Last of all, whatever was replayed. */
static void at_end(struct fs_mount *m, struct at *a)
{
        if (!a->dir)
                return;
        tell_entry(m, a->dir, a->name, a->len, false);
        mount_forget(m, a->dir, 1);
}

/* The node that stands there now for the mount's users, with a reference, and how it looks; NULL: none that the host could have put there.
 */
static struct node *look(struct fs_mount *m, const struct at *a, struct stat *st)
{
        struct node *n = NULL;
        struct ident ident;
        struct place p;
        int rc = place_find(m, a->dir, a->name, &p);

        if (rc == 0 && p.fd >= 0 && !(p.is & NODE_OVERLAY))
                rc = entry_look(p.layer, p.fd, a->name, &ident, st);
        else
                rc = -1;
        if (rc == 0)
                n = node_intern(m->nodes, &ident, st->st_mode, p.is);
        if (n)
                entry_show(m, n, st);
        place_end(m, &p);
        return n;
}

static struct node *believed(struct fs_mount *m, const struct at *a)
{
        return node_hold(m->nodes, name_belief(m->names, node_id_of(a->dir), a->name, a->len));
}

static void let_go(struct fs_mount *m, struct node *n)
{
        if (n)
                mount_forget(m, n, 1);
}

/* To the kernel a removed directory is dead for ever: one that has only moved must not be removed. */
static bool may_remove(struct fs_mount *m, struct node *n)
{
        struct stat st;
        int rc;

        if (!S_ISDIR(n->type))
                return true;
        rc = entry_attr(m, n, &st);
        return rc == -ESTALE || (rc == 0 && st.st_nlink == 0);
}

static void take_back(struct fs_mount *m, const struct at *a)
{
        (void)fuse_lowlevel_notify_inval_entry(m->session, node_id_of(a->dir), a->name, a->len);
        name_clear(m->names, node_id_of(a->dir), a->name, a->len);
}

/* What nobody had looked at was there all the same: something stands in for it. */
static struct node *stand_in(struct fs_mount *m, const struct ident *object, unsigned how)
{
        struct node *n = object ? node_find(m->nodes, object) : NULL;

        return n || !object ? n : node_intern(m->nodes, object, how & FS_HOST_DIRECTORY ? S_IFDIR : S_IFREG, 0);
}

static void replay_deletion(struct fs_mount *m, const struct at *a, const struct node *there, const struct ident *object, unsigned how)
{
        struct node *was = believed(m, a);

        if (!was && !there)
                was = stand_in(m, object, how);
        if (was && was != there && may_remove(m, was))
                (void)inject_deleted(m, a->dir, a->name, was);
        let_go(m, was);
}

static void replay_entry(struct fs_mount *m, const struct at *a, const struct ident *object, unsigned how)
{
        struct stat st;
        struct node *there = look(m, a, &st);

        if (how & FS_HOST_DELETED)
                replay_deletion(m, a, there, object, how);
        if ((how & FS_HOST_CREATED) && there)
                (void)inject_created(m, a->dir, a->name, there, &st);
        let_go(m, there);
}

void fs_host_entry(struct fs_mount *m, const struct ident *dir, const char *name, size_t len, const struct ident *object, unsigned how)
{
        struct at a;

        at_begin(m, &a, dir, name, len);
        if (a.dir && m->injector && how)
                replay_entry(m, &a, object, how);
        at_end(m, &a);
}

/* `from` need not have been known: then it came and went faster than we could look, which its watchers see all the same. */
static void replay_rename(struct fs_mount *m, const struct at *from, const struct at *to)
{
        struct stat st;
        struct node *moved = look(m, to, &st);
        struct node *was = believed(m, from);
        struct node *over = believed(m, to);
        bool ready = moved && was == moved;

        /* Somebody may have looked already. */
        if (moved && over && (over == moved || !may_remove(m, over))) {
                take_back(m, to);
                mount_forget(m, over, 1);
                over = NULL;
        }
        if (moved && !was)
                ready = inject_created(m, from->dir, from->name, moved, &st);
        if (ready)
                (void)inject_renamed(m, from->dir, from->name, to->dir, to->name, moved, over);
        let_go(m, over);
        let_go(m, was);
        let_go(m, moved);
}

void fs_host_moved(struct fs_mount *m, const struct ident *dir, const char *name, size_t len, const struct ident *to_dir,
                   const char *to_name, size_t to_len)
{
        struct at from, to;

        at_begin(m, &from, dir, name, len);
        at_begin(m, &to, to_dir, to_name, to_len);
        if (m->overlay)
                overlay_raise_epoch(m->overlay);
        if (m->injector && from.dir && to.dir)
                replay_rename(m, &from, &to);
        else if (m->injector && from.dir)
                replay_entry(m, &from, NULL, FS_HOST_DELETED);
        else if (m->injector && to.dir)
                replay_entry(m, &to, NULL, FS_HOST_CREATED);
        at_end(m, &from);
        at_end(m, &to);
}

void fs_tell_moved(struct fs_mount *m, const struct ident *dir, const char *name, size_t len, const struct ident *to_dir,
                   const char *to_name, size_t to_len)
{
        if (m->overlay)
                overlay_raise_epoch(m->overlay);
        fs_tell_entry(m, dir, name, len);
        fs_tell_entry(m, to_dir, to_name, to_len);
}

/* Where the kernel knows it, if nobody says by which name it was changed. */
static void at_believed(struct fs_mount *m, struct at *a, struct node *n)
{
        a->dir = node_hold(m->nodes, name_of_node(m->names, n, 0, a->name));
        a->len = a->dir ? strlen(a->name) : 0;
}

/* What is passed through reaches the host from whoever wrote it: he was heard already. */
static bool is_to_be_heard(struct fs_mount *m, const struct node *n, unsigned how)
{
        if (node_is(n, NODE_OVERLAY) || backing_is_written(m, n))
                return false;
        return S_ISREG(n->type) || (how & ~(unsigned)FS_HOST_ATTRIB) == 0;
}

static void replay_touch(struct fs_mount *m, const struct at *a, struct node *known, const struct ident *object, unsigned how)
{
        struct stat st;
        /* Who watches its directory need not have looked at it. */
        struct node *n = a->dir ? look(m, a, &st) : NULL;
        struct ident is = n ? node_ident(m->nodes, n) : (struct ident){0};

        if (n && ident_equal(&is, object) && (!known || n == known) && is_to_be_heard(m, n, how))
                (void)inject_touched(m, a->dir, a->name, n, &st, how);
        let_go(m, n);
}

void fs_host_object(struct fs_mount *m, const struct ident *object, const struct ident *dir, const char *name, size_t len, unsigned how)
{
        struct node *n = tell_find(m, object);
        struct at a = {0};

        if (n && (how & (FS_HOST_MODIFIED | FS_HOST_CLOSED)))
                tell_content(m, n);
        else if (n)
                tell_attr(m, n);
        if (m->injector && how) {
                if (dir && len && strcmp(name, ".") != 0)
                        at_find(m, &a, dir, name, len);
                else if (n)
                        at_believed(m, &a, n);
                replay_touch(m, &a, n, object, how);
                let_go(m, a.dir);
        }
        let_go(m, n);
}

void fs_host_rest(struct fs_mount *m)
{
        inject_rest(m);
}
