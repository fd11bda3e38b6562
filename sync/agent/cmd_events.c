/*
 * dsfs events: what changes in a source, as it changes. Should the agent end without a word, the command waits for the next one and goes on
 * where it was, as far as that one knows.
 */
#include "sync/agent/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/log.h"
#include "cache/base/thread.h"
#include "sync/agent/events.h"
#include "sync/serve/subscriber.h"

/* An agent that is started again is back in this time. */
#define RETURN_NS 30000000000ULL
#define RETRY_NS 200000000L
#define STAMP_TEXT 32

struct following {
        char *socket; /* owned */
        char *since;  /* owned; where to go on from */
        bool json, touches, once;
};

/*
 * For a person
 */

static void print_stamp(double seconds)
{
        time_t whole = (time_t)seconds;
        char text[STAMP_TEXT];
        struct tm tm;

        if (localtime_r(&whole, &tm) && strftime(text, sizeof(text), "%H:%M:%S", &tm))
                printf("%s.%03d ", text, (int)((seconds - (double)whole) * 1000));
}

/* Names are bytes, and may hold what a terminal would take for orders. */
static void print_name(const char *name, size_t len)
{
        for (size_t i = 0; i < len; i++) {
                unsigned char c = (unsigned char)name[i];

                if (c < ' ' || c == 0x7f || c == '\\')
                        printf("\\x%02x", c);
                else
                        putchar(c);
        }
}

static const char *kind_text(const struct event *e)
{
        static const char *const texts[] = {
                [EVENT_CREATED] = "created", [EVENT_MODIFIED] = "modified", [EVENT_DELETED] = "deleted", [EVENT_TOUCHED] = "touched"};

        return texts[e->kind];
}

static void print_change(const struct event *e)
{
        print_stamp(e->time);
        printf("%-9s %-8s ", e->origin ? e->origin : "unknown", kind_text(e));
        print_name(e->path, e->path_len);
        printf("%s\n", e->type && strcmp(e->type, "directory") == 0 ? "/" : "");
}

static void print_settled(const struct event *e)
{
        print_stamp(e->time);
        printf("          %llu change%s", (unsigned long long)e->changes, e->changes == 1 ? "" : "s");
        if (e->operation) {
                printf(", git ");
                print_name(e->operation, strlen(e->operation));
        }
        if (e->head_was && e->head_is) {
                putchar(' ');
                print_name(e->head_was, strlen(e->head_was));
                printf(" → ");
                print_name(e->head_is, strlen(e->head_is));
        }
        putchar('\n');
}

static void print_event(const struct following *f, const struct event *e)
{
        if (f->json)
                printf("%.*s\n", (int)e->line_len, e->line);
        else if (event_is_change(e))
                print_change(e);
        else if (e->kind == EVENT_SETTLED)
                print_settled(e);
        else if (e->kind == EVENT_FRESH || (e->kind == EVENT_HELLO && e->fresh && f->since))
                printf("what changed before is not known any more: look at everything\n");
        (void)fflush(stdout);
}

/*
 * Following
 */

static int remember(struct following *f, const struct event *e)
{
        char *clock = e->clock ? strdup(e->clock) : NULL;

        if (e->clock && !clock)
                return -ENOMEM;
        if (clock) {
                free(f->since);
                f->since = clock;
        }
        return 0;
}

/* Tell what comes on this connection. True when there is no more to come, with the exit code. */
static bool tell(struct following *f, struct subscriber *s, enum exit_code *code)
{
        for (;;) {
                CLEANUP_FREE char *why = NULL;
                const struct event *e;
                int rc = subscriber_next(s, -1, &e, &why);

                *code = EXIT_FAILED;
                if (rc == -EINTR)
                        continue;
                if (rc == -EPIPE)
                        return false;
                if (rc) {
                        log_error("%s", why_text(why));
                        return true;
                }
                if (e->kind != EVENT_REFUSED)
                        print_event(f, e);
                if (ferror(stdout))
                        return true;
                if (e->kind == EVENT_END) {
                        *code = EXIT_OK;
                        return true;
                }
                if (e->kind == EVENT_CUT || e->kind == EVENT_REFUSED) {
                        log_error("%s", e->error);
                        return true;
                }
                if (remember(f, e)) {
                        log_error("out of memory");
                        return true;
                }
        }
}

