#include "sync/agent/cmd_artifacts_show.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/err.h"

#define KIB 1024.0
#define FOLD_FROM 9 /* so many places of one rule are a line each; from then on they are one */
#define SHADOWED_MAX 20
#define SHORT_KEY 12
#define MINUTE 60
#define HOUR 3600
#define DAY 86400

static const char *text_of(const json_t *object, const char *key)
{
        const char *text = json_string_value(json_object_get(object, key));

        return text ? text : "";
}

static json_int_t number_of(const json_t *object, const char *key)
{
        return json_integer_value(json_object_get(object, key));
}

static bool is_terminal(void)
{
        return isatty(STDOUT_FILENO) == 1;
}

struct amount amount_of(json_int_t bytes)
{
        static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
        struct amount a;
        double n = (double)bytes;
        size_t unit = 0;

        if (!is_terminal()) {
                snprintf(a.text, sizeof(a.text), "%" JSON_INTEGER_FORMAT, bytes);
                return a;
        }
        while (n >= KIB && unit + 1 < ARRAY_LEN(units)) {
                n /= KIB;
                unit++;
        }
        snprintf(a.text, sizeof(a.text), unit ? "%.1f %s" : "%.0f %s", n, units[unit]);
        return a;
}

struct age {
        char text[24];
};

static struct age age_of(json_int_t then)
{
        json_int_t s = (json_int_t)time(NULL) - then;
        struct age a;

        if (!is_terminal())
                snprintf(a.text, sizeof(a.text), "%" JSON_INTEGER_FORMAT, then);
        else if (s < MINUTE)
                snprintf(a.text, sizeof(a.text), "now");
        else if (s < HOUR)
                snprintf(a.text, sizeof(a.text), "%" JSON_INTEGER_FORMAT " min", s / MINUTE);
        else if (s < DAY)
                snprintf(a.text, sizeof(a.text), "%" JSON_INTEGER_FORMAT " h", s / HOUR);
        else
                snprintf(a.text, sizeof(a.text), "%" JSON_INTEGER_FORMAT " d", s / DAY);
        return a;
}

void print_name(const char *text)
{
        for (const char *p = text; *p; p++) {
                if (*p == '\n')
                        fputs("\\n", stdout);
                else if (*p == '\r')
                        fputs("\\r", stdout);
                else if (*p == '\033')
                        fputs("\\e", stdout);
                else
                        putchar(*p);
        }
}

/*
 * The list
 */

static void print_row(const char *size, const char *files, const char *age, const char *key, const char *generations)
{
        printf("%10s  %8s  %10s  %-12s  %4s  ", size, files, age, key, generations);
}

static bool folds_with(const json_t *a, const json_t *b)
{
        return json_equal(json_object_get(a, "rule"), json_object_get(b, "rule")) && !json_is_true(json_object_get(b, "orphan")) &&
               json_array_size(json_object_get(b, "generations")) == 0;
}

/* How many go by the same rule, if they are too many for a line each; 0: they aren't. */
static json_int_t fold(const json_t *roots, size_t at, json_int_t *bytes, json_int_t *files, bool *first)
{
        const json_t *mine = json_array_get(roots, at);
        json_int_t count = 0;
        const json_t *r;
        size_t i;

        *bytes = *files = 0;
        *first = true;
        if (!folds_with(mine, mine) || json_is_null(json_object_get(mine, "rule")))
                return 0;
        json_array_foreach((json_t *)roots, i, r)
        {
                if (!folds_with(mine, r))
                        continue;
                *first = *first && i >= at;
                *bytes += number_of(r, "bytes");
                *files += number_of(r, "files");
                count += json_object_get(r, "places") ? number_of(r, "places") : 1;
        }
        return count < FOLD_FROM ? 0 : count;
}

static void print_root_line(const json_t *r)
{
        char files[24], generations[8], key[SHORT_KEY + 1];
        size_t count = json_array_size(json_object_get(r, "generations"));
        const json_t *rule = json_object_get(r, "rule");

        snprintf(files, sizeof(files), "%" JSON_INTEGER_FORMAT, number_of(r, "files"));
        snprintf(generations, sizeof(generations), "%zu", count);
        snprintf(key, sizeof(key), "%.*s", SHORT_KEY, text_of(r, "key"));
        print_row(amount_of(number_of(r, "bytes")).text, files, age_of(number_of(r, "changed")).text, *key ? key : "-",
                  count ? generations : "-");
        print_name(text_of(r, "path"));
        if (json_is_true(json_object_get(r, "orphan")))
                printf("  (orphan: %s)", json_is_object(rule) ? "its directory is gone from the source" : "no rule is about it");
        else if (!json_is_true(json_object_get(r, "present")))
                printf("  (absent now)");
        if (json_is_object(rule))
                printf("  [%s, %s]", text_of(rule, "pattern"), text_of(rule, "origin"));
        putchar('\n');
}

static void print_fold_line(const json_t *r, json_int_t places, json_int_t bytes, json_int_t files)
{
        const json_t *rule = json_object_get(r, "rule");
        char text[24];

        snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, files);
        print_row(amount_of(bytes).text, text, "-", "-", "-");
        print_name(text_of(rule, "pattern"));
        printf("  (%" JSON_INTEGER_FORMAT " places)  [%s]\n", places, text_of(rule, "origin"));
}

static void print_other_generations(const json_t *r)
{
        const json_t *g;
        size_t i;

        json_array_foreach(json_object_get(r, "generations"), i, g)
        {
                char files[24], key[SHORT_KEY + 1];

                if (json_is_true(json_object_get(g, "current")))
                        continue;
                snprintf(files, sizeof(files), "%" JSON_INTEGER_FORMAT, number_of(g, "files"));
                snprintf(key, sizeof(key), "%.*s", SHORT_KEY, text_of(g, "key"));
                print_row(amount_of(number_of(g, "bytes")).text, files, age_of(number_of(g, "used")).text, key, "");
                printf("  kept generation of ");
                print_name(text_of(r, "path"));
                putchar('\n');
        }
}

