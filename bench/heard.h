/*
 * How long until who watches a mount hears of the host's edit, beside who watches the source itself; and a storm: a checkout of many files.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct options;
struct side;

/* Edits on the host, idle and beside two compilers at work, with a line of the table for each; appended to `entries`. False when it failed,
 * or (*ok) when a bound is missed. */
bool heard_measure(const struct options *o, const struct side *s, const char *source, json_t *entries, bool *ok);

/* `git checkout` of a branch that replaces 20,000 files: until all is settled, what was lost, and the agent's memory. */
bool heard_storm(const struct options *o, struct side *s, const char *source, json_t *entries, bool *ok);
