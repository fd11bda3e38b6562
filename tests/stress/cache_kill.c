/*
 * A process that edits a source and keeps its memory up to date is killed at random moments. Whoever opens the memory next finds it good,
 * gets the root hash that a plain walk gets, and nothing lost stays in it.
 *
 *   cache_kill [ROUNDS [SEED [DIRECTORY]]]
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/area.h"
#include "tests/lib/mount.h"
#include "tests/lib/naive.h"
#include "tests/stress/tree_edit.h"

#define ROUNDS 30
#define DIRS 40U
#define FILES 25U
#define LIFE_MIN_US 200
#define LIFE_US 40000
#define FRESH_EVERY 12
#define UNCHECKED_IN 3
#define REOPEN_IN 6
#define SCAN_IN 8
#define BULK_IN 4
#define NS_PER_US 1000L

static char src[PATH_MAX + 8], dir[PATH_MAX + 8];
static unsigned found_count[CACHE_REFUSED + 1];

static struct cache *open_memory(enum cache_found *found)
{
        struct cache_options options = {.source = src, .dir = dir, .threads = 2};
        struct cache *c;
        char *notice;

        must(cache_open(&options, &c, found, &notice) == 0, "cache_open");
        must(*found == CACHE_GOOD || *found == CACHE_FRESH, "found %d: %s", *found, notice);
        must(!notice, "a notice: %s", notice);
        return c;
}

/* Whole directories come, change and go. */
static void bulk(struct dice *d, struct touched *t)
{
        unsigned which = dice_roll(d, DIRS), what = dice_roll(d, 3);
        const char *top = at(src, "bulk%u", which);

        snprintf(t->paths[t->count++], TOUCHED_PATH, "bulk%u", which);
        if (what == 0) {
                remove_tree(top);
                return;
        }
        (void)mkdir(top, 0755);
        for (unsigned i = 0; i < FILES; i++)
                put_text(at(top, "file%u", i), at("", "%u %u", i, dice_roll(d, 1U << 20)));
}

/* Until it is killed. */
static int live(void *arg)
{
        static struct touched t;
        struct dice *d = arg;
        enum cache_found found;
        struct scan_report r;
        struct cache *c = open_memory(&found);

        for (;;) {
                const char *paths[TOUCHED_MAX];

                t.count = 0;
                if (dice_roll(d, BULK_IN) == 0)
                        bulk(d, &t);
                else
                        tree_edit(src, d, &t);
                for (size_t i = 0; i < t.count; i++)
                        paths[i] = t.paths[i];
                if (dice_roll(d, REOPEN_IN) == 0) {
                        cache_close(c);
                        c = open_memory(&found);
                }
                must((dice_roll(d, SCAN_IN) ? cache_update(c, paths, t.count, NULL, &r) : cache_scan(c, NULL, &r)) == 0, "update");
        }
        return 0;
}

static void kill_one(struct dice *d)
{
        struct timespec life = {.tv_nsec = NS_PER_US * (long)(LIFE_MIN_US + dice_roll(d, LIFE_US))};
        struct dice its = {.state = ((unsigned long long)dice_roll(d, 1U << 30) << 20) + 1};
        pid_t pid = child_start(NULL, live, &its);
        int status;

        while (nanosleep(&life, &life) < 0 && errno == EINTR)
                ;
        must(kill(pid, SIGKILL) == 0, "kill");
        must(waitpid(pid, &status, 0) == pid, "waitpid");
        must(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the child ended by itself: %x", status);
}

static void check(struct dice *d, bool fresh)
{
        static struct touched t;
        const char *paths[TOUCHED_MAX];
        enum cache_found found;
        struct cache *c = open_memory(&found);
        struct cache_stats stats;
        struct scan_report r;
        struct naive n;

        must(fresh || found == CACHE_GOOD, "the memory is gone");
        found_count[found]++;
        naive_tree(src, &n);
        must(cache_scan(c, NULL, &r) == 0, "scan");
        must(content_equal(&r.root, &naive_find(&n, "")->hash), "WRONG ROOT HASH");
        cache_stats(c, &stats);
        must(!stats.off, "turned off: %s", stats.off);
        must(stats.entries == n.count + 1, "%llu records of %zu entries", (unsigned long long)stats.entries, n.count);
        naive_release(&n);
        t.count = 0;
        tree_edit(src, d, &t);
        for (size_t i = 0; i < t.count; i++)
                paths[i] = t.paths[i];
        must(cache_update(c, paths, t.count, NULL, &r) == 0, "update");
        naive_tree(src, &n);
        must(content_equal(&r.root, &naive_find(&n, "")->hash), "WRONG ROOT HASH after an update");
        naive_release(&n);
        cache_close(c);
}

int main(int argc, char **argv)
{
        unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : ROUNDS, checked = 0;
        unsigned long long seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (unsigned long long)time(NULL);
        struct dice d = {.state = seed};
        struct touched t = {.count = 0};
        char base[PATH_MAX];
        bool fresh = true;

        setvbuf(stdout, NULL, _IOLBF, 0);
        printf("seed %llu, %u kills\n", seed, rounds);
        if (argc > 3)
                must((size_t)snprintf(base, sizeof(base), "%s/kill.XXXXXX", argv[3]) < sizeof(base) && mkdtemp(base), "%s", argv[3]);
        else
                area_new_base(base, sizeof(base));
        snprintf(src, sizeof(src), "%s/src", base);
        snprintf(dir, sizeof(dir), "%s/memory", base);
        must(mkdir(src, 0755) == 0, "mkdir %s", src);
        tree_edit_grow(src, &d, &t);
        for (unsigned i = 0; i < 4 * DIRS; i++) {
                t.count = 0;
                bulk(&d, &t);
        }
        for (unsigned i = 0; i < rounds; i++) {
                if (i % FRESH_EVERY == FRESH_EVERY - 1) {
                        remove_tree(dir);
                        fresh = true;
                }
                kill_one(&d);
                /* Several kills add up. */
                if (i + 1 < rounds && dice_roll(&d, UNCHECKED_IN) == 0)
                        continue;
                check(&d, fresh);
                fresh = false;
                checked++;
        }
        printf("%u checked: %u found good, %u not yet made: no wrong hash\n", checked, found_count[CACHE_GOOD], found_count[CACHE_FRESH]);
        remove_tree(base);
        return 0;
}
