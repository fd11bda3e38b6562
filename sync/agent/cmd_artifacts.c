/*
 * dsfs artifacts: what is generated, and having it in place. What is asked here is done by the agent, or by artifacts_do() itself where
 * there is none.
 */
#include "sync/agent/cmd.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/log.h"
#include "sync/agent/artifacts_from.h"
#include "sync/agent/artifacts_target.h"
#include "sync/agent/cmd_artifacts_show.h"
#include "sync/serve/json.h"

struct wish {
        const char *of, *from;
        bool as_json, move, replace, dry, force, orphans, snapshots, all;
        json_int_t older_than, keep; /* below 0: not said */
        size_t count;
        char **args; /* what is no option */
};

struct artifacts_verb {
        const char *name;
        const char *usage;
        const char *summary;
        const char *help;
        const char *options; /* of option_table, those that it takes: their letters */
        size_t least, most;  /* arguments */
        enum exit_code (*run)(const struct wish *w);
};

/*
 * Asking
 */

static enum exit_code refused(int rc, const char *why)
{
        log_error("%s", why_text(why));
        return rc == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
}

/* The source that is meant: by --of, else by the first argument if that is a path (`where`), else by the working directory. */
static enum exit_code find_target(const struct wish *w, const char *where, struct artifacts_target *ret)
{
        CLEANUP_FREE char *why = NULL;
        CLEANUP_FREE char *here = getcwd(NULL, 0);
        CLEANUP_FREE char *absolute = where ? artifacts_absolute(where) : NULL;
        int rc = artifacts_target_find(w->of, absolute ? absolute : here ? here : "/", ret, &why);

        if (rc == 0)
                return EXIT_OK;
        log_error("%s", why_text(why));
        return rc == -ENOENT ? EXIT_ABSENT : EXIT_FAILED;
}

/* Takes `args`. */
static enum exit_code ask(const struct artifacts_target *t, json_t *args, json_t **ret)
{
        CLEANUP_FREE char *why = NULL;
        const char *warning;
        int rc = artifacts_ask(t, args, ret, &why);

        if (rc)
                return refused(rc, why);
        warning = json_string_value(json_object_get(*ret, "warning"));
        if (warning)
                log_warn("%s", warning);
        return EXIT_OK;
}

static void print_json(const json_t *answer)
{
        (void)json_dumpf(answer, stdout, JSON_INDENT(2));
        printf("\n");
}

static json_t *path_json(const struct artifacts_target *t, const struct wish *w, const char *arg)
{
        CLEANUP_FREE char *why = NULL;
        CLEANUP_FREE char *path = artifacts_target_path(t, arg, w->of != NULL, &why);

        if (path)
                return bytes_to_json(path, strlen(path));
        log_error("%s", why_text(why));
        return NULL;
}

/*
 * list, show
 */

static enum exit_code list_one(const struct wish *w, const char *of)
{
        struct artifacts_target t CLEANUP(artifacts_target_release) = ARTIFACTS_TARGET_NONE;
        struct wish mine = *w;
        json_t *answer = NULL;
        enum exit_code code;

        mine.of = of;
        code = find_target(&mine, NULL, &t);
        if (code == EXIT_OK && !t.agent && access(t.dir, F_OK) < 0) {
                log_error("%s has no artifacts yet; mounting it with rules makes some", t.source);
                return EXIT_ABSENT;
        }
        if (code == EXIT_OK)
                code = ask(&t, json_pack("{s:s}", "do", "list"), &answer);
        if (code == EXIT_OK && w->as_json)
                print_json(answer);
        else if (code == EXIT_OK)
                artifacts_print_list(answer);
        json_decref(answer);
        return code;
}

static enum exit_code list_all(const struct wish *w)
{
        json_t *sources = artifacts_sources();
        enum exit_code worst = EXIT_OK;
        const json_t *one;
        size_t i;

