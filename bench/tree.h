/*
 * A made-up source checkout: packages of a hundred files in nine directories, small texts with some larger ones, the same bytes for the
 * same seed. It can be written as plain files, or as a git repository with a branch that differs in a tenth of the files.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
        TREE_PATH_MAX = 160,
        TREE_AREA_FILES = 5000, /* the files of one top directory */
        TREE_CHANGED_EVERY = 10,
        TREE_LARGEST = 48 << 10,
};

/* grep finds this in one file of TREE_NEEDLE_EVERY. */
#define TREE_NEEDLE "xyzzy_plugh"
#define TREE_NEEDLE_EVERY 200

struct tree {
        unsigned files;
        uint64_t seed;
        char *pool; /* owned: text that all contents are cut from */
};

int tree_init(struct tree *t, unsigned files, uint64_t seed);
void tree_release(struct tree *t);

/* The path of file `i`, and of the directory that it is in. */
void tree_path(const struct tree *t, unsigned i, char path[TREE_PATH_MAX]);
void tree_dir(const struct tree *t, unsigned i, char path[TREE_PATH_MAX]);
size_t tree_size(const struct tree *t, unsigned i);

/* Write all files below `root`, which exists. 0 or -errno. */
int tree_write(const struct tree *t, const char *root);

/* Make `root` a checked-out repository with branches main and other. 0 or -errno. */
int tree_write_repository(const struct tree *t, const char *root);
