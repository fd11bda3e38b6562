/*
 * dsfs status: asks every agent once, and says how it is: the verdict first.
 */
#include "sync/agent/cmd.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cache/base/log.h"
#include "sync/agent/place.h"
#include "sync/serve/json.h"

#define STATUS_VERSION 1
#define ANSWER_MS 10000
#define KIB 1024.0

/* From best to worst, with what a command's exit says. */
static const struct {
        const char *name;
        enum exit_code code;
} verdicts[] = {{"ok", EXIT_OK}, {"degraded", EXIT_DEGRADED}, {"broken", EXIT_FAILED}};

static size_t verdict_rank(const json_t *mount)
{
        const char *name = json_string_value(json_object_get(mount, "verdict"));

        for (size_t i = 0; name && i < ARRAY_LEN(verdicts); i++) {
                if (strcmp(verdicts[i].name, name) == 0)
                        return i;
        }
        return ARRAY_LEN(verdicts) - 1;
}

static json_t *text_json(const char *text)
{
        return text ? bytes_to_json(text, strlen(text)) : json_null();
}

/* A mount that can't speak for itself. Takes the sentence. */
static json_t *broken_mount(const struct record *r, char *sentence)
{
        json_t *m = json_pack("{s:s, s:o, s:o, s:o, s:i, s:[o]}", "verdict", "broken", "name", text_json(r->name), "source",
                              text_json(r->source), "mountpoint", text_json(r->mountpoint), "pid", (int)r->pid, "warnings",
                              text_json(why_text(sentence)));

        free(sentence);
        return m;
}

/* Append the mounts of an agent's answer, or only the one that is called `name`. */
static void take_answer(const json_t *answer, const char *name, json_t *mounts)
{
        json_t *wanted = name ? text_json(name) : NULL;
        json_t *m;
        size_t i;

        json_array_foreach(json_object_get(answer, "mounts"), i, m)
        {
                if (!wanted || json_equal(wanted, json_object_get(m, "name")))
                        json_array_append(mounts, m);
        }
        json_decref(wanted);
}

/* Append the mounts of the record's agent to `mounts`; with `only` none but this one. */
static void ask_record(const char *run, const struct record *r, bool only, json_t *mounts)
{
        CLEANUP_FREE char *why = NULL;
        json_t *answer = NULL;
        pid_t pid;
        int rc;

        if (!r->alive && !r->mountpoint) {
                json_array_append_new(mounts,
                                      broken_mount(r, text_new("an agent died while it started; `dsfs doctor --fix` clears it away")));
                return;
        }
        if (!r->alive) {
                json_array_append_new(mounts,
                                      broken_mount(r, text_new("its agent (process %d) has died: `dsfs mount %s %s` serves it again, "
                                                               "`dsfs umount %s` clears it away",
                                                               (int)r->pid, r->source, r->mountpoint, r->mountpoint)));
                return;
        }
        rc = command_ask(run, r, "status", NULL, ANSWER_MS, &answer, &pid, &why);
        if (rc == 0)
                take_answer(answer, only ? r->name : NULL, mounts);
        else if (r->mountpoint)
                json_array_append_new(mounts, broken_mount(r, text_new("%s; if that lasts, end process %d and mount it again",
                                                                       why_text(why), (int)r->pid)));
        json_decref(answer);
}

static const char *shown(const json_t *mount, const char *key)
{
        const char *text = json_string_value(json_object_get(mount, key));

        return text ? text : "-";
}

static json_int_t number(const json_t *object, const char *key)
{
        return json_integer_value(json_object_get(object, key));
}

static void print_replay(const json_t *m)
{
        if (json_is_true(json_object_get(m, "replay")))
                printf("  watchers     hear of the host's edits: %" JSON_INTEGER_FORMAT " replayed\n", number(m, "replayed"));
        else
                printf("  watchers     do not hear of the host's edits\n");
}

