#include "fs/own.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "fs/mount.h"
#include "fs/offload.h"
#include "fs/own_bind.h"

#define OWN_INO(n) (((fuse_ino_t)OWN_GENERATION << 32) | (n))
/* Where no filesystem has its inode numbers, nor we those of artifacts (fs/layer.c). */
#define OWN_ST_INO ((ino_t)1 << 61)
#define OWN_STATUS_MAX ((size_t)16 * 1024)
#define BLOCK 512

enum own_number {
        OWN_DIR = 1,
        OWN_STATUS,
        OWN_SOCKET,
        OWN_END,
};

struct own {
        struct mutex lock;
        char *status GUARDED_BY(lock); /* owned */
        size_t status_len GUARDED_BY(lock);
        struct timespec changed GUARDED_BY(lock);
        /* The process, or thread, that is about to bind the socket; 0. */
        _Atomic pid_t binder;
        atomic_bool bound;
};

/* In the order in which they are listed. */
static const struct {
        const char *name;
        enum own_number number;
} entries[] = {{".", OWN_DIR}, {"..", OWN_END}, {"events.sock", OWN_SOCKET}, {"status.json", OWN_STATUS}};

int own_new(struct own **ret)
{
        struct own *o = calloc(1, sizeof(*o));
        char *empty = strdup("{}\n");

        if (!o || !empty) {
                free(o);
                free(empty);
                return -ENOMEM;
        }
        mutex_init(&o->lock);
        mutex_lock(&o->lock);
        o->status = empty;
        o->status_len = strlen(empty);
        (void)clock_gettime(CLOCK_REALTIME, &o->changed);
        mutex_unlock(&o->lock);
        *ret = o;
        return 0;
}

void own_free(struct own *o)
{
        if (!o)
                return;
        mutex_release(&o->lock);
        free(o->status);
        free(o);
}

/*
 * What it looks like
 */

static enum own_number number_of(fuse_ino_t ino)
{
        return own_is(ino) ? (enum own_number)(uint32_t)ino : OWN_END;
}

static void look(struct fs_mount *m, enum own_number number, struct stat *st)
{
        struct own *o = m->own;
        uid_t uid = m->options.view_uid == FS_VIEW_AS_IS ? geteuid() : m->options.view_uid;
        gid_t gid = m->options.view_gid == FS_VIEW_AS_IS ? getegid() : m->options.view_gid;

        *st = (struct stat){.st_ino = OWN_ST_INO + number, .st_nlink = 1, .st_uid = uid, .st_gid = gid, .st_blksize = BLOCK};
        mutex_lock(&o->lock);
        st->st_mtim = st->st_ctim = st->st_atim = o->changed;
        st->st_size = number == OWN_STATUS ? (off_t)o->status_len : 0;
        mutex_unlock(&o->lock);
        st->st_blocks = (st->st_size + BLOCK - 1) / BLOCK;
        if (number == OWN_STATUS) {
                st->st_mode = S_IFREG | 0444;
        } else if (number == OWN_SOCKET) {
                st->st_mode = S_IFSOCK | 0666;
        } else {
                /* Who binds the socket needs not be above permissions, nor need the user be himself whom everything is shown to belong to.
                 */
                st->st_mode = S_IFDIR | (atomic_load(&o->binder) ? 0777 : 0555);
                st->st_nlink = 2;
        }
}

/* The file's size has to be right whenever somebody reads to the end; the kernel may remember the rest as it does of others. */
static double attr_timeout(const struct fs_mount *m, enum own_number number)
{
        return number == OWN_STATUS || atomic_load(&m->own->binder) ? 0 : m->timeout;
}

static void answer_entry(struct fs_mount *m, fuse_req_t req, enum own_number number)
{
        struct fuse_entry_param e = {
                .ino = OWN_INO(number),
                .attr_timeout = attr_timeout(m, number),
                .entry_timeout = m->timeout,
        };

        look(m, number, &e.attr);
        (void)fuse_reply_entry(req, &e);
}