/* Connect, again and again while an agent may be about to come back. */
static int connect_to(const struct following *f, bool again, struct subscriber **ret, char **why)
{
        const struct subscriber_wish wish = {.since = f->since, .touches = f->touches, .once = f->once};
        static const struct timespec pause = {.tv_nsec = RETRY_NS};
        unsigned long long deadline = clock_now_ns() + RETURN_NS;
        int rc;

        for (;;) {
                free(steal_ptr(why));
                rc = subscriber_new(f->socket, &wish, ret, why);
                if (!again || rc == 0 || (rc != -ECONNREFUSED && rc != -ENOENT) || clock_now_ns() > deadline)
                        return rc;
                (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        }
}

static enum exit_code follow(struct following *f)
{
        enum exit_code code = EXIT_FAILED;

        for (bool again = false;; again = true) {
                CLEANUP_FREE char *why = NULL;
                struct subscriber *s = NULL;
                bool done;
                int rc = connect_to(f, again, &s, &why);

                if (rc) {
                        log_error("%s", why_text(why));
                        return rc == -ECONNREFUSED || rc == -ENOENT ? EXIT_ABSENT : EXIT_FAILED;
                }
                done = tell(f, s, &code);
                subscriber_free(s);
                if (done)
                        return code;
                if (f->once) {
                        log_error("the agent hung up before all was told");
                        return EXIT_FAILED;
                }
                log_warn("the agent has ended without a word; waiting for the next");
        }
}

/*
 * Whose
 */

/* The socket of the mount that we are in, as one sees it in a container: there is no agent to be asked there. */
static char *socket_here(void)
{
        CLEANUP_FREE char *dir = getcwd(NULL, 0);

        while (dir) {
                CLEANUP_FREE char *path = text_new("%s%s" EVENTS_IN_MOUNT, dir, dir[1] ? "/" : "");
                char *slash = strrchr(dir, '/');
                struct stat st;

                if (path && stat(path, &st) == 0 && S_ISSOCK(st.st_mode))
                        return steal_ptr(&path);
                if (!slash || !dir[1])
                        return NULL;
                slash[slash == dir] = '\0';
        }
        return NULL;
}

static const struct record *record_here(const struct record_list *records)
{
        CLEANUP_FREE char *here = getcwd(NULL, 0);

        for (size_t i = 0; here && i < records->count; i++) {
                const struct record *r = &records->records[i];

                if ((r->mountpoint && path_is_below(here, r->mountpoint)) || (r->source && path_is_below(here, r->source)))
                        return r;
        }
        return NULL;
}

/* With nobody named: where we are, else the only source there is. */
static const struct record *record_meant(const struct record_list *records)
{
        const struct record *here = record_here(records);

        for (size_t i = 1; i < records->count && !here; i++) {
                if (strcmp(records->records[i].id, records->records[0].id) != 0)
                        return NULL;
        }
        return here ? here : records->count ? &records->records[0] : NULL;
}

static enum exit_code find_socket(const char *arg, char **ret)
{
        CLEANUP_FREE char *run = path_runtime();
        struct record_list records CLEANUP(record_list_release) = {0};
        char name[EVENTS_SOCKET_TEXT];
        const struct record *r;

        if (!run || record_list_read(run, &records)) {
                log_error("the runtime directory %s can't be read", why_text(run));
                return EXIT_FAILED;
        }
        r = arg ? command_find(&records, arg) : record_meant(&records);
        if (!r && arg)
                return command_absent(arg);
        if (!r && (*ret = socket_here()))
                return EXIT_OK;
        if (!r && records.count)
                return command_usage("events", "several sources are mounted: say which");
        if (!r) {
                log_error("nothing is mounted; `dsfs mount SRC` does that");
                return EXIT_ABSENT;
        }
        if (!r->alive) {
                log_error("the agent of %s has died; `dsfs mount` or `dsfs umount` it again", r->mountpoint ? r->mountpoint : r->id);
                return EXIT_ABSENT;
        }
        events_socket_name(r->id, name);
        *ret = text_new("%s/%s", run, name);
        return *ret ? EXIT_OK : EXIT_FAILED;
}

enum { OPTION_TOUCHES = 256, OPTION_NO_FOLLOW, OPTION_SOCKET };

static const struct option long_options[] = {{"since", required_argument, NULL, 's'},
                                             {"json", no_argument, NULL, 'j'},
                                             {"touches", no_argument, NULL, OPTION_TOUCHES},
                                             {"no-follow", no_argument, NULL, OPTION_NO_FOLLOW},
                                             {"socket", required_argument, NULL, OPTION_SOCKET},
                                             {"help", no_argument, NULL, 'h'},
                                             {0}};

static enum exit_code run_with(struct following *f, int argc, char **argv)
{
        const char *arg;
        enum exit_code code;
        int c;

        while ((c = getopt_long(argc, argv, "s:jh", long_options, NULL)) != -1) {
                if (c == 'h') {
                        command_help(&cmd_events);
                        return EXIT_OK;
                }
                if (c == 'j')
                        f->json = true;
                else if (c == OPTION_TOUCHES)
                        f->touches = true;
                else if (c == OPTION_NO_FOLLOW)
                        f->once = true;
                else if (c != 's' && c != OPTION_SOCKET)
                        return command_usage("events", "that is no option");
                else if (c == 's' ? f->since : f->socket)
                        return command_usage("events", "--%s can be given once", c == 's' ? "since" : "socket");
                else if (!(*(c == 's' ? &f->since : &f->socket) = strdup(optarg)))
                        return EXIT_FAILED;
        }
        arg = argc > optind ? argv[optind] : NULL;
        if (argc - optind > 1)
                return command_usage("events", "at most one mount can be named");
        if (arg && f->socket)
                return command_usage("events", "either a mount is named, or a socket");
        code = f->socket ? EXIT_OK : find_socket(arg, &f->socket);
        return code == EXIT_OK ? follow(f) : code;
}

static enum exit_code run_events(int argc, char **argv)
{
        struct following f = {0};
        enum exit_code code = run_with(&f, argc, argv);

        free(f.socket);
        free(f.since);
        return code;
}

const struct command cmd_events = {
        .name = "events",
        .usage = "[NAME|MNT] [--since CLOCK] [--json] [--touches] [--no-follow] [--socket PATH]",
        .summary = "Tell what changes in a source, as it changes",
        .help = "  NAME|MNT      by default the mount or source of the current directory, else the only one\n"
                "  -s, --since   go on after this clock (\"clock\" in each line, and in `dsfs status --json`)\n"
                "  -j, --json    one line of JSON an event, as the agent says it\n"
                "  --touches     ... also of files that were touched and have the same content as before\n"
                "  --no-follow   end with what is known now\n"
                "  --socket PATH ask there: in a container, MNT/" EVENTS_IN_MOUNT "\n"
                "Ends with 0 when the last mount of the source is unmounted; interrupted it ends by the signal (130 to a shell).\n",
        .run = run_events,
};
