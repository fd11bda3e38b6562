/*
 * dsfs run: a command, again and again. What it does is in sync/run/; which mount's changes it goes by is found here.
 */
#include "sync/agent/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/log.h"
#include "sync/run/choices.h"
#include "sync/run/in_mount.h"
#include "sync/serve/subscriber.h"

/* Whose changes are followed. */
struct followed {
        const char *run; /* the runtime directory */
        char id[SOURCE_ID_TEXT];
};

/* No agent serves the source any more, and none that died left a record. */
static bool is_over(void *arg)
{
        const struct followed *f = arg;
        struct record_list records CLEANUP(record_list_release) = {0};

        if (record_list_read(f->run, &records))
                return false;
        for (size_t i = 0; i < records.count; i++) {
                if (strcmp(records.records[i].id, f->id) == 0)
                        return false;
        }
        return true;
}

/* The mount, or the source, that the current directory is in. */
static const struct record *record_here(const struct record_list *l, const char *here)
{
        for (size_t i = 0; here && i < l->count; i++) {
                const struct record *r = &l->records[i];

                if (r->mountpoint && path_is_below(here, r->mountpoint))
                        return r;
        }
        for (size_t i = 0; here && i < l->count; i++) {
                const struct record *r = &l->records[i];

                if (r->mountpoint && r->source && path_is_below(here, r->source))
                        return r;
        }
        return NULL;
}

/* If there is but one source, that. */
static const struct record *record_only(const struct record_list *l)
{
        for (size_t i = 1; i < l->count; i++) {
                if (strcmp(l->records[i].id, l->records[0].id) != 0)
                        return NULL;
        }
        return l->count && l->records[0].mountpoint ? &l->records[0] : NULL;
}

static enum exit_code no_mount(const struct choices *c, const struct record_list *l)
{
        if (c->mount)
                return command_absent(c->mount);
        if (l->count) {
                log_error("the current directory is in no mount, and several sources are mounted: name one; `dsfs status` lists them");
                return EXIT_ABSENT;
        }
        log_error("nothing is mounted; `dsfs mount SRC` does that");
        return EXIT_ABSENT;
}

static int follow(struct run_task *task, char *socket, bool (*over)(void *arg), void *arg)
{
        task->place = (struct feed_place){.socket = socket, .is_over = over, .arg = arg};
        if (!socket) {
                log_error("out of memory");
                return EXIT_FAILED;
        }
        return run_follow(task);
}

/* By the socket that the mount itself has: dsfs is in a container. */
static int follow_in_mount(struct run_task *task, const char *root)
{
        CLEANUP_FREE char *socket = text_new("%s/" EVENTS_IN_MOUNT, strcmp(root, "/") == 0 ? "" : root);

        task->root = root;
        return follow(task, socket, in_mount_is_over, socket);
}

static int follow_record(struct run_task *task, const char *run, const struct record *r, const char *here)
{
        CLEANUP_FREE char *socket = text_new("%s/%s.events", run, r->id);
        bool inside = here && path_is_below(here, r->mountpoint);
        struct followed f = {.run = run};

        memcpy(f.id, r->id, sizeof(f.id));
        if (!r->alive) {
                log_error("the agent of %s has died; `dsfs mount` or `dsfs umount` it again", r->mountpoint);
                return EXIT_ABSENT;
        }
        task->root = inside ? r->mountpoint : r->source;
        return follow(task, socket, is_over, &f);
}

static int run_choices(struct choices *c)
{
        CLEANUP_FREE char *run = path_runtime();
        CLEANUP_FREE char *here = getcwd(NULL, 0);
        struct record_list records CLEANUP(record_list_release) = {0};
        CLEANUP_FREE char *root = NULL;
        const struct record *r;

        if (c->socket) {
                CLEANUP_FREE char *socket = in_mount_absolute(c->socket);

                return follow(&c->task, socket, in_mount_is_over, socket);
        }
        if (!run || record_list_read(run, &records)) {
                log_error("the runtime directory %s can't be read", why_text(run));
                return EXIT_FAILED;
        }
        r = c->mount ? command_find(&records, c->mount) : record_here(&records, here);
        if (!r && !c->mount)
                root = in_mount_root(EVENTS_IN_MOUNT);
        if (root)
                return follow_in_mount(&c->task, root);
        if (!r && !c->mount)
                r = record_only(&records);
        return r && r->mountpoint ? follow_record(&c->task, run, r, here) : (int)no_mount(c, &records);
}

static enum exit_code run_run(int argc, char **argv)
{
        CLEANUP_FREE char *why = NULL;
        struct choices c = {0};
        int code;

        if (choices_read(argc, argv, &c, &why))
                return command_usage("run", "%s", why_text(why));
        if (c.help) {
                command_help(&cmd_run);
                choices_release(&c);
                return EXIT_OK;
        }
        code = run_choices(&c);
        choices_release(&c);
        return (enum exit_code)code;
}

const struct command cmd_run = {
        .name = "run",
        .usage = RUN_USAGE,
        .summary = RUN_SUMMARY,
        .help = run_help,
        .run = run_run,
};
