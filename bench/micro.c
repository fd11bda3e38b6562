/*
 * bench-micro: what single operations cost, through a bind mount and through dsfs, in microseconds and requests.
 */
#include <stdio.h>
#include <sys/stat.h>

#include "bench/options.h"
#include "bench/place.h"
#include "bench/report.h"
#include "bench/round.h"
#include "bench/workloads.h"
#include "cache/base/err.h"
#include "cache/base/thread.h"

static bool compare_all(struct bench *b, json_t *entries)
{
        unsigned long long begin = clock_now_ns();
        bool failed = false;

        report_header();
        for (const struct workload *w = single_workloads; w->name; w++) {
                double left = b->options->budget_s - (double)(clock_now_ns() - begin) / 1e9;
                size_t more = 1;
                struct result r;

                if (!options_wants(b->options, w->name))
                        continue;
                while (w[more].name)
                        more++;
                round_compare(b, w, left / (double)more, &r);
                report_line(b, &r);
                failed |= round_failed(b, &r);
                json_array_append_new(entries, report_entry(b, &r));
                round_release(&r);
        }
        return !failed;
}

static int job(const struct options *o, const struct place *place)
{
        struct scene sc = {.sizes = sizes_full};
        struct bench b = {.options = o, .place = place, .sides_n = 2, .scene = &sc};
        json_t *entries = json_array(), *status, *machine;
        unsigned long long begin = clock_now_ns();
        CLEANUP_FREE char *source = NULL;
        double seconds;
        bool ok;

        if (asprintf(&source, "%s/source", place->disk) < 0 || mkdir(source, 0755) || scene_make_single(&sc, source, b.sides_n)) {
                fprintf(stderr, "%s: cannot make files below %s\n", o->program, place->disk);
                return 1;
        }
        place_sync(place);
        if (side_init(&b.sides[0], o, place->top, "bind", "the bind mount", false) ||
            side_init(&b.sides[1], o, place->top, "dsfs", o->self ? "the other bind mount" : "dsfs", !o->self) ||
            side_open(&b.sides[0], source) || side_open(&b.sides[1], source) || side_prewarm(&b.sides[1], begin, &seconds))
                return 1;
        status = side_status(&b.sides[1]);
        machine = report_machine(o, place, json_string_value(json_object_get(status, "transport")));
        json_decref(status);
        report_conditions(o, machine, place);
        printf("a round is %u operations: a millisecond is a microsecond for each\n", sc.sizes.single_files);
        ok = compare_all(&b, entries);
        side_close(&b.sides[0]);
        side_close(&b.sides[1]);
        return !report_write(o, machine, entries) || !ok;
}

int main(int argc, char **argv)
{
        struct options o = {
                .program = "bench-micro",
                .summary = "what single operations cost, through dsfs and through a bind mount",
                .json = "build/bench-micro.json",
                .budget_s = 40,
        };

        options_parse(&o, argc, argv);
        return place_run(&o, job);
}
