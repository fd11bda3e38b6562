/*
 * The queue has one writer, the watch's thread, and one reader, this module's. The reader says that it sleeps before it looks a last time;
 * the writer looks whether it sleeps after it has put something in: so one of the two always sees the other.
 */
#include "sync/hashing.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/ident.h"
#include "cache/base/log.h"
#include "cache/base/thread.h"
#include "sync/hashing_place.h"
#include "sync/hashing_queue.h"
#include "sync/serve/why.h"

#define NICENESS 10
#define NS_PER_MS 1000000ULL
#define NS_PER_S 1e9
/* How long nobody is woken again after something that is none of ours: the rest of the file system may be busy. */
#define PACE_MS 10
/* It is settled when nothing came for so long ... */
#define QUIET_MS 30
/* ... or has to do after so long; both longer when a look takes long. */
#define PATIENCE_MS 500
/* So much at once is a storm (a checkout, an unpacked archive): who makes it needs the processors more than we do. */
#define STORM_FOUND 128
#define STORM_QUIET_MS 300
#define STORM_PATIENCE_MS 10000
#define QUIET_PER_LOOK 2
#define PATIENCE_PER_LOOK 8
#define QUIET_MAX_MS 2000
#define PATIENCE_MAX_MS 10000
/* Between tries to get the memory from another process, at first and at most. */
#define OWN_AGAIN_MS 100
#define OWN_AGAIN_MAX_MS 10000

struct hashing {
        /* Set at init, read anywhere. */
        char *source, *dir; /* owned */
        int wake;           /* eventfd */
        pthread_t thread;
        bool started;
        struct hashing_queue queue;
        atomic_bool go, stop, off, asleep;
        _Atomic(struct cache *) cache; /* owned; NULL until it is ours */
        atomic_bool busy;              /* something that was queued is not in the root hash yet, though it isn't queued any more */
        atomic_bool scanning, waits;
        _Atomic uint64_t entries, files, bytes;
        /* Its own thread's. */
        struct hashing_places places;
        unsigned long long look_ns[2]; /* what the last one took: of places, of everything */

        struct mutex lock; /* innermost */
        struct cond changed;
        uint64_t asked GUARDED_BY(lock), answered GUARDED_BY(lock);
        bool has_root GUARDED_BY(lock);
        struct content root GUARDED_BY(lock);
        uint64_t scans GUARDED_BY(lock), updates GUARDED_BY(lock);
        unsigned long long took_ns GUARDED_BY(lock);
        bool failed GUARDED_BY(lock);                             /* it was on, or should have been */
        char *notice GUARDED_BY(lock), *why_off GUARDED_BY(lock); /* owned */
};

/*
 * Others' threads
 */

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

void hashing_touch(struct hashing *h, const struct ident *dir, const char *path, const char *name, size_t len)
{
        if (atomic_load_explicit(&h->off, memory_order_relaxed))
                return;
        hashing_queue_put(&h->queue, dir, path, name, len);
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
                .progress = {.entries = atomic_load(&h->entries), .files = atomic_load(&h->files), .bytes = atomic_load(&h->bytes)},
        };
        if (c)
                cache_stats(c, &ret->cache);
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

/*
 * Its own thread
 */

static void turn_off(struct hashing *h, const char *why, bool failed)
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

static bool is_asked(struct hashing *h)
{
        bool asked;

        mutex_lock(&h->lock);
        asked = h->asked != h->answered;
        mutex_unlock(&h->lock);
        return asked;
}

/* Sleep for so long (below 0: for ever), or until woken. */
static void doze(struct hashing *h, int ms)
{
        struct pollfd p = {.fd = h->wake, .events = POLLIN};
        uint64_t count;

        if (poll(&p, 1, ms) > 0)
                (void)!read(h->wake, &count, sizeof(count));
}