static void print_prewarm(const json_t *p)
{
        const char *state = shown(p, "state");

        if (strcmp(state, "off") == 0)
                return;
        printf("  pre-warming  %s: %" JSON_INTEGER_FORMAT " names, %" JSON_INTEGER_FORMAT " files, %.1f MiB, %.1f s\n", state,
               number(p, "entries"), number(p, "files"), (double)number(p, "bytes") / KIB / KIB,
               json_real_value(json_object_get(p, "seconds")));
}

static void print_hash(const json_t *m)
{
        const json_t *cache = json_object_get(m, "cache");
        const json_t *progress = json_object_get(cache, "progress");
        const char *root = json_string_value(json_object_get(m, "root_hash"));

        printf("  content      %s%s", root ? root : "not hashed yet",
               root && json_is_true(json_object_get(m, "root_hash_pending")) ? " (changes wait)" : "");
        if (json_is_true(json_object_get(cache, "waits")))
                printf(", waits for another process to let go of the memory");
        else if (json_is_true(json_object_get(cache, "scanning")))
                printf(", scanning: %" JSON_INTEGER_FORMAT " entries, %.1f MiB read", number(progress, "entries"),
                       (double)number(progress, "bytes") / KIB / KIB);
        printf("; remembers %" JSON_INTEGER_FORMAT " entries in %.1f MiB, %" JSON_INTEGER_FORMAT " files read, %" JSON_INTEGER_FORMAT
               " remembered\n",
               number(cache, "entries"), (double)number(cache, "bytes") / KIB / KIB, number(cache, "reads"), number(cache, "hits"));
}

static void print_artifacts(const json_t *a)
{
        if (!json_is_object(a))
                return;
        printf("  artifacts    %" JSON_INTEGER_FORMAT " rules", number(a, "rules"));
        if (json_is_null(json_object_get(a, "roots"))) {
                printf("; not counted yet\n");
                return;
        }
        printf(": %" JSON_INTEGER_FORMAT " artifacts, %" JSON_INTEGER_FORMAT " generations, %" JSON_INTEGER_FORMAT
               " snapshots in %.1f MiB; %" JSON_INTEGER_FORMAT " paths of the source shadowed, %" JSON_INTEGER_FORMAT
               " orphans (`dsfs artifacts list`)\n",
               number(a, "roots"), number(a, "generations"), number(a, "snapshots"), (double)number(a, "bytes") / KIB / KIB,
               number(a, "shadowed"), number(a, "orphans"));
}

static void print_mount(const json_t *m)
{
        const json_t *told = json_object_get(m, "told");
        const json_t *warning;
        size_t i;

        printf("%s: %s\n", shown(m, "verdict"), shown(m, "name"));
        printf("  source       %s\n  mounted at   %s\n", shown(m, "source"), shown(m, "mountpoint"));
        if (json_object_get(m, "transport")) {
                printf("  served by    process %" JSON_INTEGER_FORMAT ", %.1f MiB, profile %s, through %s%s\n", number(m, "pid"),
                       (double)number(m, "rss") / KIB / KIB, shown(m, "profile"), shown(m, "transport"),
                       json_is_true(json_object_get(m, "readonly")) ? ", read-only" : "");
                printf("  coherence    %s, watch %s: %" JSON_INTEGER_FORMAT " events; told %" JSON_INTEGER_FORMAT
                       " entries, %" JSON_INTEGER_FORMAT " contents, %" JSON_INTEGER_FORMAT " attributes, %" JSON_INTEGER_FORMAT
                       " times all\n",
                       shown(m, "coherence"), shown(m, "watch"), number(m, "events"), number(told, "entries"), number(told, "content"),
                       number(told, "attributes"), number(told, "all"));
                printf("  knows        %" JSON_INTEGER_FORMAT " inodes, %" JSON_INTEGER_FORMAT " names; holds %" JSON_INTEGER_FORMAT
                       " of %" JSON_INTEGER_FORMAT " descriptors; served %" JSON_INTEGER_FORMAT " requests\n",
                       number(m, "nodes"), number(m, "names"), number(m, "fds"), number(m, "fds_max"), number(m, "requests_total"));
                print_replay(m);
                print_prewarm(json_object_get(m, "prewarm"));
                print_hash(m);
                print_artifacts(json_object_get(m, "artifacts"));
        }
        json_array_foreach(json_object_get(m, "warnings"), i, warning)
        {
                printf("  note         %s\n", json_string_value(warning));
        }
}

