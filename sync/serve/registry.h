/*
 * What can be asked of an agent: a table of verbs, and the one line of JSON that asks.
 *
 *   request  {"verb": "wait", "args": {"timeout_ms": 5000}}
 *   answer   {"ok": true, "result": {…}}    or    {"ok": false, "errno": 110, "error": "one sentence"}
 *
 * Who owns the table gives it to the control socket; nothing here knows what a verb does.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

/* The longest request, its newline included. */
#define REQUEST_MAX (64 * 1024)

enum verb_kind {
        VERB_QUICK,    /* answers at once, on the loop's thread */
        VERB_BLOCKING, /* waits for something: on a worker thread, a few at a time */
        VERB_URGENT,   /* waits too, but never queues behind others */
};

struct verb {
        const char *name;
        const char *usage;
        enum verb_kind kind;
        /* `args` is an object, borrowed. 0 and *ret (an owned object, never NULL), or -errno and *why (one sentence, the caller frees). */
        int (*run)(void *arg, const json_t *args, json_t **ret, char **why);
};

struct registry {
        const struct verb *verbs;
        size_t count;
        void *arg; /* handed to run() */
};

struct request {
        const struct verb *verb;
        json_t *args; /* owned */
};

/* Read one request from a line without its newline. 0; or -EINVAL (no request) or -ENOSYS (no such verb) and *why. Any thread. */
int request_parse(const struct registry *r, const char *line, size_t len, struct request *ret, char **why);
void request_release(struct request *q);

/* The answer to a request as a line with its newline (the caller frees), or NULL when there is no memory. Takes `result`; with a failure
 * (`rc` below 0) it is NULL and `why` explains. */
char *answer_line(int rc, json_t *result, const char *why);
