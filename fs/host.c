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

/* Of a replay that somebody's look at a name came between. */
#define TRIES 3

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

/* What stands there now for the mount's users, with a reference, and how it looks. */
struct there {
        bool shown; /* what the host has by that name is what they see */
        struct node *n;
        struct ident ident;
        struct stat st;
};

static struct there look(struct fs_mount *m, const struct at *a)
{
        struct there t = {0};
        struct place p;
        int rc = place_find(m, a->dir, a->name, &p);

        t.shown = rc == 0 && p.fd >= 0 && !(p.is & NODE_OVERLAY);
        if (t.shown && entry_look(p.layer, p.fd, a->name, &t.ident, &t.st) == 0)
                t.n = node_intern(m->nodes, &t.ident, t.st.st_mode, p.is);
        if (t.n)
                entry_show(m, t.n, &t.st);
        place_end(m, &p);
        return t;
}

static bool is_there(const struct there *t, const struct ident *object)
{
        return t->n && (!object || ident_equal(&t->ident, object));
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

/* How it looks wherever it is now, or might have, as far as that matters to anybody. Whether it still is anywhere. */
static bool look_of(struct fs_mount *m, struct node *n, struct stat *st)
{
        if (entry_attr(m, n, st) == 0) {
                bool lives = st->st_nlink > 0;

                st->st_nlink += !lives;
                return lives;
        }
        /* inject_is_unknown() */
        memset(st, 0, sizeof(*st));
        st->st_ino = (ino_t)node_id_of(n);
        st->st_mode = n->type | (S_ISDIR(n->type) ? 0755 : 0644);
        st->st_nlink = 1;
        return false;
}

/* The object that an event is about, though nobody may have looked at it, and it may be elsewhere or gone. */
static struct node *object_of(struct fs_mount *m, const struct ident *object, unsigned how, struct stat *st)
{
        struct node *n = object ? node_find(m->nodes, object) : NULL;
        bool known = n;

        if (object && !n)
                n = node_intern(m->nodes, object, how & FS_HOST_DIRECTORY ? S_IFDIR : S_IFREG, 0);
        if (n && look_of(m, n, st) && !known)
                atomic_store_explicit(&n->type, (uint16_t)(st->st_mode & S_IFMT), memory_order_relaxed);
        return n;
}

static void take_back(struct fs_mount *m, const struct at *a)
{
        name_clear(m->names, node_id_of(a->dir), a->name, a->len);
        (void)fuse_lowlevel_notify_inval_entry(m->session, node_id_of(a->dir), a->name, a->len);
}

/* Somebody's look came between: what is done once more finds the kernel knowing nothing of the name. */
static void ask_again(struct fs_mount *m, const struct at *a)
{
        struct node *was = a->dir ? believed(m, a) : NULL;

        if (a->dir && (!was || !S_ISDIR(was->type)))
                take_back(m, a);
        let_go(m, was);
}

/* Have the kernel ask what the name is, when it is used next, so that it can be told `n`. To take back a directory would take it from those
 * who are in it. */
static bool prepare(struct fs_mount *m, const struct at *a, const struct node *n, bool ask)
{
        struct node *was = believed(m, a);
        bool free = !was || was == n || !S_ISDIR(was->type);

        if (free && (was != n || ask))
                take_back(m, a);
        let_go(m, was);
        return free;
}

/* A directory has one name in the kernel: one that is known, and lives, must not be removed, which is for ever, nor made again. */
static bool is_somewhere(struct fs_mount *m, struct node *n, bool lives)
{
        char text[NAME_BYTES_MAX + 1];

        return S_ISDIR(n->type) && lives && name_of_node(m->names, n, 0, text) != NODE_NONE;
}

static void replay_creation(struct fs_mount *m, const struct at *a, const struct there *t, const struct ident *object, unsigned how)
{
        struct stat st;
        struct node *n;

        if (is_there(t, object)) {
                (void)inject_created(m, a->dir, a->name, t->n, &t->st, true);
                return;
        }
        n = t->shown ? object_of(m, object, how, &st) : NULL;
        if (n && !is_somewhere(m, n, look_of(m, n, &st)) && prepare(m, a, n, false))
                (void)inject_created(m, a->dir, a->name, n, &st, false);
        let_go(m, n);
}

static void replay_deletion(struct fs_mount *m, const struct at *a, const struct there *t, const struct ident *object, unsigned how)
{
        struct stat st;
        struct node *n = object ? object_of(m, object, how, &st) : believed(m, a);
        bool lives = n && look_of(m, n, &st);

        /* The kernel counts one link less. */
        st.st_nlink += n && lives;
        if (n && n != t->n && t->shown && !is_somewhere(m, n, lives) && prepare(m, a, n, lives))
                (void)inject_deleted(m, a->dir, a->name, n, &st);
        let_go(m, n);
}

/* What is passed through reaches the host from whoever wrote it: he was heard already. */
static bool is_to_be_heard(struct fs_mount *m, const struct node *n, unsigned how)
{
        if (node_is(n, NODE_OVERLAY) || backing_is_written(m, n))
                return false;
        return S_ISREG(n->type) || (how & ~(unsigned)FS_HOST_ATTRIB) == 0;
}

#define TOUCHES ((unsigned)(FS_HOST_MODIFIED | FS_HOST_CLOSED | FS_HOST_ATTRIB))

/* To replay a closing the file is opened for writing, when whoever wrote it here wants to run it perhaps. */
static unsigned without_echo(struct fs_mount *m, const struct node *n, unsigned how)
{
        return backing_was_written(m, n) ? how & ~(unsigned)FS_HOST_CLOSED : how;
}

/* Those who watch the directory hear of the name, whatever it is meanwhile. */
static void replay_touch(struct fs_mount *m, const struct at *a, const struct ident *object, unsigned how)
{
        struct there t = look(m, a);
        struct node *n = NULL;
        struct stat st;

        if (t.n)
                how = without_echo(m, t.n, how);
        if (t.n && how && is_to_be_heard(m, t.n, how)) {
                for (int i = 0; i < TRIES && !inject_touched(m, a->dir, a->name, t.n, &t.st, how, true); i++)
                        ask_again(m, a);
        } else if (!t.n && t.shown)
                n = object_of(m, object, how, &st);
        if (n && !S_ISDIR(n->type) && is_to_be_heard(m, n, how) && prepare(m, a, n, true)) {
                (void)inject_touched(m, a->dir, a->name, n, &st, how, false);
                /* Or it would be kept open, and so be on the disk. */
                take_back(m, a);
        }
        let_go(m, n);
        let_go(m, t.n);
}

/* One event can say several things of a name, of one and the same object. What is there now says in which order. */
static void replay_entry(struct fs_mount *m, const struct at *a, const struct ident *object, unsigned how)
{
        struct there t = look(m, a);
        bool again = (how & FS_HOST_DELETED) && (how & FS_HOST_CREATED) && is_there(&t, object);

        if (again)
                replay_deletion(m, a, &t, object, how);
        if (how & FS_HOST_CREATED)
                replay_creation(m, a, &t, object, how);
        if (how & TOUCHES)
                replay_touch(m, a, object, how & TOUCHES);
        if ((how & FS_HOST_DELETED) && !again)
                replay_deletion(m, a, &t, object, how);
        let_go(m, t.n);
}

void fs_host_entry(struct fs_mount *m, const struct ident *dir, const char *name, size_t len, const struct ident *object, unsigned how)
{
        struct at a;

        at_begin(m, &a, dir, name, len);
        if (a.dir && m->injector && how)
                replay_entry(m, &a, object, how);
        at_end(m, &a);
}

struct renamed {
        struct at from, to;
        struct there was, is; /* what is there now, of each name */
        struct inject_end a, b;
        bool exchange;
};

/* What stood at the target. */
static void find_over(struct fs_mount *m, struct renamed *r)
{
        struct node *over = believed(m, &r->to);
        bool lives = over && look_of(m, over, &r->b.st);
        bool dir = over && S_ISDIR(over->type);

        if (!over)
                return;
        r->exchange = r->a.dir && over != r->a.n && over == r->was.n && r->is.n == r->a.n;
        /* What is there now was looked at since; and a directory that is somewhere isn't what was replaced. */
        if (!r->exchange && (over == r->a.n || over == r->is.n || (dir && lives))) {
                take_back(m, &r->to);
                let_go(m, over);
                return;
        }
        if (!r->exchange && lives && !dir) {
                take_back(m, &r->to);
                r->b.st.st_nlink++;
        }
        r->b.n = over;
}

static void replay_rename(struct fs_mount *m, struct renamed *r, const struct ident *object, unsigned how)
{
        struct node *n = object ? object_of(m, object, how, &r->a.st) : NULL;
        bool ready, done = false;

        r->was = r->from.dir ? look(m, &r->from) : (struct there){0};
        r->is = r->to.dir ? look(m, &r->to) : (struct there){0};
        if (!n && r->is.n && !object) {
                n = node_hold(m->nodes, node_id_of(r->is.n));
                r->a.st = r->is.st;
        }
        r->a.dir = r->was.shown ? r->from.dir : NULL;
        r->a.name = r->was.shown ? r->from.name : "-";
        r->b.dir = r->is.shown ? r->to.dir : NULL;
        r->b.name = r->is.shown ? r->to.name : "-";
        r->a.n = n;
        /* What it is renamed to may be another thing already, and known to be: the kernel has to ask of the name that it moves there. */
        ready = n && (r->a.dir || r->b.dir) && (!r->a.dir || prepare(m, &r->from, n, !S_ISDIR(n->type)));
        for (int i = 0; i < TRIES && ready && !done; i++) {
                if (r->b.dir)
                        find_over(m, r);
                done = inject_renamed(m, &r->a, &r->b, r->exchange);
                if (done)
                        break;
                let_go(m, r->b.n);
                r->b.n = NULL;
                ask_again(m, &r->from);
                ask_again(m, &r->to);
        }
        if (done && r->exchange)
                inject_note_swapped(m, &r->was.ident);
        let_go(m, r->b.n);
        let_go(m, r->was.n);
        let_go(m, r->is.n);
        let_go(m, n);
}

void fs_host_moved(struct fs_mount *m, const struct ident *dir, const char *name, size_t len, const struct ident *to_dir,
                   const char *to_name, size_t to_len, const struct ident *object, unsigned how)
{
        struct renamed r = {0};

        at_begin(m, &r.from, dir, name, len);
        at_begin(m, &r.to, to_dir, to_name, to_len);
        if (m->overlay)
                overlay_raise_epoch(m->overlay);
        if (m->injector && !inject_was_swapped(m, object) && (r.from.dir || r.to.dir))
                replay_rename(m, &r, object, how);
        at_end(m, &r.from);
        at_end(m, &r.to);
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
                if (a.dir)
                        replay_touch(m, &a, object, how);
                let_go(m, a.dir);
        }
        let_go(m, n);
}

void fs_host_rest(struct fs_mount *m)
{
        tell_names(m);
        inject_rest(m);
}