        if (json_array_size(sources) == 0) {
                log_error("no source has artifacts; rules under `artifacts:` in its dsfs.yaml say what is one");
                worst = EXIT_ABSENT;
        }
        json_array_foreach(sources, i, one)
        {
                CLEANUP_FREE char *source = path_from_json(one);
                enum exit_code code = source ? list_one(w, source) : EXIT_FAILED;

                worst = worst ? worst : code;
        }
        json_decref(sources);
        return worst;
}

static enum exit_code run_list(const struct wish *w)
{
        struct artifacts_target t CLEANUP(artifacts_target_release) = ARTIFACTS_TARGET_NONE;
        CLEANUP_FREE char *why = NULL;
        CLEANUP_FREE char *here = getcwd(NULL, 0);

        if (w->count || w->of)
                return list_one(w, w->count ? w->args[0] : w->of);
        if (artifacts_target_find(NULL, here ? here : "/", &t, &why) == 0)
                return list_one(w, t.source);
        return list_all(w);
}

static enum exit_code run_show(const struct wish *w)
{
        struct artifacts_target t CLEANUP(artifacts_target_release) = ARTIFACTS_TARGET_NONE;
        enum exit_code code = find_target(w, w->args[0], &t);
        json_t *answer = NULL;
        json_t *path;

        if (code)
                return code;
        path = path_json(&t, w, w->args[0]);
        if (!path)
                return EXIT_USAGE;
        code = ask(&t, json_pack("{s:s, s:o}", "do", "show", "path", path), &answer);
        if (code == EXIT_OK && w->as_json)
                print_json(answer);
        else if (code == EXIT_OK)
                artifacts_print_root(answer);
        json_decref(answer);
        return code;
}

/*
 * adopt
 */

static void print_done(const struct wish *w, const json_t *answer, const char *did, const char *would)
{
        if (w->as_json) {
                print_json(answer);
                return;
        }
        printf("%s ", w->dry ? would : did);
        print_name(json_string_value(json_object_get(answer, "path")));
        printf(": %s in %" JSON_INTEGER_FORMAT " files\n", amount_of(json_integer_value(json_object_get(answer, "bytes"))).text,
               json_integer_value(json_object_get(answer, "files")));
}

static enum exit_code adopt_source(const struct wish *w, const struct artifacts_target *t, const char *arg)
{
        json_t *path = path_json(t, w, arg);
        json_t *answer = NULL;
        enum exit_code code;

        if (!path)
                return EXIT_USAGE;
        code = ask(t,
                   json_pack("{s:s, s:o, s:b, s:b, s:b}", "do", "adopt", "path", path, "move", (int)w->move, "replace", (int)w->replace,
                             "dry", (int)w->dry),
                   &answer);
        if (code == EXIT_OK)
                print_done(w, answer, w->move ? "moved" : "copied", w->move ? "would move" : "would copy");
        json_decref(answer);
        return code;
}

/* The stage has to be there before an overlay is opened for the first time. */
static enum exit_code adopt_fetched(const struct wish *w, const struct artifacts_target *t, const char *path)
{
        struct artifact_stage stage CLEANUP(artifacts_stage_end) = ARTIFACT_STAGE_NONE;
        const char *slash = strrchr(path, '/');
        CLEANUP_FREE char *name = NULL;
        CLEANUP_FREE char *why = NULL;
        json_t *answer = NULL;
        enum exit_code code;
        int rc = artifacts_stage_at(t->dir, &stage, &why);

        if (rc == 0)
                rc = artifacts_fetch(w->from, slash ? slash + 1 : path, &stage, &name, &why);
        if (rc)
                return refused(rc == -EINVAL ? -EBADMSG : rc, why);
        code = ask(t,
                   json_pack("{s:s, s:o, s:s, s:s, s:b}", "do", "place", "path", bytes_to_json(path, strlen(path)), "stage", stage.name,
                             "name", name, "replace", (int)w->replace),
                   &answer);
        if (code == EXIT_OK)
                print_done(w, answer, "adopted", "would adopt");
        json_decref(answer);
        return code;
}

static enum exit_code adopt_from(const struct wish *w, const struct artifacts_target *t)
{
        CLEANUP_FREE char *why = NULL;
        CLEANUP_FREE char *path = artifacts_target_path(t, w->args[0], w->of != NULL, &why);
        json_t *answer = NULL;
        enum exit_code code;