static void sleep_until_touched(struct hashing *h)
{
        for (;;) {
                atomic_store(&h->asleep, true);
                if (atomic_load(&h->stop) || is_asked(h) || !hashing_queue_is_empty(&h->queue))
                        break;
                doze(h, -1);
        }
        atomic_store(&h->asleep, false);
}

static int longer(unsigned long long look_ns, int times, int least_ms, int most_ms)
{
        unsigned long long ms = look_ns / NS_PER_MS * (unsigned long long)times;

        if (ms < (unsigned long long)least_ms)
                return least_ms;
        return ms > (unsigned long long)most_ms ? most_ms : (int)ms;
}

/* Wait for a pause, unless somebody asks. Things come in bursts, and a look at a file that is being written is wasted. */
static void settle(struct hashing *h)
{
        unsigned long long look_ns = h->look_ns[h->places.all];
        int quiet = longer(look_ns, QUIET_PER_LOOK, QUIET_MS, QUIET_MAX_MS);
        int patience = longer(look_ns, PATIENCE_PER_LOOK, PATIENCE_MS, PATIENCE_MAX_MS);
        unsigned long long began = clock_now_ns(), until = began + (unsigned long long)patience * NS_PER_MS;
        uint64_t first = h->places.found, found;

        do {
                if (is_asked(h))
                        return;
                found = h->places.found;
                doze(h, quiet);
                hashing_places_take(&h->places, &h->queue);
                if (h->places.found - first >= STORM_FOUND && quiet < STORM_QUIET_MS) {
                        quiet = STORM_QUIET_MS;
                        until = began + STORM_PATIENCE_MS * NS_PER_MS;
                }
        } while (!atomic_load(&h->stop) && h->places.found != found && clock_now_ns() < until);
}

static void show_progress(void *arg, const struct scan_progress *p)
{
        struct hashing *h = arg;

        atomic_store_explicit(&h->entries, p->entries, memory_order_relaxed);
        atomic_store_explicit(&h->files, p->files, memory_order_relaxed);
        atomic_store_explicit(&h->bytes, p->bytes, memory_order_relaxed);
}

static void publish(struct hashing *h, int rc, bool all, const struct scan_report *report)
{
        mutex_lock(&h->lock);
        h->has_root = rc == 0;
        if (rc == 0)
                h->root = report->root;
        h->scans += all;
        h->updates += !all;
        h->took_ns = h->look_ns[all];
        mutex_unlock(&h->lock);
}

/* Look at what was touched. */
static void look(struct hashing *h, struct cache *c)
{
        struct scan_watcher watcher = {.progress = show_progress, .arg = h};
        struct scan_report report = {0};
        struct cache_stats stats;
        unsigned long long began = clock_now_ns();
        bool all = h->places.all;
        int rc;

        atomic_store(&h->scanning, all);
        rc = all ? cache_scan(c, &watcher, &report) : cache_update(c, h->places.paths, h->places.count, &watcher, &report);
        h->look_ns[all] = clock_now_ns() - began;
        show_progress(h, &report.seen);
        atomic_store(&h->scanning, false);
        hashing_places_clear(&h->places);
        if (rc == -ECANCELED)
                return;
        if (rc < 0)
                log_warn("%s can't be hashed: %s", h->source, strerror(-rc));
        else if (all)
                log_info("hashed %s: %llu entries, %llu files read (%llu bytes), %llu remembered, %.3f s", h->source,
                         (unsigned long long)report.seen.entries, (unsigned long long)report.seen.files,
                         (unsigned long long)report.seen.bytes, (unsigned long long)report.reused, (double)h->look_ns[all] / NS_PER_S);
        publish(h, rc, all, &report);
        cache_stats(c, &stats);
        if (stats.off)
                turn_off(h, stats.off, true);
}

