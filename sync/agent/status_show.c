#include "sync/agent/status_show.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cache/base/err.h"
#include "sync/serve/json.h"

#define KIB 1024.0
#define THOUSAND 1000.0
#define MINUTE 60.0
#define HOUR 3600.0
#define DAY 86400.0
#define USERS_NAMED 4
#define SPARK_STEPS 8
#define TEXT 64

static const struct {
        const char *verdict;
        enum colour colour;
        const char *meaning;
} verdicts[] = {
        {"ok", COLOUR_GOOD, "what is read there is what is on disk"},
        {"degraded", COLOUR_WARN, "still right, but slower or limited: the notes say what to do"},
        {"broken", COLOUR_BAD, "what is on disk is not what is read there: the notes say what to do"},
};

struct out {
        FILE *to;
        const struct term *term;
};

static json_int_t number(const json_t *object, const char *key)
{
        return json_integer_value(json_object_get(object, key));
}

static const char *shown(const json_t *object, const char *key)
{
        const char *text = json_string_value(json_object_get(object, key));

        return text ? text : "-";
}

static bool is_set(const json_t *object, const char *key)
{
        return json_is_true(json_object_get(object, key));
}

static const char *bytes_text(json_int_t bytes, char ret[TEXT])
{
        static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
        double n = (double)bytes;
        size_t unit = 0;

        while (n >= KIB && unit + 1 < ARRAY_LEN(units)) {
                n /= KIB;
                unit++;
        }
        snprintf(ret, TEXT, unit ? "%.1f %s" : "%.0f %s", n, units[unit]);
        return ret;
}

static const char *ms_text(double ms, char ret[TEXT])
{
        if (ms < 1)
                snprintf(ret, TEXT, "%.0f µs", ms * THOUSAND);
        else if (ms < THOUSAND)
                snprintf(ret, TEXT, "%.1f ms", ms);
        else
                snprintf(ret, TEXT, "%.1f s", ms / THOUSAND);
        return ret;
}

static const char *age_text(double seconds, char ret[TEXT])
{
        if (seconds < MINUTE)
                snprintf(ret, TEXT, "%.0f s", seconds);
        else if (seconds < HOUR)
                snprintf(ret, TEXT, "%.0f min", seconds / MINUTE);
        else if (seconds < DAY)
                snprintf(ret, TEXT, "%.1f h", seconds / HOUR);
        else
                snprintf(ret, TEXT, "%.1f days", seconds / DAY);
        return ret;
}

static void label(const struct out *o, const char *name)
{
        char padded[TEXT];

        snprintf(padded, sizeof(padded), "  %-12s ", name);
        term_print(o->to, o->term, COLOUR_FAINT, padded);
}

static void show_served(const struct out *o, const json_t *m)
{
        char rss[TEXT];
        char age[TEXT];

        label(o, "served by");
        fprintf(o->to, "process %" JSON_INTEGER_FORMAT, number(m, "pid"));
        if (json_is_integer(json_object_get(m, "holder_pid")))
                fprintf(o->to, " (held by %" JSON_INTEGER_FORMAT ")", number(m, "holder_pid"));
        fprintf(o->to, " for %s, %s; profile %s, through %s%s\n", age_text(json_real_value(json_object_get(m, "seconds")), age),
                bytes_text(number(m, "rss"), rss), shown(m, "profile"), shown(m, "transport"), is_set(m, "readonly") ? ", read-only" : "");
}

/* The question of all questions: what is there that can't be read yet? */
static void show_content(const struct out *o, const json_t *m)
{
        const json_t *cache = json_object_get(m, "cache");
        const json_t *progress = json_object_get(cache, "progress");
        const char *root = json_string_value(json_object_get(m, "root_hash"));
        char bytes[TEXT];

        label(o, "content");
        fprintf(o->to, "%s%s", root ? root : "not hashed yet", root && is_set(m, "root_hash_pending") ? " (changes wait)" : "");
        if (is_set(cache, "waits"))
                fprintf(o->to, ", waits for another process to let go of the memory");
        else if (is_set(cache, "scanning"))
                fprintf(o->to, ", scanning: %" JSON_INTEGER_FORMAT " entries, %s read", number(progress, "entries"),
                        bytes_text(number(progress, "bytes"), bytes));
        if (json_is_string(json_object_get(m, "clock")))
                fprintf(o->to, "; clock %s", shown(m, "clock"));
        if (number(m, "pending"))
                fprintf(o->to, "; %" JSON_INTEGER_FORMAT " %s to be told", number(m, "pending"),
                        number(m, "pending") == 1 ? "change waits" : "changes wait");
        fprintf(o->to, "\n");
        label(o, "memory");
        fprintf(o->to, "%" JSON_INTEGER_FORMAT " entries in %s; %" JSON_INTEGER_FORMAT " files read, %" JSON_INTEGER_FORMAT " remembered\n",
                number(cache, "entries"), bytes_text(number(cache, "bytes"), bytes), number(cache, "reads"), number(cache, "hits"));
}

