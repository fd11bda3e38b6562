#include "fs/worker.h"

#include <linux/capability.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache/base/log.h"
#include "fs/mount.h"
#include "fs/owner.h"
#include "fs/threads.h"

struct worker {
        struct worker *next;
        _Atomic uint64_t counts[OP_COUNT];
};

/* What the thread is set up for. */
static _Thread_local struct {
        struct fs_mount *mount;
        struct worker *worker;
        bool own_umask; /* the thread has left the process's umask to the others */
        mode_t umask;
        uid_t uid;
        gid_t gid;
} self = {.uid = (uid_t)-1, .gid = (gid_t)-1};

static const char *const op_names[OP_COUNT] = {
        [OP_LOOKUP] = "LOOKUP",       [OP_FORGET] = "FORGET",
        [OP_GETATTR] = "GETATTR",     [OP_SETATTR] = "SETATTR",
        [OP_READLINK] = "READLINK",   [OP_MKNOD] = "MKNOD",
        [OP_MKDIR] = "MKDIR",         [OP_UNLINK] = "UNLINK",
        [OP_RMDIR] = "RMDIR",         [OP_SYMLINK] = "SYMLINK",
        [OP_RENAME] = "RENAME",       [OP_LINK] = "LINK",
        [OP_OPEN] = "OPEN",           [OP_READ] = "READ",
        [OP_WRITE] = "WRITE",         [OP_STATFS] = "STATFS",
        [OP_RELEASE] = "RELEASE",     [OP_FSYNC] = "FSYNC",
        [OP_SETXATTR] = "SETXATTR",   [OP_GETXATTR] = "GETXATTR",
        [OP_LISTXATTR] = "LISTXATTR", [OP_REMOVEXATTR] = "REMOVEXATTR",
        [OP_FLUSH] = "FLUSH",         [OP_OPENDIR] = "OPENDIR",
        [OP_READDIR] = "READDIR",     [OP_READDIRPLUS] = "READDIRPLUS",
        [OP_FSYNCDIR] = "FSYNCDIR",   [OP_CREATE] = "CREATE",
        [OP_TMPFILE] = "TMPFILE",     [OP_FALLOCATE] = "FALLOCATE",
        [OP_LSEEK] = "LSEEK",         [OP_COPY_FILE_RANGE] = "COPY_FILE_RANGE",
        [OP_STATX] = "STATX",         [OP_IOCTL] = "IOCTL",
};

/* Leaving root's filesystem uid drops capabilities from the effective set; they are still permitted, and we act for everybody. But not to
 * use blocks that the filesystem keeps for root, or more than the owner's quota. */
static void raise_capabilities(void)
{
        struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

        if (syscall(SYS_capget, &head, data) < 0)
                return;
        for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
                data[i].effective = data[i].permitted;
        data[CAP_TO_INDEX(CAP_SYS_RESOURCE)].effective &= ~CAP_TO_MASK(CAP_SYS_RESOURCE);
        (void)syscall(SYS_capset, &head, data);
}

void worker_hold_back_fsetid(bool hold)
{
        static const gid_t nobodys = (gid_t)-2;
        struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

        if (syscall(SYS_capget, &head, data) < 0)
                return;
        if (hold)
                data[CAP_TO_INDEX(CAP_FSETID)].effective &= ~CAP_TO_MASK(CAP_FSETID);
        else
                data[CAP_TO_INDEX(CAP_FSETID)].effective |= data[CAP_TO_INDEX(CAP_FSETID)].permitted & CAP_TO_MASK(CAP_FSETID);
        (void)syscall(SYS_capset, &head, data);
        /* Nor as a member of the file's group, whichever that is. */
        setfsgid(hold ? nobodys : self.gid != (gid_t)-1 ? self.gid : getegid());
}

static void act_as(uid_t uid, gid_t gid)
{
        if (self.uid == uid && self.gid == gid)
                return;
        setfsgid(gid);
        setfsuid(uid);
        raise_capabilities();
        self.uid = uid;
        self.gid = gid;
}

void worker_setup(void *arg)
{
        struct fs_mount *m = arg;

        if (self.mount == m)
                return;
        if (!self.own_umask) {
                if (unshare(CLONE_FS) < 0)
                        log_warn("a serving thread could not get a umask of its own: %m");
                self.own_umask = true;
                self.umask = 0;
                umask(0);
        }
        if (m->privileged)
                (void)syscall(SYS_setgroups, 0, NULL); /* the thread's; setgroups() would be the process's */
        if (m->privileged && m->options.squash)
                act_as(m->source.uid, m->source.gid);
        threads_enter(m);
        self.mount = m;
        self.worker = NULL;
}

static struct worker *worker_join(struct fs_mount *m)
{
        struct worker *w = calloc(1, sizeof(*w));

        if (!w)
                return NULL;
        mutex_lock(&m->lock);
        w->next = m->workers;
        m->workers = w;
        mutex_unlock(&m->lock);
        return w;
}

struct fs_mount *worker_serve(fuse_req_t req, enum op op)
{
        struct fs_mount *m = fuse_req_userdata(req);

        if (self.mount != m || !self.worker) {
                worker_setup(m);
                self.worker = worker_join(m);
                if (fuse_req_is_uring(req))
                        atomic_store(&m->uring, true);
        }
        if (self.worker) {
                uint64_t count = atomic_load_explicit(&self.worker->counts[op], memory_order_relaxed);

                /* Ours alone to write. */
                atomic_store_explicit(&self.worker->counts[op], count + 1, memory_order_relaxed);
        }
        return m;
}

int worker_create_in(struct fs_mount *m, fuse_req_t req, const struct place *p)
{
        const struct fuse_ctx *ctx = fuse_req_ctx(req);

        if (self.umask != ctx->umask) {
                umask(ctx->umask);
                self.umask = ctx->umask;
        }
        if (m->privileged) {
                struct owner o;
                int rc = owner_of_new(m, req, p, &o);

                if (rc < 0)
                        return rc;
                act_as(o.uid, o.gid);
        }
        return 0;
}

void workers_free(struct worker *list)
{
        while (list) {
                struct worker *next = list->next;

                free(list);
                list = next;
        }
}

size_t fs_mount_op_counts(struct fs_mount *m, struct fs_op_count *ret, size_t max)
{
        for (size_t i = 0; i < OP_COUNT && i < max; i++)
                ret[i] = (struct fs_op_count){.name = op_names[i]};
        mutex_lock(&m->lock);
        for (struct worker *w = m->workers; w; w = w->next)
                for (size_t i = 0; i < OP_COUNT && i < max; i++)
                        ret[i].count += atomic_load_explicit(&w->counts[i], memory_order_relaxed);
        mutex_unlock(&m->lock);
        return OP_COUNT;
}
