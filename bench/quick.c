/*
 * bench-quick: everyday work on a checkout, through a bind mount and through dsfs, in less than three minutes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/options.h"
#include "bench/place.h"
#include "bench/report.h"
#include "bench/round.h"
#include "bench/workloads.h"
#include "cache/base/thread.h"

struct outcome {
        json_t *entries;
        bool failed, missed;
};

static bool wants_any(const struct options *o, const struct workload *list)
{
        for (; list->name; list++)
                if (options_wants(o, list->name))
                        return true;
        return false;
}

static double weight(const struct options *o, const struct workload *list)
{
        double sum = 0;

        for (; list->name; list++)
                if (options_wants(o, list->name))
                        sum += list->weight;
        return sum;
}

/* Each workload gets its share of what is left until `deadline`, less `reserved` weight for those of another list. */
static void run_list(struct bench *b, const struct workload *list, unsigned long long deadline, double reserved, struct outcome *out)
{
        for (; list->name; list++) {
                double left = ((double)deadline - (double)clock_now_ns()) / 1e9;
                struct result r;

                if (!options_wants(b->options, list->name))
                        continue;
                left *= list->weight / (weight(b->options, list) + reserved);
                round_compare(b, list, left > 0 ? left : 0, &r);
                out->missed |= !report_line(b, &r);
                out->failed |= round_failed(b, &r);
                json_array_append_new(out->entries, report_entry(b, &r));
                round_release(&r);
        }
}

/* Open both sides on the application. 0 or -errno; *machine is then known. */
static int open_sides(struct bench *b, json_t **machine)
{
        const struct scene *sc = b->scene;
        const char *source = sc->source ? sc->source : sc->first_source;
        unsigned long long begin = clock_now_ns();
        json_t *status;
        double seconds;
        int err = 0;

        for (size_t i = 0; !err && i < b->sides_n; i++)
                err = side_open(&b->sides[i], source);
        if (!err)
                err = side_prewarm(&b->sides[1], begin, &seconds);
        if (err)
                return err;
        status = side_status(&b->sides[1]);
        *machine = report_machine(b->options, b->place, json_string_value(json_object_get(status, "transport")));
        json_decref(status);
        return 0;
}

static void close_sides(struct bench *b)
{
        for (size_t i = 0; i < b->sides_n; i++)
                side_close(&b->sides[i]);
}

static void report_prewarm(const struct bench *b, json_t *machine)
{
        const struct scene *sc = b->scene;
        const char *end = b->sides[1].prewarm_end;
        double median = stats_median(sc->prewarm_s, sc->prewarms);

        if (!sc->prewarms)
                return;
        printf("prewarming %u files ended (%s) %.2f s after mounting (median of %zu)\n", sc->sizes.first_files, end, median, sc->prewarms);
        json_object_set_new(machine, "prewarm_end", json_string(end));
        json_object_set_new(machine, "prewarm_s", json_real(median));
        json_object_set_new(machine, "prewarm_files", json_integer(sc->sizes.first_files));
}

static int compare_all(struct bench *b, unsigned long long deadline, bool app, bool first, struct outcome *out, json_t **machine)
{
        const struct options *o = b->options;

        if (open_sides(b, machine))
                return 1;
        report_conditions(o, *machine, b->place);
        report_header();
        if (app)
                run_list(b, app_workloads, deadline, weight(o, first_workloads), out);
        close_sides(b);
        if (first)
                run_list(b, first_workloads, deadline, 0, out);
        close_sides(b);
        report_prewarm(b, *machine);
        return 0;
}

static int job(const struct options *o, const struct place *place)
{
        unsigned long long deadline = clock_now_ns() + (unsigned long long)(o->budget_s * 1e9);
        bool app = wants_any(o, app_workloads), first = wants_any(o, first_workloads);
        struct outcome out = {.entries = json_array()};
        struct bench b = {.options = o, .place = place, .sides_n = 2};
        json_t *machine = NULL;
        struct scene sc;
        int code = 1;

        scene_environment();
        b.scene = &sc;
        if (!app && !first) {
                fprintf(stderr, "%s: --only leaves nothing\n", o->program);
                return 2;
        }
        if (side_init(&b.sides[0], o, place->top, "bind", "the bind mount", false) ||
            side_init(&b.sides[1], o, place->top, "dsfs", o->self ? "the other bind mount" : "dsfs", !o->self))
                return 1;
        if (!scene_init(&sc, &b, (app ? SCENE_APP : 0) | (first ? SCENE_FIRST : 0)) &&
            !compare_all(&b, deadline, app, first, &out, &machine)) {
                bool written = report_write(o, machine, out.entries);

                code = !written || out.failed || (o->strict && out.missed);
        }
        scene_release(&sc);
        return code;
}

int main(int argc, char **argv)
{
        struct options o = {
                .program = "bench-quick",
                .summary = "everyday work on a checkout, through dsfs and through a bind mount",
                .json = "build/bench-quick.json",
                .budget_s = 140,
        };

        options_parse(&o, argc, argv);
        return place_run(&o, job);
}