static bool is_there(const struct fs_mount *m, enum own_number number)
{
        return number != OWN_SOCKET || atomic_load(&m->own->bound);
}

static enum own_number named(const char *name)
{
        for (size_t i = 2; i < ARRAY_LEN(entries); i++) {
                if (strcmp(entries[i].name, name) == 0)
                        return entries[i].number;
        }
        return OWN_END;
}

bool own_lookup(struct fs_mount *m, fuse_req_t req, fuse_ino_t parent, const char *name)
{
        static const struct fuse_entry_param none;
        enum own_number number = OWN_DIR;

        if (!own_is(parent) && !own_is_name(parent, name))
                return false;
        if (own_is(parent))
                number = named(name);
        if (number == OWN_END || !is_there(m, number))
                (void)fuse_reply_entry(req, &none);
        else
                answer_entry(m, req, number);
        return true;
}

bool own_getattr(struct fs_mount *m, fuse_req_t req, fuse_ino_t ino)
{
        struct stat st;

        if (!own_is(ino))
                return false;
        look(m, number_of(ino), &st);
        (void)fuse_reply_attr(req, &st, attr_timeout(m, number_of(ino)));
        return true;
}

static struct statx_timestamp stamp(struct timespec t)
{
        return (struct statx_timestamp){.tv_sec = t.tv_sec, .tv_nsec = (uint32_t)t.tv_nsec};
}

bool own_statx(struct fs_mount *m, fuse_req_t req, fuse_ino_t ino)
{
        struct statx stx;
        struct stat st;

        if (!own_is(ino))
                return false;
        look(m, number_of(ino), &st);
        stx = (struct statx){
                .stx_mask = STATX_BASIC_STATS,
                .stx_blksize = (uint32_t)st.st_blksize,
                .stx_nlink = (uint32_t)st.st_nlink,
                .stx_uid = st.st_uid,
                .stx_gid = st.st_gid,
                .stx_mode = (uint16_t)st.st_mode,
                .stx_ino = st.st_ino,
                .stx_size = (uint64_t)st.st_size,
                .stx_blocks = (uint64_t)st.st_blocks,
                .stx_atime = stamp(st.st_atim),
                .stx_mtime = stamp(st.st_mtim),
                .stx_ctime = stamp(st.st_ctim),
        };
        (void)fuse_reply_statx(req, 0, &stx, attr_timeout(m, number_of(ino)));
        return true;
}

/*
 * What is in it
 */

bool own_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        if (!own_is(ino))
                return false;
        if ((fi->flags & O_ACCMODE) != O_RDONLY)
                (void)fuse_reply_err(req, EROFS);
        else
                (void)fuse_reply_open(req, fi);
        return true;
}

bool own_read(struct fs_mount *m, fuse_req_t req, fuse_ino_t ino, size_t size, off_t off)
{
        CLEANUP_FREE char *copy = NULL;
        struct own *o = m->own;
        size_t len = 0;

        if (!own_is(ino))
                return false;
        mutex_lock(&o->lock);
        if (number_of(ino) == OWN_STATUS && off >= 0 && (size_t)off < o->status_len)
                len = o->status_len - (size_t)off;
        len = len < size ? len : size;
        copy = malloc(len + 1);
        if (copy && len)
                memcpy(copy, o->status + off, len);
        mutex_unlock(&o->lock);
        if (copy)
                (void)fuse_reply_buf(req, copy, len);
        else
                (void)fuse_reply_err(req, ENOMEM);
        return true;
}

bool own_lseek(struct fs_mount *m, fuse_req_t req, fuse_ino_t ino, off_t off, int whence)
{
        struct stat st;

        if (!own_is(ino))
                return false;
        look(m, number_of(ino), &st);
        if (off < 0 || off >= st.st_size)
                (void)fuse_reply_err(req, ENXIO);
        else
                (void)fuse_reply_lseek(req, whence == SEEK_HOLE ? st.st_size : off);
        return true;
}

