/*
 * conform [--quick] [--only PATTERN] [--share N] [--all] [--list] [COMBINATION-PATTERN…]: all trials on all combinations of filesystem,
 * profile, transport and owner, or on those whose name matches; DSFS_CONFORM=quick is as good as --quick. Exit status 0 if there is no
 * difference but the expected ones, and all of these.
 */
#include <fnmatch.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cache/base/fd.h"
#include "tests/conform/conform.h"

#define QUICK_SHARE 6

struct options {
        bool list;
        bool quick;
        const char *only;
        unsigned share;
        char **patterns;
        size_t pattern_count;
};

/* The short run: every value of every dimension once or more. */
static const struct combination quick[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .keep = true},
        {.backing = ON_TMPFS, .transport = BY_DEV, .keep = true, .warm = true},
        {.backing = ON_XFS, .transport = BY_DEV, .keep = false},
        {.backing = ON_BTRFS, .profile = PROFILE_DATA, .transport = BY_URING, .keep = true},
};

static bool wanted(const struct options *o, const char *name)
{
        for (size_t i = 0; i < o->pattern_count; i++)
                if (fnmatch(o->patterns[i], name, FNM_EXTMATCH) == 0)
                        return true;
        return o->pattern_count == 0;
}

static void run_one(const struct combination *c, const struct options *o, struct tally *sum)
{
        struct timespec start, end;
        struct tally before = *sum;
        char name[64];

        combination_name(c, name, sizeof(name));
        if (!wanted(o, name))
                return;
        if (o->list) {
                puts(name);
                return;
        }
        clock_gettime(CLOCK_MONOTONIC, &start);
        run_combination(c, o->only, o->share, sum);
        if (!o->only && o->share == 1)
                differences_check_seen(c, sum);
        clock_gettime(CLOCK_MONOTONIC, &end);
        printf("%-32s %6zu trials %5zu differ as expected %5zu failed %3zu unsteady %4lld s\n", name, sum->trials - before.trials,
               sum->expected - before.expected, sum->failed - before.failed, sum->unsteady - before.unsteady,
               (long long)(end.tv_sec - start.tv_sec));
        fflush(stdout);
}

/* Warm and cold take turns, so that each filesystem, profile, transport and owner has both. */
static void run_all(const struct options *o, struct tally *sum)
{
        for (enum backing backing = 0; backing < BACKING_COUNT; backing++)
                for (int i = 0; i < 8; i++) {
                        struct combination c = {
                                .backing = backing,
                                .profile = i & 1 ? PROFILE_DATA : PROFILE_SOURCE,
                                .transport = i & 2 ? BY_DEV : BY_URING,
                                .keep = i & 4,
                                .warm = __builtin_popcount((unsigned)i + backing) & 1,
                        };

                        run_one(&c, o, sum);
                }
        run_one(&(struct combination){.backing = ON_EXT4, .transport = BY_URING, .keep = true, .readonly = true}, o, sum);
        run_one(&(struct combination){.backing = ON_TMPFS, .transport = BY_DEV, .keep = true, .readonly = true}, o, sum);
}

static int usage(void)
{
        fprintf(stderr, "usage: conform [--quick] [--only PATTERN] [--share N] [--all] [--list] [COMBINATION-PATTERN...]\n");
        return 2;
}

int main(int argc, char **argv)
{
        static const struct option options[] = {
                {"quick", no_argument, NULL, 'q'}, {"only", required_argument, NULL, 'o'}, {"share", required_argument, NULL, 's'},
                {"list", no_argument, NULL, 'l'},  {"all", no_argument, NULL, 'a'},        {NULL, 0, NULL, 0},
        };
        struct options o = {.share = 1};
        const char *how = getenv("DSFS_CONFORM");
        struct tally sum = {0};
        int c;

        if (how && strcmp(how, "quick") == 0)
                o.quick = true, o.share = QUICK_SHARE;
        while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (c == 'q')
                        o.quick = true, o.share = QUICK_SHARE;
                else if (c == 'o')
                        o.only = optarg;
                else if (c == 's')
                        o.share = (unsigned)strtoul(optarg, NULL, 10);
                else if (c == 'l')
                        o.list = true;
                else if (c == 'a')
                        sum.show_all = true;
                else
                        return usage();
        }
        if (!o.share)
                return usage();
        o.patterns = argv + optind;
        o.pattern_count = (size_t)(argc - optind);
        if (!o.list)
                differences_check_manual(&sum);
        if (!o.quick)
                run_all(&o, &sum);
        for (size_t i = 0; o.quick && i < ARRAY_LEN(quick); i++)
                run_one(&quick[i], &o, &sum);
        if (o.list)
                return 0;
        printf("%zu trials, %zu differ as expected, %zu failed, %zu unsteady (differed once, not again)\n", sum.trials, sum.expected,
               sum.failed, sum.unsteady);
        return sum.failed || !sum.trials;
}
