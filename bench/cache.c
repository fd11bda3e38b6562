/*
 * bench-cache: how fast contents become hashes, against git and xxhsum on the same tree in the same run. Every measured thing is a process
 * of its own, timed from its start to its end; this program is its own scanner (--scan, --update).
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/options.h"
#include "bench/place.h"
#include "bench/report.h"
#include "bench/stats.h"
#include "bench/tool.h"
#include "bench/tree.h"
#include "cache/base/err.h"
#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "cache/cache.h"

enum {
        FILES = 50000,
        SMOKE_FILES = 1000,
        ROUNDS = 7,
        SMOKE_ROUNDS = 1,
        UPDATES = 300,
};

#define PEAK_FLOOR_KB 65536.0
#define UPDATE_FLOOR_US 1000.0

enum what {
        FIRST_SCAN,
        GIT_ADD,
        XXHSUM,
        RESCAN,
        GIT_STATUS,
        WHATS,
};

struct bench_cache {
        const struct options *o;
        char src[PATH_MAX], memory[PATH_MAX], index[PATH_MAX];
        char self[PATH_MAX];
        unsigned rounds;
        double ms[WHATS][ROUNDS], peak_kb[ROUNDS], update_us[ROUNDS];
};

/*
 * The scanner
 */

static int scanner_open(const char *src, const char *memory, struct cache **ret)
{
        struct cache_options options = {.source = src, .dir = memory};
        enum cache_found found;
        char *notice;
        int rc = cache_open(&options, ret, &found, &notice);

        if (notice)
                fprintf(stderr, "bench-cache: %s\n", notice);
        free(notice);
        return rc;
}

static int scan_main(const char *src, const char *memory)
{
        struct scan_report r;
        struct cache *c;
        int rc = scanner_open(src, memory, &c);

        if (rc < 0)
                return 1;
        rc = cache_scan(c, NULL, &r);
        cache_close(c);
        return rc == 0 && r.unread == 0 ? 0 : 1;
}

