/*
 * What waits for a disk, or moves many bytes: done by workers, so that nobody else waits with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/cross.h"
#include "fs/offload.h"
#include "fs/later.h"
#include "fs/ops.h"
#include "fs/own.h"
#include "fs/place.h"
#include "fs/privs.h"
#include "fs/reach.h"
#include "fs/room.h"
#include "fs/worker.h"

#define COPY_MAX ((size_t)64 << 20) /* of one request: callers go on where it ended */

struct slow_job {
        struct job job;
        fuse_req_t req;
        struct fs_mount *m;
        struct held in, out;
        struct node *changed; /* what `out` is of, once it is worked on; the request's, so it stays until that is answered */
        off_t off_in, off_out;
        size_t len;
        int mode; /* of fallocate; fdatasync instead of fsync */
        bool key; /* `changed` may be one */
        bool drop_privs;
        bool has_count;
        ssize_t result;
};

static void slow_answer(struct job *j)
{
        struct slow_job *s = (struct slow_job *)j;

        slots_release(s->m->slots, &s->in);
        slots_release(s->m->slots, &s->out);
        if (s->changed)
                place_touched(s->m, s->changed, s->key, s->result >= 0);
        if (s->result >= 0 && s->has_count)
                fuse_reply_write(s->req, (size_t)s->result);
        else
                fuse_reply_err(s->req, s->result < 0 ? (int)-s->result : 0);
        free(s);
}

/* Have the job done and answered; `proto` says what. An rc below 0 is answered at once. */
static void slow_run(const struct slow_job *proto, int rc)
{
        struct slow_job *s = rc < 0 ? NULL : malloc(sizeof(*s));
        struct held in = proto->in;
        struct held out = proto->out;

        if (s) {
                *s = *proto;
                s->key = s->changed && place_touch(s->m, s->changed);
                s->job.answer = slow_answer;
                offload_run(s->m->offload, &s->job, fuse_req_is_uring(s->req));
                return;
        }
        slots_release(proto->m->slots, &in);
        slots_release(proto->m->slots, &out);
        fuse_reply_err(proto->req, rc < 0 ? -rc : ENOMEM);
}

static void sync_work(struct job *j)
{
        struct slow_job *s = (struct slow_job *)j;

        s->result = (s->mode ? fdatasync(s->out.fd) : fsync(s->out.fd)) < 0 ? -errno : 0;
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
        struct slow_job s = {
                .job.work = sync_work,
                .req = req,
                .m = worker_serve(req, OP_FSYNC),
                .in = HELD_NONE,
                .out = HELD_NONE,
                .mode = datasync,
        };
        struct node *n = mount_node(s.m, ino);
        int rc = n ? reach(s.m, n, SLOT_READ, &s.out) : -ESTALE;

        (void)fi;
        if (rc == -EACCES)
                rc = reach(s.m, n, SLOT_WRITE, &s.out);
        if (own_is(ino))
                fuse_reply_err(req, 0);
        else
                slow_run(&s, rc);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
        struct slow_job s = {
                .job.work = sync_work,
                .req = req,
                .m = worker_serve(req, OP_FSYNCDIR),
                .in = HELD_NONE,
                .out = HELD_NONE,
                .mode = datasync,
        };
        struct node *n = mount_node(s.m, ino);
        int rc = n ? reach_directory(s.m, n) : -ESTALE;

        (void)fi;
        if (rc >= 0)
                s.out.fd = rc; /* no slot: closed when let go */
        if (own_is(ino))
                fuse_reply_err(req, 0);
        else
                slow_run(&s, rc);
}

/* Have `change` change what `out` is of. */
static void change_out(struct slow_job *s, ssize_t (*change)(struct slow_job *s))
{
        int rc;

        cross_enter(s->m);
        rc = reach(s->m, s->changed, SLOT_WRITE, &s->out);
        if (rc == 0) {
                later_writer(s->m);
                s->result = change(s);
                if (s->result < 0)
                        s->result = -errno;
                else if (s->drop_privs)
                        (void)privs_drop(s->out.fd);
                slots_release(s->m->slots, &s->out);
        } else {
                s->result = rc;
        }
        cross_leave(s->m);
}

static ssize_t allocate(struct slow_job *s)
{
        return WITH_ROOM(s->m, fallocate(s->out.fd, s->mode, s->off_out, (off_t)s->len));
}

static void fallocate_work(struct job *j)
{
        change_out((struct slow_job *)j, allocate);
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi)
{
        struct slow_job s = {
                .job.work = fallocate_work,
                .req = req,
                .m = worker_serve(req, OP_FALLOCATE),
                .in = HELD_NONE,
                .out = HELD_NONE,
                .off_out = offset,
                .len = (size_t)length,
                .mode = mode,
                .drop_privs = fuse_req_ctx(req)->uid != 0,
        };

        (void)fi;
        s.changed = mount_node(s.m, ino);
        slow_run(&s, s.changed ? 0 : own_refusal(ino));
}

static ssize_t copy_bytes(struct slow_job *s)
{
        return WITH_ROOM(s->m, copy_file_range(s->in.fd, &s->off_in, s->out.fd, &s->off_out, s->len, 0));
}

static void copy_work(struct job *j)
{
        change_out((struct slow_job *)j, copy_bytes);
}

void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
                        struct fuse_file_info *fi_out, size_t len, int flags)
{
        struct slow_job s = {
                .job.work = copy_work,
                .req = req,
                .m = worker_serve(req, OP_COPY_FILE_RANGE),
                .in = HELD_NONE,
                .out = HELD_NONE,
                .off_in = off_in,
                .off_out = off_out,
                .len = len < COPY_MAX ? len : COPY_MAX,
                .drop_privs = fuse_req_ctx(req)->uid != 0,
                .has_count = true,
        };
        struct node *in = mount_node(s.m, ino_in);
        int rc;

        (void)fi_in, (void)fi_out;
        s.changed = mount_node(s.m, ino_out);
        rc = in && s.changed ? 0 : own_is(ino_in) ? -EXDEV : own_refusal(ino_out);
        if (flags)
                rc = -EINVAL;
        if (rc == 0)
                rc = reach(s.m, in, SLOT_READ, &s.in);
        slow_run(&s, rc);
}