        if (!path)
                return refused(-EINVAL, why);
        /* Before anything is fetched: is that a place for it? */
        code = ask(t,
                   json_pack("{s:s, s:o, s:s, s:s, s:b, s:b}", "do", "place", "path", bytes_to_json(path, strlen(path)), "stage", "",
                             "name", "", "replace", (int)w->replace, "dry", 1),
                   &answer);
        json_decref(answer);
        if (code == EXIT_OK && w->dry)
                printf("would adopt %s from %s\n", path, w->from);
        return code || w->dry ? code : adopt_fetched(w, t, path);
}

static enum exit_code run_adopt(const struct wish *w)
{
        struct artifacts_target t CLEANUP(artifacts_target_release) = ARTIFACTS_TARGET_NONE;
        enum exit_code worst = find_target(w, w->args[0], &t);

        if (worst)
                return worst;
        if (w->from && (w->count != 1 || w->move))
                return command_usage("artifacts adopt", "--from takes one PATH, and never moves");
        if (w->from)
                return adopt_from(w, &t);
        for (size_t i = 0; i < w->count; i++) {
                enum exit_code code = adopt_source(w, &t, w->args[i]);

                worst = worst ? worst : code;
        }
        return worst;
}

/*
 * save, restore
 */

static void print_snapshot(const struct wish *w, const json_t *answer, const char *did)
{
        const json_t *path;
        size_t i;

        if (w->as_json) {
                print_json(answer);
                return;
        }
        printf("%s ", did);
        print_name(json_string_value(json_object_get(answer, "name")));
        printf(", %s in %" JSON_INTEGER_FORMAT " files:", amount_of(json_integer_value(json_object_get(answer, "bytes"))).text,
               json_integer_value(json_object_get(answer, "files")));
        json_array_foreach(json_object_get(answer, "paths"), i, path)
        {
                putchar(' ');
                print_name(json_string_value(path));
        }
        putchar('\n');
}

static enum exit_code run_save(const struct wish *w)
{
        struct artifacts_target t CLEANUP(artifacts_target_release) = ARTIFACTS_TARGET_NONE;
        enum exit_code code = find_target(w, w->count > 1 ? w->args[1] : NULL, &t);
        json_t *answer = NULL;
        json_t *paths;

        if (code)
                return code;
        paths = json_array();
        for (size_t i = 1; i < w->count; i++) {
                json_t *path = path_json(&t, w, w->args[i]);

                if (!path) {
                        json_decref(paths);
                        return EXIT_USAGE;
                }
                json_array_append_new(paths, path);
        }
        code = ask(&t,
                   json_pack("{s:s, s:o, s:o, s:b, s:b}", "do", "save", "name", bytes_to_json(w->args[0], strlen(w->args[0])), "paths",
                             paths, "replace", (int)w->replace, "force", (int)w->force),
                   &answer);
        if (code == EXIT_OK)
                print_snapshot(w, answer, "saved");
        json_decref(answer);
        return code;
}

static enum exit_code run_restore(const struct wish *w)
{
        struct artifacts_target t CLEANUP(artifacts_target_release) = ARTIFACTS_TARGET_NONE;
        enum exit_code code = find_target(w, NULL, &t);
        json_t *answer = NULL;

        if (code)
                return code;
        code = ask(&t,
                   json_pack("{s:s, s:o, s:b}", "do", "restore", "name", bytes_to_json(w->args[0], strlen(w->args[0])), "force",
                             (int)w->force),
                   &answer);
        if (code == EXIT_OK)
                print_snapshot(w, answer, "restored");
        if (code == EXIT_OK && !w->as_json)
                printf("What it replaced is the snapshot %s.\n", ARTIFACT_BEFORE);
        json_decref(answer);
        return code;
}

/*
 * prune
 */

