#include "sync/serve/http_request.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define METHOD_MAX 16
#define HEX 16
#define PLUGIN_TYPE "application/vnd.docker.plugins."

void http_request_begin(struct http_request *r)
{
        r->state = HTTP_HEAD;
        r->status = 0;
        r->why = NULL;
        r->keep = true;
        r->from_docker = false;
        r->target = NULL;
        r->left = 0;
        r->trailers = 0;
        r->head_len = r->body_len = r->line_len = 0;
}

bool http_request_begun(const struct http_request *r)
{
        return r->state != HTTP_HEAD || r->head_len > 0;
}

static void refuse(struct http_request *r, int status, const char *why)
{
        r->state = HTTP_REFUSED;
        r->status = status;
        r->why = why;
        r->keep = false;
}

static void whole(struct http_request *r)
{
        r->body[r->body_len] = '\0';
        r->state = HTTP_WHOLE;
}

static bool is_token(const char *text, size_t len)
{
        for (size_t i = 0; i < len; i++) {
                unsigned char c = (unsigned char)text[i];

                if (c >= 0x80 || (!isalnum(c) && !(c && strchr("!#$%&'*+-.^_`|~", c))))
                        return false;
        }
        return len > 0;
}

/* What a line of the head may hold, as it is: blank, tab, and all that is no control character. */
static bool is_plain(const char *text, size_t len)
{
        for (size_t i = 0; i < len; i++) {
                unsigned char c = (unsigned char)text[i];

                if ((c < ' ' && c != '\t') || c == 0x7f)
                        return false;
        }
        return true;
}

/*
 * The head
 */

/* What the headers say of the body and of what comes after it. */
struct headers {
        bool has_length, chunked, close;
        size_t length;
};

static bool is_value(const char *value, size_t len, const char *word)
{
        return len == strlen(word) && strncasecmp(value, word, len) == 0;
}

static bool is_exactly(const char *value, size_t len, const char *word)
{
        return len == strlen(word) && memcmp(value, word, len) == 0;
}

static void take_length(struct http_request *r, struct headers *h, const char *value, size_t len)
{
        size_t n = 0;

        if (h->has_length || len == 0) {
                refuse(r, 400, "the request has a Content-Length that says nothing, or two");
                return;
        }
        for (size_t i = 0; i < len; i++) {
                if (value[i] < '0' || value[i] > '9') {
                        refuse(r, 400, "the request's Content-Length is no number");
                        return;
                }
                n = n > HTTP_BODY_MAX ? n : n * 10 + (size_t)(value[i] - '0');
        }
        h->has_length = true;
        h->length = n;
        if (n > HTTP_BODY_MAX)
                refuse(r, 413, "a request's body is at most 64 KiB");
}

/* "a, close, b" */
static bool lists_close(const char *value, size_t len)
{
        for (size_t at = 0; at < len;) {
                const char *comma = memchr(value + at, ',', len - at);
                size_t end = comma ? (size_t)(comma - value) : len;
                size_t last = end;

                while (at < last && (value[at] == ' ' || value[at] == '\t'))
                        at++;
                while (last > at && (value[last - 1] == ' ' || value[last - 1] == '\t'))
                        last--;
                if (is_value(value + at, last - at, "close"))
                        return true;
                at = end + 1;
        }
        return false;
}

static void take_header(struct http_request *r, struct headers *h, const char *line, size_t len)
{
        const char *colon = memchr(line, ':', len);
        size_t name_len = colon ? (size_t)(colon - line) : 0;
        const char *value = colon ? colon + 1 : line;
        const char *end = line + len;

        if (!is_token(line, name_len) || !is_plain(line, len)) {
                refuse(r, 400, "the request has a header that is none");
                return;
        }
        while (value < end && (*value == ' ' || *value == '\t'))
                value++;
        while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
                end--;
        len = (size_t)(end - value);
        if (is_value(line, name_len, "Content-Length")) {
                take_length(r, h, value, len);
        } else if (is_value(line, name_len, "Transfer-Encoding")) {
                if (h->chunked || !is_value(value, len, "chunked"))
                        refuse(r, 501, "no other Transfer-Encoding than chunked is understood, once");
                h->chunked = true;
        } else if (is_value(line, name_len, "Connection")) {
                h->close = h->close || lists_close(value, len);
        } else if (is_value(line, name_len, "Accept")) {
                r->from_docker = len >= strlen(PLUGIN_TYPE) && memcmp(value, PLUGIN_TYPE, strlen(PLUGIN_TYPE)) == 0;
        } else if (is_value(line, name_len, "Expect")) {
                refuse(r, 417, "the body is to be sent without being asked for");
        }
}

/* "POST /target HTTP/1.1", in place: the target gets an end. */
static void take_request_line(struct http_request *r, char *line, size_t len)
{
        char *space = memchr(line, ' ', len);
        size_t method_len = space ? (size_t)(space - line) : 0;
        char *target = space ? space + 1 : line;
        char *version = space ? memchr(target, ' ', len - method_len - 1) : NULL;

        if (!version || method_len > METHOD_MAX || !is_token(line, method_len) || *target != '/' || !is_plain(line, len) ||
            memchr(line, '\t', len)) {
                refuse(r, 400, "that is no HTTP request");
                return;
        }
        *version++ = '\0';
        len = (size_t)(line + len - version);
        r->target = target;
        if (is_exactly(version, len, "HTTP/1.0"))
                r->keep = false;
        else if (!is_exactly(version, len, "HTTP/1.1"))
                refuse(r, 505, "HTTP/1.1 is spoken here");
        if (r->state != HTTP_REFUSED && !is_exactly(line, method_len, "POST"))
                refuse(r, 405, "requests are made by POST");
}