static void print_snapshots(const json_t *list)
{
        const json_t *s, *path;
        size_t i, j;

        json_array_foreach((json_t *)list, i, s)
        {
                printf("snapshot ");
                print_name(text_of(s, "name"));
                printf("  %s, %" JSON_INTEGER_FORMAT " files, %s:", amount_of(number_of(s, "bytes")).text, number_of(s, "files"),
                       age_of(number_of(s, "made")).text);
                json_array_foreach(json_object_get(s, "paths"), j, path)
                {
                        putchar(' ');
                        print_name(json_string_value(path));
                }
                putchar('\n');
        }
}

static void print_shadowed(const json_t *list)
{
        const json_t *path;
        size_t i;

        json_array_foreach((json_t *)list, i, path)
        {
                if (i == SHADOWED_MAX) {
                        printf("shadowed  … and %zu more\n", json_array_size(list) - i);
                        break;
                }
                printf("shadowed  ");
                print_name(json_string_value(path));
                putchar('\n');
        }
        if (json_array_size(list))
                printf("What is shadowed exists in the source, but mounts show artifacts there: `dsfs artifacts adopt PATH` copies it "
                       "over.\n");
}

void artifacts_print_list(const json_t *list)
{
        const json_t *roots = json_object_get(list, "roots");
        const json_t *r;
        size_t i;

        printf("source ");
        print_name(text_of(list, "source"));
        putchar('\n');
        if (json_array_size(roots)) {
                print_row("ON DISK", "FILES", "CHANGED", "KEY", "GEN");
                printf("ARTIFACT\n");
        } else {
                printf("there are no artifacts yet\n");
        }
        json_array_foreach((json_t *)roots, i, r)
        {
                json_int_t bytes, files;
                bool first;
                json_int_t places = fold(roots, i, &bytes, &files, &first);

                if (places && first)
                        print_fold_line(r, places, bytes, files);
                else if (!places)
                        print_root_line(r);
                print_other_generations(r);
        }
        print_snapshots(json_object_get(list, "snapshots"));
        print_shadowed(json_object_get(list, "shadowed"));
}

/*
 * One root
 */

static void print_rule(const json_t *r)
{
        const json_t *rule = json_object_get(r, "rule");
        const char *salt = text_of(rule, "salt");

        if (!json_is_object(rule)) {
                printf("  rule         none, any more: an orphan\n");
                return;
        }
        printf("  rule         %s, written in %s\n", text_of(rule, "pattern"), text_of(rule, "origin"));
        printf("  new ones     begin %s%s%s\n",
               json_is_true(json_object_get(rule, "seed"))    ? "with what the source has"
               : strcmp(text_of(rule, "on_new"), "copy") == 0 ? "as a copy of the one before"
                                                              : "empty",
               *salt ? ", salt " : "", salt);
        if (json_is_true(json_object_get(r, "orphan")))
                printf("  orphan       its directory is gone from the source\n");
}

static void print_key_files(const json_t *files)
{
        const json_t *f;
        size_t i;

        json_array_foreach((json_t *)files, i, f)
        {
                const char *hash = json_string_value(json_object_get(f, "hash"));

                printf("  key file     ");
                print_name(hash ? text_of(f, "path") : text_of(f, "name"));
                printf(": %s\n", hash ? hash : "not there, or a directory");
        }
}

void artifacts_print_root(const json_t *r)
{
        const json_t *generations = json_object_get(r, "generations");
        const json_t *g;
        size_t i;

        print_name(text_of(r, "path"));
        printf("\n  source       ");
        print_name(text_of(r, "source"));
        putchar('\n');
        print_rule(r);
        print_key_files(json_object_get(r, "key_files"));
        if (json_is_true(json_object_get(r, "present")))
                printf("  it is        a %s, %s in %" JSON_INTEGER_FORMAT " files, changed: %s\n", text_of(r, "type"),
                       amount_of(number_of(r, "bytes")).text, number_of(r, "files"), age_of(number_of(r, "changed")).text);
        else
                printf("  it is        absent\n");
        if (json_array_size(generations) == 0)
                printf("  generations  one, for the rule has no key\n");
        json_array_foreach((json_t *)generations, i, g)
        {
                printf("  generation   %s  %s, %" JSON_INTEGER_FORMAT " files, %s\n", text_of(g, "key"),
                       amount_of(number_of(g, "bytes")).text, number_of(g, "files"),
                       json_is_true(json_object_get(g, "current")) ? "current: the key files have this key"
                                                                   : age_of(number_of(g, "used")).text);
        }
}

void artifacts_print_pruned(const json_t *pruned)
{
        const char *would = json_is_true(json_object_get(pruned, "dry")) ? "would remove" : "removed";
        json_int_t bytes = 0;
        const json_t *p;
        size_t i;

        json_array_foreach(json_object_get(pruned, "removed"), i, p)
        {
                printf("%s %s ", would, text_of(p, "kind"));
                print_name(text_of(p, "path"));
                printf("%s%s: %s in %" JSON_INTEGER_FORMAT " files\n", *text_of(p, "path") && *text_of(p, "name") ? " " : "",
                       text_of(p, "name"), amount_of(number_of(p, "bytes")).text, number_of(p, "files"));
                bytes += number_of(p, "bytes");
        }
        printf("%s %zu things, %s\n", would, json_array_size(json_object_get(pruned, "removed")), amount_of(bytes).text);
}
