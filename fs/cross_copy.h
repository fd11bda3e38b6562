/*
 * Copies of files, symlinks and directories from one layer to the other, with all that they have: content (shared or sparse where that can
 * be), mode, owner, times, extended attributes.
 */
#pragma once

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/base/ident.h"
#include "fs/layer.h"

/* An object and its copy. */
struct cross_pair {
        struct ident was, is;
        int64_t changed_ns; /* when the object had last changed */
};

struct cross_pairs {
        const struct layer *from, *to;
        uid_t uid; /* who gets the copies; -1 each: whose the objects are */
        gid_t gid;
        struct cross_pair *list; /* owned */
        size_t count, room;
};

void cross_pairs_release(struct cross_pairs *p);

/* Copy `name` in `from_fd`, with all that is in it, to `to_name` in `to_fd`, which must not be there. 0, or -errno: the caller removes what
 * is there then. Blocks. */
int cross_copy(struct cross_pairs *p, int from_fd, const char *name, int to_fd, const char *to_name);

/* The same for a file, to one that is open and empty. */
int cross_copy_file(struct cross_pairs *p, int from_fd, const char *name, int fd);

/* Remove `name` in `fd`, and all that is in it. Errors leave things where they are. */
void cross_remove(int fd, const char *name);

/* Of `name` in `from_fd` remove what was copied and hasn't changed since; sorts the list. False if something was left. */
bool cross_remove_copied(struct cross_pairs *p, int from_fd, const char *name);

/* A stream of what is in the directory, from its beginning; the descriptor stays the caller's. NULL and errno. */
DIR *cross_read_directory(int fd);
