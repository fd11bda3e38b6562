/*
 * Answering what is injected. A request of the injecting thread is answered from what stands in the expectation, never from the backing,
 * which may have moved on; one that changes something and isn't expected is refused.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/backing.h"
#include "fs/entry.h"
#include "fs/inject.h"
#include "fs/inject_work.h"

/* Is the request made by who injects? Then what he expects is in *ret. */
static bool is_ours(struct fs_mount *m, fuse_req_t req, struct expected *ret)
{
        struct injector *i = m->injector;
        pid_t tid = i ? atomic_load_explicit(&i->tid, memory_order_relaxed) : 0;

        if (!tid || fuse_req_ctx(req)->pid != tid)
                return false;
        mutex_lock(&i->lock);
        *ret = i->expected;
        mutex_unlock(&i->lock);
        return true;
}

/* He has come to another place than he thought, for the names on the way have changed: nothing is to be done there. */
static bool refuse(fuse_req_t req)
{
        fuse_reply_err(req, EAGAIN);
        return true;
}

static void note_answered(struct fs_mount *m)
{
        mutex_lock(&m->injector->lock);
        m->injector->expected.answered = true;
        mutex_unlock(&m->injector->lock);
}

static bool is_name(const struct node *dir, const char *name, const struct expected_name *e)
{
        return dir == e->dir && strcmp(name, e->name) == 0;
}

/* Does the kernel believe of the name what is expected of it? Somebody may have been quicker; and what it takes to be removed, or replaced,
 * is dead to it afterwards, which a directory that lives must not be. */
static bool is_believed(struct fs_mount *m, const struct expected *e, const struct expected_name *at)
{
        node_id is = name_belief(m->names, node_id_of(at->dir), at->name, strlen(at->name));

        return at->dir == e->elsewhere || is == (at->n ? node_id_of(at->n) : NODE_NONE);
}

/* A file that nobody has: what the kernel is told of one that is out of reach would take its size from those who have it open. */
static struct node *stand_in_new(struct fs_mount *m)
{
        static atomic_uint serial;
        struct ident nobody = {.how = IDENT_STAT, .type = -1};

        nobody.len = (unsigned)snprintf((char *)nobody.bytes, sizeof(nobody.bytes), "gone %u", atomic_fetch_add(&serial, 1));
        return node_intern(m->nodes, &nobody, S_IFREG, 0);
}

/* What is out of reach gets a stand-in from here on; what is replaced is left out. False: there is no memory. */
static bool stand_in(struct fs_mount *m, struct expected *e, struct expected_name *at)
{
        struct injector *i = m->injector;

        if (!at->n || !S_ISREG(at->n->type) || !inject_is_unknown(&at->st) || at->n == e->stand_in)
                return true;
        at->n = at == &e->at ? stand_in_new(m) : NULL;
        if (at == &e->at && !at->n)
                return false;
        if (at->n)
                e->stand_in = at->n;
        at->st.st_ino = at->n ? (ino_t)node_id_of(at->n) : 0;
        mutex_lock(&i->lock);
        i->expected.stand_in = e->stand_in;
        i->expected.at = e->at;
        i->expected.to = e->to;
        mutex_unlock(&i->lock);
        return true;
}

/* The kernel takes a reference, if the answer reaches it. */
static void answer_node(struct fs_mount *m, fuse_req_t req, const struct expected *e, const struct expected_name *at, double timeout)
{
        struct fuse_entry_param entry = {.attr = at->st, .ino = node_id_of(at->n), .entry_timeout = timeout};
        struct node *held = node_hold(m->nodes, entry.ino);

        if (!held) {
                fuse_reply_err(req, EIO);
                return;
        }
        if (at->dir != e->elsewhere)
                (void)name_set(m->names, node_id_of(at->dir), at->name, strlen(at->name), at->n);
        entry_reply(req, m, 0, &entry);
}

static void answer_lookup(struct fs_mount *m, fuse_req_t req, struct expected *e, struct expected_name *at)
{
        static const struct fuse_entry_param none;

        if (!stand_in(m, e, at)) {
                (void)refuse(req);
                return;
        }
        if (at->n) {
                answer_node(m, req, e, at, 0);
                return;
        }
        (void)name_clear(m->names, node_id_of(at->dir), at->name, strlen(at->name));
        entry_reply(req, m, 0, &none);
}

/* It is only ever used by who asks now, so that nothing is asked about it again. */
static void answer_elsewhere(struct fs_mount *m, fuse_req_t req, struct node *n)
{
        struct fuse_entry_param e = {.ino = node_id_of(n), .attr_timeout = m->timeout};
        struct node *held = node_hold(m->nodes, e.ino);

        if (!held) {
                fuse_reply_err(req, EIO);
                return;
        }
        e.attr = (struct stat){.st_ino = (ino_t)e.ino, .st_mode = S_IFDIR | 0700, .st_nlink = 2};
        entry_reply(req, m, 0, &e);
}

