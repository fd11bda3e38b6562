/*
 * bench: every row of the design's table, through a bind mount, both profiles of dsfs, and whatever else is installed that does the like.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/options.h"
#include "bench/peer.h"
#include "bench/place.h"
#include "bench/report.h"
#include "bench/round.h"
#include "bench/table.h"
#include "bench/workloads.h"
#include "cache/base/err.h"
#include "cache/base/thread.h"

enum {
        ROWS_MAX = 64,
        OVERTIME_S = 120, /* rows have fewer rounds from then on */
        LAST_CALL_S = 30, /* and then none at all */
        HANGING_S = 600,  /* after the budget: something hangs */
        SMOKE_LIMIT_S = 240,
};

/* Peers take their time in the fastest of rows too. */
#define PEERS_WEIGHT 1

#define RESULTS "bench/results/latest.json"

/* In the order of the design's table. `name` is what a row is called here, where two lists call theirs the same. */
static const struct {
        const struct workload *list;
        const char *in_list, *name;
        unsigned parts;
} order[] = {
        {touch_workloads, "walk-first", NULL, SCENE_APP},
        {touch_workloads, "walk-prewarmed", NULL, SCENE_APP},
        {app_workloads, "walk", NULL, SCENE_APP},
        {app_workloads, "stat", NULL, SCENE_APP},
        {app_workloads, "missing", NULL, SCENE_APP},
        {app_workloads, "git-status", NULL, SCENE_APP},
        {touch_workloads, "grep-first", NULL, SCENE_APP},
        {touch_workloads, "grep-prewarmed", NULL, SCENE_APP},
        {app_workloads, "grep", NULL, SCENE_APP},
        {touch_workloads, "tar", NULL, SCENE_APP},
        {app_workloads, "read", NULL, SCENE_APP},
        {tool_workloads, "node", NULL, SCENE_NODE},
        {tool_workloads, "python", NULL, SCENE_PYTHON},
        {tool_workloads, "compile", NULL, SCENE_C},
        {data_workloads, "seq-read-first", NULL, SCENE_DATA},
        {data_workloads, "seq-read", NULL, SCENE_DATA},
        {data_workloads, "mmap", NULL, SCENE_DATA},
        {data_workloads, "seq-write", NULL, SCENE_DATA},
        {data_workloads, "random-read", NULL, SCENE_DATA},
        {data_workloads, "random-read-direct", NULL, SCENE_DATA},
        {data_workloads, "random-write", NULL, SCENE_DATA},
        {data_workloads, "random-write-direct", NULL, SCENE_DATA},
        {data_workloads, "append", NULL, SCENE_DATA},
        {app_workloads, "create", NULL, SCENE_APP},
        {app_workloads, "untar", NULL, SCENE_APP},
        {app_workloads, "rm", NULL, SCENE_APP},
        {app_workloads, "checkout", NULL, SCENE_APP},
        {npm_workloads, "npm-ci", NULL, SCENE_NPM},
        {npm_workloads, "npm-rm", NULL, SCENE_NPM},
        {artifact_workloads, "artifacts-npm-ci", NULL, SCENE_NPM | SCENE_PROJECT},
        {artifact_workloads, "artifacts-require", NULL, SCENE_NPM | SCENE_PROJECT},
        {artifact_workloads, "artifacts-npm-install", NULL, SCENE_NPM | SCENE_PROJECT},
        {artifact_workloads, "artifacts-npm-rm", NULL, SCENE_NPM | SCENE_PROJECT},
        {artifact_workloads, "artifacts-pip", NULL, SCENE_NPM | SCENE_PROJECT},
        {single_workloads, "open", "op-open", SCENE_SINGLE},
        {single_workloads, "read", "op-read", SCENE_SINGLE},
        {single_workloads, "stat", "op-stat", SCENE_SINGLE},
        {single_workloads, "chmod", "op-chmod", SCENE_SINGLE},
        {single_workloads, "rename", "op-rename", SCENE_SINGLE},
        {single_workloads, "create", "op-create", SCENE_SINGLE},
        {single_workloads, "append", "op-append", SCENE_SINGLE},
};

struct row {
        struct workload workload;
        const char *missing; /* why it isn't measured; NULL: it is */
};

struct run {
        struct bench *bench;
        struct row rows[ROWS_MAX];
        size_t rows_n;
        unsigned parts; /* of the scene, that the rows need */
        json_t *entries;
        json_t *left_out;    /* sides, and why */
        FILE *given_up;      /* peers that were too slow for all their rounds, said at the end */
        char *given_up_text; /* owned */
        size_t given_up_len;
        bool failed, missed;
};

static void note(struct run *r, const char *side, const char *why)
{
        json_object_set_new(r->left_out, side, json_string(why));
}

/* One round of everything is enough to see that it works. */
static void shorten(struct workload *w)
{
        w->rounds_min = w->rounds_max = 1;
}

