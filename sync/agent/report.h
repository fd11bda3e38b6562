/*
 * How a mount does, as `dsfs status` shows it.
 */
#pragma once

#include <jansson.h>

struct seat;

/* The mount's object of `status`: owned. The caller holds the seat. The loop's thread. */
json_t *report_seat(struct seat *s);
