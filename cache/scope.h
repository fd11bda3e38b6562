/*
 * Which entries an update looks at: a tree of names, each either to be looked at with all below it, or only on the way to others.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct scope {
        char *name;             /* owned; of the source itself "" */
        bool whole;             /* this entry, and all below it */
        struct scope *children; /* owned; in order of their names' bytes */
        struct scope *last;     /* of the children */
        struct scope *next;
};

/* Of paths relative to the source. Empty names don't matter. No path leads out: at `.`, `..` or a name that is too long it ends, and the
 * directory in which it does is looked at whole. NULL without memory. */
struct scope *scope_new(const char *const paths[], size_t count);
void scope_free(struct scope *s);
