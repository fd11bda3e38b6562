#include "fs/offload.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "cache/base/thread.h"
#include "fs/ring.h"

struct offload {
        /* Set at the start, read anywhere. */
        size_t queue_max;
        void (*thread_init)(void *arg);
        void *arg;
        /* The owner's. */
        unsigned thread_count;
        pthread_t *threads;

        struct mutex lock;
        struct cond more;
        struct job *first GUARDED_BY(lock);
        struct job **last GUARDED_BY(lock);
        size_t queued GUARDED_BY(lock);
        bool ending GUARDED_BY(lock);
};

/* The next job; NULL when there will be none. */
static struct job *take(struct offload *o)
{
        struct job *j;

        mutex_lock(&o->lock);
        while (!o->first && !o->ending)
                cond_wait(&o->more, &o->lock);
        j = o->first;
        if (j) {
                o->first = j->next;
                if (!o->first)
                        o->last = &o->first;
                o->queued--;
        }
        mutex_unlock(&o->lock);
        return j;
}

static void *serve(void *arg)
{
        struct offload *o = arg;
        struct job *j;

        if (o->thread_init)
                o->thread_init(o->arg);
        while ((j = take(o))) {
                j->work(j);
                ring_post(j->ring, j);
        }
        return NULL;
}

/* False if the queue is full. */
static bool put(struct offload *o, struct job *j)
{
        bool room;

        j->next = NULL;
        mutex_lock(&o->lock);
        room = o->queued < o->queue_max;
        if (room) {
                *o->last = j;
                o->last = &j->next;
                o->queued++;
                cond_signal(&o->more);
        }
        mutex_unlock(&o->lock);
        return room;
}

void offload_run(struct offload *o, struct job *j, bool uring)
{
        struct ring *r = uring ? ring_current() : NULL;

        if (r) {
                j->ring = r;
                ring_expect(r);
                if (put(o, j))
                        return;
                ring_expect_no_more(r);
        }
        j->work(j);
        j->answer(j);
}

static void end_threads(struct offload *o)
{
        mutex_lock(&o->lock);
        o->ending = true;
        cond_broadcast(&o->more);
        mutex_unlock(&o->lock);
        for (unsigned i = 0; i < o->thread_count; i++)
                pthread_join(o->threads[i], NULL);
}

int offload_new(unsigned threads, size_t queue_max, void (*thread_init)(void *arg), void *arg, struct offload **ret)
{
        struct offload *o = calloc(1, sizeof(*o));

        if (!o)
                return -ENOMEM;
        mutex_init(&o->lock);
        cond_init(&o->more);
        o->queue_max = queue_max;
        o->thread_init = thread_init;
        o->arg = arg;
        mutex_lock(&o->lock);
        o->last = &o->first;
        mutex_unlock(&o->lock);
        o->threads = calloc(threads, sizeof(*o->threads));
        if (!o->threads) {
                offload_free(o);
                return -ENOMEM;
        }
        while (o->thread_count < threads) {
                int rc = thread_start(&o->threads[o->thread_count], "offload", serve, o);

                if (rc) {
                        offload_free(o);
                        return rc;
                }
                o->thread_count++;
        }
        *ret = o;
        return 0;
}

void offload_free(struct offload *o)
{
        if (!o)
                return;
        end_threads(o);
        cond_release(&o->more);
        mutex_release(&o->lock);
        free(o->threads);
        free(o);
}
