#include "cache/cache.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "cache/base/thread.h"
#include "cache/guard.h"
#include "cache/scan.h"
#include "cache/scope.h"
#include "cache/store.h"

#define ROOT_NAME "root"

struct cache {
        /* Set at init, read anywhere. */
        struct cache_options options; /* its texts are owned */
        bool wanted;                  /* something should be remembered */
        struct store *store;          /* NULL: nothing is */
        atomic_bool cancel;
        /* Who scans. */
        bool scanned; /* what is remembered is of this life: updates may go on from it */

        struct mutex lock;
        bool has_root GUARDED_BY(lock);
        struct content root GUARDED_BY(lock);
        uint64_t hits GUARDED_BY(lock), reads GUARDED_BY(lock);
};

int cache_open(const struct cache_options *options, struct cache **ret, enum cache_found *found, char **notice)
{
        struct cache *c = calloc(1, sizeof(*c));
        char *text = NULL;
        int rc = 0;

        if (notice)
                *notice = NULL;
        if (!c)
                return -ENOMEM;
        mutex_init(&c->lock);
        c->options = *options;
        c->options.dir = NULL;
        c->wanted = options->dir;
        c->options.source = strdup(options->source);
        if (!c->options.threads)
                c->options.threads = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
        *found = CACHE_FRESH;
        if (!c->options.source)
                rc = -ENOMEM;
        else if (options->dir)
                rc = store_open(options->dir, options->readonly, &c->store, found, &text);
        if (notice)
                *notice = steal_ptr(&text);
        free(text);
        if (rc < 0) {
                cache_close(c);
                return rc;
        }
        *ret = c;
        return 0;
}

void cache_close(struct cache *c)
{
        if (!c)
                return;
        store_close(c->store);
        mutex_release(&c->lock);
        free((char *)c->options.source);
        free(c);
}

static int scan(struct cache *c, const struct scope *scope, const struct scan_watcher *watcher, struct scan_report *ret)
{
        struct scan_job job = {
                .source = c->options.source,
                .store = c->store,
                .scope = scope,
                .options = &c->options,
                .watcher = watcher,
                .threads = c->options.threads,
                .cancel = &c->cancel,
        };
        int rc = scan_run(&job, ret);

        /* It is used up by the scan that it ended. */
        if (rc == -ECANCELED)
                atomic_store(&c->cancel, false);
        c->scanned = rc == 0 && c->store && store_writable(c->store);
        mutex_lock(&c->lock);
        c->has_root = rc == 0;
        if (rc == 0) {
                c->root = ret->root;
                c->hits += ret->reused;
                c->reads += ret->seen.files;
        }
        mutex_unlock(&c->lock);
        return rc;
}

int cache_scan(struct cache *c, const struct scan_watcher *watcher, struct scan_report *ret)
{
        return scan(c, NULL, watcher, ret);
}

int cache_update(struct cache *c, const char *const paths[], size_t count, const struct scan_watcher *watcher, struct scan_report *ret)
{
        struct scope *scope = NULL;
        int rc;

        /* An update goes on from records; where they can't be kept it has nothing to go on from. */
        if (c->scanned && store_writable(c->store)) {
                scope = scope_new(paths, count);
                if (!scope)
                        return -ENOMEM;
        }
        rc = scan(c, scope, watcher, ret);
        scope_free(scope);
        return rc;
}

int cache_look(const char *dir, const char **why)
{
        return guard_look(dir, why);
}

enum content_kind cache_entry(struct cache *c, const char *path, struct content *ret)
{
        struct record r;
        bool found = c->store && store_get(c->store, DIR_ID_META, ROOT_NAME, sizeof(ROOT_NAME) - 1, &r);

        for (path += strspn(path, "/"); found && *path; path += strspn(path, "/")) {
                size_t len = strcspn(path, "/");

                found = r.kind == CONTENT_DIRECTORY && len <= NAME_MAX && store_get(c->store, r.child, path, len, &r);
                path += len;
        }
        if (!found)
                return CONTENT_NONE;
        *ret = r.hash;
        return r.kind;
}

void cache_cancel(struct cache *c)
{
        atomic_store(&c->cancel, true);
}

void cache_stats(struct cache *c, struct cache_stats *ret)
{
        struct store_stats store = {0};

        if (c->store)
                store_stats(c->store, &store);
        *ret = (struct cache_stats){
                .entries = store.entries,
                .bytes = store.bytes,
                .off = c->store    ? store_off(c->store)
                       : c->wanted ? "it could not be opened"
                                   : NULL,
        };
        mutex_lock(&c->lock);
        ret->has_root = c->has_root;
        ret->root = c->root;
        ret->hits = c->hits;
        ret->reads = c->reads;
        mutex_unlock(&c->lock);
}

int content_of_tree(const char *path, struct content *ret)
{
        struct cache_options options = {.source = path, .threads = 1};
        struct scan_report report;
        enum cache_found found;
        struct cache *c;
        int rc = cache_open(&options, &c, &found, NULL);

        if (rc < 0)
                return rc;
        rc = cache_scan(c, NULL, &report);
        cache_close(c);
        if (rc == 0)
                *ret = report.root;
        return rc;
}
