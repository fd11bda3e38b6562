#include "bench/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "bench/options.h"
#include "bench/place.h"
#include "bench/round.h"
#include "cache/base/err.h"

enum {
        REQUESTS_MAX = 64,
        NAMED_REQUESTS = 6, /* of a line in the table */
};

/* What a self-check's ratio may be off by, either way. */
#define SELF_NEAR 1.1

void report_header(void)
{
        printf("%-12s %6s  %-13s %9s %9s %3s  %-5s %-5s %s\n", "workload", "ratio", "95 %", "bind ms", "dsfs ms", "n", "floor", "",
               "requests per operation");
        fflush(stdout);
}

double report_total(json_t *requests)
{
        const char *name;
        double sum = 0;
        json_t *value;

        json_object_foreach(requests, name, value) sum += json_number_value(value);
        return sum;
}

struct named {
        const char *name;
        double count;
};

static int more_first(const void *a, const void *b)
{
        double x = ((const struct named *)a)->count, y = ((const struct named *)b)->count;

        return (x < y) - (x > y);
}

/* The most frequent requests, by name. */
static void print_requests(json_t *requests)
{
        struct named all[REQUESTS_MAX];
        const char *name;
        json_t *value;
        size_t n = 0;

        json_object_foreach(requests, name, value) if (n < REQUESTS_MAX) all[n++] = (struct named){name, json_number_value(value)};
        qsort(all, n, sizeof *all, more_first);
        printf("%.3f", report_total(requests));
        for (size_t i = 0; i < n && i < NAMED_REQUESTS && all[i].count >= 0.005; i++)
                printf("%s%s %.2f", i ? ", " : ": ", all[i].name, all[i].count);
        putchar('\n');
}

double report_floor(const struct options *o, const struct workload *w, const struct side *s)
{
        if (o->self)
                return SELF_NEAR;
        if (s->peer)
                return 0;
        return s->profile && !strcmp(s->profile, "data") ? w->data_floor : w->floor;
}

bool report_missed(const struct options *o, const struct measured *m, double floor)
{
        if (m->failed)
                return true;
        if (o->self)
                return m->interval.low > floor || m->interval.high < 1 / floor;
        return floor > 0 && m->interval.ratio > floor;
}

bool report_line(const struct bench *b, const struct result *r)
{
        double limit = report_floor(b->options, r->workload, &b->sides[1]);
        const struct measured *m = &r->of[1];
        char range[32], floor[16] = "";
        bool missed;

        if (round_failed(b, r)) {
                printf("%-12s FAILED\n", r->workload->name);
                fflush(stdout);
                return false;
        }
        snprintf(range, sizeof range, "%.2f to %.2f", m->interval.low, m->interval.high);
        if (limit > 0)
                snprintf(floor, sizeof floor, "%.2f", limit);
        missed = report_missed(b->options, m, limit);
        printf("%-12s %6.2f  %-13s %9.2f %9.2f %3u  %-5s %-5s ", r->workload->name, m->interval.ratio, range, r->of[0].ms, m->ms, m->rounds,
               floor,
               !*floor  ? ""
               : missed ? "MISS"
                        : "ok");
        if (m->requests)
                print_requests(m->requests);
        else
                puts("-");
        fflush(stdout);
        return !missed;
}

json_t *report_entry(const struct bench *b, const struct result *r)
{
        double limit = report_floor(b->options, r->workload, &b->sides[1]);
        const struct measured *m = &r->of[1];
        json_t *entry;

        if (round_failed(b, r))
                return json_pack("{ss sb}", "name", r->workload->name, "failed", 1);
        entry = json_pack("{ss sf sf sf sf sf si sI}", "name", r->workload->name, "ratio", m->interval.ratio, "low", m->interval.low,
                          "high", m->interval.high, "bind_ms", r->of[0].ms, "dsfs_ms", m->ms, "rounds", (int)m->rounds, "operations",
                          (json_int_t)r->ops);
        report_judge(b->options, m, limit, entry);
        return entry;
}

void report_judge(const struct options *o, const struct measured *m, double floor, json_t *entry)
{
        if (floor > 0) {
                json_object_set_new(entry, "floor", json_real(floor));
                json_object_set_new(entry, "ok", json_boolean(!report_missed(o, m, floor)));
        }
        if (m->requests) {
                json_object_set_new(entry, "requests", json_real(report_total(m->requests)));
                json_object_set(entry, "requests_by_name", m->requests);
        }
}

/* The value of `key` in /proc/cpuinfo. */
static void cpu_model(char *ret, size_t size)
{
        FILE *info = fopen("/proc/cpuinfo", "re");
        char line[256];

        snprintf(ret, size, "unknown");
        while (info && fgets(line, sizeof line, info)) {
                char *colon = strchr(line, ':');

                if (colon && !strncmp(line, "model name", 10)) {
                        colon[strcspn(colon, "\n")] = '\0';
                        snprintf(ret, size, "%s", colon + 2);
                        break;
                }
        }
        if (info)
                fclose(info);
}

json_t *report_machine(const struct options *o, const struct place *place, const char *transport)
{
        bool without_journal;
        char cpu[128], when[32];
        time_t now = time(NULL);
        struct utsname u;

        uname(&u);
        cpu_model(cpu, sizeof cpu);
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
        return json_pack("{ss ss si sI ss ss ss sI}", "kernel", u.release, "cpu", cpu, "cpus", (int)sysconf(_SC_NPROCESSORS_ONLN),
                         "memory_mib", (json_int_t)(sysconf(_SC_PHYS_PAGES) / 1024 * (sysconf(_SC_PAGESIZE) / 1024)), "filesystem",
                         place_filesystem(place, &without_journal), "against",
                         o->self     ? "bind (self-check)"
                         : transport ? transport
                                     : "dsfs",
                         "when", when, "seed", (json_int_t)o->seed);
}

static const char *text(json_t *machine, const char *key)
{
        return json_string_value(json_object_get(machine, key));
}

void report_conditions(const struct options *o, json_t *machine, const struct place *place)
{
        bool without_journal;

        printf("%s, %s, %lld cpus, %s; ", text(machine, "kernel"), text(machine, "cpu"),
               (long long)json_integer_value(json_object_get(machine, "cpus")), text(machine, "filesystem"));
        if (o->self)
                puts("bind against bind: ratios must be near 1.0");
        else
                printf("transport %s%s\n", text(machine, "against"), place->uring ? " (enable_uring switched on meanwhile)" : "");
        place_filesystem(place, &without_journal);
        if (without_journal)
                puts("note: ext4 without journal looks for inodes not deleted lately; --image has one that doesn't");
        if (geteuid() != 0)
                puts("note: not root: the source itself stands for the bind mount");
}

/* mkdir -p of what `path` is in. */
static void make_parents(const char *path)
{
        CLEANUP_FREE char *copy = strdup(path);

        for (char *slash = copy ? strchr(copy + 1, '/') : NULL; slash; slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                mkdir(copy, 0755);
                *slash = '/';
        }
}

bool report_write(const struct options *o, json_t *machine, json_t *workloads)
{
        json_t *all = json_pack("{so so}", "machine", machine, "workloads", workloads);
        bool written;

        make_parents(o->json);
        written = all && !json_dump_file(all, o->json, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
        if (!written)
                fprintf(stderr, "%s: cannot write %s: %s\n", o->program, o->json, strerror(errno));
        else
                printf("results: %s\n", o->json);
        json_decref(all);
        return written;
}
