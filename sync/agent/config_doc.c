#include "sync/agent/config_doc.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "sync/serve/why.h"

#define DELETE 0x7f

struct reader {
        yaml_parser_t parser;
        const char *file;
        const char *bytes;
        size_t len, nodes;
        char **why;
};

void doc_free(struct doc_node *n)
{
        if (!n)
                return;
        for (size_t i = 0; i < n->count; i++)
                doc_free(n->items[i]);
        free(n->items);
        free(n->text);
        free(n->key);
        free(n);
}

static void doc_free_ptr(struct doc_node **n)
{
        doc_free(*n);
}

int doc_refuse(const char *file, size_t line, size_t column, char **why, const char *fmt, ...)
{
        CLEANUP_FREE char *what = NULL;
        va_list ap;

        va_start(ap, fmt);
        if (vasprintf(&what, fmt, ap) < 0)
                what = NULL;
        va_end(ap);
        return why_set(why, -EINVAL, "%s:%zu:%zu: %s", file, line, column, why_text(what));
}

static int refuse(const struct reader *r, yaml_mark_t at, const char *what)
{
        return doc_refuse(r->file, at.line + 1, at.column + 1, r->why, "%s", what);
}

static int no_memory(const struct reader *r)
{
        return why_set(r->why, -ENOMEM, "%s can't be read: out of memory", r->file);
}

/* What the reader refuses, bytes that are no UTF-8, comes with an offset only. */
static int refuse_bytes(const struct reader *r)
{
        size_t end = r->parser.problem_offset < r->len ? r->parser.problem_offset : r->len;
        size_t line = 1, column = 1;

        for (size_t i = 0; i < end; i++) {
                column = r->bytes[i] == '\n' ? 1 : column + 1;
                line += r->bytes[i] == '\n';
        }
        return doc_refuse(r->file, line, column, r->why, "this is no text (%s); expected is UTF-8", r->parser.problem);
}

static int next_event(struct reader *r, yaml_event_t *ev)
{
        const yaml_parser_t *p = &r->parser;

        if (yaml_parser_parse(&r->parser, ev))
                return 0;
        memset(ev, 0, sizeof(*ev));
        if (p->error == YAML_MEMORY_ERROR)
                return no_memory(r);
        if (p->error == YAML_READER_ERROR)
                return refuse_bytes(r);
        return doc_refuse(r->file, p->problem_mark.line + 1, p->problem_mark.column + 1, r->why, "this is no YAML: %s%s%s",
                          p->problem ? p->problem : "?", p->context ? ", " : "", p->context ? p->context : "");
}

static int read_node(struct reader *r, yaml_event_t *ev, unsigned depth, struct doc_node **ret);

/* Whether the event has what only other programs' files need. */
static int check_plain(const struct reader *r, const yaml_event_t *ev)
{
        const yaml_char_t *anchor = NULL, *tag = NULL;

        if (ev->type == YAML_ALIAS_EVENT)
                return refuse(r, ev->start_mark, "this is an alias; expected is the text itself");
        if (ev->type == YAML_SCALAR_EVENT) {
                anchor = ev->data.scalar.anchor;
                tag = ev->data.scalar.tag;
        } else if (ev->type == YAML_SEQUENCE_START_EVENT) {
                anchor = ev->data.sequence_start.anchor;
                tag = ev->data.sequence_start.tag;
        } else if (ev->type == YAML_MAPPING_START_EVENT) {
                anchor = ev->data.mapping_start.anchor;
                tag = ev->data.mapping_start.tag;
        }
        if (anchor || tag)
                return refuse(r, ev->start_mark,
                              anchor ? "anchors (&) have no meaning here" : "tags (!) have no meaning here; put it in quotes");
        return 0;
}

/* A copy of a scalar's text. 0, or as doc_parse(). */
static int take_text(const struct reader *r, const yaml_event_t *ev, char **ret)
{
        const char *text = (const char *)ev->data.scalar.value;

        if (strlen(text) != ev->data.scalar.length)
                return refuse(r, ev->start_mark, "there is a NUL in this text");
        *ret = strdup(text);
        return *ret ? 0 : no_memory(r);
}

static int add_item(const struct reader *r, struct doc_node *n, struct doc_node *item)
{
        struct doc_node **items = realloc(n->items, (n->count + 1) * sizeof(*items));

        if (!items) {
                doc_free(item);
                return no_memory(r);
        }
        n->items = items;
        items[n->count++] = item;
        return 0;
}

static int check_repeated(const struct reader *r, const struct doc_node *n, const struct doc_node *item)
{
        for (size_t i = 0; i < n->count; i++) {
                if (strcmp(n->items[i]->key, item->key) == 0)
                        return doc_refuse(r->file, item->key_line, item->key_column, r->why,
                                          "%s is given again; expected is one of them (the first is in line %zu)", item->key,
                                          n->items[i]->key_line);
        }
        return 0;
}

/* The value of the key that `ev` is. */
static int read_entry(struct reader *r, struct doc_node *n, const yaml_event_t *ev, unsigned depth)
{
        CLEANUP_FREE char *key = NULL;
        CLEANUP(doc_free_ptr) struct doc_node *item = NULL;
        yaml_event_t value;
        int rc;

        if (ev->type != YAML_SCALAR_EVENT)
                return refuse(r, ev->start_mark, "this is no key; expected is a name and a colon");
        if (n->count >= DOC_KEYS_MAX)
                return refuse(r, ev->start_mark, "these are too many keys; expected are 100 at most");
        rc = check_plain(r, ev);
        if (rc == 0)
                rc = take_text(r, ev, &key);
        if (rc == 0)
                rc = next_event(r, &value);
        if (rc == 0)
                rc = read_node(r, &value, depth, &item);
        if (rc)
                return rc;
        item->key = steal_ptr(&key);
        item->key_line = ev->start_mark.line + 1;
        item->key_column = ev->start_mark.column + 1;
        rc = check_repeated(r, n, item);
        return rc ? rc : add_item(r, n, steal_ptr(&item));
}

