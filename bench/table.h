/*
 * The table of all sides, one column each, and its entries in the file of results.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <jansson.h>

#include "bench/round.h"

void table_header(const struct bench *b);

/* One row. False when dsfs misses a floor (of a self-check: when it isn't near 1.0), or it or the bind mount failed. */
bool table_row(const struct bench *b, const struct result *r);

/* A row that can't be measured here, and why. */
void table_row_missing(const struct workload *w, const char *why);

/* Add the entries of a row, one for each side that is compared with the bind mount. */
void table_entries(const struct bench *b, const struct result *r, json_t *entries);

/* The entry of a row that can't be measured here, a new reference. */
json_t *table_entry_missing(const struct workload *w, const char *why);

/* A line for a row in which peers had fewer rounds than they should have had: how many, how long the last one took. */
void table_given_up(const struct bench *b, const struct result *r, FILE *out);
