/*
 * The bytes of files. What the page cache has is answered at once; a read that has to wait for a disk goes to a worker.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/backing.h"
#include "fs/cross.h"
#include "fs/inject.h"
#include "fs/later.h"
#include "fs/offload.h"
#include "fs/ops.h"
#include "fs/own.h"
#include "fs/place.h"
#include "fs/privs.h"
#include "fs/reach.h"
#include "fs/room.h"
#include "fs/worker.h"

static void open_passed(fuse_req_t req, struct fs_mount *m, struct node *n, struct fuse_file_info *fi)
{
        bool writing = (fi->flags & O_ACCMODE) != O_RDONLY;
        struct held h;
        int rc;

        cross_enter(m);
        rc = !n ? -ESTALE : writing && node_is(n, NODE_READONLY) ? -EROFS : reach(m, n, SLOT_PATH, &h);
        if (rc == 0) {
                rc = backing_open(m, req, n, h.fd, fi);
                slots_release(m->slots, &h);
        }
        if (rc < 0)
                fuse_reply_err(req, -rc);
        else if (fuse_reply_open(req, fi) < 0)
                backing_unopen(m, n, fi->flags);
        cross_leave(m);
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        struct fs_mount *m = worker_serve(req, OP_OPEN);

        if (backing_in_use(m)) {
                struct node *n = mount_node(m, ino);

                if (!n && own_open(req, ino, fi))
                        return;
                if (!n || !inject_open(m, req, n, fi))
                        open_passed(req, m, n, fi);
                return;
        }
        /* Said once, the kernel doesn't ask again, unless it is not to keep pages from one open to the next. */
        if (m->options.coherence == FS_COHERENCE_EVENTS) {
                fuse_reply_err(req, ENOSYS);
                return;
        }
        if (own_open(req, ino, fi))
                return;
        fi->keep_cache = 0;
        fuse_reply_open(req, fi);
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        struct fs_mount *m = worker_serve(req, OP_RELEASE);
        struct node *n = mount_node(m, ino);

        if (n && backing_in_use(m) && !inject_is_open(fi))
                backing_close(m, req, n, fi->flags);
        fuse_reply_err(req, 0);
}

struct read_job {
        struct job job;
        fuse_req_t req;
        struct fs_mount *m;
        struct held h;
        char *payload;
        size_t size;
        off_t off;
        ssize_t result;
};

static ssize_t read_full(int fd, char *buf, size_t size, off_t off)
{
        size_t done = 0;

        while (done < size) {
                ssize_t n = pread(fd, buf + done, size - done, off + (off_t)done);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return done ? (ssize_t)done : -errno;
                if (n == 0)
                        break;
                done += (size_t)n;
        }
        return (ssize_t)done;
}

static void read_work(struct job *j)
{
        struct read_job *r = (struct read_job *)j;

        r->result = read_full(r->h.fd, r->payload, r->size, r->off);
}

static void read_reply(fuse_req_t req, const char *payload, ssize_t result)
{
        if (result < 0)
                fuse_reply_err(req, (int)-result);
        else
                fuse_reply_buf(req, payload, (size_t)result);
}

static void read_answer(struct job *j)
{
        struct read_job *r = (struct read_job *)j;

        read_reply(r->req, r->payload, r->result);
        slots_release(r->m->slots, &r->h);
        free(r);
}

/* Is what the page cache gave all that there is? */
static bool read_is_whole(int fd, ssize_t got, size_t size, off_t off)
{
        struct stat st;

        if (got < 0)
                return false;
        return (size_t)got == size || (fstat(fd, &st) == 0 && off + got >= st.st_size);
}