static void choose_rows(struct run *r)
{
        const struct options *o = r->bench->options;

        for (size_t i = 0; i < ARRAY_LEN(order); i++) {
                const struct workload *w = order[i].list;
                struct row *row = &r->rows[r->rows_n];

                while (strcmp(w->name, order[i].in_list) != 0)
                        w++;
                row->workload = *w;
                if (order[i].name)
                        row->workload.name = order[i].name;
                if (!options_wants(o, row->workload.name))
                        continue;
                r->rows_n++;
                /* Those that look at a disk are asked again when there is one. */
                row->missing = w->unavailable && order[i].list != data_workloads ? w->unavailable(r->bench) : NULL;
                if (!row->missing)
                        r->parts |= order[i].parts;
                row->workload.weight += strcmp(o->peers, "none") != 0 ? PEERS_WEIGHT : 0;
                if (o->smoke)
                        shorten(&row->workload);
        }
}

static int add_side(struct run *r, const char *name, const char *label, bool fuse)
{
        struct bench *b = r->bench;
        struct side *s = &b->sides[b->sides_n++];
        char at[32];
        int err;

        snprintf(at, sizeof at, "mnt-%s", name);
        err = side_init(s, b->options, b->place->top, at, label, fuse);
        s->name = name;
        return err;
}

static int add_profiles(struct run *r)
{
        static const char *const profiles[][2] = {{"source", "dsfs (source)"}, {"data", "dsfs (data)"}};
        struct bench *b = r->bench;
        int err = 0;

        for (size_t i = 0; !err && i < ARRAY_LEN(profiles); i++) {
                if (!options_lists(b->options->profiles, profiles[i][0]))
                        continue;
                err = add_side(r, profiles[i][0], profiles[i][1], true);
                if (i)
                        b->sides[b->sides_n - 1].profile = profiles[i][0];
        }
        return err;
}

static int add_peers(struct run *r)
{
        const char *wanted = r->bench->options->peers;
        struct bench *b = r->bench;
        int err = 0;

        for (size_t i = 0; !err && i < peers_n; i++) {
                const char *why = peer_missing(&peers[i]);
                struct side *s = &b->sides[b->sides_n];

                if (strcmp(wanted, "all") != 0 && !options_lists(wanted, peers[i].name))
                        continue;
                if (why) {
                        note(r, peers[i].name, why);
                        continue;
                }
                err = add_side(r, peers[i].name, peers[i].name, false);
                s->peer = &peers[i];
                if (!err && (asprintf(&s->work, "%s/work-%s", b->place->disk, peers[i].name) < 0 || mkdir(s->work, 0755)))
                        err = -errno;
        }
        return err;
}

static int add_sides(struct run *r)
{
        int err = add_side(r, "bind", "the bind mount", false);

        if (!err && r->bench->options->self)
                return add_side(r, "bind-again", "the other bind mount", false);
        if (!err)
                err = add_profiles(r);
        return err ? err : add_peers(r);
}

/* Drop a side that can't be mounted here, and say so. Only root can have all. */
static void drop_side(struct run *r, size_t i)
{
        static const char why[] = "it can't be mounted here";
        struct bench *b = r->bench;
        struct side *s = &b->sides[i];

        note(r, s->name, why);
        r->failed |= !s->peer && geteuid() == 0;
        side_release(s);
        memmove(s, s + 1, (--b->sides_n - i) * sizeof *s);
}

/* All are mounted as usual, and have read ahead what they read ahead. */
static int open_sides(struct run *r)
{
        const struct scene *sc = r->bench->scene;
        struct bench *b = r->bench;
        double seconds;
        int err = 0;

        for (size_t i = 0; !err && i < b->sides_n; i++) {
                unsigned long long begin = clock_now_ns();

                if (b->sides[i].root)
                        continue;
                err = side_open(&b->sides[i], sc->source);
                if (!err)
                        err = side_prewarm(&b->sides[i], begin, &seconds);
        }
        return err;
}

/* Mounted, and with the profile that was asked for: without privilege there is another instead. */
static bool opens(struct side *s, const char *source)
{
        bool ret = !side_open(s, source);

        if (ret && s->profile) {
                json_t *status = side_status(s);
                const char *profile = json_string_value(json_object_get(status, "profile"));

                ret = profile && !strcmp(profile, s->profile);
                json_decref(status);
        }
        return ret;
}

/* The first time: what can't be mounted is left out, except for the bind mount and the first profile. */
static int try_sides(struct run *r)
{
        const struct scene *sc = r->bench->scene;
        struct bench *b = r->bench;

        for (size_t i = 0; i < b->sides_n;) {
                if (opens(&b->sides[i], sc->source))
                        i++;
                else if (i < 2)
                        return -EIO;
                else
                        drop_side(r, i);
        }
        for (size_t i = 0; i < b->sides_n; i++)
                side_close(&b->sides[i]);
        return open_sides(r);
}

static json_t *describe(const struct run *r)
{
        struct bench *b = r->bench;
        json_t *status = side_status(&b->sides[1]);
        json_t *machine = report_machine(b->options, b->place, json_string_value(json_object_get(status, "transport")));
        json_t *sides = json_array();

        json_decref(status);
        for (size_t i = 0; i < b->sides_n; i++)
                json_array_append_new(sides, json_string(b->sides[i].name));
        json_object_set_new(machine, "sides", sides);
        json_object_set(machine, "not_measured", r->left_out);
        if (b->options->smoke)
                json_object_set_new(machine, "smoke", json_true());
        return machine;
}

