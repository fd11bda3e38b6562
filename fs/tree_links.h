/*
 * Files with several names that a walk has met: each inode number, and what the walker wants to remember of it.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

struct tree_links {
        struct tree_link *slots; /* owned */
        size_t count, size;
};

/* Remember `what` (taken, may be NULL) of inode `ino`. 0; -EEXIST when it is remembered already, with *before (may be NULL) what was said
 * then; -ENOMEM. On failure the caller still owns `what`. */
int tree_links_add(struct tree_links *l, ino_t ino, char *what, const char **before);
void tree_links_release(struct tree_links *l);