/* Prints the median of microseconds that an update takes after one file was written. */
static int update_main(const char *src, const char *memory, const char *name)
{
        static double us[UPDATES];
        CLEANUP_FD int dir = open(src, O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct scan_report r;
        struct cache *c;
        int rc = scanner_open(src, memory, &c);

        if (rc < 0 || dir < 0 || cache_scan(c, NULL, &r) < 0)
                return 1;
        for (int i = 0; rc == 0 && i < UPDATES; i++) {
                CLEANUP_FD int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
                unsigned long long begin;

                if (fd < 0 || pwrite(fd, &i, sizeof(i), 0) != sizeof(i))
                        rc = -EIO;
                begin = clock_now_ns();
                if (rc == 0)
                        rc = cache_update(c, &name, 1, NULL, &r);
                us[i] = (double)(clock_now_ns() - begin) / 1e3;
        }
        cache_close(c);
        printf("%f\n", stats_median(us, UPDATES));
        return rc < 0;
}

/*
 * The measured
 */

static double timed(const char *const argv[], double *peak_kb)
{
        unsigned long long begin = clock_now_ns();
        struct rusage usage;
        int status;
        pid_t pid;

        if (tool_start(argv, -1, -1, &pid) < 0 || wait4(pid, &status, 0, &usage) != pid || status != 0) {
                fprintf(stderr, "bench-cache: %s failed\n", argv[0]);
                exit(1);
        }
        if (peak_kb)
                *peak_kb = (double)usage.ru_maxrss;
        return (double)(clock_now_ns() - begin) / 1e6;
}

static double run_one(struct bench_cache *b, enum what what, unsigned round)
{
        const char *const scan[] = {b->self, "--scan", b->src, b->memory, NULL};
        const char *const add[] = {"git", "-C", b->src, "add", "-A", NULL};
        const char *const status[] = {"git",    "-C",          b->src, "-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false",
                                      "status", "--porcelain", NULL};
        const char *const sum[] = {
                "sh", "-c",   "find \"$1\" -name .git -prune -o -type f -print0 | xargs -0 -P \"$(nproc)\" -n 500 xxhsum -q -H128",
                "sh", b->src, NULL};
        double ms;

        switch (what) {
        case FIRST_SCAN:
                place_remove(b->memory);
                return timed(scan, &b->peak_kb[round]);
        case RESCAN:
                return timed(scan, NULL);
        case GIT_ADD: /* the objects are there already: only the index is made */
                setenv("GIT_INDEX_FILE", b->index, 1);
                (void)unlink(b->index);
                ms = timed(add, NULL);
                unsetenv("GIT_INDEX_FILE");
                return ms;
        case GIT_STATUS:
                return timed(status, NULL);
        default:
                return timed(sum, NULL);
        }
}

static double run_updates(struct bench_cache *b, const struct tree *t)
{
        char path[TREE_PATH_MAX], *out = NULL;
        const char *const argv[] = {b->self, "--update", b->src, b->memory, path, NULL};
        double us;

        tree_path(t, t->files / 2, path);
        if (tool_capture(argv, &out) != 0) {
                fprintf(stderr, "bench-cache: --update failed\n");
                exit(1);
        }
        us = atof(out);
        free(out);
        return us;
}

static void make_source(struct bench_cache *b, const struct tree *t)
{
        const char *const init[] = {"git", "init", "-q", b->src, NULL};
        const char *const add[] = {"git", "-C", b->src, "add", "-A", NULL};

        if (mkdir(b->src, 0755) < 0 || tree_write(t, b->src) < 0 || tool_run(init) != 0 || tool_run(add) != 0) {
                fprintf(stderr, "bench-cache: can't make %s\n", b->src);
                exit(1);
        }
}

/*
 * The report
 */

static bool say_ratio(struct bench_cache *b, json_t *list, const char *name, enum what above, enum what below, double floor)
{
        struct interval i = stats_ratio(b->ms[above], b->ms[below], b->rounds, b->o->seed);
        double above_ms = stats_median(b->ms[above], b->rounds), below_ms = stats_median(b->ms[below], b->rounds);
        bool ok = i.ratio <= floor;

        printf("%-26s %6.2f  %5.2f-%-5.2f %9.1f %9.1f  %5.2f %s\n", name, i.ratio, i.low, i.high, above_ms, below_ms, floor,
               ok ? "" : "MISSED");
        json_array_append_new(list, json_pack("{s:s,s:f,s:f,s:f,s:f,s:f,s:f}", "name", name, "ratio", i.ratio, "low", i.low, "high", i.high,
                                              "ms", above_ms, "other_ms", below_ms, "floor", floor));
        return ok;
}

static bool say_value(struct bench_cache *b, json_t *list, const char *name, const double *values, double floor, const char *unit)
{
        double median = stats_median(values, b->rounds);
        bool ok = median <= floor;

        printf("%-26s %6.0f %-35s %5.0f %s\n", name, median, unit, floor, ok ? "" : "MISSED");
        json_array_append_new(list, json_pack("{s:s,s:f,s:s,s:f}", "name", name, "value", median, "unit", unit, "floor", floor));
        return ok;
}

static int job(const struct options *o, const struct place *place)
{
        static struct bench_cache b;
        json_t *list = json_array();
        unsigned files = o->smoke ? SMOKE_FILES : FILES;
        struct tree t;
        bool ok = true;

        b.o = o;
        b.rounds = o->smoke ? SMOKE_ROUNDS : ROUNDS;
        if (!tool_exists("xxhsum") || !tool_exists("git")) {
                fprintf(stderr, "bench-cache: it needs git and xxhsum (packaging/deps --for bench)\n");
                return 1;
        }
        snprintf(b.src, sizeof(b.src), "%s/src", place->disk);
        snprintf(b.memory, sizeof(b.memory), "%s/memory", place->disk);
        snprintf(b.index, sizeof(b.index), "%s/index", place->disk);
        if (readlink("/proc/self/exe", b.self, sizeof(b.self) - 1) < 0 || tree_init(&t, files, o->seed) < 0)
                return 1;
        make_source(&b, &t);
        /* What was written just now is looked at twice by whoever is careful, git and us. */
        place_sync(place);
        sleep(3);
        for (unsigned i = 0; i < WHATS; i++)
                (void)run_one(&b, i, 0);
        for (unsigned r = 0; r < b.rounds; r++) {
                for (unsigned i = 0; i < WHATS; i++)
                        b.ms[i][r] = run_one(&b, i, r);
                b.update_us[r] = run_updates(&b, &t);
        }
        tree_release(&t);
        printf("%u files, %u rounds\n%-26s %6s  %-11s %9s %9s  %5s\n", files, b.rounds, "", "ratio", "95 %", "dsfs ms", "other ms",
               "floor");
        ok &= say_ratio(&b, list, "first scan / git add", FIRST_SCAN, GIT_ADD, 0.5);
        ok &= say_ratio(&b, list, "first scan / xxhsum", FIRST_SCAN, XXHSUM, 1.2);
        ok &= say_ratio(&b, list, "re-scan / git status", RESCAN, GIT_STATUS, 1.0);
        ok &= say_value(&b, list, "update of one file", b.update_us, UPDATE_FLOOR_US, "us");
        ok &= say_value(&b, list, "peak of the first scan", b.peak_kb, PEAK_FLOOR_KB, "KiB");
        return report_write(o, report_machine(o, place, NULL), list) && (ok || !o->strict) ? 0 : 1;
}

int main(int argc, char **argv)
{
        struct options o = {
                .program = "bench-cache",
                .summary = "how fast contents become hashes, against git and xxhsum",
                .json = "build/bench-cache.json",
                .budget_s = 180,
        };

        if (argc == 4 && strcmp(argv[1], "--scan") == 0)
                return scan_main(argv[2], argv[3]);
        if (argc == 5 && strcmp(argv[1], "--update") == 0)
                return update_main(argv[2], argv[3], argv[4]);
        options_parse(&o, argc, argv);
        return place_run(&o, job);
}