/* Into the ring's own buffer. Takes h. */
static void read_to_payload(fuse_req_t req, struct fs_mount *m, struct held h, char *payload, size_t size, off_t off)
{
        struct iovec iov = {.iov_base = payload, .iov_len = size};
        ssize_t got = preadv2(h.fd, &iov, 1, off, RWF_NOWAIT);
        struct read_job *r = NULL;

        if (!read_is_whole(h.fd, got, size, off)) {
                r = malloc(sizeof(*r));
                if (!r)
                        got = read_full(h.fd, payload, size, off);
        }
        if (!r) {
                read_reply(req, payload, got);
                slots_release(m->slots, &h);
                return;
        }
        *r = (struct read_job){
                .job = {.work = read_work, .answer = read_answer},
                .req = req,
                .m = m,
                .h = h,
                .payload = payload,
                .size = size,
                .off = off,
        };
        offload_run(m->offload, &r->job, true);
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
        struct fs_mount *m = worker_serve(req, OP_READ);
        struct node *n = mount_node(m, ino);
        struct fuse_bufvec out = FUSE_BUFVEC_INIT(size);
        char *payload;
        size_t room;
        struct held h;
        int rc = n ? reach_as_opened(m, n, fi->flags, &h) : -ESTALE;

        if (!n && own_read(m, req, ino, size, off))
                return;
        if (rc < 0) {
                fuse_reply_err(req, -rc);
                return;
        }
        if (fuse_req_get_payload(req, &payload, &room, NULL) == 0 && room >= size) {
                read_to_payload(req, m, h, payload, size, off);
                return;
        }
        out.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK | FUSE_BUF_FD_RETRY;
        out.buf[0].fd = h.fd;
        out.buf[0].pos = off;
        fuse_reply_data(req, &out, FUSE_BUF_SPLICE_MOVE);
        slots_release(m->slots, &h);
}

/* All of it, at `off`, or at the end with `append`. The count or -errno. */
static ssize_t write_full(int fd, const char *buf, size_t size, off_t off, bool append)
{
        size_t done = 0;

        while (done < size) {
                struct iovec iov = {.iov_base = (char *)buf + done, .iov_len = size - done};
                ssize_t n = pwritev2(fd, &iov, 1, off + (off_t)done, append ? RWF_APPEND : 0);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return done ? (ssize_t)done : -errno;
                if (n == 0)
                        return done ? (ssize_t)done : -EIO;
                done += (size_t)n;
        }
        return (ssize_t)done;
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
        struct fs_mount *m = worker_serve(req, OP_WRITE);
        struct node *n = mount_node(m, ino);
        /* The offset comes from the kernel's idea of the size. What it writes back from a mapping has its place. */
        bool append = (fi->flags & O_APPEND) && !fi->writepage;
        ssize_t done;
        struct stat st;
        struct held h;
        bool key;
        int rc;

        if (!n && own_write(m, req, ino, fi->writepage))
                return;
        cross_enter(m);
        rc = n ? reach(m, n, SLOT_WRITE, &h) : -ESTALE;
        if (rc < 0) {
                cross_leave(m);
                /* The kernel, which didn't ask before it let somebody write, may have it in its pages. */
                if (rc == -EROFS)
                        later_content(m, n);
                fuse_reply_err(req, -rc);
                return;
        }
        later_writer(m);
        key = place_touch(m, n);
        done = write_full(h.fd, buf, size, off, append);
        if (room_awaited(m, done))
                done = write_full(h.fd, buf, size, off, append);
        if (done > 0 && fi->kill_suidgid)
                (void)privs_drop(h.fd);
        if (done > 0 && append && (fstat(h.fd, &st) < 0 || st.st_size != off + done))
                later_content(m, n);
        slots_release(m->slots, &h);
        cross_leave(m);
        place_touched(m, n, key, done > 0);
        if (done < 0)
                fuse_reply_err(req, (int)-done);
        else
                fuse_reply_write(req, (size_t)done);
}

void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
        struct fs_mount *m = worker_serve(req, OP_LSEEK);
        struct node *n = mount_node(m, ino);
        struct held h;
        off_t at = 0;
        int rc = n ? reach(m, n, SLOT_READ, &h) : -ESTALE;

        (void)fi;
        if (!n && own_lseek(m, req, ino, off, whence))
                return;
        if (rc == 0) {
                at = lseek(h.fd, off, whence);
                if (at < 0)
                        rc = -errno;
                slots_release(m->slots, &h);
        }
        if (rc < 0)
                fuse_reply_err(req, -rc);
        else
                fuse_reply_lseek(req, at);
}

/* Refused by name: the backing's ioctls act on descriptors and users that are not the caller's. */
void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg, struct fuse_file_info *fi, unsigned flags, const void *in,
              size_t in_size, size_t out_size)
{
        (void)ino, (void)cmd, (void)arg, (void)fi, (void)flags, (void)in, (void)in_size, (void)out_size;
        (void)worker_serve(req, OP_IOCTL);
        fuse_reply_err(req, ENOTTY);
}
