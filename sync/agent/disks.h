/*
 * Room on disks.
 */
#pragma once

#include <stdbool.h>

/* What is to be said of the disk that `path` is on, a sentence, when there is hardly room for bytes or files, and in *fix what to do about
 * it. `what` says in it what `path` is. NULL: it has room, or can't be asked. The caller frees both. `full`: only when nothing more fits.
 */
char *disk_complaint(const char *path, const char *what, bool full, char **fix);
