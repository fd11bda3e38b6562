/*
 * dsfs config: are the configuration files right, and what is in effect? Needs no agent.
 */
#include "sync/agent/cmd.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cache/base/log.h"
#include "sync/agent/config.h"
#include "sync/agent/config_show.h"
#include "sync/agent/place.h"
#include "sync/agent/ruling.h"

/* Texts are the command line's. */
struct asked {
        const char *command; /* -o */
        bool defaults;
};

static enum exit_code code_of(int rc)
{
        return rc == 0 ? EXIT_OK : rc == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
}

static void free_config(struct config **c)
{
        config_free(*c);
}

static int load(const char *arg, const struct asked *asked, struct config **config, struct ruling *ruling, char **why)
{
        CLEANUP_FREE char *source = NULL;
        int rc = place_source(arg, &source, why);

        if (rc == 0)
                rc = config_load(source, asked->command, config, why);
        return rc ? rc : ruling_make(*config, ruling, why);
}

static int check_source(const char *arg, const struct asked *asked, char **why)
{
        CLEANUP(free_config) struct config *c = NULL;
        struct ruling ruling CLEANUP(ruling_release) = {0};
        int rc = load(arg, asked, &c, &ruling, why);

        if (rc)
                return rc;
        for (size_t i = 0; i < c->file_count; i++) {
                if (c->files[i].found)
                        printf("ok: %s\n", c->files[i].path);
        }
        printf("ok: %s: %zu rules\n", c->source, rules_count(ruling.rules));
        return 0;
}

/* A file that is called as a checkout's is one. */
static int check_file(const char *path, char **why)
{
        const char *slash = strrchr(path, '/');
        bool checkout = strcmp(slash ? slash + 1 : path, CONFIG_NAME_IN_SOURCE) == 0;
        int rc = config_check_file(path, checkout, why);

        if (rc == 0)
                printf("ok: %s\n", path);
        return rc;
}

static enum exit_code check(const char *arg, const struct asked *asked)
{
        CLEANUP_FREE char *why = NULL;
        struct stat st;
        int rc = stat(arg, &st) == 0 && !S_ISDIR(st.st_mode) ? check_file(arg, &why) : check_source(arg, asked, &why);

        if (rc)
                log_error("%s", why_text(why));
        return code_of(rc);
}

static enum exit_code show(const char *arg, const struct asked *asked)
{
        CLEANUP(free_config) struct config *c = NULL;
        struct ruling ruling CLEANUP(ruling_release) = {0};
        CLEANUP_FREE char *why = NULL;
        int rc;

        if (asked->defaults) {
                config_show_sample(stdout);
                return EXIT_OK;
        }
        rc = load(arg, asked, &c, &ruling, &why);
        if (rc)
                log_error("%s", why_text(why));
        else
                config_show(stdout, c, &ruling);
        return code_of(rc);
}

static const struct option long_options[] = {
        {"options", required_argument, NULL, 'o'}, {"defaults", no_argument, NULL, 'd'}, {"help", no_argument, NULL, 'h'}, {0}};

static enum exit_code run_config(int argc, char **argv)
{
        struct asked asked = {0};
        const char *what, *arg;
        int c;

        while ((c = getopt_long(argc, argv, "o:dh", long_options, NULL)) != -1) {
                if (c == 'h') {
                        command_help(&cmd_config);
                        return EXIT_OK;
                }
                if (c == 'o')
                        asked.command = optarg;
                else if (c == 'd')
                        asked.defaults = true;
                else
                        return command_usage("config", "that is no option");
        }
        what = argc > optind ? argv[optind] : "";
        arg = argc - optind == 2 ? argv[optind + 1] : ".";
        if (argc - optind > 2)
                return command_usage("config", "at most one file or source can be named");
        if (strcmp(what, "check") == 0)
                return check(arg, &asked);
        if (strcmp(what, "show") == 0)
                return show(arg, &asked);
        return command_usage("config", "check or show is needed");
}

const struct command cmd_config = {
        .name = "config",
        .usage = "check [FILE|SRC] | show [SRC] [-o OPTIONS] [--defaults]",
        .summary = "Check the configuration files, or show what is in effect",
        .help = "  check           the files that count for the source (default: the current directory), or one file;\n"
                "                  exit 2 and file:line:column if one is wrong\n"
                "  show            every value with where it comes from, and the rules\n"
                "  -o, --options OPTIONS   as for `dsfs mount`\n"
                "  -d, --defaults  show all keys with their defaults and what they mean: a file to begin with\n",
        .run = run_config,
};
