/*
 * Where tests keep their files: a directory of their own below TMPDIR, and in it, or on an image when TMPDIR is on something else, one
 * on the filesystem that they ask for.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum backing {
        ON_EXT4,
        ON_TMPFS,
        ON_XFS,
        ON_BTRFS,
        BACKING_COUNT,
        ON_OVERLAY = BACKING_COUNT, /* the kernel's overlayfs over TMPDIR's filesystem; as ON_TMPFS always one of its own */
};

/* Make a fresh directory below TMPDIR. Failing fails the test. */
void area_new_base(char *ret, size_t size);

/* "ext4", … */
const char *backing_name(enum backing backing);

/* Make a directory on tmpfs (always one of its own) or another filesystem, for the fixture at `base`. `own`: nobody else uses the
 * filesystem. A descriptor of it, which keeps the filesystem mounted: the caller closes it before area_remove(). */
int area_new(const char *base, enum backing backing, bool own, char *ret, size_t size);

/* Remove both, and what is mounted for them. False if something stays. Safe from a janitor. */
bool area_remove(const char *base, const char *area);
