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

/* Of paths relative to the source. Slashes at the ends don't matter; `.` and `..` are names like any other, so no path leads out. NULL
 * without memory. */
struct scope *scope_new(const char *const paths[], size_t count);
void scope_free(struct scope *s);