/* Everything that was queued, and everybody who asked, up to now. */
static void take_turn(struct hashing *h, struct cache *c)
{
        uint64_t upto;

        /* What isn't in the source is none of ours: then there is nothing to wait for. */
        hashing_places_take(&h->places, &h->queue);
        if (hashing_places_is_empty(&h->places) && !is_asked(h)) {
                doze(h, PACE_MS);
                return;
        }
        atomic_store(&h->busy, !hashing_places_is_empty(&h->places));
        if (!hashing_places_is_empty(&h->places))
                settle(h);
        mutex_lock(&h->lock);
        upto = h->asked;
        mutex_unlock(&h->lock);
        hashing_places_take(&h->places, &h->queue);
        if (!hashing_places_is_empty(&h->places))
                look(h, c);
        atomic_store(&h->busy, false);
        if (atomic_load(&h->stop))
                return;
        mutex_lock(&h->lock);
        h->answered = upto;
        cond_broadcast(&h->changed);
        mutex_unlock(&h->lock);
}

/* One try. 0 with *ret (NULL: another process keeps it); or -errno when there is no use in trying again, and *why. */
static int try_to_own(struct hashing *h, struct cache **ret, char **why)
{
        long processors = sysconf(_SC_NPROCESSORS_ONLN);
        struct cache_options options = {.source = h->source, .dir = h->dir, .threads = processors > 2 ? (unsigned)processors / 2 : 1};
        CLEANUP_FREE char *notice = NULL;
        enum cache_found found;
        struct cache *c;
        int rc = cache_open(&options, &c, &found, &notice);

        *ret = NULL;
        if (rc)
                return why_set(why, rc, "%s", strerror(-rc));
        if (found == CACHE_REFUSED) {
                cache_close(c);
                return why_set(why, -EIO, "%s", why_text(notice));
        }
        if (found == CACHE_SHARED) {
                cache_close(c);
                return 0;
        }
        if (notice) {
                log_warn("%s", notice);
                mutex_lock(&h->lock);
                h->notice = steal_ptr(&notice);
                mutex_unlock(&h->lock);
        }
        *ret = c;
        return 0;
}

static struct cache *own(struct hashing *h)
{
        int pause = OWN_AGAIN_MS;

        while (!atomic_load(&h->stop)) {
                CLEANUP_FREE char *why = NULL;
                struct cache *c;

                if (try_to_own(h, &c, &why)) {
                        turn_off(h, why_text(why), true);
                        return NULL;
                }
                atomic_store(&h->waits, !c);
                if (c)
                        return c;
                doze(h, pause);
                pause = pause * 2 < OWN_AGAIN_MAX_MS ? pause * 2 : OWN_AGAIN_MAX_MS;
        }
        return NULL;
}

static void *run(void *arg)
{
        struct hashing *h = arg;
        struct cache *c;

        (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICENESS);
        while (!atomic_load(&h->stop) && !atomic_load(&h->go))
                doze(h, -1);
        c = atomic_load(&h->off) ? NULL : own(h);
        if (!c)
                return NULL;
        atomic_store(&h->cache, c);
        hashing_queue_put_all(&h->queue);
        while (!atomic_load(&h->stop) && !atomic_load(&h->off)) {
                sleep_until_touched(h);
                if (!atomic_load(&h->stop))
                        take_turn(h, c);
        }
        return NULL;
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
                rc = hashing_places_init(&h->places, h->source);
        if (rc == 0)
                rc = thread_start(&h->thread, "dsfs-hash", run, h);
        h->started = rc == 0;
        if (rc) {
                hashing_free(h);
                return rc;
        }
        *ret = h;
        return 0;
}

void hashing_turn_off(struct hashing *h, const char *why)
{
        turn_off(h, why, false);
}

void hashing_free(struct hashing *h)
{
        if (!h)
                return;
        hashing_shutdown(h);
        if (h->started)
                pthread_join(h->thread, NULL);
        cache_close(atomic_load(&h->cache));
        hashing_places_release(&h->places);
        hashing_queue_release(&h->queue);
        fd_close(&h->wake);
        cond_release(&h->changed);
        mutex_release(&h->lock);
        free(h->notice);
        free(h->why_off);
        free(h->source);
        free(h->dir);
        free(h);
}