/* All of it is there, up to the empty line. */
static void parse_head(struct http_request *r)
{
        struct headers h = {0};
        bool first = true, old;

        for (size_t at = 0; r->state != HTTP_REFUSED;) {
                char *line = r->head + at;
                char *end = memchr(line, '\r', r->head_len - at);
                size_t len = (size_t)(end - line);

                if (end[1] != '\n') {
                        refuse(r, 400, "the request's head has a line with no proper end");
                        return;
                }
                at += len + 2;
                if (len == 0 && !first)
                        break;
                if (first)
                        take_request_line(r, line, len);
                else
                        take_header(r, &h, line, len);
                first = false;
        }
        if (r->state == HTTP_REFUSED)
                return;
        old = !r->keep;
        r->keep = r->keep && !h.close;
        r->left = h.length;
        if (h.chunked && (h.has_length || old))
                refuse(r, 400, "the request says in two ways how long it is");
        else if (h.chunked)
                r->state = HTTP_CHUNK_SIZE;
        else if (r->left)
                r->state = HTTP_BODY;
        else
                whole(r);
}

static void take_head(struct http_request *r, char c)
{
        static const char end[] = {'\r', '\n', '\r', '\n'};

        r->head[r->head_len++] = c;
        if (r->head_len >= sizeof(end) && memcmp(r->head + r->head_len - sizeof(end), end, sizeof(end)) == 0) {
                r->head[r->head_len] = '\0';
                parse_head(r);
        } else if (r->head_len == HTTP_HEAD_MAX) {
                refuse(r, 431, "a request's head is at most 8 KiB");
        }
}

/*
 * The body
 */

static size_t take_body(struct http_request *r, const char *bytes, size_t len, enum http_reading then)
{
        size_t n = len < r->left ? len : r->left;

        memcpy(r->body + r->body_len, bytes, n);
        r->body_len += n;
        r->left -= n;
        if (r->left == 0 && then == HTTP_WHOLE)
                whole(r);
        else if (r->left == 0)
                r->state = then;
        return n;
}

static void begin_chunk(struct http_request *r, const char *line, size_t len)
{
        size_t n = 0;
        size_t digits = 0;

        for (; digits < len && isxdigit((unsigned char)line[digits]); digits++) {
                char c = (char)tolower((unsigned char)line[digits]);

                n = n > HTTP_BODY_MAX ? n : n * HEX + (size_t)(c <= '9' ? c - '0' : c - 'a' + 10);
        }
        if (digits == 0 || (digits < len && line[digits] != ';') || !is_plain(line, len)) {
                refuse(r, 400, "the request has a chunk of no size");
                return;
        }
        if (n > HTTP_BODY_MAX - r->body_len) {
                refuse(r, 413, "a request's body is at most 64 KiB");
                return;
        }
        r->left = n;
        r->state = n ? HTTP_CHUNK : HTTP_TRAILER;
}

/* Trailers are passed over. */
static void take_trailer(struct http_request *r, const char *line, size_t len)
{
        if (len == 0)
                whole(r);
        else if (++r->trailers > HTTP_TRAILERS_MAX || !is_plain(line, len) || !memchr(line, ':', len))
                refuse(r, 400, "the request ends with trailers that are none, or too many");
}

/* A byte of a line between chunks. */
static void take_line(struct http_request *r, char c)
{
        enum http_reading state = r->state;
        size_t len;

        if (r->line_len == HTTP_LINE_MAX) {
                refuse(r, 400, "a line between a request's chunks is too long");
                return;
        }
        r->line[r->line_len++] = c;
        if (c != '\n')
                return;
        len = r->line_len - 1;
        r->line_len = 0;
        if (len == 0 || r->line[len - 1] != '\r')
                refuse(r, 400, "a line between a request's chunks has no proper end");
        else if (state == HTTP_CHUNK_SIZE)
                begin_chunk(r, r->line, len - 1);
        else if (state == HTTP_TRAILER)
                take_trailer(r, r->line, len - 1);
        else if (len > 1)
                refuse(r, 400, "a chunk of the request is longer than it says");
        else
                r->state = HTTP_CHUNK_SIZE;
}

size_t http_request_take(struct http_request *r, const char *bytes, size_t len)
{
        size_t at = 0;

        while (at < len) {
                switch (r->state) {
                case HTTP_HEAD:
                        take_head(r, bytes[at++]);
                        break;
                case HTTP_BODY:
                        at += take_body(r, bytes + at, len - at, HTTP_WHOLE);
                        break;
                case HTTP_CHUNK:
                        at += take_body(r, bytes + at, len - at, HTTP_CHUNK_END);
                        break;
                case HTTP_CHUNK_SIZE:
                case HTTP_CHUNK_END:
                case HTTP_TRAILER:
                        take_line(r, bytes[at++]);
                        break;
                case HTTP_WHOLE:
                case HTTP_REFUSED:
                        return at;
                }
        }
        return at;
}
