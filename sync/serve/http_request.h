/*
 * Reading one HTTP/1.1 request from bytes that anybody may have sent. It understands what a volume plugin is asked with and nothing else:
 * POST, a body of known length or in chunks. Everything is bounded, and what is doubtful is refused instead of guessed at: two readings of
 * one request can't arise. No library: the ones in Debian either are servers of their own (libmicrohttpd, libwebsockets) with threads or a
 * loop beside ours, or read far more than this (llhttp is not in bookworm).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define HTTP_HEAD_MAX (8 * 1024)
#define HTTP_BODY_MAX (64 * 1024)
#define HTTP_LINE_MAX 256 /* of a chunk's size, or of a trailer */
#define HTTP_TRAILERS_MAX 16

/*
 * HEAD -> BODY -> WHOLE                                       (Content-Length, or none)
 * HEAD -> CHUNK_SIZE -> CHUNK -> CHUNK_END -> CHUNK_SIZE …
 *         CHUNK_SIZE (0) -> TRAILER -> WHOLE
 * any -> REFUSED
 */
enum http_reading {
        HTTP_HEAD,
        HTTP_BODY,
        HTTP_CHUNK_SIZE,
        HTTP_CHUNK,
        HTTP_CHUNK_END,
        HTTP_TRAILER,
        HTTP_WHOLE,
        HTTP_REFUSED,
};

struct http_request {
        enum http_reading state;
        int status;         /* REFUSED: what to answer; else 0 */
        const char *why;    /* REFUSED: one sentence */
        bool keep;          /* WHOLE: the connection goes on */
        bool from_docker;   /* WHOLE: it accepts what docker's plugins answer with, and says so */
        const char *target; /* WHOLE: NUL-terminated, in `head` */
        size_t left;        /* of the body, or of the chunk */
        unsigned trailers;
        size_t head_len, body_len, line_len;
        char head[HTTP_HEAD_MAX + 1];
        char body[HTTP_BODY_MAX + 1]; /* NUL-terminated once WHOLE */
        char line[HTTP_LINE_MAX];
};

/* Ready for a request; what is in the buffers is of no account. */
void http_request_begin(struct http_request *r);

/* Whether anything of a request has come. */
bool http_request_begun(const struct http_request *r);

/* Take what belongs to this request: the count. Less than `len` only when it is WHOLE or REFUSED. */
size_t http_request_take(struct http_request *r, const char *bytes, size_t len);
