/*
 * Where tests keep their files: a directory of their own below TMPDIR, and in it, or on an ext4 image when TMPDIR is something else,
 * one on the filesystem that they ask for.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Make a fresh directory below TMPDIR. Failing fails the test. */
void area_new_base(char *ret, size_t size);

/* Make a directory on tmpfs (always one of its own) or ext4, for the fixture at `base`. `own`: nobody else uses the filesystem.
 * A descriptor of it, which keeps the filesystem mounted: the caller closes it before area_remove(). */
int area_new(const char *base, bool tmpfs, bool own, char *ret, size_t size);

/* Remove both, and what is mounted for them. False if something stays. Safe from a janitor. */
bool area_remove(const char *base, const char *area);
