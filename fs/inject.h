/*
 * Genuine events for those who watch a mount: what was changed on the host is done once more through the mount, and the server, knowing who
 * asks, answers without doing it. Nothing rests on it: where it can't be done the kernel is told as always, and there is no event.
 */
#pragma once

#include <fuse_lowlevel.h>

#include "fs/mount.h"

struct injector;

int injector_new(struct injector **ret);
void injector_free(struct injector *i);

/*
 * Doing: on a thread that may tell the kernel. Each returns true when it was done, and then the kernel holds what it would after being
 * told. The caller has references on the nodes.
 */

/*
 * What is replayed need not be so any more. `st` is how the node is shown then (of what is deleted, or renamed over: with the link that
 * goes); the answers to the kernel are not kept, so that nobody else comes by what was.
 */

/* `name` of `dir` has become `n`. `stays`: and it is so. */
bool inject_created(struct fs_mount *m, struct node *dir, const char *name, struct node *n, const struct stat *st, bool stays);

/* `n` is `name` of `dir` no longer. */
bool inject_deleted(struct fs_mount *m, struct node *dir, const char *name, struct node *n, const struct stat *st);

/* One end of a rename. */
struct inject_end {
        struct node *dir; /* NULL: elsewhere, where nobody watches */
        const char *name;
        struct node *n; /* what was there; of the target perhaps NULL */
        struct stat st;
};
bool inject_renamed(struct fs_mount *m, const struct inject_end *from, const struct inject_end *to, bool exchange);

/* `n`, which is `name` of `dir`, was changed as `how` (enum fs_host) says. `stays`: it still is; else it was, and looked like `st`. */
bool inject_touched(struct fs_mount *m, struct node *dir, const char *name, struct node *n, const struct stat *st, unsigned how,
                    bool stays);

/* The next rename that is told is of `object`, and was replayed already: set, and asked, which forgets it. The watch's thread. */
void inject_note_swapped(struct fs_mount *m, const struct ident *object);
bool inject_was_swapped(struct fs_mount *m, const struct ident *object);

/* For a while there is nothing to do. */
void inject_rest(struct fs_mount *m);

/*
 * Answering: on threads that serve. Each is true when the request was one of ours, and answered.
 */
bool inject_lookup(struct fs_mount *m, fuse_req_t req, struct node *dir, const char *name);
bool inject_make(struct fs_mount *m, fuse_req_t req, fuse_ino_t parent, const char *name);
bool inject_remove(struct fs_mount *m, fuse_req_t req, struct node *dir, const char *name);
bool inject_link(struct fs_mount *m, fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
bool inject_rename(struct fs_mount *m, fuse_req_t req, struct node *dir, const char *name, struct node *to_dir, const char *to_name);
bool inject_getattr(struct fs_mount *m, fuse_req_t req, struct node *n);
bool inject_setattr(struct fs_mount *m, fuse_req_t req, struct node *n);

/* Of the data profile only: in the other no OPEN comes. */
bool inject_open(struct fs_mount *m, fuse_req_t req, const struct node *n, struct fuse_file_info *fi);
/* Is what a RELEASE is about one of ours? */
bool inject_is_open(const struct fuse_file_info *fi);
