/*
 * How a mount does, as `dsfs status` shows it.
 */
#pragma once

#include <jansson.h>

struct seat;

/* The mount's object of `status`: owned. The caller holds the seat. The loop's thread. */
json_t *report_seat(struct seat *s);

/* What those who have it mounted may know of it: no paths. Owned; NULL without memory. The caller holds the seat, or is making it. Any
 * thread that serves nothing. */
json_t *report_public(struct seat *s);
