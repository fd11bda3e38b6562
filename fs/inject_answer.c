/*
 * Answering what is injected. A request of the injecting thread is answered from what stands in the expectation, never from the backing,
 * which may have moved on; one that changes something and isn't expected is refused.
 */
#include <errno.h>
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

static bool is_name(const struct node *dir, const char *name, const struct node *expected_dir, const char *expected)
{
        return dir == expected_dir && strcmp(name, expected) == 0;
}

/* What is gone has the attributes that it had, as far as they are known. */
static void attr_of_gone(struct fs_mount *m, struct node *n, struct stat *st)
{
        if (entry_attr(m, n, st) == 0)
                return;
        memset(st, 0, sizeof(*st));
        st->st_ino = (ino_t)node_id_of(n);
        st->st_mode = n->type | (S_ISDIR(n->type) ? 0755 : 0644);
        st->st_nlink = 1;
}

/* The kernel takes a reference, if the answer reaches it. */
static void answer_node(struct fs_mount *m, fuse_req_t req, struct node *n, const struct stat *st)
{
        struct fuse_entry_param e = {.attr = *st};
        struct node *held = node_hold(m->nodes, node_id_of(n));

        if (!held) {
                fuse_reply_err(req, EIO);
                return;
        }
        e.ino = node_id_of(n);
        e.entry_timeout = m->timeout;
        e.attr_timeout = 0;
        entry_reply(req, m, 0, &e);
}

static void answer_gone(struct fs_mount *m, fuse_req_t req, struct node *dir, const char *name, struct node *n)
{
        struct stat st;

        attr_of_gone(m, n, &st);
        (void)name_set(m->names, node_id_of(dir), name, strlen(name), n);
        answer_node(m, req, n, &st);
}

static void answer_nothing(fuse_req_t req, struct fs_mount *m)
{
        static const struct fuse_entry_param none;

        entry_reply(req, m, 0, &none);
}

bool inject_lookup(struct fs_mount *m, fuse_req_t req, struct node *dir, const char *name)
{
        struct expected e;

        if (!is_ours(m, req, &e))
                return false;
        if (e.what == EXPECT_CREATE && is_name(dir, name, e.dir, e.name))
                answer_nothing(req, m);
        else if ((e.what == EXPECT_DELETE || e.what == EXPECT_RENAME) && is_name(dir, name, e.dir, e.name))
                answer_gone(m, req, dir, name, e.node);
        else if (e.what == EXPECT_RENAME && is_name(dir, name, e.to_dir, e.to_name) && e.over)
                answer_gone(m, req, dir, name, e.over);
        else if (e.what == EXPECT_RENAME && is_name(dir, name, e.to_dir, e.to_name))
                answer_nothing(req, m);
        else
                return false;
        return true;
}

bool inject_make(struct fs_mount *m, fuse_req_t req, fuse_ino_t parent, const char *name)
{
        struct node *dir;
        struct expected e;

        if (!is_ours(m, req, &e))
                return false;
        dir = mount_node(m, parent);
        if (e.what != EXPECT_CREATE || !is_name(dir, name, e.dir, e.name))
                return refuse(req);
        note_answered(m);
        (void)name_set(m->names, node_id_of(dir), name, strlen(name), e.node);
        answer_node(m, req, e.node, &e.st);
        return true;
}

bool inject_remove(struct fs_mount *m, fuse_req_t req, struct node *dir, const char *name)
{
        struct expected e;

        if (!is_ours(m, req, &e))
                return false;
        if (e.what != EXPECT_DELETE || !is_name(dir, name, e.dir, e.name))
                return refuse(req);
        note_answered(m);
        (void)name_clear(m->names, node_id_of(dir), name, strlen(name));
        fuse_reply_err(req, 0);
        return true;
}

bool inject_rename(struct fs_mount *m, fuse_req_t req, struct node *dir, const char *name, struct node *to_dir, const char *to_name)
{
        struct expected e;
        node_id over;

        if (!is_ours(m, req, &e))
                return false;
        if (e.what != EXPECT_RENAME || !is_name(dir, name, e.dir, e.name) || !is_name(to_dir, to_name, e.to_dir, e.to_name))
                return refuse(req);
        /* What the kernel takes to be there is dead to it afterwards: somebody has looked meanwhile, and a directory that lives must not
         * be. */
        over = name_belief(m->names, node_id_of(to_dir), to_name, strlen(to_name));
        if (over != NODE_NONE && over != node_id_of(e.node) && (!e.over || over != node_id_of(e.over)))
                return refuse(req);
        note_answered(m);
        (void)name_clear(m->names, node_id_of(dir), name, strlen(name));
        (void)name_set(m->names, node_id_of(to_dir), to_name, strlen(to_name), e.node);
        fuse_reply_err(req, 0);
        return true;
}

bool inject_setattr(struct fs_mount *m, fuse_req_t req, struct node *n)
{
        struct expected e;
        struct stat st;
        int rc;

        if (!is_ours(m, req, &e))
                return false;
        if (e.what != EXPECT_SETATTR || n != e.node)
                return refuse(req);
        note_answered(m);
        rc = entry_attr(m, n, &st);
        if (rc < 0)
                fuse_reply_err(req, -rc);
        else
                fuse_reply_attr(req, &st, 0);
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
        if (e.what != EXPECT_SETATTR || n != e.node || backing_is_open(m, n))
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
