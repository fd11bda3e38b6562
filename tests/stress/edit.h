/*
 * Random edits of a small tree: what editors, compilers and git do to files, drawn by dice. The same dice make the same edit in another
 * directory, so that a shadow beside the edited tree says what has to be there.
 */
#pragma once

#include <stdbool.h>

#include "tests/lib/child.h"

#define EDIT_DIRS 6
#define EDIT_FILES 10

/* Make one edit below `dir` (absolute). `links`: hard links too. Returns what the edit's calls answered, summed up: the same tree gives the
 * same answer. */
unsigned edit_once(const char *dir, struct dice *dice, bool links);

/* Fill `dir` with a first tree. */
void edit_fill(const char *dir, struct dice *dice);

/* Call fn for every name that an edit can ever make below `dir`. */
void edit_each_name(const char *dir, void (*fn)(void *arg, const char *path), void *arg);
