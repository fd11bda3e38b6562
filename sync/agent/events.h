/*
 * Where an agent tells what changes: on a socket of its own beside the control socket, and in each of its mounts. A mount's socket keeps
 * its connection alive, so the mounts of our namespace are watched: one that is in no place any more is let go, and ends as it would
 * without.
 */
#pragma once

#include "sync/agent/paths.h"
#include "sync/serve/stream.h"

struct agent;
struct events;
struct seat;

/* "<source id>.events" */
#define EVENTS_SOCKET_TEXT (SOURCE_ID_TEXT + 7)
void events_socket_name(const char *id, char ret[EVENTS_SOCKET_TEXT]);

/* Offer the host's socket. 0, or -errno and *why. The loop's thread. */
int events_new(struct agent *a, struct events **ret, char **why);

/* Offer what a seat listens on, if it does, and hasn't been offered yet. The loop's thread. */
void events_open(struct events *e, struct seat *s);

/* Its mount is over, or is out of reach. The loop's thread. */
void events_let_go(struct seat *s);

/* Tell all subscribers that this is the end. The loop's thread. Takes NULL. */
void events_close(struct events *e);

/* The journal's writer must have ended, and the loop. Takes NULL. */
void events_free(struct events *e);

/* The loop's thread. */
void events_stats(const struct events *e, struct stream_stats *ret);
