/*
 * Which directory each inotify watch descriptor stands for, and where it is: a tree that follows renames, found by descriptor and by
 * (parent, name). It knows nothing of the filesystem. A directory may be placed nowhere for a while: its name is gone and where it went
 * is not known yet. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/base/ident.h"

struct watch_dir {
        int wd;
        uint8_t len; /* of the name */
        bool read;   /* its entries have been looked at since it is watched */
        bool seen;   /* the caller's mark */
        struct ident ident;
        char *name; /* owned, not terminated; NULL while nowhere, and for the root */
        struct watch_dir *parent;
        struct watch_dir *child; /* any one of them */
        struct watch_dir *next;  /* sibling */
        struct watch_dir **prev; /* what points here among the siblings; NULL while nowhere */
        struct watch_dir *by_wd; /* next in its bucket */
        struct watch_dir *by_name;
};

struct watch_tree {
        struct watch_dir *root; /* set by the owner; one of the dirs */
        size_t count;
        size_t buckets;              /* a power of two; both tables */
        struct watch_dir **wd_table; /* owned */
        struct watch_dir **name_table;
};

/* 0 or -ENOMEM. */
int watch_tree_init(struct watch_tree *t);
void watch_tree_release(struct watch_tree *t);

struct watch_dir *watch_tree_find(const struct watch_tree *t, int wd);
struct watch_dir *watch_tree_child(const struct watch_tree *t, const struct watch_dir *parent, const char *name, size_t len);

/* A directory that is nowhere yet; `wd` must be new. NULL: out of memory. */
struct watch_dir *watch_tree_add(struct watch_tree *t, int wd, const struct ident *ident);

/* Put `d`, with all below it, at (parent, name). What was there is nowhere then. 0, -ENOMEM (nothing changed), or -ELOOP when `parent`
 * is `d` or below it: what we know is out of date. */
int watch_tree_place(struct watch_tree *t, struct watch_dir *d, struct watch_dir *parent, const char *name, size_t len);

/* Take `d`, with all below it, from its place. */
void watch_tree_unplace(struct watch_tree *t, struct watch_dir *d);

/* Forget and free `d`; what was below it is nowhere. */
void watch_tree_remove(struct watch_tree *t, struct watch_dir *d);

/* The first directory in table order that isn't marked `seen`, starting at bucket *at (0 first), which is moved on. NULL at the end. */
struct watch_dir *watch_tree_next_unseen(const struct watch_tree *t, size_t *at);

/* No directory is `seen` or `read` any more, or has a place. */
void watch_tree_forget_places(struct watch_tree *t);
