/*
 * The lines of the event stream: reading the one that asks, and writing those that tell. No socket is touched here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "sync/journal.h"

struct stream_request {
        char *since; /* owned; NULL: what comes from now on */
        bool touches, follow;
        bool wait; /* only for the barrier */
        unsigned timeout_ms;
};

/* How long a barrier may be waited for, unless it is said, and at most. */
#define STREAM_WAIT_DEFAULT_MS 60000U
#define STREAM_WAIT_MAX_MS 86400000U

/* Read the request from a line without its newline. 0; or -EINVAL, -ENOMEM and *why. `ret` goes to stream_request_release() in any case. */
int stream_request_parse(const char *line, size_t len, struct stream_request *ret, char **why);
void stream_request_release(struct stream_request *q);

/* All of these are a line with its newline, which the caller frees; NULL without memory. */

/* `source`: NULL where it is not for everybody to know. */
char *stream_line_hello(const char *name, const char *source, const char *clock, bool fresh);
char *stream_line_record(const struct journal *j, const struct journal_record *r);
char *stream_line_fresh(const char *clock);
char *stream_line_cut(const char *sentence);
char *stream_line_refused(const char *sentence);
char *stream_line_end(const char *why);
char *stream_line_visible(const char *clock);
