/*
 * An HTTP server on a unix socket, for clients that we know: few connections, small requests (http_request.h), small answers in JSON. A
 * request may be answered at once or later; until then its connection is not read from, so that nothing piles up. Only root and the user
 * that this runs as are served. A client that stalls in the midst of a request, or doesn't read its answer, is dropped.
 *
 * All of it on the loop's thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct http_server;
struct http_exchange; /* one request, until it is answered */

/* `body` is NUL-terminated; it and `target` are there until the request is answered. */
typedef void http_handler(void *arg, struct http_exchange *x, const char *target, const char *body, size_t len);

/* Serve what knocks at `fd`, a listening socket, which it takes whatever comes of it. 0 or -errno. */
int http_server_new(uv_loop_t *loop, int fd, http_handler *handle, void *arg, struct http_server **ret);

/* Whether it is docker who asks: podman, which speaks the same protocol, doesn't say so. */
bool http_is_docker(const struct http_exchange *x);

/* Answer a request, exactly once. Takes `json`, a text; NULL (no memory) hangs up. */
void http_answer(struct http_exchange *x, int status, char *json);

/* Listen no more, and drop each client as soon as it was given the answer that it waits for; then done(arg). The server's memory is freed
 * by then. Takes no NULL. */
void http_server_close(struct http_server *s, void (*done)(void *arg), void *arg);