static int read_items(struct reader *r, struct doc_node *n, unsigned depth)
{
        yaml_event_type_t end = n->kind == DOC_MAP ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;

        for (;;) {
                struct doc_node *item;
                yaml_event_t ev;
                int rc = next_event(r, &ev);

                if (rc || ev.type == end) {
                        yaml_event_delete(&ev);
                        return rc;
                }
                if (n->kind == DOC_MAP) {
                        rc = read_entry(r, n, &ev, depth + 1);
                        yaml_event_delete(&ev);
                } else {
                        rc = read_node(r, &ev, depth + 1, &item);
                        rc = rc ? rc : add_item(r, n, item);
                }
                if (rc)
                        return rc;
        }
}

static int fill_node(struct reader *r, const yaml_event_t *ev, unsigned depth, struct doc_node *n)
{
        int rc = check_plain(r, ev);

        if (rc)
                return rc;
        n->line = ev->start_mark.line + 1;
        n->column = ev->start_mark.column + 1;
        if (depth > DOC_DEPTH_MAX)
                return refuse(r, ev->start_mark, "this is nested too deep; expected are 8 levels at most");
        if (++r->nodes > DOC_NODES_MAX)
                return refuse(r, ev->start_mark, "these are too many values; expected are 20000 at most");
        switch (ev->type) {
        case YAML_SCALAR_EVENT:
                n->kind = DOC_TEXT;
                return take_text(r, ev, &n->text);
        case YAML_SEQUENCE_START_EVENT:
                n->kind = DOC_LIST;
                return read_items(r, n, depth);
        case YAML_MAPPING_START_EVENT:
                n->kind = DOC_MAP;
                return read_items(r, n, depth);
        default:
                return refuse(r, ev->start_mark, "there is nothing here; expected are keys, the first of them \"version: 1\"");
        }
}

/* The event is used up. */
static int read_node(struct reader *r, yaml_event_t *ev, unsigned depth, struct doc_node **ret)
{
        CLEANUP(doc_free_ptr) struct doc_node *n = calloc(1, sizeof(*n));
        int rc = n ? fill_node(r, ev, depth, n) : no_memory(r);

        yaml_event_delete(ev);
        if (rc == 0)
                *ret = steal_ptr(&n);
        return rc;
}

/* The first event that is not of this type, used up before. */
static int skip_events(struct reader *r, yaml_event_type_t type, yaml_event_t *ev)
{
        int rc = next_event(r, ev);

        while (rc == 0 && ev->type == type) {
                yaml_event_delete(ev);
                rc = next_event(r, ev);
        }
        return rc;
}

static int read_document(struct reader *r, struct doc_node **ret)
{
        CLEANUP(doc_free_ptr) struct doc_node *n = NULL;
        yaml_event_t ev;
        int rc = skip_events(r, YAML_STREAM_START_EVENT, &ev);

        if (rc == 0 && ev.type == YAML_DOCUMENT_START_EVENT)
                rc = skip_events(r, YAML_DOCUMENT_START_EVENT, &ev);
        if (rc == 0)
                rc = read_node(r, &ev, 1, &n);
        if (rc == 0)
                rc = skip_events(r, YAML_DOCUMENT_END_EVENT, &ev);
        if (rc)
                return rc;
        if (ev.type != YAML_STREAM_END_EVENT)
                rc = refuse(r, ev.start_mark, "this begins a second document; expected is one");
        yaml_event_delete(&ev);
        if (rc == 0)
                *ret = steal_ptr(&n);
        return rc;
}

int doc_parse(const char *file, const char *bytes, size_t len, struct doc_node **ret, char **why)
{
        struct reader r = {.file = file, .bytes = bytes, .len = len, .why = why};
        int rc;

        if (len > DOC_BYTES_MAX)
                return doc_refuse(file, 1, 1, why, "this file has %zu bytes; expected are %d at most", len, DOC_BYTES_MAX);
        if (!yaml_parser_initialize(&r.parser))
                return no_memory(&r);
        yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&r.parser, (const unsigned char *)bytes, len);
        rc = read_document(&r, ret);
        yaml_parser_delete(&r.parser);
        return rc;
}

/* Bytes that are no text become escapes, which say what they stand for to the reader only. */
static char *doubly_quoted(const char *text)
{
        static const char digits[] = "0123456789abcdef";
        char *to = malloc(4 * strlen(text) + 3), *at = to;

        if (!to)
                return NULL;
        *at++ = '"';
        for (; *text; text++) {
                unsigned char c = (unsigned char)*text;

                if (c < ' ' || c == DELETE) {
                        *at++ = '\\';
                        *at++ = 'x';
                        *at++ = digits[c >> 4];
                        *at++ = digits[c & 15];
                        continue;
                }
                if (c == '"' || c == '\\')
                        *at++ = '\\';
                *at++ = (char)c;
        }
        *at++ = '"';
        *at = '\0';
        return to;
}

char *doc_quoted(const char *text)
{
        char *to, *at;

        for (const char *c = text; *c; c++) {
                if ((unsigned char)*c < ' ' || *c == DELETE)
                        return doubly_quoted(text);
        }
        to = at = malloc(2 * strlen(text) + 3);
        if (!to)
                return NULL;
        *at++ = '\'';
        for (; *text; text++) {
                if (*text == '\'')
                        *at++ = '\'';
                *at++ = *text;
        }
        *at++ = '\'';
        *at = '\0';
        return to;
}
