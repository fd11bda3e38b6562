/*
 * The queue has one writer, the watch's thread, and one reader, this module's. The reader says that it sleeps before it looks a last time;
 * the writer looks whether it sleeps after it has put something in: so one of the two always sees the other.
 */
#include "sync/hashing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "sync/hashing_self.h"
#include "sync/serve/why.h"

#define NS_PER_S 1e9

static void wake(struct hashing *h)
{
        uint64_t one = 1;

        (void)!write(h->wake, &one, sizeof(one));
}

static void wake_sleeper(struct hashing *h)
{
        atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load_explicit(&h->asleep, memory_order_relaxed) && atomic_exchange(&h->asleep, false))
                wake(h);
}

void hashing_touch(struct hashing *h, enum watch_by by, const struct ident *dir, const char *path, const char *name, size_t len)
{
        if (atomic_load_explicit(&h->off, memory_order_relaxed))
                return;
        hashing_queue_put(&h->queue, (uint8_t)by, dir, path, name, len);
        wake_sleeper(h);
}

void hashing_touch_all(struct hashing *h)
{
        hashing_queue_put_all(&h->queue);
        wake_sleeper(h);
}

void hashing_go(struct hashing *h)
{
        atomic_store(&h->go, true);
        wake(h);
}

void hashing_shutdown(struct hashing *h)
{
        struct cache *c;

        atomic_store(&h->stop, true);
        c = atomic_load(&h->cache);
        if (c)
                cache_cancel(c);
        mutex_lock(&h->lock);
        cond_broadcast(&h->changed);
        mutex_unlock(&h->lock);
        wake(h);
}

int hashing_wait(struct hashing *h, int timeout_ms)
{
        unsigned long long deadline = clock_now_ns() + (unsigned long long)timeout_ms * NS_PER_MS;
        uint64_t mine;
        int rc = 0;

        mutex_lock(&h->lock);
        mine = ++h->asked;
        mutex_unlock(&h->lock);
        hashing_go(h);
        mutex_lock(&h->lock);
        while (rc == 0 && h->answered < mine) {
                if (atomic_load(&h->stop))
                        rc = -ESHUTDOWN;
                else if (atomic_load(&h->off))
                        rc = -ENODATA;
                else
                        rc = cond_wait_until(&h->changed, &h->lock, deadline);
        }
        if (rc == 0 && !h->has_root)
                rc = -ENODATA;
        mutex_unlock(&h->lock);
        return rc;
}

void hashing_stats(struct hashing *h, struct hashing_stats *ret)
{
        struct cache *c = atomic_load(&h->cache);

        *ret = (struct hashing_stats){
                .scanning = atomic_load(&h->scanning),
                .waits = atomic_load(&h->waits),
                .off = atomic_load(&h->off),
                .progress = {.entries = atomic_load(&h->entries), .files = atomic_load(&h->files), .bytes = atomic_load(&h->bytes)},
        };
        if (c)
                cache_stats(c, &ret->cache);
        ret->waiting = hashing_queue_count(&h->queue) + atomic_load(&h->taken);
        ret->pending = atomic_load(&h->busy); /* before the root: it ends after that has changed */
        mutex_lock(&h->lock);
        ret->has_root = h->has_root;
        ret->root = h->root;
        ret->pending = ret->pending || !h->has_root;
        ret->scans = h->scans;
        ret->updates = h->updates;
        ret->seconds = (double)h->took_ns / NS_PER_S;
        mutex_unlock(&h->lock);
}

void hashing_warnings(struct hashing *h, void (*visit)(void *arg, const char *sentence), void *arg, bool *degraded)
{
        CLEANUP_FREE char *off = NULL;

        mutex_lock(&h->lock);
        *degraded = h->failed;
        if (h->notice)
                visit(arg, h->notice);
        if (h->why_off)
                off = text_new("the source is not hashed any more, and has no root hash: %s; mend that, then mount again", h->why_off);
        mutex_unlock(&h->lock);
        if (off)
                visit(arg, off);
}

void hashing_end(struct hashing *h, const char *why, bool failed)
{
        char *text = text_new("%s", why);

        log_warn("the source is not hashed any more: %s", why);
        mutex_lock(&h->lock);
        h->has_root = false;
        if (!h->why_off)
                h->why_off = steal_ptr(&text);
        h->failed = h->failed || failed;
        atomic_store(&h->off, true);
        cond_broadcast(&h->changed);
        mutex_unlock(&h->lock);
        free(text);
}

/*
 * Beginning and end
 */

int hashing_new(const char *source, const char *dir, struct hashing **ret)
{
        struct hashing *h = calloc(1, sizeof(*h));
        int rc = 0;

        if (!h)
                return -ENOMEM;
        mutex_init(&h->lock);
        mutex_init(&h->step_lock);
        cond_init(&h->changed);
        h->source = strdup(source);
        h->dir = strdup(dir);
        h->wake = eventfd(0, EFD_CLOEXEC);
        if (h->wake < 0)
                rc = -errno;
        if (!h->source || !h->dir)
                rc = -ENOMEM;
        if (rc == 0)
                rc = hashing_queue_init(&h->queue);
        if (rc == 0)
                rc = hashing_places_init(&h->places, h->source, h->settle.path);
        if (rc == 0)
                settle_init(&h->settle, h->places.root);
        if (rc == 0)
                rc = thread_start(&h->thread, "dsfs-hash", hashing_run, h);
        h->started = rc == 0;
        if (rc) {
                hashing_free(h);
                return rc;
        }
        *ret = h;
        return 0;
}

void hashing_on_work(struct hashing *h, void (*began)(void *arg), void *arg)
{
        h->began = began;
        h->began_arg = arg;
}

void hashing_tell(struct hashing *h, struct journal *j)
{
        h->journal = j;
}

void hashing_leave_out(struct hashing *h, bool (*leave_out)(void *arg, const char *path, bool is_directory), void *arg)
{
        h->leave_out = leave_out;
        h->leave_out_arg = arg;
}

void hashing_in_step(struct hashing *h, void (*wait)(void *arg), void *arg)
{
        mutex_lock(&h->step_lock);
        h->wait_in_step = wait;
        h->wait_arg = arg;
        mutex_unlock(&h->step_lock);
}

void hashing_turn_off(struct hashing *h, const char *why)
{
        hashing_end(h, why, false);
}

void hashing_free(struct hashing *h)
{
        if (!h)
                return;
        hashing_shutdown(h);
        if (h->started)
                pthread_join(h->thread, NULL);
        cache_close(atomic_load(&h->cache));
        found_release(&h->found);
        hashing_places_release(&h->places);
        hashing_queue_release(&h->queue);
        fd_close(&h->wake);
        cond_release(&h->changed);
        mutex_release(&h->step_lock);
        mutex_release(&h->lock);
        free(h->notice);
        free(h->why_off);
        free(h->source);
        free(h->dir);
        free(h);
}
