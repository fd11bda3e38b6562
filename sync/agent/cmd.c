#include "sync/agent/cmd.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "sync/serve/client.h"

#define TRIES 3

enum exit_code command_usage(const char *command, const char *fmt, ...)
{
        va_list ap;

        fprintf(stderr, "dsfs %s: ", command);
        va_start(ap, fmt);
        vfprintf(stderr, fmt, ap);
        va_end(ap);
        fprintf(stderr, "; see `dsfs %s --help`\n", command);
        return EXIT_USAGE;
}

void command_help(const struct command *c)
{
        printf("usage: dsfs %s %s\n\n%s.\n", c->name, c->usage, c->summary);
        if (c->help)
                printf("\n%s", c->help);
}

struct record *command_find(const struct record_list *l, const char *arg)
{
        CLEANUP_FREE char *path = NULL;

        for (size_t i = 0; i < l->count; i++) {
                if (l->records[i].name && strcmp(l->records[i].name, arg) == 0)
                        return &l->records[i];
        }
        if (path_canonical_place(arg, &path))
                return NULL;
        for (size_t i = 0; i < l->count; i++) {
                if (l->records[i].mountpoint && strcmp(l->records[i].mountpoint, path) == 0)
                        return &l->records[i];
        }
        return NULL;
}

enum exit_code command_absent(const char *arg)
{
        log_error("there is no mount called %s, and none at that path; `dsfs status` lists them", arg);
        return EXIT_ABSENT;
}

static int ask_once(const char *run, const struct record *r, const char *verb, json_t *args, int timeout_ms, json_t **ret, pid_t *pid,
                    char **why)
{
        char name[SOURCE_ID_TEXT + 5];
        CLEANUP_FD int fd = -1;
        bool answered;
        int rc;

        record_socket_name(r->id, name);
        fd = client_connect(run, name, pid);
        if (fd < 0) {
                json_decref(args);
                return why_set(why, fd, "the agent of %s can't be asked: %s", r->mountpoint ? r->mountpoint : r->id, strerror(-fd));
        }
        rc = client_ask(fd, verb, args, timeout_ms, ret, &answered, why);
        return rc == -ECONNRESET ? -EPIPE : rc;
}

/* An agent that dies over a question leaves its socket to the next, which is asked again. */
int command_ask(const char *run, const struct record *r, const char *verb, json_t *args, int timeout_ms, json_t **ret, pid_t *pid,
                char **why)
{
        int rc = -EPIPE;

        for (int i = 0; rc == -EPIPE && i < TRIES; i++) {
                free(steal_ptr(why));
                rc = ask_once(run, r, verb, json_incref(args), timeout_ms, ret, pid, why);
                if (r->holder == 0)
                        break;
        }
        json_decref(args);
        return rc;
}
