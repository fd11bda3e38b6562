/*
 * The agent's side of its holder (holder.h): what it is told and given to keep. Everything here takes NULL, which is an agent without one.
 * Any thread.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "sync/agent/hold.h"

struct holding;

/* The holder's two lines, which this takes whatever it returns: `channel` for what is said; `life`, a pipe's end that is closed in the very
 * moment in which this process is killed. Before any other thread is started. 0 or -errno. */
int holding_new(pid_t holder, int channel, int life, struct holding **ret);
void holding_free(struct holding *h);

/* The holder's process; 0 without one, or when it has died. */
pid_t holding_pid(const struct holding *h);

/* The descriptor that ends when the holder does, or -1; to be told back by holding_lost(). */
int holding_channel(const struct holding *h);
void holding_lost(struct holding *h);

/* Whether connections can be freed from outside should we die: if not, nothing may be done that a killed process can hang in. */
bool holding_can_abort(const struct holding *h);

/* A mount that serves: with what it takes to abort its connection and to mount it again. 0 or -errno. */
int holding_mount(struct holding *h, unsigned connection, const struct hold_mount *mount);

/* Have a copy of the descriptor kept: HOLD_CLAIM, HOLD_LISTENER. */
void holding_park(struct holding *h, enum hold_kind kind, int fd);

/* `connection` 0 for those that are about none. */
void holding_say(struct holding *h, enum hold_kind kind, unsigned connection);
