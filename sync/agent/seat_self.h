/*
 * What the seat's parts share: seat.c (made, held, unmounted) and seat_end.c (what the loop does with it, up to its end).
 */
#pragma once

#include "sync/agent/agent.h"

#define ANY_SERIAL 0UL

/* Takes NULL. */
void seat_free(struct seat *s);

/* The seat of that number, if it can still be seen; and whether any other can. */
struct seat *seat_in_sight_locked(struct agent *a, unsigned long serial, bool *others) REQUIRES(a->lock);

/* Whether that seat, or ANY_SERIAL, lives on elsewhere. */
bool seat_is_abroad_locked(const struct agent *a, unsigned long serial) REQUIRES(a->lock);

void seat_set_state_locked(struct agent *a, struct seat *s, enum seat_state state) REQUIRES(a->lock);