bool inject_lookup(struct fs_mount *m, fuse_req_t req, struct node *dir, const char *name)
{
        static const struct fuse_entry_param none;
        struct expected e;

        if (!is_ours(m, req, &e))
                return false;
        if (e.elsewhere && node_id_of(dir) == NODE_ROOT && strcmp(name, ELSEWHERE) == 0)
                answer_elsewhere(m, req, e.elsewhere);
        else if (e.what == EXPECT_CREATE && is_name(dir, name, &e.at))
                entry_reply(req, m, 0, &none);
        else if ((e.what == EXPECT_DELETE || e.what == EXPECT_RENAME || (e.what == EXPECT_SETATTR && !e.stays)) &&
                 is_name(dir, name, &e.at))
                answer_lookup(m, req, &e, &e.at);
        else if (e.what == EXPECT_RENAME && is_name(dir, name, &e.to))
                answer_lookup(m, req, &e, &e.to);
        else
                return false;
        return true;
}

static void answer_created(struct fs_mount *m, fuse_req_t req, struct expected *e)
{
        if (!stand_in(m, e, &e->at)) {
                (void)refuse(req);
                return;
        }
        note_answered(m);
        /* What was looked at may have been replaced since: whoever comes by asks, and has the name for long then. */
        answer_node(m, req, e, &e->at, 0);
}

bool inject_make(struct fs_mount *m, fuse_req_t req, fuse_ino_t parent, const char *name)
{
        struct expected e;

        if (!is_ours(m, req, &e))
                return false;
        if (e.what != EXPECT_CREATE || !is_name(mount_node(m, parent), name, &e.at))
                return refuse(req);
        answer_created(m, req, &e);
        return true;
}

bool inject_link(struct fs_mount *m, fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
        struct expected e;

        if (!is_ours(m, req, &e))
                return false;
        if (e.what != EXPECT_CREATE || mount_node(m, ino) != e.at.n || !is_name(mount_node(m, parent), name, &e.at))
                return refuse(req);
        answer_created(m, req, &e);
        return true;
}

bool inject_remove(struct fs_mount *m, fuse_req_t req, struct node *dir, const char *name)
{
        struct expected e;

        if (!is_ours(m, req, &e))
                return false;
        if (e.what != EXPECT_DELETE || !is_name(dir, name, &e.at) || !is_believed(m, &e, &e.at))
                return refuse(req);
        note_answered(m);
        (void)name_clear(m->names, node_id_of(dir), name, strlen(name));
        fuse_reply_err(req, 0);
        return true;
}

static void note_name(struct fs_mount *m, const struct expected *e, const struct expected_name *at, struct node *n)
{
        if (at->dir == e->elsewhere)
                return;
        if (n)
                (void)name_set(m->names, node_id_of(at->dir), at->name, strlen(at->name), n);
        else
                (void)name_clear(m->names, node_id_of(at->dir), at->name, strlen(at->name));
}

bool inject_rename(struct fs_mount *m, fuse_req_t req, struct node *dir, const char *name, struct node *to_dir, const char *to_name)
{
        struct expected e;

        if (!is_ours(m, req, &e))
                return false;
        if (e.what != EXPECT_RENAME || !is_name(dir, name, &e.at) || !is_name(to_dir, to_name, &e.to) || !is_believed(m, &e, &e.at) ||
            !is_believed(m, &e, &e.to))
                return refuse(req);
        note_answered(m);
        note_name(m, &e, &e.at, e.exchange ? e.to.n : NULL);
        note_name(m, &e, &e.to, e.at.n);
        fuse_reply_err(req, 0);
        return true;
}

bool inject_getattr(struct fs_mount *m, fuse_req_t req, struct node *n)
{
        struct expected e;

        if (!is_ours(m, req, &e) || n != e.at.n || e.stays)
                return false;
        if (inject_is_unknown(&e.at.st) && n != e.stand_in)
                return refuse(req);
        fuse_reply_attr(req, &e.at.st, 0);
        return true;
}

bool inject_setattr(struct fs_mount *m, fuse_req_t req, struct node *n)
{
        struct expected e;
        int rc = 0;

        if (!is_ours(m, req, &e))
                return false;
        if (e.what != EXPECT_SETATTR || n != e.at.n || (!e.stays && inject_is_unknown(&e.at.st) && n != e.stand_in))
                return refuse(req);
        note_answered(m);
        if (e.stays)
                rc = entry_attr(m, n, &e.at.st);
        if (rc < 0)
                fuse_reply_err(req, -rc);
        else
                fuse_reply_attr(req, &e.at.st, 0);
        return true;
}

/* The handle of what is opened here; files that are passed through have none. */
#define OPEN_HANDLE 1U

/* Past the kernel's cache, for that is a kind of open that bears any other beside it; and with no backing file, which the host's watchers
 * would see opened and closed. Where somebody has the file open the kernel would want just that. */
bool inject_open(struct fs_mount *m, fuse_req_t req, const struct node *n, struct fuse_file_info *fi)
{
        struct expected e;

        if (!is_ours(m, req, &e))
                return false;
        if (e.what != EXPECT_SETATTR || n != e.at.n || backing_is_open(m, n))
                return refuse(req);
        fi->fh = OPEN_HANDLE;
        fi->direct_io = 1;
        fi->keep_cache = 1;
        fuse_reply_open(req, fi);
        return true;
}

bool inject_is_open(const struct fuse_file_info *fi)
{
        return fi->fh == OPEN_HANDLE;
}