static enum exit_code run_prune(const struct wish *w)
{
        struct artifacts_target t CLEANUP(artifacts_target_release) = ARTIFACTS_TARGET_NONE;
        bool some = w->orphans || w->snapshots;
        struct wish mine = *w;
        json_t *answer = NULL;
        json_t *args;
        enum exit_code code;

        if (w->count)
                mine.of = w->args[0];
        code = find_target(&mine, NULL, &t);
        if (code)
                return code;
        args = json_pack("{s:s, s:b, s:b, s:b, s:I, s:I, s:b}", "do", "prune", "generations", w->all || !some, "orphans",
                         w->all || w->orphans, "snapshots", w->all || w->snapshots, "older_than", w->older_than, "keep", w->keep, "dry",
                         (int)w->dry);
        code = ask(&t, args, &answer);
        if (code == EXIT_OK && w->as_json)
                print_json(answer);
        else if (code == EXIT_OK)
                artifacts_print_pruned(answer);
        json_decref(answer);
        return code;
}

/*
 * The table
 */

#define HELP_OF "      --of NAME|SRC   the mount or source that is meant; PATHs are relative to the source then\n"
#define HELP_JSON "  -j, --json          for programs (\"version\": 1)\n"
#define HELP_DRY "  -n, --dry-run       say what would be done\n"

static const struct artifacts_verb verbs[] = {
        {"list", "[NAME|SRC] [--json]", "Show the artifacts of a source, their generations and snapshots, and what they take on disk",
         HELP_JSON "Without a name: of the source or mount that the working directory is in, else of all.\n", "oj", 0, 1, run_list},
        {"show", "PATH [--json]", "Show all about one artifact: its rule, key files and generations", HELP_OF HELP_JSON, "oj", 1, 1,
         run_show},
        {"adopt", "[--move] PATH…, or --from DIR|TAR|image:REF:/PATH PATH",
         "Have in the artifact what the source has there, or what was built elsewhere",
         "  -m, --move          move it out of the source instead of copying it\n"
         "  -f, --from WHAT     not from the source, but a directory, a tar archive (compressed or not), or a path in a container\n"
         "                      image (by docker or podman, or what DSFS_CONTAINER_ENGINE names)\n"
         "      --replace       drop what is there\n" HELP_DRY HELP_OF HELP_JSON,
         "omfrnj", 1, SIZE_MAX, run_adopt},
        {"save", "NAME [PATH…]", "Make a snapshot of artifacts: of these, or of all that have no key",
         "      --replace       in place of the snapshot of that name\n"
         "      --force         though somebody has files in it open for writing: it may hold halves then\n" HELP_OF HELP_JSON,
         "orFj", 1, SIZE_MAX, run_save},
        {"restore", "NAME", "Put a snapshot in place; what it replaces is the snapshot " ARTIFACT_BEFORE " then",
         "      --force         though somebody has files in it open for writing: he goes on writing to what was there before\n" HELP_OF
                 HELP_JSON,
         "oFj", 1, 1, run_restore},
        {"prune", "[NAME|SRC] [--older-than AGE] [--keep N] [--orphans] [--snapshots] [--all] [--dry-run]",
         "Remove generations that are not current; or orphans, snapshots",
         "      --older-than AGE   only what was not used for so long: 90s, 30m, 12h, 7d, 4w\n"
         "      --keep N           but not the N newest generations of each artifact, nor the N newest snapshots\n"
         "      --orphans          orphans: artifacts whose directory or rule is gone\n"
         "      --snapshots        snapshots\n"
         "      --all              generations, orphans and snapshots\n"
         "  -n, --dry-run          say what would be removed\n" HELP_JSON "What mounts show is never removed.\n",
         "oOkpsanj", 0, 1, run_prune},
};

static const struct option long_options[] = {{"of", required_argument, NULL, 'o'},   {"json", no_argument, NULL, 'j'},
                                             {"move", no_argument, NULL, 'm'},       {"from", required_argument, NULL, 'f'},
                                             {"replace", no_argument, NULL, 'r'},    {"dry-run", no_argument, NULL, 'n'},
                                             {"force", no_argument, NULL, 'F'},      {"older-than", required_argument, NULL, 'O'},
                                             {"keep", required_argument, NULL, 'k'}, {"orphans", no_argument, NULL, 'p'},
                                             {"snapshots", no_argument, NULL, 's'},  {"all", no_argument, NULL, 'a'},
                                             {"help", no_argument, NULL, 'h'},       {0}};

