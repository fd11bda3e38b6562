/*
 * dsfs wait: the barrier.
 */
#include "sync/agent/cmd.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/log.h"

#define TIMEOUT_MS 60000
#define TIMEOUT_MAX_S 86400
/* The agent's own answer to a time-out comes before we give up on the agent. */
#define GRACE_MS 10000

struct wait_for {
        int timeout_ms;
        bool hashed;
};

static enum exit_code wait_one(const char *run, const struct record *r, const struct wait_for *w)
{
        CLEANUP_FREE char *why = NULL;
        json_t *answer = NULL;
        pid_t pid;
        int rc;

        if (!r->alive) {
                log_error("the agent of %s has died; `dsfs mount` or `dsfs umount` it again", r->mountpoint ? r->mountpoint : r->id);
                return EXIT_ABSENT;
        }
        rc = command_ask(run, r, "wait", json_pack("{s:i, s:b}", "timeout_ms", w->timeout_ms, "hashed", (int)w->hashed),
                         w->timeout_ms + GRACE_MS, &answer, &pid, &why);
        json_decref(answer);
        if (rc) {
                log_error("%s", why_text(why));
                return EXIT_FAILED;
        }
        return EXIT_OK;
}

/* The mount that the current directory is in. */
static const struct record *record_here(const struct record_list *records)
{
        CLEANUP_FREE char *here = getcwd(NULL, 0);

        for (size_t i = 0; here && i < records->count; i++) {
                if (records->records[i].mountpoint && path_is_below(here, records->records[i].mountpoint))
                        return &records->records[i];
        }
        return NULL;
}

static enum exit_code wait_all(const char *run, const struct record_list *records, const struct wait_for *w)
{
        enum exit_code worst = EXIT_OK;

        if (records->count == 0) {
                log_error("nothing is mounted; `dsfs mount SRC` does that");
                return EXIT_ABSENT;
        }
        for (size_t i = 0; i < records->count; i++) {
                enum exit_code code;

                /* The mounts of one source are in step together. */
                if (i > 0 && strcmp(records->records[i].id, records->records[i - 1].id) == 0)
                        continue;
                code = wait_one(run, &records->records[i], w);

                if (code > worst)
                        worst = code;
        }
        return worst;
}

static const struct option long_options[] = {
        {"timeout", required_argument, NULL, 't'}, {"hashed", no_argument, NULL, 'H'}, {"help", no_argument, NULL, 'h'}, {0}};

static enum exit_code run_wait(int argc, char **argv)
{
        CLEANUP_FREE char *run = path_runtime();
        struct record_list records CLEANUP(record_list_release) = {0};
        struct wait_for w = {.timeout_ms = TIMEOUT_MS};
        const struct record *r;
        int c;

        while ((c = getopt_long(argc, argv, "t:h", long_options, NULL)) != -1) {
                char *end = NULL;
                double seconds = c == 't' ? strtod(optarg, &end) : 0;

                if (c == 'h') {
                        command_help(&cmd_wait);
                        return EXIT_OK;
                }
                if (c == 'H') {
                        w.hashed = true;
                        continue;
                }
                if (c != 't')
                        return command_usage("wait", "that is no option");
                if (end == optarg || *end || !isfinite(seconds) || seconds < 0 || seconds > TIMEOUT_MAX_S)
                        return command_usage("wait", "--timeout %s: allowed is a number of seconds, 0 to %d", optarg, TIMEOUT_MAX_S);
                w.timeout_ms = (int)(seconds * 1000);
        }
        if (argc - optind > 1)
                return command_usage("wait", "at most one mount can be named");
        if (!run || record_list_read(run, &records)) {
                log_error("the runtime directory %s can't be read", why_text(run));
                return EXIT_FAILED;
        }
        r = argc > optind ? command_find(&records, argv[optind]) : record_here(&records);
        if (!r && argc > optind)
                return command_absent(argv[optind]);
        return r ? wait_one(run, r, &w) : wait_all(run, &records, &w);
}

const struct command cmd_wait = {
        .name = "wait",
        .usage = "[NAME|MNT] [--timeout SECONDS] [--hashed]",
        .summary = "Return when all earlier changes of the source are visible in the mount",
        .help = "  NAME|MNT      by default the mount of the current directory, else all of them\n"
                "  -t, --timeout give up after so many seconds (60)\n"
                "  --hashed      ... and are in the root hash that `dsfs status` shows\n",
        .run = run_wait,
};
