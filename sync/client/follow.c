/*
 * dsfs-client events and wait: both ask the mount's event stream, the one for what changes, the other for when all is there.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/base/err.h"
#include "cache/base/log.h"
#include "sync/client/client.h"
#include "sync/serve/subscriber.h"
#include "sync/serve/why.h"

#define TIMEOUT_MS 60000
#define TIMEOUT_MAX_S 86400
#define MS_PER_S 1000
#define GRACE_MS 10000

/* At `socket`, or at the one of the mount that we are in; NULL when there is none, and why is said. */
static struct subscriber *subscribe(const char *socket, const struct subscriber_wish *wish)
{
        CLEANUP_FREE char *place = client_place(socket, EVENTS_IN_MOUNT, NULL);
        CLEANUP_FREE char *why = NULL;
        struct subscriber *s = NULL;

        if (place && subscriber_new(place, wish, &s, &why))
                log_error("%s", why_text(why));
        return s;
}

/* Print until the end. */
static int print_events(struct subscriber *s)
{
        CLEANUP_FREE char *why = NULL;

        for (;;) {
                const struct event *e;
                int rc = subscriber_next(s, -1, &e, &why);

                if (rc == -EINTR || rc == -EAGAIN)
                        continue;
                if (rc) {
                        log_error("%s", rc == -EPIPE ? "the agent has hung up" : why_text(why));
                        return CLIENT_FAILED;
                }
                if (printf("%.*s\n", (int)e->line_len, e->line) < 0 || fflush(stdout))
                        return CLIENT_FAILED;
                if (e->kind == EVENT_END)
                        return CLIENT_OK;
                if (e->kind == EVENT_CUT || e->kind == EVENT_REFUSED) {
                        log_error("%s", e->error);
                        return CLIENT_FAILED;
                }
        }
}

static const struct option events_options[] = {{"since", required_argument, NULL, 's'}, {"touches", no_argument, NULL, 't'},
                                               {"no-follow", no_argument, NULL, 'n'},   {"socket", required_argument, NULL, 'S'},
                                               {"help", no_argument, NULL, 'h'},        {0}};

int client_events(int argc, char **argv)
{
        struct subscriber_wish wish = {0};
        struct subscriber *s;
        const char *socket = NULL;
        int c, code;

        while ((c = getopt_long(argc, argv, "h", events_options, NULL)) != -1) {
                switch (c) {
                case 's':
                        wish.since = optarg;
                        break;
                case 't':
                        wish.touches = true;
                        break;
                case 'n':
                        wish.once = true;
                        break;
                case 'S':
                        socket = optarg;
                        break;
                case 'h':
                        printf("usage: dsfs-client events [--since CLOCK] [--touches] [--no-follow] [--socket PATH]\n\n"
                               "Print what changes in the mount, one JSON object a line.\n\n"
                               "  --since CLOCK  begin with what followed that clock, which a line of earlier had\n"
                               "  --touches      what was touched without a change of content, too\n"
                               "  --no-follow    what there is after --since, and no more\n"
                               "  --socket PATH  where the events are (.dsfs/events.sock, found by walking up from here)\n");
                        return CLIENT_OK;
                default:
                        return client_usage("events", "that is no option");
                }
        }
        if (optind < argc)
                return client_usage("events", "nothing can be named");
        s = subscribe(socket, &wish);
        if (!s)
                return CLIENT_ABSENT;
        code = print_events(s);
        subscriber_free(s);
        return code;
}

/* Until the answer; the server's own time-out comes before we give up on it. */
static int await_visible(struct subscriber *s, int timeout_ms)
{
        CLEANUP_FREE char *why = NULL;
        const struct event *e;
        int rc;

        do
                rc = subscriber_next(s, timeout_ms + GRACE_MS, &e, &why);
        while (rc == -EINTR || (rc == 0 && e->kind == EVENT_OTHER));
        if (rc == 0 && e->kind == EVENT_VISIBLE)
                return CLIENT_OK;
        if (rc == -EAGAIN || rc == -EPIPE)
                log_error(rc == -EPIPE ? "the agent has hung up" : "the agent does not answer");
        else
                log_error("%s", rc ? why_text(why) : e->error ? e->error : "the agent's answer is not one that this version understands");
        return CLIENT_FAILED;
}

static const struct option wait_options[] = {
        {"timeout", required_argument, NULL, 't'}, {"socket", required_argument, NULL, 'S'}, {"help", no_argument, NULL, 'h'}, {0}};

int client_wait(int argc, char **argv)
{
        struct subscriber_wish wish = {.wait = true, .timeout_ms = TIMEOUT_MS};
        struct subscriber *s;
        const char *socket = NULL;
        int c, code;

        while ((c = getopt_long(argc, argv, "t:h", wait_options, NULL)) != -1) {
                char *end = NULL;
                double seconds = c == 't' ? strtod(optarg, &end) : 0;

                switch (c) {
                case 't':
                        if (end == optarg || *end || !isfinite(seconds) || seconds < 0 || seconds > TIMEOUT_MAX_S)
                                return client_usage("wait", "--timeout: allowed is a number of seconds, 0 to 86400");
                        wish.timeout_ms = (int)(seconds * MS_PER_S);
                        break;
                case 'S':
                        socket = optarg;
                        break;
                case 'h':
                        printf("usage: dsfs-client wait [--timeout SECONDS] [--socket PATH]\n\n"
                               "Return when all earlier changes of the source are visible here, and told to who follows its events.\n\n"
                               "  -t, --timeout  give up after so many seconds (60)\n"
                               "  --socket PATH  where the events are (.dsfs/events.sock, found by walking up from here)\n");
                        return CLIENT_OK;
                default:
                        return client_usage("wait", "that is no option");
                }
        }
        if (optind < argc)
                return client_usage("wait", "nothing can be named");
        s = subscribe(socket, &wish);
        if (!s)
                return CLIENT_ABSENT;
        code = await_visible(s, wish.timeout_ms);
        subscriber_free(s);
        return code;
}
