#include "tests/stress/tiny.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "tests/lib/child.h"

#define ENTRY_SECONDS 120

const char *tiny_base;
bool tiny_uring;

static const char *const names[INO_END] = {[INO_SLOW] = "slow", [INO_FAST] = "fast", [INO_MIXED] = "mixed"};

struct read_job {
        struct job job;
        struct tiny *t;
        fuse_req_t req;
        fuse_ino_t ino;
        size_t size;
        off_t off;
        pthread_t asked;
        char *buf;
        bool own; /* buf is ours, not the request's payload */
};

static struct connections {
        atomic_uint count;
        atomic_uint ids[TINY_MOUNTS];
} * connections;

void tiny_share(void)
{
        connections = shared_new(sizeof(*connections));
}

void tiny_forget(void)
{
        connections->count = 0;
}

bool tiny_abort_all(void)
{
        bool any = false;

        for (unsigned i = 0; i < connections->count; i++) {
                char path[96];
                FILE *f;

                snprintf(path, sizeof(path), "%s/ctl/%u/abort", tiny_base, (unsigned)connections->ids[i]);
                f = fopen(path, "we");
                if (!f)
                        continue;
                any |= fputs("1", f) >= 0;
                fclose(f);
        }
        return any;
}

unsigned char tiny_byte_at(fuse_ino_t ino, off_t off)
{
        return (unsigned char)((off_t)ino * 31 + off + off / TINY_READ);
}

static void read_work(struct job *job)
{
        struct read_job *j = (struct read_job *)job;
        struct tiny *t = j->t;

        if (!pthread_equal(pthread_self(), j->asked))
                t->elsewhere++;
        if (j->ino == INO_SLOW) {
                mutex_lock(&t->lock);
                t->blocked++;
                while (!t->released)
                        cond_wait(&t->changed, &t->lock);
                mutex_unlock(&t->lock);
        }
        for (size_t i = 0; i < j->size; i++)
                j->buf[i] = (char)tiny_byte_at(j->ino, j->off + (off_t)i);
}

static void read_answer(struct job *job)
{
        struct read_job *j = (struct read_job *)job;

        errno = 0;
        must(pthread_equal(pthread_self(), j->asked), "answered on another thread");
        must(!j->t->ended, "answered after the session's end");
        j->t->answered++;
        fuse_reply_buf(j->req, j->buf, j->size);
        if (j->own)
                free(j->buf);
        free(j);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
        struct tiny *t = fuse_req_userdata(req);
        struct read_job *j = calloc(1, sizeof(*j));
        size_t room;

        (void)fi;
        must(j, "out of memory");
        *j = (struct read_job){.job = {.work = read_work, .answer = read_answer},
                               .t = t,
                               .req = req,
                               .ino = ino,
                               .size = size,
                               .off = off,
                               .asked = pthread_self()};
        if (fuse_req_get_payload(req, &j->buf, &room, NULL) < 0) {
                j->buf = malloc(size);
                j->own = true;
        }
        must(j->buf, "out of memory");
        t->started++;
        if (ino == INO_FAST) {
                read_work(&j->job);
                read_answer(&j->job);
        } else {
                offload_run(t->offload, &j->job, fuse_req_is_uring(req));
        }
}

static struct stat attr_of(fuse_ino_t ino)
{
        bool root = ino == FUSE_ROOT_ID;

        return (struct stat){
                .st_ino = ino, .st_mode = root ? S_IFDIR | 0755 : S_IFREG | 0644, .st_nlink = 1, .st_size = root ? 0 : TINY_BYTES};
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
        (void)parent;
        for (fuse_ino_t ino = INO_SLOW; ino < INO_END; ino++) {
                if (strcmp(names[ino], name) == 0) {
                        struct fuse_entry_param e = {.ino = ino, .attr = attr_of(ino), .entry_timeout = ENTRY_SECONDS};

                        fuse_reply_entry(req, &e);
                        return;
                }
        }
        fuse_reply_err(req, ENOENT);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        struct tiny *t = fuse_req_userdata(req);
        struct stat st = attr_of(ino);

        (void)fi;
        if (fuse_req_is_uring(req))
                t->by_uring++;
        fuse_reply_attr(req, &st, 0);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
        (void)ino;
        fi->direct_io = 1;
        fuse_reply_open(req, fi);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
        (void)userdata;
        conn->no_interrupt = 1;
}

static const struct fuse_lowlevel_ops ops = {
        .init = op_init,
        .lookup = op_lookup,
        .getattr = op_getattr,
        .open = op_open,
        .read = op_read,
};

static void *run_loop(void *arg)
{
        struct tiny *t = arg;
        struct fuse_loop_config *config = fuse_loop_cfg_create();

        must(config, "out of memory");
        fuse_session_loop_mt(t->se, config);
        t->ended = true;
        fuse_loop_cfg_destroy(config);
        return NULL;
}

struct tiny *tiny_new(const char *name, struct offload *o)
{
        struct tiny *t = calloc(1, sizeof(*t));
        char *argv[] = {"offload", "-ofsname=offload", tiny_uring ? "-oio_uring" : "-ofsname=offload", NULL};
        struct fuse_args args = FUSE_ARGS_INIT(3, argv);
        struct stat st;

        must(t, "out of memory");
        t->offload = o;
        mutex_init(&t->lock);
        cond_init(&t->changed);
        snprintf(t->mnt, sizeof(t->mnt), "%s/%s", tiny_base, name);
        must(mkdir(t->mnt, 0755) == 0 || errno == EEXIST, "mkdir %s", t->mnt);
        t->se = fuse_session_new(&args, &ops, sizeof(ops), t);
        must(t->se && fuse_session_mount(t->se, t->mnt) == 0, "mounting %s", t->mnt);
        fuse_opt_free_args(&args);
        must(pthread_create(&t->loop, NULL, run_loop, t) == 0, "starting the loop");
        must(stat(t->mnt, &st) == 0, "%s", t->mnt);
        connections->ids[connections->count] = minor(st.st_dev);
        connections->count++;
        errno = 0;
        must((t->by_uring > 0) == tiny_uring, "the transport is not the one asked for");
        return t;
}

void tiny_free(struct tiny *t)
{
        pthread_join(t->loop, NULL);
        must(t->started == t->answered, "%u jobs, %u answers", (unsigned)t->started, (unsigned)t->answered);
        fuse_session_unmount(t->se);
        fuse_session_destroy(t->se);
        cond_release(&t->changed);
        mutex_release(&t->lock);
        free(t);
}

void tiny_release(struct tiny *t)
{
        mutex_lock(&t->lock);
        t->released = true;
        cond_broadcast(&t->changed);
        mutex_unlock(&t->lock);
}

int tiny_open(const struct tiny *t, fuse_ino_t ino)
{
        char path[PATH_MAX];
        int fd;

        snprintf(path, sizeof(path), "%s/%s", t->mnt, names[ino]);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        must(fd >= 0, "opening %s", path);
        return fd;
}

void tiny_must_read(int fd, fuse_ino_t ino, off_t off)
{
        unsigned char buf[TINY_READ];

        must(pread(fd, buf, sizeof(buf), off) == (ssize_t)sizeof(buf), "reading %s", names[ino]);
        errno = 0;
        for (size_t i = 0; i < sizeof(buf); i++)
                must(buf[i] == tiny_byte_at(ino, off + (off_t)i), "%s has wrong bytes at %ld", names[ino], (long)off);
}
