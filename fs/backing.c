/*
 * The kernel wants every open of an inode to be of one kind, and with one id; an open that is of another fails with EIO. So opens are
 * counted by inode: the first asks for an id (or finds that there is none to be had), the others join it, the last to close gives it
 * back. The kernel lets go of an open's id before it sends the RELEASE, so when the count has come to nothing nobody uses it.
 */
#include "fs/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "fs/meet.h"
#include "fs/place.h"
#include "fs/reach.h"
#include "fs/worker.h"

#define STRIPES 1024U
/* So late the watch may still hear of what was written before a file was closed. */
#define ECHO_NS 2000000000ULL

struct backing {
        struct backing *next;
        node_id node;
        int id; /* 0: cached */
        uint64_t opens, writers;
        bool key; /* written to as what may be one (fs/meet.h) */
};

struct stripe {
        struct mutex lock;
        struct backing *list GUARDED_BY(lock);
        /* Who was the last to be written to, and until when. */
        node_id written GUARDED_BY(lock);
        unsigned long long written_ns GUARDED_BY(lock);
};

/* Whether the kernel passes files of this source through is known when the first is opened. */
enum decision {
        UNDECIDED,
        PASSES,
        CANNOT,
};

struct backings {
        _Atomic enum decision decision;
        _Atomic uint64_t files, writers, refused;
        struct stripe stripes[STRIPES];
};

int backings_new(struct backings **ret)
{
        struct backings *b = calloc(1, sizeof(*b));

        if (!b)
                return -ENOMEM;
        for (size_t i = 0; i < STRIPES; i++)
                mutex_init(&b->stripes[i].lock);
        *ret = b;
        return 0;
}

void backings_free(struct backings *b)
{
        if (!b)
                return;
        for (size_t i = 0; i < STRIPES; i++) {
                for (struct backing *next, *at = b->stripes[i].list; at; at = next) {
                        next = at->next;
                        free(at);
                }
                mutex_release(&b->stripes[i].lock);
        }
        free(b);
}

static bool may_pass_through(void)
{
        struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

        return syscall(SYS_capget, &head, data) == 0 && (data[CAP_TO_INDEX(CAP_SYS_ADMIN)].permitted & CAP_TO_MASK(CAP_SYS_ADMIN));
}

void backing_negotiate(struct fs_mount *m, struct fuse_conn_info *conn)
{
        struct statfs fs;

        if (!may_pass_through()) {
                atomic_store(&m->profile_note, "passing files through needs root (CAP_SYS_ADMIN)");
                return;
        }
        if (!fuse_set_feature_flag(conn, FUSE_CAP_PASSTHROUGH)) {
                atomic_store(&m->profile_note, "this kernel does not pass files through (Linux 6.9 does)");
                return;
        }
        /* Of filesystems that lie on others at most one more can lie under ours; asking for it bars overlays on top of us. */
        conn->max_backing_stack_depth = fstatfs(m->source.root_fd, &fs) == 0 && fs.f_type == OVERLAYFS_SUPER_MAGIC;
}

bool backing_in_use(const struct fs_mount *m)
{
        return m->backings && !atomic_load_explicit(&m->profile_note, memory_order_relaxed);
}

static struct stripe *stripe_of(struct fs_mount *m, const struct node *n)
{
        return &m->backings->stripes[n->index % STRIPES];
}

/* Where the pointer to the node's record is, or would be. */
static struct backing **find_locked(struct stripe *s, const struct node *n) REQUIRES(s->lock)
{
        struct backing **at = &s->list;

        while (*at && (*at)->node != node_id_of(n))
                at = &(*at)->next;
        return at;
}

static bool is_for_writing(int flags)
{
        return (flags & O_ACCMODE) != O_RDONLY;
}

/* What the first open found out. False: nothing can be passed through here. */
static bool decide(struct fs_mount *m, bool passes)
{
        enum decision before = UNDECIDED;

        if (atomic_compare_exchange_strong(&m->backings->decision, &before, passes ? PASSES : CANNOT))
                before = passes ? PASSES : CANNOT;
        if (before == CANNOT)
                atomic_store(&m->profile_note, "the kernel refused to pass files of this source through");
        return before == PASSES;
}

/* An id, 0 when the file has to be cached, or -ENOSYS. The kernel keeps what it is given for as long as the file is open: not a descriptor
 * for writing, or nobody could execute the file. */
static int ask_for_id(struct fs_mount *m, fuse_req_t req, int fd)
{
        CLEANUP_FD int path = reach_openat(AT_FDCWD, fd_proc_path(fd).text, O_PATH | O_CLOEXEC, 0);
        bool lasting;
        int id;

        if (path < 0)
                return 0;

        /* With the writer's rights, whoever that will be: a write by somebody else than the owner has to take set-uid bits away. */
        worker_hold_back_fsetid(true);
        id = fuse_passthrough_open(req, path);
        lasting = id <= 0 && (errno == EPERM || errno == ELOOP || errno == ENOTTY || errno == EOPNOTSUPP);
        worker_hold_back_fsetid(false);
        if (id > 0 && decide(m, true))
                return id;
        if (id > 0)
                (void)fuse_passthrough_close(req, id);
        return id > 0 || (lasting && !decide(m, false)) ? -ENOSYS : 0;
}