static void show_watch(const struct out *o, const json_t *m)
{
        const json_t *told = json_object_get(m, "told");
        const json_t *staleness = json_object_get(m, "staleness_ms");
        const json_t *last = json_object_get(m, "last_change");
        char p50[TEXT];
        char p99[TEXT];
        char last_ms[TEXT];

        label(o, "coherence");
        fprintf(o->to,
                "%s, watch %s: %" JSON_INTEGER_FORMAT " events%s (%" JSON_INTEGER_FORMAT " more said it again, %" JSON_INTEGER_FORMAT
                " were a mount's own); told %" JSON_INTEGER_FORMAT " entries, %" JSON_INTEGER_FORMAT " contents, %" JSON_INTEGER_FORMAT
                " attributes, %" JSON_INTEGER_FORMAT " times all\n",
                shown(m, "coherence"), shown(m, "watch"), number(m, "watch_events"),
                strcmp(shown(m, "watch"), "fanotify") ? "" : " on its whole file system", number(m, "watch_coalesced"),
                number(m, "watch_own"), number(told, "entries"), number(told, "content"), number(told, "attributes"), number(told, "all"));
        if (json_is_real(json_object_get(staleness, "p50"))) {
                label(o, "staleness");
                fprintf(o->to, "%s for the last change, %s for half of them, %s for 99 of 100, from being seen to the kernel being told\n",
                        ms_text(json_real_value(json_object_get(staleness, "last")), last_ms),
                        ms_text(json_real_value(json_object_get(staleness, "p50")), p50),
                        ms_text(json_real_value(json_object_get(staleness, "p99")), p99));
        }
        if (json_is_object(last)) {
                label(o, "last change");
                fprintf(o->to, "%s %s by the %s, %s ago\n", shown(last, "path"), shown(last, "kind"),
                        strcmp(shown(last, "origin"), "unknown") ? shown(last, "origin") : "host or a container",
                        age_text(json_number_value(json_object_get(last, "seconds_ago")), p50));
        }
        label(o, "watchers");
        if (is_set(m, "replay"))
                fprintf(o->to, "hear of the host's edits: %" JSON_INTEGER_FORMAT " replayed\n", number(m, "replayed"));
        else
                fprintf(o->to, "do not hear of the host's edits\n");
}

/* Who is told what changes. */
static void show_events(const struct out *o, const json_t *e)
{
        if (!json_is_object(e))
                return;
        label(o, "events");
        fprintf(o->to,
                "%" JSON_INTEGER_FORMAT " subscribers; %" JSON_INTEGER_FORMAT " records held, %" JSON_INTEGER_FORMAT
                " batches so far; %" JSON_INTEGER_FORMAT " told, %" JSON_INTEGER_FORMAT " of them again; %" JSON_INTEGER_FORMAT
                " subscribers cut off, %" JSON_INTEGER_FORMAT " refused",
                number(e, "subscribers"), number(e, "records"), number(e, "batches"), number(e, "sent"), number(e, "replayed"),
                number(e, "cut"), number(e, "refused"));
        if (json_is_string(json_object_get(e, "not_in_mount")))
                fprintf(o->to, "; none from within the mount: %s", shown(e, "not_in_mount"));
        fprintf(o->to, "\n");
}

static void show_knows(const struct out *o, const json_t *m)
{
        const json_t *p = json_object_get(m, "prewarm");
        char bytes[TEXT];

        label(o, "knows");
        fprintf(o->to,
                "%" JSON_INTEGER_FORMAT " inodes, %" JSON_INTEGER_FORMAT " names in %s; holds %" JSON_INTEGER_FORMAT
                " of %" JSON_INTEGER_FORMAT " descriptors; served %" JSON_INTEGER_FORMAT " requests\n",
                number(m, "nodes"), number(m, "names"), bytes_text(number(m, "node_bytes"), bytes), number(m, "fds"), number(m, "fds_max"),
                number(m, "requests_total"));
        if (strcmp(shown(p, "state"), "off") == 0)
                return;
        label(o, "pre-warming");
        fprintf(o->to, "%s: %" JSON_INTEGER_FORMAT " names, %" JSON_INTEGER_FORMAT " files, %s, %.1f s\n", shown(p, "state"),
                number(p, "entries"), number(p, "files"), bytes_text(number(p, "bytes"), bytes),
                json_real_value(json_object_get(p, "seconds")));
}

static void show_artifacts(const struct out *o, const json_t *a)
{
        char bytes[TEXT];

        if (!json_is_object(a))
                return;
        label(o, "artifacts");
        fprintf(o->to, "%" JSON_INTEGER_FORMAT " rules", number(a, "rules"));
        if (json_is_null(json_object_get(a, "roots"))) {
                fprintf(o->to, "; not counted yet\n");
                return;
        }
        fprintf(o->to,
                ": %" JSON_INTEGER_FORMAT " artifacts, %" JSON_INTEGER_FORMAT " generations, %" JSON_INTEGER_FORMAT
                " snapshots in %s; %" JSON_INTEGER_FORMAT " paths of the source shadowed, %" JSON_INTEGER_FORMAT
                " orphans (`dsfs artifacts list`)\n",
                number(a, "roots"), number(a, "generations"), number(a, "snapshots"), bytes_text(number(a, "bytes"), bytes),
                number(a, "shadowed"), number(a, "orphans"));
}

