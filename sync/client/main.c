/*
 * dsfs-client: what a container needs of the command line, in one static program that an image of any distribution can COPY in. It knows
 * nothing of agents, sources and records, only what the mount that it is in offers in its hidden directory (.dsfs).
 *
 *   main.c      this map, and the table of commands    follow.c  `events` and `wait`, over the event stream
 *   status.c    `status`: what the agent wrote down    ../run/   `run`, the same as dsfs has
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/base/err.h"
#include "cache/base/log.h"
#include "sync/client/client.h"
#include "sync/run/choices.h"
#include "sync/run/in_mount.h"
#include "sync/serve/subscriber.h"
#include "sync/serve/why.h"

char *client_place(const char *socket, const char *name, char **root)
{
        CLEANUP_FREE char *place = socket ? in_mount_absolute(socket) : NULL;
        CLEANUP_FREE char *found = NULL;

        if (socket) {
                char *slash = place ? strrchr(place, '/') : NULL;

                if (!slash)
                        return NULL;
                /* Its neighbour, if that is what is wanted. */
                return strcmp(name, EVENTS_IN_MOUNT) == 0 ? steal_ptr(&place)
                                                          : text_new("%.*s/%s", (int)(slash - place), place, strrchr(name, '/') + 1);
        }
        found = in_mount_root(name);
        if (!found) {
                log_error("the current directory is in no mount of dsfs, or none that has %s; go there, or name it with --socket", name);
                return NULL;
        }
        place = text_new("%s/%s", strcmp(found, "/") == 0 ? "" : found, name);
        if (root)
                *root = steal_ptr(&found);
        return steal_ptr(&place);
}

int client_usage(const char *command, const char *why)
{
        log_error("%s: %s; see `dsfs-client %s --help`", command, why, command);
        return CLIENT_USAGE;
}

static int run(int argc, char **argv)
{
        CLEANUP_FREE char *why = NULL;
        CLEANUP_FREE char *root = NULL;
        CLEANUP_FREE char *place = NULL;
        struct choices c = {0};
        int code = CLIENT_ABSENT;

        if (choices_read(argc, argv, &c, &why))
                return client_usage("run", why_text(why));
        if (c.help) {
                printf("usage: dsfs-client run %s\n\n%s.\n\n%s", RUN_USAGE, RUN_SUMMARY, run_help);
                choices_release(&c);
                return CLIENT_OK;
        }
        if (c.mount) {
                choices_release(&c);
                return client_usage("run", "here no mount can be named: it is the one that the current directory is in");
        }
        place = client_place(c.socket, EVENTS_IN_MOUNT, &root);
        c.task.root = root;
        c.task.place = (struct feed_place){.socket = place, .is_over = in_mount_is_over, .arg = place};
        if (place)
                code = run_follow(&c.task);
        choices_release(&c);
        return code;
}

static const struct {
        const char *name, *summary;
        int (*run)(int argc, char **argv);
} commands[] = {
        {"run", RUN_SUMMARY, run},
        {"events", "Print what changes in the mount, one JSON object a line", client_events},
        {"wait", "Return when all earlier changes of the source are visible here", client_wait},
        {"status", "Say whether the mount is in step with its source", client_status},
};

static void usage(FILE *to)
{
        fprintf(to, "usage: dsfs-client COMMAND …\n\nThe part of dsfs for inside a container, for the mount that the current directory is "
                    "in.\n\n");
        for (size_t i = 0; i < ARRAY_LEN(commands); i++)
                fprintf(to, "  %-7s %s\n", commands[i].name, commands[i].summary);
        fprintf(to, "\n`dsfs-client COMMAND --help` says more; `dsfs-client --version` which this is.\n"
                    "Exit codes: 0 ok, 1 failure, 2 usage, 3 degraded, 4 not in a mount, or nobody serves it.\n");
}

int main(int argc, char **argv)
{
        log_set_program("dsfs-client");
        if (argc < 2) {
                usage(stderr);
                return CLIENT_USAGE;
        }
        if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
                usage(stdout);
                return CLIENT_OK;
        }
        if (strcmp(argv[1], "--version") == 0) {
                printf("dsfs-client %s\n", DSFS_VERSION);
                return CLIENT_OK;
        }
        for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
                if (strcmp(commands[i].name, argv[1]) == 0)
                        return commands[i].run(argc - 1, argv + 1);
        }
        log_error("there is no command %s; see `dsfs-client --help`", argv[1]);
        return CLIENT_USAGE;
}