/* 0 or -errno; the record in *ret. */
static int first_open(struct fs_mount *m, fuse_req_t req, struct node *n, int fd, struct backing **ret)
{
        struct backing *b;
        int id = ask_for_id(m, req, fd);

        if (id < 0)
                return id;
        b = calloc(1, sizeof(*b));
        if (!b) {
                if (id)
                        (void)fuse_passthrough_close(req, id);
                return -ENOMEM;
        }
        b->node = node_id_of(n);
        b->id = id;
        atomic_fetch_add(&m->backings->files, 1);
        *ret = b;
        return 0;
}

int backing_open(struct fs_mount *m, fuse_req_t req, struct node *n, int fd, struct fuse_file_info *fi)
{
        struct stripe *s = stripe_of(m, n);
        bool first_writer = false;
        bool key = false;
        struct backing **at, *b;
        int rc = 0;

        /* Held across the ioctl, which doesn't block: two first opens must come to one id. */
        mutex_lock(&s->lock);
        at = find_locked(s, n);
        if (!*at)
                rc = first_open(m, req, n, fd, at);
        b = *at;
        if (b) {
                b->opens++;
                if (b->id == 0)
                        atomic_fetch_add(&m->backings->refused, 1);
                if (is_for_writing(fi->flags) && b->writers++ == 0) {
                        atomic_fetch_add(&m->backings->writers, 1);
                        first_writer = true;
                        b->key = key = m->overlay && node_is(n, NODE_KEY);
                }
                fi->backing_id = b->id;
                fi->keep_cache = b->id == 0 && m->timeout > 0;
        }
        mutex_unlock(&s->lock);
        if (key)
                meet_writer(m, fd, 1);
        /* Attributes that were given for ever before. Only they, without a look for names that a CREATE holds: the kernel has the inode,
         * or none of its attributes. */
        if (first_writer)
                (void)fuse_lowlevel_notify_inval_inode(m->session, node_id_of(n), -1, 0);
        return rc;
}

/* One writer less. True if it was the last of what may be a key. */
static bool drop_writer_locked(struct fs_mount *m, struct backing *b, int flags)
{
        if (!is_for_writing(flags) || --b->writers > 0)
                return false;
        atomic_fetch_sub(&m->backings->writers, 1);
        return b->key;
}

/* What was written unseen is ours. */
static void tell_writer_gone(struct fs_mount *m, struct node *n)
{
        struct held h;

        if (reach(m, n, SLOT_PATH, &h) < 0)
                return;
        meet_writer(m, h.fd, -1);
        slots_release(m->slots, &h);
}

/* One open less. The id to give back if it was the last, else 0. */
static int drop_locked(struct fs_mount *m, struct backing **at, int flags, bool *key)
{
        struct backing *b = *at;
        int id = b->id;

        *key = drop_writer_locked(m, b, flags);
        if (--b->opens > 0)
                return 0;
        *at = b->next;
        free(b);
        atomic_fetch_sub(&m->backings->files, 1);
        return id;
}

void backing_close(struct fs_mount *m, fuse_req_t req, struct node *n, int flags)
{
        struct stripe *s = stripe_of(m, n);
        struct backing **at;
        int id = 0;
        bool key = false;

        mutex_lock(&s->lock);
        at = find_locked(s, n);
        if (*at)
                id = drop_locked(m, at, flags, &key);
        if (is_for_writing(flags)) {
                s->written = node_id_of(n);
                s->written_ns = clock_now_ns();
        }
        mutex_unlock(&s->lock);
        if (key)
                tell_writer_gone(m, n);
        /* Others can't be told of each write that passes by. */
        if (is_for_writing(flags))
                place_touched(m, n, false, true);
        if (id)
                (void)fuse_passthrough_close(req, id);
}

/* There is no request any more to give the id back with: the count stays one too high, and the next open finds it. */
void backing_unopen(struct fs_mount *m, struct node *n, int flags)
{
        struct stripe *s = stripe_of(m, n);
        struct backing *b;
        bool key;

        mutex_lock(&s->lock);
        b = *find_locked(s, n);
        key = b && drop_writer_locked(m, b, flags);
        mutex_unlock(&s->lock);
        if (key)
                tell_writer_gone(m, n);
}

bool backing_is_open(struct fs_mount *m, const struct node *n)
{
        const struct backing *b;
        struct stripe *s;
        bool open;

        if (!m->backings)
                return false;
        s = stripe_of(m, n);
        mutex_lock(&s->lock);
        b = *find_locked(s, n);
        open = b && b->opens > 0;
        mutex_unlock(&s->lock);
        return open;
}

bool backing_is_written(struct fs_mount *m, const struct node *n)
{
        const struct backing *b;
        struct stripe *s;
        bool written;

        if (!m->backings || atomic_load_explicit(&m->backings->writers, memory_order_seq_cst) == 0)
                return false;
        s = stripe_of(m, n);
        mutex_lock(&s->lock);
        b = *find_locked(s, n);
        written = b && b->writers > 0;
        mutex_unlock(&s->lock);
        return written;
}

bool backing_was_written(struct fs_mount *m, const struct node *n)
{
        struct stripe *s;
        bool written;

        if (!m->backings)
                return false;
        s = stripe_of(m, n);
        mutex_lock(&s->lock);
        written = s->written == node_id_of(n) && clock_now_ns() - s->written_ns < ECHO_NS;
        mutex_unlock(&s->lock);
        return written;
}

double backing_attr_timeout(struct fs_mount *m, const struct node *n)
{
        return backing_is_written(m, n) ? 0 : m->timeout;
}

void backing_stats(struct fs_mount *m, struct backing_stats *ret)
{
        *ret = (struct backing_stats){0};
        if (m->backings) {
                ret->files = atomic_load(&m->backings->files);
                ret->refused = atomic_load(&m->backings->refused);
        }
}
