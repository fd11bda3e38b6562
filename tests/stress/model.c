/*
 * The model stress. Random operations from both sides, through the mount and on its source, are compared with a plain directory.
 *
 *   exact: one operation at a time by one of several processes. Each must be answered as the same operation in a plain directory is. A
 *          sequence that fails is made as short as it gets, and printed so that --replay takes it.
 *   race:  processes on both sides at once, checked by what must hold however they meet.
 *
 *   ng:    stress-ng's filesystem class in the mount.
 *
 *   model [--mode exact|race|ng] [--seconds N | --rounds N] [--ops N] [--seed N] [--profile source|data] [--transport uring|dev]
 *         [--watch fanotify|inotify] [--second source|data] [--nofile N] [--shrink SECONDS] [--replay FILE] [--game NAME] [--rules
 * [--apart]]
 *
 * Without arguments it runs a short selection, as `make check` wants it.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/stress/model_stage.h"

#define NUMBER_MAX 1000000

static const struct option long_options[] = {
        {"mode", required_argument, NULL, 'm'},   {"seconds", required_argument, NULL, 's'},
        {"rounds", required_argument, NULL, 'r'}, {"ops", required_argument, NULL, 'o'},
        {"seed", required_argument, NULL, 'S'},   {"profile", required_argument, NULL, 'p'},
        {"watch", required_argument, NULL, 'w'},  {"transport", required_argument, NULL, 't'},
        {"nofile", required_argument, NULL, 'n'}, {"shrink", required_argument, NULL, 'k'},
        {"replay", required_argument, NULL, 'R'}, {"second", required_argument, NULL, '2'},
        {"game", required_argument, NULL, 'g'},   {"rules", no_argument, NULL, 'u'},
        {"apart", no_argument, NULL, 'a'},        {0},
};

/* One of two words; false if it is neither. */
static bool choose(const char *text, const char *first, const char *second, bool *is_second)
{
        *is_second = strcmp(text, second) == 0;
        return *is_second || strcmp(text, first) == 0;
}

static bool number(const char *text, unsigned *ret)
{
        char *end;
        unsigned long value = strtoul(text, &end, 10);

        *ret = (unsigned)value;
        return end != text && !*end && value <= NUMBER_MAX;
}

static bool take(int c, const char *arg, struct model_options *o)
{
        bool second = false, ok;
        char *end;

        switch (c) {
        case 'm':
                o->exact = strcmp(arg, "exact") == 0;
                o->race = strcmp(arg, "race") == 0;
                o->ng = strcmp(arg, "ng") == 0;
                return o->exact || o->race || o->ng;
        case 't':
                ok = choose(arg, "uring", "dev", &second);
                o->transport = second ? BY_DEV : BY_URING;
                return ok;
        case 'w':
                ok = choose(arg, "fanotify", "inotify", &second);
                o->watch = second ? WATCH_BY_INOTIFY : WATCH_BY_FANOTIFY;
                return ok;
        case 'p':
                o->profile = arg;
                return choose(arg, "source", "data", &second);
        case '2':
                o->second = arg;
                return choose(arg, "source", "data", &second);
        case 'S':
                o->seed = strtoull(arg, &end, 10);
                return end != arg && !*end;
        case 's':
                return number(arg, &o->seconds);
        case 'r':
                return number(arg, &o->rounds);
        case 'o':
                return number(arg, &o->ops);
        case 'n':
                return number(arg, &o->nofile);
        case 'k':
                return number(arg, &o->shrink_s);
        case 'g':
                o->game = arg;
                return true;
        case 'R':
                o->replay = arg;
                return true;
        case 'a':
                o->apart = true;
                return true;
        case 'u':
                o->rules = true;
                return true;
        default:
                return false;
        }
}

static unsigned run(const struct model_options *o)
{
        unsigned failures = 0;

        printf("seed=%llu profile=%s transport=%s watch=%s second=%s nofile=%u%s\n", o->seed, o->profile,
               o->transport == BY_DEV ? "dev" : "uring", o->watch == WATCH_BY_INOTIFY ? "inotify" : "fanotify",
               o->second ? o->second : "none", o->nofile, o->rules ? o->apart ? " rules apart" : " rules" : "");
        fflush(stdout);
        if (o->exact || o->replay)
                failures += model_exact(o);
        if (o->race && !o->replay)
                failures += model_race(o);
        if (o->ng && !o->replay)
                failures += model_ng(o);
        return failures;
}

/* What `make check` has time for. */
static unsigned run_selection(struct model_options o)
{
        const char *variant = getenv("VARIANT");
        bool slow = variant && *variant && strcmp(variant, "release") != 0;
        unsigned failures;

        o.rounds = slow ? 4 : 12;
        failures = run(&o);
        o.transport = BY_DEV;
        o.watch = WATCH_BY_INOTIFY;
        failures += run(&o);
        o.watch = WATCH_BY_FANOTIFY;
        o.nofile = 256;
        failures += run(&o);
        o.nofile = 0;
        o.race = false;
        o.rules = true;
        failures += run(&o);
        o.transport = BY_URING;
        o.watch = WATCH_BY_INOTIFY;
        o.second = "source";
        o.apart = true;
        return failures + run(&o);
}

int main(int argc, char **argv)
{
        struct model_options o = {.ops = 400,
                                  .rounds = 12,
                                  .shrink_s = 60,
                                  .seed = (unsigned long long)time(NULL) * 1000,
                                  .profile = "source",
                                  .exact = true,
                                  .race = true};
        int c;

        while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
                if (!take(c, optarg, &o)) {
                        fprintf(stderr, "usage: see the head of tests/stress/model.c\n");
                        return 2;
                }
        }
        return (argc > 1 ? run(&o) : run_selection(o)) > 0;
}