/* A listing needs no inodes: the kernel asks for those that somebody looks at. */
bool own_list(struct fs_mount *m, fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
        CLEANUP_FREE char *buf = NULL;
        size_t used = 0;

        if (!own_is(ino))
                return false;
        buf = malloc(size);
        for (size_t i = off < 0 ? 0 : (size_t)off; buf && i < ARRAY_LEN(entries); i++) {
                struct fuse_entry_param e = {0};
                size_t need;

                if (!is_there(m, entries[i].number))
                        continue;
                if (entries[i].number == OWN_END)
                        e.attr = (struct stat){.st_ino = NODE_ROOT, .st_mode = S_IFDIR};
                else
                        look(m, entries[i].number, &e.attr);
                need = plus ? fuse_add_direntry_plus(req, buf + used, size - used, entries[i].name, &e, (off_t)i + 1)
                            : fuse_add_direntry(req, buf + used, size - used, entries[i].name, &e.attr, (off_t)i + 1);
                if (need > size - used)
                        break;
                used += need;
        }
        if (buf)
                (void)fuse_reply_buf(req, buf, used);
        else
                (void)fuse_reply_err(req, ENOMEM);
        return true;
}

/*
 * Changing it
 */

static void tell_status(struct fs_mount *m)
{
        (void)fuse_lowlevel_notify_inval_inode(m->session, OWN_INO(OWN_STATUS), 0, 0);
}

struct taking_back {
        struct job job;
        struct fs_mount *m;
};

static void take_back(struct job *j)
{
        tell_status(((struct taking_back *)j)->m);
}

static void taken_back(struct job *j)
{
        free(j);
}

/* Who is above permissions may have opened it for writing all the same. What he writes through a mapping is in the kernel's pages by now.
 */
bool own_write(struct fs_mount *m, fuse_req_t req, fuse_ino_t ino, bool writepage)
{
        struct taking_back *t;
        bool uring;

        if (!own_is(ino))
                return false;
        uring = fuse_req_is_uring(req);
        (void)fuse_reply_err(req, EROFS);
        t = writepage && uring ? malloc(sizeof(*t)) : NULL;
        if (!t)
                return true;
        *t = (struct taking_back){.job = {.work = take_back, .answer = taken_back}, .m = m};
        offload_run(m->offload, &t->job, true);
        return true;
}

int fs_own_status(struct fs_mount *m, const char *text)
{
        struct own *o = m->own;
        size_t len = strlen(text);
        char *copy = len <= OWN_STATUS_MAX ? strdup(text) : NULL;
        char *was;

        if (!copy)
                return len <= OWN_STATUS_MAX ? -ENOMEM : -EMSGSIZE;
        mutex_lock(&o->lock);
        if (o->status_len == len && memcmp(o->status, text, len) == 0) {
                was = copy;
                copy = NULL;
        } else {
                was = o->status;
                o->status = copy;
                o->status_len = len;
                (void)clock_gettime(CLOCK_REALTIME, &o->changed);
        }
        mutex_unlock(&o->lock);
        free(was);
        if (copy)
                tell_status(m);
        return 0;
}

/*
 * The socket
 */

bool own_mknod(struct fs_mount *m, fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
        struct own *o = m->own;

        if (!own_is(parent))
                return false;
        if (!S_ISSOCK(mode) || named(name) != OWN_SOCKET || fuse_req_ctx(req)->pid != atomic_load(&o->binder)) {
                (void)fuse_reply_err(req, EROFS);
                return true;
        }
        atomic_store(&o->bound, true);
        answer_entry(m, req, OWN_SOCKET);
        return true;
}

void own_expect(void *arg, pid_t binder)
{
        struct fs_mount *m = arg;

        atomic_store(&m->own->binder, binder);
        (void)fuse_lowlevel_notify_inval_inode(m->session, OWN_INO(OWN_DIR), -1, 0);
}

int fs_own_listen(struct fs_mount *m, char **why)
{
        int fd;

        if (m->options.readonly)
                return own_bind_why(why, -EROFS, "a read-only mount has no .dsfs/events.sock");
        fd = own_bind(m->options.mountpoint, m->connection, own_expect, m, why);
        own_expect(m, 0);
        return fd;
}
