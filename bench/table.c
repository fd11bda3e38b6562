#include "bench/table.h"

#include <stdio.h>
#include <string.h>

#include "bench/options.h"
#include "bench/peer.h"
#include "bench/report.h"

enum {
        TITLE_WIDTH = 31,
        OURS_WIDTH = 31, /* "1.05 1.02-1.08  12.34rq MISS" */
        PEER_WIDTH = 15,
};

/* Of what one operation takes, microseconds; of the rest, milliseconds. */
static double shown(const struct result *r, double ms)
{
        return r->workload->each && r->ops ? ms * 1e3 / (double)r->ops : ms;
}

void table_header(const struct bench *b)
{
        printf("%-*s %9s  ", TITLE_WIDTH, "workload", "bind");
        for (size_t i = 1; i < b->sides_n; i++)
                printf("%-*s", b->sides[i].peer ? PEER_WIDTH : OURS_WIDTH, b->sides[i].name);
        puts("");
        printf("%-*s %9s  ", TITLE_WIDTH, "", "");
        for (size_t i = 1; i < b->sides_n; i++)
                printf("%-*s", b->sides[i].peer ? PEER_WIDTH : OURS_WIDTH, b->sides[i].peer ? "ratio" : "ratio 95 %      requests/op");
        puts("");
        fflush(stdout);
}

/* A side of dsfs: all that is known. False when it misses its floor. */
static bool print_ours(const struct bench *b, const struct result *r, size_t i)
{
        double floor = report_floor(b->options, r->workload, &b->sides[i]);
        const struct measured *m = &r->of[i];
        bool missed = report_missed(b->options, m, floor);
        char cell[96], requests[32] = "";

        if (m->failed) {
                printf("%-*s", OURS_WIDTH, "FAILED");
                return false;
        }
        if (m->requests)
                snprintf(requests, sizeof requests, "%.2f", report_total(m->requests));
        snprintf(cell, sizeof cell, "%5.2f %.2f-%.2f %7s %s", m->interval.ratio, m->interval.low, m->interval.high, requests,
                 floor <= 0 ? ""
                 : missed   ? "MISS"
                            : "ok");
        printf("%-*s", OURS_WIDTH, cell);
        return !missed;
}

static void print_peer(const struct result *r, size_t i)
{
        const struct measured *m = &r->of[i];
        char cell[32] = "-";

        if (m->failed)
                snprintf(cell, sizeof cell, "failed");
        else if (m->rounds)
                snprintf(cell, sizeof cell, "%5.2f%s", m->interval.ratio, m->given_up ? " *" : "");
        else if (m->given_up)
                snprintf(cell, sizeof cell, "no time *");
        printf("%-*s", PEER_WIDTH, cell);
}

bool table_row(const struct bench *b, const struct result *r)
{
        bool held = !r->of[0].failed;

        if (!held) {
                printf("%-*s FAILED on the bind mount\n", TITLE_WIDTH, r->workload->title);
                fflush(stdout);
                return false;
        }
        printf("%-*s %6.*f %s  ", TITLE_WIDTH, r->workload->title, r->workload->each ? 2 : 1, shown(r, r->of[0].ms),
               r->workload->each ? "us" : "ms");
        for (size_t i = 1; i < b->sides_n; i++)
                if (b->sides[i].peer)
                        print_peer(r, i);
                else
                        held &= print_ours(b, r, i);
        puts("");
        fflush(stdout);
        return held;
}

void table_row_missing(const struct workload *w, const char *why)
{
        printf("%-*s not measured: %s\n", TITLE_WIDTH, w->title, why);
        fflush(stdout);
}

json_t *table_entry_missing(const struct workload *w, const char *why)
{
        return json_pack("{ss ss ss}", "name", w->name, "title", w->title + strspn(w->title, " "), "not_measured", why);
}

static json_t *side_entry(const struct bench *b, const struct result *r, size_t i)
{
        const struct measured *m = &r->of[i];
        json_t *entry;

        if (r->of[0].failed || m->failed)
                entry = json_pack("{ss sb}", "name", r->workload->name, "failed", 1);
        else if (!m->rounds)
                entry = table_entry_missing(r->workload, "one run takes more than its share of the time");
        else
                entry = json_pack("{ss sf sf sf sf sf si sI}", "name", r->workload->name, "ratio", m->interval.ratio, "low",
                                  m->interval.low, "high", m->interval.high, "bind_ms", r->of[0].ms, "ms", m->ms, "rounds", (int)m->rounds,
                                  "operations", (json_int_t)r->ops);
        json_object_set_new(entry, "title", json_string(r->workload->title + strspn(r->workload->title, " ")));
        json_object_set_new(entry, b->sides[i].peer ? "peer" : "profile", json_string(b->sides[i].name));
        if (m->rounds && r->ops) {
                json_object_set_new(entry, "bind_us_per_op", json_real(r->of[0].ms * 1e3 / (double)r->ops));
                json_object_set_new(entry, "us_per_op", json_real(m->ms * 1e3 / (double)r->ops));
        }
        if (m->rounds && !m->failed)
                report_judge(b->options, m, report_floor(b->options, r->workload, &b->sides[i]), entry);
        return entry;
}

void table_entries(const struct bench *b, const struct result *r, json_t *entries)
{
        for (size_t i = 1; i < b->sides_n; i++)
                if (!r->workload->only_dsfs || !b->sides[i].peer)
                        json_array_append_new(entries, side_entry(b, r, i));
}

void table_given_up(const struct bench *b, const struct result *r, FILE *out)
{
        const char *between = "";

        for (size_t i = 1; i < b->sides_n; i++) {
                if (!r->of[i].given_up)
                        continue;
                if (!*between)
                        fprintf(out, "* %s: ", r->workload->name);
                fprintf(out, "%s%s %u of %.1f s", between, b->sides[i].name, r->of[i].rounds, r->of[i].last_s);
                between = ", ";
        }
        if (*between)
                fputc('\n', out);
}