static double weight_from(const struct run *r, size_t from)
{
        double sum = 0;

        for (size_t i = from; i < r->rows_n; i++)
                sum += r->rows[i].missing ? 0 : r->rows[i].workload.weight;
        return sum;
}

static void measure(struct run *r, size_t i, unsigned long long deadline)
{
        const struct workload *w = &r->rows[i].workload;
        double left = ((double)deadline - (double)clock_now_ns()) / 1e9 * w->weight / weight_from(r, i);
        struct result result;

        round_compare(r->bench, w, left > 0 ? left : 0, &result);
        r->missed |= !table_row(r->bench, &result);
        table_given_up(r->bench, &result, r->given_up);
        r->failed |= round_failed(r->bench, &result);
        table_entries(r->bench, &result, r->entries);
        round_release(&result);
}

static int measure_all(struct run *r, unsigned long long deadline)
{
        int err = 0;

        table_header(r->bench);
        for (size_t i = 0; !err && i < r->rows_n; i++) {
                struct row *row = &r->rows[i];

                if (!row->missing && row->workload.unavailable)
                        row->missing = row->workload.unavailable(r->bench);
                if (!row->missing && clock_now_ns() > r->bench->limit_ns + LAST_CALL_S * 1000000000ULL) {
                        row->missing = "no time was left";
                        r->missed = true;
                }
                if (row->missing) {
                        table_row_missing(&row->workload, row->missing);
                        json_array_append_new(r->entries, table_entry_missing(&row->workload, row->missing));
                        continue;
                }
                err = open_sides(r);
                if (!err)
                        measure(r, i, deadline);
        }
        return err;
}

static void report_prewarm(const struct run *r, json_t *machine)
{
        const struct scene *sc = r->bench->scene;
        double median = stats_median(sc->prewarm_s, sc->prewarms);

        if (!sc->prewarms)
                return;
        printf("prewarming ended %.2f s after mounting (median of %zu)\n", median, sc->prewarms);
        json_object_set_new(machine, "prewarm_s", json_real(median));
}

static int measure_here(struct run *r, unsigned long long deadline)
{
        const struct options *o = r->bench->options;
        json_t *machine, *why;
        const char *side;
        bool written;

        if (scene_init(r->bench->scene, r->bench, r->parts) || try_sides(r))
                return 1;
        machine = describe(r);
        report_conditions(o, machine, r->bench->place);
        if (measure_all(r, deadline)) {
                json_decref(machine);
                return 1;
        }
        json_object_foreach(r->left_out, side, why) printf("not measured: %s: %s\n", side, json_string_value(why));
        fflush(r->given_up);
        if (r->given_up_len)
                printf("* fewer than %d rounds, for want of time:\n%s", PEER_ROUNDS_WANTED, r->given_up_text);
        report_prewarm(r, machine);
        written = report_write(o, machine, json_incref(r->entries));
        return !written || r->failed || (o->strict && r->missed);
}

static int job(const struct options *o, const struct place *place)
{
        unsigned long long deadline = clock_now_ns() + (unsigned long long)(o->budget_s * 1e9);
        struct scene scene = {0};
        struct bench b = {.options = o, .place = place, .scene = &scene};
        struct run r = {.bench = &b, .entries = json_array(), .left_out = json_object()};
        int code = 1;

        r.given_up = open_memstream(&r.given_up_text, &r.given_up_len);
        if (!r.given_up)
                return 1;
        b.limit_ns = deadline + OVERTIME_S * 1000000000ULL;
        alarm(o->smoke ? SMOKE_LIMIT_S : (unsigned)o->budget_s + HANGING_S);
        scene_environment();
        choose_rows(&r);
        if (!r.rows_n) {
                fprintf(stderr, "%s: --only leaves nothing\n", o->program);
                return 2;
        }
        if (!add_sides(&r))
                code = measure_here(&r, deadline);
        for (size_t i = 0; i < b.sides_n; i++)
                side_release(&b.sides[i]);
        json_decref(r.entries);
        json_decref(r.left_out);
        fclose(r.given_up);
        free(r.given_up_text);
        scene_release(&scene);
        return code;
}

int main(int argc, char **argv)
{
        struct options o = {
                .program = "bench",
                .summary = "every row of the design's table: dsfs and others against a bind mount",
                .json = RESULTS,
                .budget_s = 720,
                .profiles = "source,data",
                .peers = "all",
                .all_peers = "overlayfs, bindfs, mergerfs, fuse-overlayfs, unionfs-fuse",
                .image = geteuid() == 0,
        };

        options_parse(&o, argc, argv);
        /* What is kept as the latest results is of everything. */
        if (!strcmp(o.json, RESULTS) && (o.self || o.smoke || o.only))
                o.json = "build/bench.json";
        return place_run(&o, job);
}