static enum exit_code print_all(json_t *mounts, bool as_json)
{
        size_t worst = 0;
        size_t i;
        json_t *m;

        json_array_foreach(mounts, i, m)
        {
                size_t rank = verdict_rank(m);

                worst = rank > worst ? rank : worst;
        }
        if (as_json) {
                json_t *root = json_pack("{s:i, s:s, s:O}", "version", STATUS_VERSION, "verdict", verdicts[worst].name, "mounts", mounts);

                (void)json_dumpf(root, stdout, JSON_INDENT(2));
                printf("\n");
                json_decref(root);
        } else {
                json_array_foreach(mounts, i, m)
                {
                        print_mount(m);
                }
        }
        return verdicts[worst].code;
}

/* The verdict on nothing: there is none. */
static enum exit_code print_none(const char *arg, bool as_json)
{
        if (as_json) {
                json_t *root = json_pack("{s:i, s:n, s:[]}", "version", STATUS_VERSION, "verdict", "mounts");

                (void)json_dumpf(root, stdout, JSON_INDENT(2));
                printf("\n");
                json_decref(root);
        }
        if (arg)
                return command_absent(arg);
        if (!as_json)
                printf("nothing is mounted; `dsfs mount SRC` does that\n");
        return EXIT_ABSENT;
}

static enum exit_code status_of(const char *run, const struct record_list *records, const char *arg, bool as_json)
{
        const struct record *only = arg ? command_find(records, arg) : NULL;
        json_t *mounts = json_array();
        enum exit_code code;

        for (size_t i = 0; i < records->count && (!arg || only); i++) {
                const struct record *r = &records->records[i];

                /* An agent that lives tells all its mounts at once. */
                if (only ? only == r : !r->alive || i == 0 || strcmp(r->id, records->records[i - 1].id) != 0)
                        ask_record(run, r, only != NULL, mounts);
        }
        code = json_array_size(mounts) ? print_all(mounts, as_json) : print_none(arg, as_json);
        json_decref(mounts);
        return code;
}

static const struct option long_options[] = {{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};

static enum exit_code run_status(int argc, char **argv)
{
        CLEANUP_FREE char *run = path_runtime();
        struct record_list records CLEANUP(record_list_release) = {0};
        bool as_json = false;
        int c;

        while ((c = getopt_long(argc, argv, "jh", long_options, NULL)) != -1) {
                if (c == 'h') {
                        command_help(&cmd_status);
                        return EXIT_OK;
                }
                if (c != 'j')
                        return command_usage("status", "that is no option");
                as_json = true;
        }
        if (argc - optind > 1)
                return command_usage("status", "at most one mount can be named");
        if (!run || record_list_read(run, &records)) {
                log_error("the runtime directory %s can't be read", why_text(run));
                return EXIT_FAILED;
        }
        return status_of(run, &records, argc > optind ? argv[optind] : NULL, as_json);
}

const struct command cmd_status = {
        .name = "status",
        .usage = "[NAME|MNT] [--json]",
        .summary = "Say whether mounts are in step with their sources, and what to do if not",
        .help = "  -j, --json    everything, for programs (\"version\": 1)\n"
                "The verdict is ok, degraded (exit 3: still correct, slower or limited) or broken (exit 1).\n",
        .run = run_status,
};
