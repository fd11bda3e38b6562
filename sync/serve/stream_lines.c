#include "sync/serve/stream_lines.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cache/base/err.h"
#include "sync/serve/json.h"
#include "sync/serve/subscriber.h"
#include "sync/serve/why.h"

#define NS_PER_MS 1000000
#define MS_PER_S 1000.0
/* Milliseconds since 1970, for some centuries. */
#define TIME_DIGITS 13

/*
 * Asking
 */

static bool take_flag(const json_t *value, bool *ret)
{
        *ret = json_is_true(value);
        return json_is_boolean(value);
}

static int take_member(struct stream_request *q, const char *name, const json_t *value, char **why)
{
        bool good;

        if (strcmp(name, "version") == 0) {
                if (json_is_integer(value) && json_integer_value(value) == EVENTS_VERSION)
                        return 0;
                return why_set(why, -EINVAL, "\"version\" is %d here", EVENTS_VERSION);
        }
        if (strcmp(name, "since") == 0) {
                q->since = json_is_string(value) ? strdup(json_string_value(value)) : NULL;
                good = json_is_string(value);
                if (good && !q->since)
                        return why_set(why, -ENOMEM, "out of memory");
        } else if (strcmp(name, "touches") == 0) {
                good = take_flag(value, &q->touches);
        } else if (strcmp(name, "follow") == 0) {
                good = take_flag(value, &q->follow);
        } else if (strcmp(name, "wait") == 0) {
                good = take_flag(value, &q->wait);
        } else if (strcmp(name, "timeout_ms") == 0) {
                json_int_t ms = json_integer_value(value);

                if (!json_is_integer(value) || ms < 0 || ms > STREAM_WAIT_MAX_MS)
                        return why_set(why, -EINVAL, "\"timeout_ms\" is an integer from 0 to %u", STREAM_WAIT_MAX_MS);
                q->timeout_ms = (unsigned)ms;
                return 0;
        } else {
                return why_set(why, -EINVAL,
                               "a request has no \"%s\", but \"version\", \"since\", \"touches\" and \"follow\", or \"wait\" and "
                               "\"timeout_ms\"",
                               name);
        }
        return good ? 0 : why_set(why, -EINVAL, "\"%s\" is %s", name, strcmp(name, "since") == 0 ? "a clock, as a text" : "true or false");
}

int stream_request_parse(const char *line, size_t len, struct stream_request *ret, char **why)
{
        json_error_t error;
        json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
        const char *name;
        json_t *value;
        int rc = 0;

        *ret = (struct stream_request){.follow = true, .timeout_ms = STREAM_WAIT_DEFAULT_MS};
        if (!json_is_object(request)) {
                json_decref(request);
                return why_set(why, -EINVAL, "a request is one line of JSON, such as {\"version\": 1}");
        }
        json_object_foreach(request, name, value)
        {
                rc = take_member(ret, name, value, why);
                if (rc)
                        break;
        }
        if (rc == 0 && !json_object_get(request, "version"))
                rc = why_set(why, -EINVAL, "a request says \"version\": %d", EVENTS_VERSION);
        json_decref(request);
        return rc;
}

void stream_request_release(struct stream_request *q)
{
        free(q->since);
        *q = (struct stream_request){0};
}

/*
 * Telling
 */

static json_t *text_json(const char *text)
{
        return bytes_to_json(text, strlen(text));
}

/* Takes `line`. */
static char *dump(json_t *line)
{
        CLEANUP_FREE char *text = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(TIME_DIGITS)) : NULL;
        size_t len = text ? strlen(text) : 0;
        char *grown = text ? realloc(text, len + 2) : NULL;

        json_decref(line);
        if (!grown)
                return NULL;
        (void)steal_ptr(&text);
        memcpy(grown + len, "\n", 2);
        return grown;
}

char *stream_line_hello(const char *name, const char *source, const char *clock, bool fresh)
{
        json_t *line = json_pack("{s:s, s:i, s:o}", "kind", "hello", "version", EVENTS_VERSION, "name", text_json(name));

        if (source)
                json_object_set_new(line, "source", text_json(source));
        json_object_set_new(line, "clock", json_string(clock));
        json_object_set_new(line, "fresh", json_boolean(fresh));
        return dump(line);
}

static void add_hash(json_t *line, const char *name, bool has, const struct content *hash)
{
        char text[CONTENT_TEXT];

        if (!has)
                return;
        content_to_text(hash, text);
        json_object_set_new(line, name, json_string(text));
}

static void add_change(json_t *line, const struct change *c)
{
        json_object_set_new(line, "path", text_json(c->path));
        json_object_set_new(line, "type", json_string(change_type_text(c->type)));
        json_object_set_new(line, "origin", json_string(change_origin_text(c->origin)));
        add_hash(line, "old_hash", c->has_old, &c->old_hash);
        add_hash(line, "new_hash", c->has_new, &c->new_hash);
}

static void add_settled(json_t *line, const struct settled *s)
{
        json_t *git;

        json_object_set_new(line, "changes", json_integer((json_int_t)s->changes));
        if (s->touches)
                json_object_set_new(line, "touches", json_integer((json_int_t)s->touches));
        add_hash(line, "root_hash", s->has_root, &s->root);
        if (!s->operation)
                return;
        git = json_pack("{s:o}", "operation", text_json(s->operation));
        if (s->head_was)
                json_object_set_new(git, "head_was", text_json(s->head_was));
        if (s->head_is)
                json_object_set_new(git, "head_is", text_json(s->head_is));
        json_object_set_new(line, "git", git);
}

char *stream_line_record(const struct journal *j, const struct journal_record *r)
{
        char clock[CLOCK_TEXT];
        json_t *line;

        journal_clock_of(j, r->seq, clock);
        line = json_pack("{s:s, s:s, s:I, s:f}", "kind", r->is_settled ? "settled" : change_kind_text(r->change.kind), "clock", clock,
                         "batch", (json_int_t)r->batch, "time", (double)(r->time_ns / NS_PER_MS) / MS_PER_S);
        if (r->is_settled)
                add_settled(line, &r->settled);
        else
                add_change(line, &r->change);
        return dump(line);
}

char *stream_line_fresh(const char *clock)
{
        return dump(json_pack("{s:s, s:s}", "kind", "fresh", "clock", clock));
}

static char *sentence_line(const char *kind, const char *name, const char *sentence)
{
        return dump(json_pack("{s:s, s:o}", "kind", kind, name, text_json(sentence)));
}

char *stream_line_cut(const char *sentence)
{
        return sentence_line("cut", "error", sentence);
}

char *stream_line_refused(const char *sentence)
{
        return sentence_line("refused", "error", sentence);
}

char *stream_line_end(const char *why)
{
        return sentence_line("end", "why", why);
}

char *stream_line_visible(const char *clock)
{
        return dump(json_pack("{s:s, s:i, s:s}", "kind", "visible", "version", EVENTS_VERSION, "clock", clock));
}
