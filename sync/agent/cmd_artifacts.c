/*
 * dsfs artifacts: its verbs and their options. What is asked here is done by the agent, or by artifacts_do() itself where there is none.
 */
#include "sync/agent/cmd.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/base/err.h"
#include "fs/artifacts.h"
#include "sync/agent/cmd_artifacts_do.h"

struct artifacts_verb {
        const char *name;
        const char *usage;
        const char *summary;
        const char *help;
        const char *options; /* of option_table, those that it takes: their letters */
        size_t least, most;  /* arguments */
        enum exit_code (*run)(const struct artifacts_wish *w);
};

#define HELP_OF "      --of NAME|SRC   the mount or source that is meant; PATHs are relative to the source then\n"
#define HELP_JSON "  -j, --json          for programs (\"version\": 1)\n"
#define HELP_DRY "  -n, --dry-run       say what would be done\n"

static const struct artifacts_verb verbs[] = {
        {"list", "[NAME|SRC] [--json]", "Show the artifacts of a source, their generations and snapshots, and what they take on disk",
         HELP_JSON "Without a name: of the source or mount that the working directory is in, else of all.\n", "oj", 0, 1,
         command_artifacts_list},
        {"show", "PATH [--json]", "Show all about one artifact: its rule, key files and generations", HELP_OF HELP_JSON, "oj", 1, 1,
         command_artifacts_show},
        {"adopt", "[--move] PATH…, or --from DIR|TAR|image:REF:/PATH PATH",
         "Have in the artifact what the source has there, or what was built elsewhere",
         "  -m, --move          move it out of the source instead of copying it\n"
         "  -f, --from WHAT     not from the source, but a directory, a tar archive (compressed or not), or a path in a container\n"
         "                      image (by docker or podman, or what DSFS_CONTAINER_ENGINE names)\n"
         "      --replace       drop what is there\n" HELP_DRY HELP_OF HELP_JSON,
         "omfrnj", 1, SIZE_MAX, command_artifacts_adopt},
        {"save", "NAME [PATH…]", "Make a snapshot of artifacts: of these, or of all that have no key",
         "      --replace       in place of the snapshot of that name\n"
         "      --force         though somebody has files in it open for writing: it may hold halves then\n" HELP_OF HELP_JSON,
         "orFj", 1, SIZE_MAX, command_artifacts_save},
        {"restore", "NAME", "Put a snapshot in place; what it replaces is the snapshot " ARTIFACT_BEFORE " then",
         "      --force         though somebody has files in it open for writing: he goes on writing to what was there before\n" HELP_OF
                 HELP_JSON,
         "oFj", 1, 1, command_artifacts_restore},
        {"prune", "[NAME|SRC] [--older-than AGE] [--keep N] [--orphans] [--snapshots] [--all] [--dry-run]",
         "Remove generations that are not current; or orphans, snapshots",
         "      --older-than AGE   only what was not used for so long: 90s, 30m, 12h, 7d, 4w\n"
         "      --keep N           but not the N newest generations of each artifact, nor the N newest snapshots\n"
         "      --orphans          orphans: artifacts whose directory or rule is gone\n"
         "      --snapshots        snapshots\n"
         "      --all              generations, orphans and snapshots\n"
         "  -n, --dry-run          say what would be removed\n" HELP_JSON "What mounts show is never removed.\n",
         "oOkpsanj", 0, 1, command_artifacts_prune},
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

static bool take_option(struct artifacts_wish *w, int c)
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
        struct artifacts_wish w = {.older_than = -1, .keep = -1};
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
