/*
 * What is hidden or read-only must stay so: when a directory above is renamed to where no rule is for it, or when a read-only file has
 * other names, that no rule is for.
 */
#pragma once

#include <sys/stat.h>

#include "fs/place.h"

/* May the directory `name` of the source, at `from` in `dir`, be renamed to `to_name`, at `to` in `to_dir`? 0; -EACCES: something below it
 * would come to light, or could be changed; -EXDEV: it has too much in it to see that (GUARD_TREE_MAX); -errno. Anything else than a
 * directory of the source may. A thread that serves. */
#define GUARD_TREE_MAX 20000U
int guard_rename(struct fs_mount *m, const struct node *dir, const struct place *from, const char *name, const struct node *to_dir,
                 const struct place *to, const char *to_name);

/* Of a file that was found to be `is` by one of its `links` names: what it is by all of these that we know. */
#define LINKS_UNKNOWN ((nlink_t)-1)
uint8_t guard_is(struct fs_mount *m, struct node *n, uint8_t is, nlink_t links);
