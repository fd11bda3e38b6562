/*
 * A list of gitignore patterns, compiled so that asking for one name costs next to nothing: the last one that matches counts. Patterns
 * with a slash in them go by the path; how far each has come on the way to a directory is that directory's place, so that nobody has to
 * know a path. As gitignore(5) has it; what git does beyond its documentation is listed in packaging/manual/differences.md.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct patterns;

/* Where a directory is, for the patterns: constant, lives as long as they do; directories that no pattern tells apart share one. */
struct pattern_place;

/* `texts` are single patterns, as a line of a .gitignore file has them ("!" in front negates). One that can't match anything stands for
 * nothing. 0 or -ENOMEM. */
int patterns_new(const char *const texts[], size_t count, struct patterns **ret);
void patterns_free(struct patterns *p);

/* The place of the directory that the patterns are relative to. */
const struct pattern_place *patterns_root(const struct patterns *p);

/* The place of the directory `name` in `dir`. NULL without memory. Any thread. */
const struct pattern_place *patterns_enter(struct patterns *p, const struct pattern_place *dir, const char *name, size_t len);

/* The index of the last pattern that matches the entry `name` of `dir` itself, or -1. That a directory above it matches is not its
 * business. Any thread, no lock. */
int patterns_find(const struct patterns *p, const struct pattern_place *dir, const char *name, size_t len, bool is_dir);

bool patterns_negated(const struct patterns *p, int index);

/* Whether anything can match it. */
bool patterns_can_match(const struct patterns *p, int index);

/* Whether any pattern but a negated one might match something at any depth in that directory. */
bool patterns_may_match_in(const struct patterns *p, const struct pattern_place *dir);
