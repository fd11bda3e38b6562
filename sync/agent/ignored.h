/*
 * What git ignores in a source, as rules: its lists in the order in which the last that matches counts, then what is the source's all the
 * same, because git tracks it, or because another repository is there.
 */
#pragma once

#include "sync/agent/rule_list.h"

#define IGNORED_FOUND_MAX 10000
#define IGNORED_RULES_MAX 50000 /* of the lists; of what is tracked as many again */

struct ignored {
        struct rule_list rules; /* relative to the working tree's root */
        char *prefix;           /* where the source is in it: "" or "a/b"; owned */
        /* What of it there is: paths relative to the source, a directory's with a slash behind. Owned. */
        char **found;
        size_t found_count, found_more; /* listed, and beyond what is */
        /* Which lists were read or may come: absolute paths, owned. */
        char **lists;
        size_t list_count;
        char *git_dir; /* where git's index is; owned; or NULL */
        char *note;    /* a sentence that is worth telling; owned; or NULL */
};
void ignored_release(struct ignored *i);

/* Look through the source (canonical), and ask git. 0, or -errno and *why. */
int ignored_find(const char *source, struct ignored *ret, char **why);
