/*
 * The agent's control socket: lines of JSON in, lines of JSON out, for several clients at once. Only the user that the agent runs as, and
 * root, are served. What comes in is bounded; a client that doesn't read its answers, or says what is no request, is told and dropped.
 */
#pragma once

#include <uv.h>

#include "sync/serve/registry.h"

struct control;

/* Listen at `name` in the directory `dir` (which is private: it holds off everyone else before the credentials do). `r` is copied, its
 * verbs are borrowed. 0 or -errno. The loop's thread. */
int control_new(uv_loop_t *loop, const char *dir, const char *name, const struct registry *r, struct control **ret);

/* The same with a socket that listens there already, which this takes: whoever has knocked meanwhile is served. */
int control_inherit(uv_loop_t *loop, const char *dir, const char *name, const struct registry *r, int listener, struct control **ret);

/* The socket that it listens at; it stays the control's. The loop's thread. */
int control_listener(const struct control *c);

/* Stop listening, remove the socket, and drop each client as soon as it was given the answer that it is waiting for. The memory is freed
 * when the loop has closed all of it. Takes NULL. The loop's thread. */
void control_close(struct control *c);
