/*
 * The parts of a survey of artifacts.
 */
#pragma once

#include "fs/artifacts.h"

/* Append a root; `*room` is how many the array has room for. NULL without memory. */
struct artifact_root *survey_add_root(struct artifact_survey *ret, size_t *room, const char *path);
void survey_root_release(struct artifact_root *r);

/* Add what is in kept/: the generations of roots (with `only`, of that one). 0 or -errno. */
int survey_kept(struct overlay *o, const char *only, struct artifact_survey *ret, size_t *room);

/* … and in saved/. */
int survey_snapshots(struct overlay *o, struct artifact_survey *ret);
