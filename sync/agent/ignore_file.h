/*
 * One list of patterns as git has them (.gitignore, info/exclude, core.excludesFile), read the way git reads it.
 */
#pragma once

#include "sync/agent/rule_list.h"

#define IGNORE_BYTES_MAX (1024 * 1024)

/*
 * Read the list that `at`/`name` is, if it is a regular file; a symlink is one only if `follow`. Its patterns are for the directory `dir`,
 * relative to where `whole`'s are ("" or "a/b").
 *
 *   own     gets them as they are, for looking at that directory alone: "!" is said by the route, so that a rule that says no is found too
 *   whole   gets them in one list with others': anchored to `dir`
 *
 * `own` must not outlive `whole`, which has the texts of both. `origin` is how the file is called in messages. 0; -ENOENT when there is no
 * such file; -EFBIG; -ENOMEM; another -errno.
 */
int ignore_read(int at, const char *name, bool follow, const char *dir, const char *origin, struct rule_list *own, struct rule_list *whole);

/* A pattern for the directory `dir` as one for the directory above it all. NULL without memory. */
const char *ignore_anchor(struct rule_list *l, const char *dir, const char *pattern);

/* A path as a pattern that only it matches: "/a/b", with `mark` in front ("!" or "") and `end` behind. NULL without memory. */
const char *ignore_exactly(struct rule_list *l, const char *mark, const char *dir, const char *path, size_t len, const char *end);
