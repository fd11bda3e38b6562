/*
 * A look at the source: what was touched, or everything, compared with what is remembered. What differs goes to the journal before whoever
 * waits for the hash is answered.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/log.h"
#include "sync/hashing_self.h"
#include "sync/journal.h"
#include "sync/serve/why.h"

#define NS_PER_S 1e9
/* Between tries to get the memory from another process, at first and at most. */
#define OWN_AGAIN_MS 100
#define OWN_AGAIN_MAX_MS 10000

/*
 * The memory
 */

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

struct cache *hashing_own(struct hashing *h)
{
        int pause = OWN_AGAIN_MS;

        while (!atomic_load(&h->stop)) {
                CLEANUP_FREE char *why = NULL;
                struct cache *c;

                if (try_to_own(h, &c, &why)) {
                        hashing_end(h, why_text(why), true);
                        return NULL;
                }
                atomic_store(&h->waits, !c);
                if (c)
                        return c;
                hashing_doze(h, pause);
                pause = pause * 2 < OWN_AGAIN_MAX_MS ? pause * 2 : OWN_AGAIN_MAX_MS;
        }
        return NULL;
}

/*
 * Looking
 */

static void show_progress(void *arg, const struct scan_progress *p)
{
        struct hashing *h = arg;

        atomic_store_explicit(&h->entries, p->entries, memory_order_relaxed);
        atomic_store_explicit(&h->files, p->files, memory_order_relaxed);
        atomic_store_explicit(&h->bytes, p->bytes, memory_order_relaxed);
}

static void take_change(void *arg, const struct cache_change *change)
{
        struct hashing *h = arg;

        found_add(&h->found, change);
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

/* What is looked at is there already; whoever is told of it wants to find it in his mount. */
static void get_in_step(struct hashing *h)
{
        mutex_lock(&h->step_lock);
        if (h->wait_in_step)
                h->wait_in_step(h->wait_arg);
        mutex_unlock(&h->step_lock);
}

/* The journal of what a look has found. `compared`: there was something to differ from. */
static void tell(struct hashing *h, int rc, bool compared)
{
        bool first = !h->looked;

        h->looked = h->looked || rc == 0;
        if (compared && h->journal && (h->found.count || h->found.too_much))
                get_in_step(h);
        if (compared && h->journal)
                found_tell(&h->found, first ? NULL : &h->places, h->leave_out, h->leave_out_arg, h->journal);
        hashing_places_clear(&h->places);
        if (compared || !h->journal)
                return;
        /* What was touched since the agent began may have been read before or after; all else is as it was then. The wish for this look
         * counts as a touch. */
        hashing_take(h);
        if (!first || h->places.found > 1)
                journal_lost(h->journal);
}

void hashing_look(struct hashing *h, struct cache *c)
{
        struct scan_watcher watcher = {.progress = show_progress, .changed = h->journal ? take_change : NULL, .arg = h};
        struct scan_report report = {0};
        struct cache_stats stats;
        struct content root;
        unsigned long long began = clock_now_ns();
        bool all = h->places.all;
        bool compared = cache_entry(c, "", &root) != CONTENT_NONE;
        int rc;

        atomic_store(&h->scanning, all);
        rc = all ? cache_scan(c, &watcher, &report) : cache_update(c, h->places.paths, h->places.count, &watcher, &report);
        h->look_ns[all] = clock_now_ns() - began;
        show_progress(h, &report.seen);
        atomic_store(&h->scanning, false);
        if (rc == -ECANCELED) {
                found_release(&h->found);
                hashing_places_clear(&h->places);
                return;
        }
        if (rc < 0)
                log_warn("%s can't be hashed: %s", h->source, strerror(-rc));
        else if (all)
                log_info("hashed %s: %llu entries, %llu files read (%llu bytes), %llu remembered, %.3f s", h->source,
                         (unsigned long long)report.seen.entries, (unsigned long long)report.seen.files,
                         (unsigned long long)report.seen.bytes, (unsigned long long)report.reused, (double)h->look_ns[all] / NS_PER_S);
        publish(h, rc, all, &report);
        tell(h, rc, compared);
        cache_stats(c, &stats);
        if (!stats.off)
                return;
        hashing_end(h, stats.off, true);
        if (h->journal)
                journal_lost(h->journal);
}

void hashing_settle(struct hashing *h)
{
        struct settled s = {0};

        h->unsettled.any = false;
        (void)settle_git_did(&h->settle, &s);
        if (!h->journal)
                return;
        mutex_lock(&h->lock);
        s.has_root = h->has_root;
        s.root = h->root;
        mutex_unlock(&h->lock);
        get_in_step(h);
        journal_settle(h->journal, &s);
}
