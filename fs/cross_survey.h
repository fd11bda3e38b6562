/*
 * What is to be moved from one layer to the other: may it be copied, and is it still as it was?
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/layer.h"

/* Directories with more in them than this are left to the caller (EXDEV): packaging/manual/differences.md says so. */
#define CROSS_ENTRIES_MAX 4096U
#define CROSS_BYTES_MAX ((uint64_t)64 << 20)

struct survey {
        bool is_dir;
        uint64_t entries, bytes;
        uint64_t digest;   /* of all names, identities, sizes and times */
        int64_t newest_ns; /* the latest change, as the filesystem has it */
};

/* `name` in `dirfd`, a directory of the layer. 0; -EXDEV: it can't be copied (too much, a file with several links, a device, another
 * filesystem); or another -errno. Any thread. */
int cross_survey(const struct layer *l, int dirfd, const char *name, struct survey *ret);