/* Containers, and whoever else sees mounts of his own. */
static void show_users(const struct out *o, const json_t *users)
{
        size_t count = json_array_size(users);
        size_t i;
        json_t *u;

        if (!count)
                return;
        label(o, "used by");
        json_array_foreach(users, i, u)
        {
                const char *container = json_string_value(json_object_get(u, "container"));

                if (i == USERS_NAMED) {
                        fprintf(o->to, " and %zu more", count - i);
                        break;
                }
                fprintf(o->to, "%s%s%s (%s, process %" JSON_INTEGER_FORMAT ")", i ? ", " : "", container ? "container " : "namespace",
                        container ? container : "", shown(u, "command"), number(u, "pid"));
        }
        fprintf(o->to, "\n");
}

/* Scaled to the largest; below 0 is a gap. */
static void show_spark(const struct out *o, const char *name, const double *samples, size_t count, const char *unit)
{
        static const char *const fine[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
        static const char *const plain[] = {".", ":", "-", "=", "+", "*", "#", "@"};
        double most = 0;
        char text[TEXT];

        for (size_t i = 0; i < count; i++)
                most = samples[i] > most ? samples[i] : most;
        label(o, name);
        for (size_t i = count; i < SPARK_SAMPLES; i++)
                fputc(' ', o->to);
        for (size_t i = 0; i < count; i++) {
                size_t step = most > 0 ? (size_t)(samples[i] / most * (SPARK_STEPS - 1) + 0.5) : 0;

                if (samples[i] <= 0)
                        fputc(' ', o->to);
                else
                        fputs((o->term->utf8 ? fine : plain)[step], o->to);
        }
        if (unit)
                snprintf(text, sizeof(text), "%.0f %s", most, unit);
        fprintf(o->to, "  at most %s\n", unit ? text : ms_text(most, text));
}

static void show_mount(const struct out *o, const json_t *m, const struct spark *spark)
{
        const char *verdict = shown(m, "verdict");
        const json_t *warning;
        size_t i = ARRAY_LEN(verdicts) - 1;

        while (i > 0 && strcmp(verdicts[i].verdict, verdict) != 0)
                i--;
        term_print(o->to, o->term, verdicts[i].colour, verdict);
        fputs(": ", o->to);
        term_print(o->to, o->term, COLOUR_STRONG, shown(m, "name"));
        fprintf(o->to, "\n");
        label(o, "that is");
        fprintf(o->to, "%s\n", verdicts[i].meaning);
        json_array_foreach(json_object_get(m, "warnings"), i, warning)
        {
                label(o, "note");
                term_print(o->to, o->term, COLOUR_WARN, json_string_value(warning));
                fprintf(o->to, "\n");
        }
        label(o, "source");
        fprintf(o->to, "%s\n", shown(m, "source"));
        label(o, "mounted at");
        fprintf(o->to, "%s\n", shown(m, "mountpoint"));
        show_users(o, json_object_get(m, "used_by"));
        if (!json_object_get(m, "transport"))
                return;
        show_content(o, m);
        show_watch(o, m);
        if (spark) {
                show_spark(o, "changes/s", spark->changes, spark->count, "a second");
                show_spark(o, "told within", spark->latency_ms, spark->count, NULL);
        }
        show_artifacts(o, json_object_get(m, "artifacts"));
        show_served(o, m);
        show_events(o, json_object_get(m, "events"));
        show_knows(o, m);
}

static void show_remembered(const struct out *o, const json_t *list)
{
        char bytes[TEXT];
        char age[TEXT];
        size_t i;
        json_t *r;

        json_array_foreach(list, i, r)
        {
                if (i == 0)
                        fprintf(o->to, "remembered of what was mounted or hashed before:\n");
                label(o, "source");
                fprintf(o->to, "%s\n", shown(r, "source"));
                label(o, "content");
                fprintf(o->to, "%s, as of %s ago; %" JSON_INTEGER_FORMAT " entries in %s\n", shown(r, "root_hash"),
                        age_text((double)(time(NULL) - (time_t)number(r, "written")), age), number(r, "entries"),
                        bytes_text(number(r, "bytes"), bytes));
        }
}

void status_show(FILE *to, const struct term *t, const json_t *given, const struct spark *sparks)
{
        const struct out o = {to, t};
        json_t *status = json_plain(given); /* names are whatever the source has */
        size_t i;
        json_t *m;

        json_array_foreach(json_object_get(status, "mounts"), i, m)
        {
                show_mount(&o, m, sparks ? &sparks[i] : NULL);
        }
        if (i == 0) {
                fprintf(to, "nothing is mounted; `dsfs mount SRC` does that\n");
                show_remembered(&o, json_object_get(status, "remembered"));
        }
        json_decref(status);
}
