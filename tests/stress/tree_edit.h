/*
 * Random edits of a small tree, each with the paths that it touched, as a watch would name them: what editors, git, tar, cp -p and rsync -t
 * do, and what nobody does.
 */
#pragma once

#include <stddef.h>

#include "tests/lib/child.h"

#define TOUCHED_MAX 256
#define TOUCHED_PATH 96

struct touched {
        char paths[TOUCHED_MAX][TOUCHED_PATH]; /* relative to the tree */
        size_t count;
};

/* One edit of the tree at `root`, an absolute path. What it touched is added. */
void tree_edit(const char *root, struct dice *d, struct touched *t);

/* Make some more directories and files. */
void tree_edit_grow(const char *root, struct dice *d, struct touched *t);
