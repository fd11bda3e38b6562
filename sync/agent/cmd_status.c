/*
 * dsfs status: is what the container reads what is on disk? The verdict first.
 */
#include "sync/agent/cmd.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cache/base/log.h"
#include "sync/agent/status_gather.h"
#include "sync/agent/status_show.h"
#include "sync/agent/status_watch.h"
#include "sync/agent/term.h"

struct status_wish {
        bool json, watch;
        const char *colour;
};

static const struct option long_options[] = {{"json", no_argument, NULL, 'j'},
                                             {"watch", no_argument, NULL, 'w'},
                                             {"color", required_argument, NULL, 'c'},
                                             {"help", no_argument, NULL, 'h'},
                                             {0}};

static void show_wrapped(const struct term *t, const json_t *status)
{
        CLEANUP_FREE char *text = NULL;
        size_t len;
        FILE *to = open_memstream(&text, &len);

        if (!to)
                return;
        status_show(to, t, status, NULL);
        fclose(to);
        term_wrap(stdout, t, text, STATUS_INDENT);
}

static enum exit_code show(const char *run, const char *arg, const struct status_wish *w, const struct term *t)
{
        json_t *status = status_gather(run, arg, true);
        enum exit_code code = status ? status_exit(json_object_get(status, "verdict")) : EXIT_FAILED;

        if (status && w->json) {
                (void)json_dumpf(status, stdout, JSON_INDENT(2));
                printf("\n");
        }
        if (code == EXIT_ABSENT && arg)
                code = command_absent(arg);
        else if (status && !w->json)
                show_wrapped(t, status);
        json_decref(status);
        return code;
}

static enum exit_code run_status(int argc, char **argv)
{
        CLEANUP_FREE char *run = path_runtime();
        struct status_wish w = {0};
        struct term term;
        const char *arg;
        int c;

        while ((c = getopt_long(argc, argv, "jwh", long_options, NULL)) != -1) {
                if (c == 'h') {
                        command_help(&cmd_status);
                        return EXIT_OK;
                }
                if (c == 'j')
                        w.json = true;
                else if (c == 'w')
                        w.watch = true;
                else if (c == 'c')
                        w.colour = optarg;
                else
                        return command_usage("status", "that is no option");
        }
        if (argc - optind > 1)
                return command_usage("status", "at most one mount can be named");
        if (!term_look(w.colour, &term))
                return command_usage("status", "--color is auto, always or never, not %s", w.colour);
        if (w.watch && (w.json || !term.terminal))
                return command_usage("status", "--watch draws on a terminal, and nothing else");
        if (!run) {
                log_error("out of memory");
                return EXIT_FAILED;
        }
        arg = argc > optind ? argv[optind] : NULL;
        return w.watch ? status_watch(run, arg, &term) : show(run, arg, &w, &term);
}

const struct command cmd_status = {
        .name = "status",
        .usage = "[NAME|MNT] [--json | --watch] [--color WHEN]",
        .summary = "Say whether mounts are in step with their sources, and what to do if not",
        .help = "  -j, --json    everything, for programs (\"version\": 1)\n"
                "  -w, --watch   draw it in place once a second, with the last minute's changes; Ctrl-C ends it\n"
                "      --color WHEN   auto (the default: on a terminal, unless NO_COLOR is set), always or never\n"
                "The verdict is ok, degraded (exit 3: still correct, slower or limited) or broken (exit 1). With nothing mounted it is\n"
                "exit 4, and what is remembered of sources is shown.\n",
        .run = run_status,
};
