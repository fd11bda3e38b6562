#include "sync/agent/events.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "cache/base/thread.h"
#include "sync/agent/agent.h"
#include "sync/agent/board.h"
#include "sync/agent/mountinfo.h"
#include "sync/agent/reload.h"
#include "sync/journal.h"
#include "sync/serve/socket.h"
#include "sync/serve/why.h"

#define MOUNTINFO "/proc/self/mountinfo"
#define NS_PER_MS 1000000ULL

struct events {
        struct agent *agent;
        /* The loop's. */
        struct stream *stream;
        struct stream_door *host;
        uv_poll_t mounts;
        bool watching, closed;
        int run;       /* the runtime directory */
        int mountinfo; /* a descriptor of MOUNTINFO, for its changes */
        char name[EVENTS_SOCKET_TEXT];
        /* Guards the stream, and the board, for the journal's writer: NULL once they are being closed. */
        struct mutex lock;
        struct stream *listener GUARDED_BY(lock);
};

void events_socket_name(const char *id, char ret[EVENTS_SOCKET_TEXT])
{
        snprintf(ret, EVENTS_SOCKET_TEXT, "%.16s.events", id);
}

/* The journal's writer. */
static void news_came(void *arg)
{
        struct events *e = arg;

        mutex_lock(&e->lock);
        if (e->listener) {
                stream_news(e->listener);
                board_ring(e->agent->board);
        }
        mutex_unlock(&e->lock);
}

/* Something waits to be told. The journal's writer, too. */
static void work_came(void *arg)
{
        struct events *e = arg;

        mutex_lock(&e->lock);
        if (e->listener)
                board_ring(e->agent->board);
        mutex_unlock(&e->lock);
}

static int open_host(struct events *e)
{
        struct stream_offer offer = {.source = e->agent->source};
        const char *name = strrchr(e->agent->source, '/');
        int fd = socket_listen(e->run, e->name);

        if (fd < 0)
                return fd;
        offer.name = name && name[1] ? name + 1 : e->agent->source;
        return stream_open(e->stream, fd, &offer, &e->host);
}

static const char *why_not(void *arg)
{
        const struct agent *a = arg;
        struct hashing_stats h;

        if (engine_coherence(a->engine) == FS_COHERENCE_STRICT)
                return "the changes of this source raise no events (coherence is strict), so nobody can be told of them";
        hashing_stats(a->hashing, &h);
        return h.off ? "the source is not hashed, so nobody can be told what changes; `dsfs status` says why" : NULL;
}

static int left_ms(unsigned long long deadline)
{
        unsigned long long now = clock_now_ns();

        return now < deadline ? (int)((deadline - now) / NS_PER_MS) : 0;
}

/* As `dsfs wait --hashed`. A worker's thread. */
static int barrier(void *arg, int timeout_ms)
{
        unsigned long long deadline = clock_now_ns() + (unsigned long long)timeout_ms * NS_PER_MS;
        struct agent *a = arg;
        struct engine_stats es;
        int rc = engine_barrier(a->engine, timeout_ms);

        if (rc == 0)
                rc = reload_wait(a->reload, left_ms(deadline));
        if (rc)
                return rc;
        engine_stats(a->engine, &es);
        /* Nobody tells what changes: everything is looked at. */
        if (!es.watching || es.watch.degraded)
                hashing_touch_all(a->hashing);
        return hashing_wait(a->hashing, left_ms(deadline));
}