static bool count_of(const char *text, json_int_t *ret)
{
        char *end;

        errno = 0;
        *ret = strtoll(text, &end, 10);
        return isdigit((unsigned char)*text) && errno == 0 && *end == '\0';
}

/* "7d": in seconds. */
static bool age_of(const char *text, json_int_t *ret)
{
        static const struct {
                char unit;
                json_int_t seconds;
        } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
        char digits[16];
        size_t len = strlen(text);

        if (len < 2 || len > sizeof(digits))
                return false;
        memcpy(digits, text, len - 1);
        digits[len - 1] = '\0';
        for (size_t i = 0; i < ARRAY_LEN(units); i++) {
                if (units[i].unit == text[len - 1] && count_of(digits, ret) && *ret <= INT64_MAX / units[i].seconds) {
                        *ret *= units[i].seconds;
                        return true;
                }
        }
        return false;
}

static bool take_option(struct wish *w, int c)
{
        switch (c) {
        case 'o':
                w->of = optarg;
                return true;
        case 'f':
                w->from = optarg;
                return true;
        case 'O':
                return age_of(optarg, &w->older_than);
        case 'k':
                return count_of(optarg, &w->keep);
        case 'j':
                return w->as_json = true;
        case 'm':
                return w->move = true;
        case 'r':
                return w->replace = true;
        case 'n':
                return w->dry = true;
        case 'F':
                return w->force = true;
        case 'p':
                return w->orphans = true;
        case 's':
                return w->snapshots = true;
        default:
                return w->all = true;
        }
}

static enum exit_code run_verb(const struct artifacts_verb *v, int argc, char **argv)
{
        struct wish w = {.older_than = -1, .keep = -1};
        char name[32];
        int c;

        snprintf(name, sizeof(name), "artifacts %s", v->name);
        while ((c = getopt_long(argc, argv, "jmf:nh", long_options, NULL)) != -1) {
                if (c == 'h') {
                        printf("usage: dsfs %s %s\n\n%s.\n\n%s", name, v->usage, v->summary, v->help);
                        return EXIT_OK;
                }
                if (c == '?' || !strchr(v->options, c))
                        return command_usage(name, c == '?' ? "that is no option" : "it takes no such option");
                if (!take_option(&w, c))
                        return command_usage(name, "%s is no %s", optarg, c == 'O' ? "age like 12h, 7d or 4w" : "number");
        }
        w.args = argv + optind;
        w.count = (size_t)(argc - optind);
        if (w.count < v->least || w.count > v->most)
                return command_usage(name, "it takes %s", v->usage);
        return v->run(&w);
}

static const char help[] = "  list      what there is: artifacts, generations, snapshots, orphans, what of the source is shadowed\n"
                           "  show      all about one artifact\n"
                           "  adopt     have what the source has there, or what was built elsewhere\n"
                           "  save      a snapshot, by name\n"
                           "  restore   a snapshot, in place\n"
                           "  prune     remove generations that are not current; orphans, snapshots\n"
                           "`dsfs artifacts VERB --help` says more.\n";

static enum exit_code run_artifacts(int argc, char **argv)
{
        if (argc < 2)
                return command_usage("artifacts", "a verb is needed: list, show, adopt, save, restore or prune");
        if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
                command_help(&cmd_artifacts);
                return EXIT_OK;
        }
        for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
                if (strcmp(verbs[i].name, argv[1]) == 0)
                        return run_verb(&verbs[i], argc - 1, argv + 1);
        }
        return command_usage("artifacts", "there is no verb %s", argv[1]);
}

const struct command cmd_artifacts = {
        .name = "artifacts",
        .usage = "VERB …",
        .summary = "Show and manage what tools have generated: list, show, adopt, save, restore, prune",
        .help = help,
        .run = run_artifacts,
};
