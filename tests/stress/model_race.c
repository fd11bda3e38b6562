#include "tests/stress/model_race.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "tests/lib/oracle.h"
#include "tests/stress/model_side.h"

#define NS_PER_S 1000000000ULL
#define NARROW_ROUNDS 30
#define VIEWS 4 /* of model_view() */

static const struct game *const games[] = {
        &game_log,   &game_slots,    &game_pages, &game_holes,       &game_documents,
        &game_files, &game_symlinks, &game_links, &game_directories, &game_crowd,
};

struct race {
        const struct model_options *o;
        struct fixture *f;
        unsigned racers;
        unsigned games; /* mask */
        unsigned round;
        struct done *done;
        struct gate *start;
};

struct entrant {
        const struct race *race;
        unsigned id;
        unsigned long long seed;
};

bool race_is_gone(const struct racer *r, int error)
{
        return error == ENOENT || error == ENOTDIR || (error == ESTALE && r->in_mount);
}

static int run_racer(void *arg)
{
        const struct entrant *e = arg;
        const struct race *race = e->race;
        struct racer r = {.id = e->id, .in_mount = e->id % 2, .dice = {e->seed + e->id}, .done = race->done, .log = {-1, -1}};
        const char *side = model_view(race->f, race->o, e->id);

        snprintf(r.root, sizeof(r.root), "%s/race%u", side, race->round);
        snprintf(r.crowd, sizeof(r.crowd), "%s/crowd", side);
        gate_pass(race->start);
        for (unsigned i = 0; i < race->o->ops;) {
                unsigned pick = dice_roll(&r.dice, ARRAY_LEN(games));

                if (!(race->games & (1u << pick)))
                        continue;
                errno = 0;
                games[pick]->move(&r);
                i++;
        }
        fd_close(&r.log[0]);
        fd_close(&r.log[1]);
        return 0;
}

static bool run_all(struct race *race, unsigned long long seed, char *report)
{
        struct entrant entrants[RACERS];
        pid_t pids[RACERS];
        bool ok = true;

        race->start = gate_new(race->racers);
        for (unsigned i = 0; i < race->racers; i++) {
                entrants[i] = (struct entrant){race, i, seed * RACERS};
                pids[i] = child_start(NULL, run_racer, &entrants[i]);
        }
        for (unsigned i = 0; i < race->racers; i++) {
                if (child_wait(pids[i]) != 0) {
                        snprintf(report, REPORT_MAX, "a racer (%u, %s) broke off: its message is above", i, i % 2 ? "mount" : "source");
                        ok = false;
                }
        }
        return ok;
}

static bool check_side(const struct race *race, const char *side, char *report)
{
        char root[160], why[REPORT_MAX / 2];
        struct view v = {.root = root,
                         .done = race->done,
                         .racers = race->racers,
                         .whole = race->f->variant.profile == PROFILE_DATA && !race->o->second};

        snprintf(root, sizeof(root), "%s/race%u", side, race->round);
        for (size_t i = 0; i < ARRAY_LEN(games); i++) {
                errno = 0;
                if ((race->games & (1u << i)) && games[i]->check && !games[i]->check(&v, why)) {
                        snprintf(report, REPORT_MAX, "%s, seen in %s: %s", games[i]->name, side, why);
                        return false;
                }
        }
        return true;
}

static bool check_mirror(const struct race *race, const char *side, char *report)
{
        struct trace *source = trace_new(), *mount = trace_new();
        char text[REPORT_MAX / 2];
        bool differs;

        tree_describe(source, at(race->f->src, "race%u", race->round), TREE_INODES);
        tree_describe(mount, at(side, "race%u", race->round), TREE_INODES);
        differs = trace_difference(source, mount, text, sizeof(text));
        if (differs)
                snprintf(report, REPORT_MAX, "%s is not its source:%s", side, text);
        trace_free(source);
        trace_free(mount);
        return !differs;
}

/* One round in a fresh directory. */
static bool run_round(struct race *race, unsigned long long seed, char *report)
{
        char root[160];
        bool ok;

        race->round++;
        memset(race->done, 0, RACERS * sizeof(*race->done));
        snprintf(root, sizeof(root), "%s/race%u", race->f->src, race->round);
        must(mkdir(root, 0755) == 0, "mkdir %s", root);
        for (size_t i = 0; i < ARRAY_LEN(games); i++)
                if ((race->games & (1u << i)) && games[i]->lay)
                        games[i]->lay(root, race->racers);
        model_wait(race->f);
        ok = run_all(race, seed, report);
        model_wait(race->f);
        for (unsigned i = 0; ok && i < VIEWS; i++)
                ok = check_side(race, model_view(race->f, race->o, i), report) &&
                     check_mirror(race, model_view(race->f, race->o, i), report);
        remove_tree(at(model_view(race->f, race->o, race->round % VIEWS), "race%u", race->round));
        return ok;
}

/* Which single game, and then how few racers, fail too? */
static void narrow(struct race *race, unsigned long long seed)
{
        static char report[REPORT_MAX];
        unsigned all = race->games, everybody = race->racers;

        for (size_t i = 0; i < ARRAY_LEN(games); i++) {
                if (!(all & (1u << i)))
                        continue;
                race->games = 1u << i;
                for (race->racers = 2; race->racers <= everybody; race->racers++) {
                        bool ok = true;
                        unsigned n;

                        for (n = 0; ok && n < NARROW_ROUNDS; n++)
                                ok = run_round(race, seed + n, report);
                        if (ok)
                                continue;
                        printf("it fails with %s alone and %u racers, in the %uth round from the seed: %s\n", games[i]->name, race->racers,
                               n, report);
                        return;
                }
        }
        printf("no game fails alone in %u rounds\n", NARROW_ROUNDS);
}

static unsigned all_games(const struct model_options *o)
{
        unsigned mask = 0;

        for (size_t i = 0; i < ARRAY_LEN(games); i++) {
                /* inotify can't tell that a file's other name changed. */
                if (games[i] == &game_links && o->watch == WATCH_BY_INOTIFY)
                        continue;
                if (games[i] == &game_crowd && !o->nofile)
                        continue;
                if (o->game && strcmp(o->game, games[i]->name) != 0)
                        continue;
                mask |= 1u << i;
        }
        must(mask, "there is no game %s here", o->game);
        return mask;
}

unsigned model_race(const struct model_options *o)
{
        static char report[REPORT_MAX];
        unsigned long long start = clock_now_ns(), seed = o->seed;
        struct race race = {.o = o, .racers = RACERS, .games = all_games(o), .done = shared_new(RACERS * sizeof(struct done))};
        unsigned round;
        bool ok = true;

        race.f = model_fixture(o);
        if (o->nofile)
                model_crowd(race.f);
        model_mount(race.f, o);
        for (round = 0; ok && (o->seconds ? clock_now_ns() - start < o->seconds * NS_PER_S : round < o->rounds); round++)
                ok = run_round(&race, seed++, report);
        printf("race: %u rounds, %llu moves, %llu ms\n", round, (unsigned long long)round * RACERS * o->ops,
               (clock_now_ns() - start) / 1000000);
        if (!ok) {
                printf("FAILED in the round of --mode race --seed %llu --ops %u: %s\n", seed - 1, o->ops, report);
                fflush(stdout);
                if (o->shrink_s)
                        narrow(&race, seed - 1);
        }
        fflush(stdout);
        fixture_free(race.f);
        return !ok;
}
