/*
 * Generations, as the rest of fs/ sees them (the door is fs/artifacts.h). What is in tree/ at an artifact root is its current generation;
 * the others are in kept/ (fs/generations_kept.h). A root is looked at when a mount first meets it, and again when the watch, or a mount
 * that changed a key file itself, says that its key may be another.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fs/artifacts.h"

struct generations;

/* Complete or undo what an earlier process left half done, and know what is kept. 0 or -errno. */
int generations_new(struct overlay *o, struct generations **ret);

/* Takes NULL. */
void generations_free(struct generations *g);

/* Is the watch there to tell of changed keys? Else they are looked at whenever their artifact is. */
void generations_watched(struct generations *g, bool watched);

/* Has that which the mark stands for been met? Any thread, no lock. */
bool generations_has_met(const struct generations *g, uint64_t mark);
void generations_remember(struct generations *g, uint64_t mark);

/* A mount is about to look at the root at `path`, or to make it: it shows the right generation when this returns. Any thread. */
void generations_meet(struct generations *g, const char *path, const struct rule *rule, bool making);

/* Visit the name of each root that is known in the directory `parent`. Any thread; `visit` may call back. */
void generations_each_in(struct generations *g, const char *parent, void (*visit)(void *arg, const char *name), void *arg);

/*
 * Who changed a key file: a mount says what it is after each change of its own. If it still is that when the key is looked at, the change
 * was ours, and what has been installed goes by the new key; else it was the host's, and another generation is called for. What git does is
 * never ours: a branch brings its own generation, wherever it is checked out.
 */

/* A change of what may be a key is about to be made; and has been made, and noted. Any thread. */
void generations_change_begin(struct generations *g);
void generations_change_end(struct generations *g);

/* The entry `name` of `dirfd`, or `dirfd` itself ("" for name), which may be a key file or below a key directory, was changed. Any thread.
 */
void generations_note(struct generations *g, int dirfd, const char *name);

/* A file that may be one is open for writing by the kernel, unseen: `by` more (1) or fewer (-1). Any thread. */
void generations_note_writer(struct generations *g, int fd, int by);
