#include "sync/agent/board.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cache/base/log.h"
#include "cache/base/thread.h"
#include "sync/agent/agent.h"
#include "sync/agent/report.h"
#include "sync/serve/why.h"

#define PACE_NS 400000000ULL

struct board {
        struct agent *agent;
        pthread_t thread;
        struct mutex lock;
        struct cond changed;
        bool rung GUARDED_BY(lock), stop GUARDED_BY(lock);
};

static void look_at_source(struct agent *a)
{
        CLEANUP_FREE char *path = text_new("%s/%s", a->source, FS_OWN_NAME);
        struct stat st;

        if (path)
                atomic_store(&a->shadows_own, lstat(path, &st) == 0);
}

/* Whether it will say something else soon. */
static bool write_seat(struct seat *s)
{
        json_t *status = report_public(s);
        CLEANUP_FREE char *text = status ? json_dumps(status, JSON_INDENT(2)) : NULL;
        CLEANUP_FREE char *line = text ? text_new("%s\n", text) : NULL;
        bool pending = json_integer_value(json_object_get(status, "pending")) > 0;
        int rc = line ? fs_own_status(s->mount, line) : -ENOMEM;

        json_decref(status);
        if (rc)
                log_warn("%s can't say how it does: %s", s->mountpoint, strerror(-rc));
        return pending;
}

void board_write(struct seat *s)
{
        look_at_source(s->agent);
        (void)write_seat(s);
}

static bool write_all(struct agent *a)
{
        bool pending = false;

        look_at_source(a);
        for (size_t i = 0; i < ENGINE_MOUNTS_MAX; i++) {
                struct seat *s = seat_hold(a, i);

                if (s)
                        pending = write_seat(s) || pending;
                seat_let_go(s);
        }
        return pending;
}

static void *run(void *arg)
{
        struct board *b = arg;
        unsigned long long next;
        bool pending;

        mutex_lock(&b->lock);
        while (!b->stop) {
                if (!b->rung) {
                        cond_wait(&b->changed, &b->lock);
                        continue;
                }
                b->rung = false;
                mutex_unlock(&b->lock);
                next = clock_now_ns() + PACE_NS;
                pending = write_all(b->agent);
                mutex_lock(&b->lock);
                while (!b->stop && cond_wait_until(&b->changed, &b->lock, next) != -ETIMEDOUT)
                        ;
                b->rung = b->rung || pending;
        }
        mutex_unlock(&b->lock);
        return NULL;
}

int board_new(struct agent *a, struct board **ret)
{
        struct board *b = calloc(1, sizeof(*b));
        int rc;

        if (!b)
                return -ENOMEM;
        b->agent = a;
        mutex_init(&b->lock);
        cond_init(&b->changed);
        rc = thread_start(&b->thread, "dsfs-board", run, b);
        if (rc)
                free(b);
        else
                *ret = b;
        return rc;
}

void board_ring(struct board *b)
{
        if (!b)
                return;
        mutex_lock(&b->lock);
        b->rung = true;
        cond_signal(&b->changed);
        mutex_unlock(&b->lock);
}

void board_free(struct board *b)
{
        if (!b)
                return;
        mutex_lock(&b->lock);
        b->stop = true;
        cond_signal(&b->changed);
        mutex_unlock(&b->lock);
        (void)pthread_join(b->thread, NULL);
        cond_release(&b->changed);
        mutex_release(&b->lock);
        free(b);
}
