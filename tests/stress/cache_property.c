/*
 * After any edits of the source, an update of exactly the paths that they touched leaves the root hash that a scan without a memory finds,
 * and tells exactly the differences.
 *
 *   cache_property [STEPS [SEED [DIRECTORY]]]
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/area.h"
#include "tests/lib/mount.h"
#include "tests/lib/naive.h"
#include "tests/stress/tree_edit.h"

#define STEPS 1000
#define TOLD_MAX 4096
#define EDITS_MAX 6
#define ENTRIES_MIN 60
#define REOPEN_EVERY 300
#define SCAN_EVERY 50
#define FRESH_EVERY 10

struct told {
        char *path;
        struct cache_change change;
};

static struct told told[TOLD_MAX];
static size_t told_count;
static unsigned long long touches, changes, reopened, scans, reused, hashed;
static unsigned step;

static void remember(void *arg, const struct cache_change *change)
{
        (void)arg;
        must(told_count < TOLD_MAX, "too much is told");
        told[told_count] = (struct told){.path = strdup(change->path), .change = *change};
        told[told_count++].change.path = NULL;
}

static const struct cache_change *find_told(const char *path)
{
        const struct cache_change *found = NULL;

        for (size_t i = 0; i < told_count; i++)
                if (strcmp(told[i].path, path) == 0) {
                        must(!found, "step %u: %s is told twice", step, path);
                        found = &told[i].change;
                }
        return found;
}

static void forget_told(void)
{
        for (size_t i = 0; i < told_count; i++)
                free(told[i].path);
        told_count = 0;
}

static bool parent_is_directory(const struct naive *n, const char *path)
{
        char parent[PATH_MAX];
        const struct naive_entry *e;
        char *slash;

        snprintf(parent, sizeof(parent), "%s", path);
        slash = strrchr(parent, '/');
        if (slash)
                *slash = '\0';
        e = naive_find(n, slash ? parent : "");
        return e && e->kind == CONTENT_DIRECTORY;
}

/* Between `was` and `is`, either of which may be NULL. */
static void check_one(const char *path, const struct naive_entry *was, const struct naive_entry *is, const struct naive *after)
{
        const struct cache_change *c = find_told(path);
        enum content_kind was_kind = was ? was->kind : CONTENT_NONE, is_kind = is ? is->kind : CONTENT_NONE;
        bool same_hash = was && is && content_equal(&was->hash, &is->hash);
        bool differs = was_kind != is_kind || (!same_hash && is_kind != CONTENT_DIRECTORY);

        /* What was below a directory that is gone goes with it. */
        if (!is && !parent_is_directory(after, path)) {
                must(!c, "step %u: %s was told though what it was in is gone", step, path);
                return;
        }
        must(c || !differs, "step %u: %s differs and was not told", step, path);
        if (!c)
                return;
        must(differs || c->touched, "step %u: %s is told and doesn't differ", step, path);
        must(c->touched == !differs, "step %u: %s: touched is %d", step, path, c->touched);
        must(c->was == was_kind && c->is == is_kind, "step %u: %s: %c to %c is told", step, path, c->was, c->is);
        must(!was || content_equal(&c->old_hash, &was->hash), "step %u: %s: another old hash is told", step, path);
        must(!is || content_equal(&c->new_hash, &is->hash), "step %u: %s: another new hash is told", step, path);
        *(c->touched ? &touches : &changes) += 1;
}

static void check_told(const struct naive *before, const struct naive *after)
{
        for (size_t i = 0; i < before->count; i++) {
                const struct naive_entry *e = &before->entries[i];

                check_one(e->path, e, naive_find(after, e->path), after);
        }
        for (size_t i = 0; i < after->count; i++)
                if (!naive_find(before, after->entries[i].path))
                        check_one(after->entries[i].path, NULL, &after->entries[i], after);
        for (size_t i = 0; i < told_count; i++)
                must(naive_find(before, told[i].path) || naive_find(after, told[i].path), "step %u: %s is told and never was", step,
                     told[i].path);
}

static void check_entries(struct cache *c, const struct naive *after)
{
        struct cache_stats stats;

        for (size_t i = 0; i < after->count; i++) {
                const struct naive_entry *e = &after->entries[i];
                struct content hash;

                must(cache_entry(c, e->path, &hash) == e->kind && content_equal(&hash, &e->hash), "step %u: the entry %s is wrong", step,
                     e->path);
        }
        cache_stats(c, &stats);
        must(!stats.off, "turned off: %s", stats.off);
        /* And the number of the next directory. */
        must(stats.entries == after->count + 1, "step %u: %llu records of %zu entries", step, (unsigned long long)stats.entries,
             after->count);
}

