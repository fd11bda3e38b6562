/*
 * Telling the kernel that what it holds may be no longer true. See tell.c for why nothing stale survives.
 *
 * Never on a thread that serves requests, never under a lock that serving takes: the kernel waits for operations under way. The caller
 * holds a reference on the node.
 */
#pragma once

#include "fs/mount.h"

/* The node that an event is about, with a reference; NULL: the kernel doesn't know it. */
struct node *tell_find(struct fs_mount *m, const struct ident *ident);

/* With `force` also when the kernel is believed to know what stands there now. */
void tell_entry(struct fs_mount *m, struct node *dir, const char *name, size_t len, bool force);
void tell_content(struct fs_mount *m, struct node *n);
void tell_attr(struct fs_mount *m, struct node *n);

/* What is to be told of all names since a directory's were doubted: the kernel compares each when it next uses it. */
void tell_names(struct fs_mount *m);
