/*
 * A mount meets artifact roots that have generations: before one is looked for, made, or listed, it shows the right generation. What has
 * been met costs a comparison.
 */
#pragma once

#include <stdbool.h>

#include "fs/mount.h"

struct rule;

/* The name in the source's directory that is open as `dirfd`, by the rule that it goes by. */
void meet(struct fs_mount *m, const struct node *dir, int dirfd, const char *name, const struct rule *rule, bool making);

/* All that may be listed in it. */
void meet_listing(struct fs_mount *m, const struct node *dir, int dirfd);

/* A change of what may be a key is about to be made through a mount, and has been made; between the two it is told: the entry `name` of
 * `dirfd`, or that itself with "", is what it is by our doing. */
void meet_change_begin(struct fs_mount *m);
void meet_change(struct fs_mount *m, int dirfd, const char *name);
void meet_change_end(struct fs_mount *m);

/* The kernel writes by itself to what may be one and is open as `fd`: from now on (1), no longer (-1). */
void meet_writer(struct fs_mount *m, int fd, int by);