static void check_root(const struct scan_report *r, const struct naive *after)
{
        must(content_equal(&r->root, &naive_find(after, "")->hash), "step %u: WRONG ROOT HASH", step);
        must(r->unread == 0 && r->unstable == 0, "step %u: unread or unstable", step);
}

static struct cache *open_cache(const char *src, const char *dir, enum cache_found want)
{
        struct cache_options options = {.source = src, .dir = dir, .threads = 2};
        enum cache_found found;
        char *notice;
        struct cache *c;

        must(cache_open(&options, &c, &found, &notice) == 0, "cache_open");
        must(!dir || found == want, "step %u: found %d: %s", step, found, notice);
        free(notice);
        return c;
}

static void compare_fresh(const char *src, const struct naive *after)
{
        struct cache *c = open_cache(src, NULL, CACHE_FRESH);
        struct scan_report r;

        must(cache_scan(c, NULL, &r) == 0, "a fresh scan");
        check_root(&r, after);
        cache_close(c);
}

static void run(const char *src, const char *dir, unsigned steps, struct dice *d)
{
        static struct touched t;
        struct scan_watcher watcher = {.changed = remember};
        struct cache *c = open_cache(src, dir, CACHE_FRESH);
        struct naive before, after;
        struct scan_report r;

        tree_edit_grow(src, d, &t);
        must(cache_scan(c, &watcher, &r) == 0, "the first scan");
        must(told_count == 0, "the first scan has nothing to differ from");
        naive_tree(src, &before);
        check_root(&r, &before);
        for (step = 1; step <= steps; step++) {
                const char *paths[TOUCHED_MAX];
                bool scan = dice_roll(d, SCAN_EVERY) == 0;

                t.count = 0;
                for (unsigned i = 1 + dice_roll(d, EDITS_MAX); i-- > 0;)
                        tree_edit(src, d, &t);
                if (before.count < ENTRIES_MIN)
                        tree_edit_grow(src, d, &t);
                for (size_t i = 0; i < t.count; i++)
                        paths[i] = t.paths[i];
                if (dice_roll(d, REOPEN_EVERY) == 0) {
                        cache_close(c);
                        c = open_cache(src, dir, CACHE_GOOD);
                        reopened++;
                }
                scans += scan;
                must((scan ? cache_scan(c, &watcher, &r) : cache_update(c, paths, t.count, &watcher, &r)) == 0, "step %u: update", step);
                naive_tree(src, &after);
                check_root(&r, &after);
                reused += r.reused;
                hashed += r.seen.files;
                check_told(&before, &after);
                if (step % FRESH_EVERY == 0) {
                        check_entries(c, &after);
                        compare_fresh(src, &after);
                }
                forget_told();
                naive_release(&before);
                before = after;
        }
        naive_release(&before);
        cache_close(c);
}

int main(int argc, char **argv)
{
        unsigned steps = argc > 1 ? (unsigned)atoi(argv[1]) : STEPS;
        unsigned long long seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (unsigned long long)time(NULL);
        struct dice d = {.state = seed};
        char base[PATH_MAX], src[PATH_MAX + 8], dir[PATH_MAX + 8];

        setvbuf(stdout, NULL, _IOLBF, 0);
        printf("seed %llu, %u steps\n", seed, steps);
        if (argc > 3)
                must((size_t)snprintf(base, sizeof(base), "%s/property.XXXXXX", argv[3]) < sizeof(base) && mkdtemp(base), "%s", argv[3]);
        else
                area_new_base(base, sizeof(base));
        snprintf(src, sizeof(src), "%s/src", base);
        snprintf(dir, sizeof(dir), "%s/memory", base);
        must(mkdir(src, 0755) == 0, "mkdir %s", src);
        run(src, dir, steps, &d);
        printf("%llu changes, %llu touches, %llu scans, %llu reopened, %llu files hashed, %llu reused: no wrong hash\n", changes, touches,
               scans, reopened, hashed, reused);
        must(changes > steps && touches > 0 && reused > 0, "too little was tried");
        remove_tree(base);
        return 0;
}
