/*
 * `dsfs status` for a person: the verdict, what to do about it, then all that is known of each mount.
 */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "sync/agent/term.h"

/* Of a mount, for `--watch`: what it did in the last seconds, oldest first. */
#define SPARK_SAMPLES 60
struct spark {
        double changes[SPARK_SAMPLES];
        double latency_ms[SPARK_SAMPLES]; /* below 0: nothing was told in that second */
        size_t count;
};

/* How far in stands what a line is about. */
#define STATUS_INDENT 15

/* What status_gather() found. `sparks` is one for each mount, or NULL. */
void status_show(FILE *to, const struct term *t, const json_t *status, const struct spark *sparks);
