/*
 * The rules that follow from a configuration, and what is worth saying about them.
 */
#pragma once

#include "sync/agent/config.h"

struct ruling {
        struct rules *rules; /* owned; NULL: there are none */
        /* What the source has of its own where git ignores it: out of sight in the mounts. Relative, a directory's with a slash behind.
         * Owned. */
        char **shadowed;
        size_t shadowed_count;
        bool shadowed_more; /* there are too many to list */
        char *note;         /* a sentence; owned; or NULL */
        /* The lists of git that were read: absolute paths. Owned. */
        char **lists;
        size_t list_count;
        char *git_dir; /* where git's index is; owned; or NULL */
};
void ruling_release(struct ruling *r);

/* What git ignores if that is asked for, less what is kept, then the artifacts of all files. 0, or -errno and *why. Looks through the
 * source and asks git: not on a thread that mustn't wait. */
int ruling_make(const struct config *c, struct ruling *ret, char **why);

/* Tell `say`, line by line, what is shadowed, with what would show it: at most a dozen lines. */
void ruling_tell_shadowed(const struct ruling *r, void (*say)(void *arg, const char *line), void *arg);
