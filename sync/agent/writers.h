/*
 * Who has files of a mount open for writing: the processes that can be seen from here say so in procfs, and no mount is touched to find
 * out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Tell of each such file; `path` is relative to the mount's root. `visit` returns false to stop. `devices` are the minor numbers of the
 * mounts. */
void writers_each(const unsigned *devices, size_t count, bool (*visit)(void *arg, pid_t pid, const char *program, const char *path),
                  void *arg);