int events_new(struct agent *a, struct events **ret, char **why)
{
        struct stream_options options = {.journal = a->journal, .why_not = why_not, .barrier = barrier, .arg = a};
        struct events *e = calloc(1, sizeof(*e));
        int rc;

        if (!e)
                return why_set(why, -ENOMEM, "out of memory");
        e->agent = a;
        e->mountinfo = -1;
        mutex_init(&e->lock);
        events_socket_name(a->id, e->name);
        *ret = e; /* whatever there is of it is closed, and freed, with the agent */
        e->run = open(a->run, O_PATH | O_DIRECTORY | O_CLOEXEC);
        rc = e->run < 0 ? -errno : stream_new(&a->loop, &options, &e->stream);
        if (rc == 0)
                rc = open_host(e);
        if (rc)
                return why_set(why, rc, "the socket for events, %s/%s, can't be made: %s", a->run, e->name, strerror(-rc));
        mutex_lock(&e->lock);
        e->listener = e->stream;
        mutex_unlock(&e->lock);
        journal_on_news(a->journal, news_came, e);
        hashing_on_work(a->hashing, work_came, e);
        return 0;
}

/*
 * Mounts
 */

/* Is the seat's connection mounted anywhere that we see? Without an answer it is. */
static bool is_mounted(const struct mount_list *mounts, const struct seat *s)
{
        unsigned dev = fs_mount_connection(s->mount);

        for (size_t i = 0; i < mounts->count; i++) {
                if (mounts->entries[i].dev == dev && mount_is_dsfs(&mounts->entries[i]))
                        return true;
        }
        return false;
}

static void look_at_mounts(struct events *e)
{
        struct agent *a = e->agent;
        struct mount_list mounts;

        if (mount_list_read(&mounts))
                return;
        for (size_t i = 0; i < ENGINE_MOUNTS_MAX; i++) {
                struct seat *s = seat_hold(a, i);

                if (s && s->door && !is_mounted(&mounts, s))
                        events_let_go(s);
                seat_let_go(s);
        }
        mount_list_release(&mounts);
}

static void mounts_changed(uv_poll_t *p, int status, int what)
{
        struct events *e = p->data;

        (void)what;
        if (status == 0)
                look_at_mounts(e);
}

/* 0 or -errno. */
static int watch_mounts(struct events *e)
{
        int rc;

        if (e->watching)
                return 0;
        e->mountinfo = open(MOUNTINFO, O_RDONLY | O_CLOEXEC);
        if (e->mountinfo < 0)
                return -errno;
        rc = uv_poll_init(&e->agent->loop, &e->mounts, e->mountinfo);
        if (rc < 0)
                return rc;
        e->watching = true;
        e->mounts.data = e;
        return uv_poll_start(&e->mounts, UV_PRIORITIZED, mounts_changed);
}

void events_open(struct events *e, struct seat *s)
{
        struct stream_offer offer = {.name = s->name, .anyone = true};
        int fd = s->listener;
        int rc;

        if (fd < 0)
                return;
        s->listener = -1;
        rc = watch_mounts(e);
        if (rc == 0)
                rc = stream_open(e->stream, fd, &offer, &s->door);
        else
                (void)close(fd);
        if (rc) {
                log_warn("%s offers no events: %s", s->mountpoint, strerror(-rc));
                return;
        }
        /* What happened before there was a watch. */
        look_at_mounts(e);
}

void events_let_go(struct seat *s)
{
        fd_close(&s->listener);
        stream_door_close(steal_ptr(&s->door), NULL, NULL);
}

/*
 * The end
 */

void events_close(struct events *e)
{
        if (!e || e->closed)
                return;
        e->closed = true;
        mutex_lock(&e->lock);
        e->listener = NULL;
        mutex_unlock(&e->lock);
        if (e->host)
                (void)unlinkat(e->run, e->name, 0);
        stream_close(steal_ptr(&e->stream));
        if (e->watching)
                uv_close((uv_handle_t *)&e->mounts, NULL);
}

void events_free(struct events *e)
{
        if (!e)
                return;
        fd_close(&e->mountinfo);
        fd_close(&e->run);
        mutex_release(&e->lock);
        free(e);
}

void events_stats(const struct events *e, struct stream_stats *ret)
{
        *ret = (struct stream_stats){0};
        if (e && e->stream)
                stream_stats(e->stream, ret);
}
