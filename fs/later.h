/*
 * What a serving thread may not do itself, because the kernel would wait for it: telling the kernel. Requests for it are gathered here
 * and carried out by a thread of their own a few milliseconds later, many of a kind as one. The same thread closes writable descriptors
 * that have gone idle, which is when the host's watchers see CLOSE_WRITE. With nothing to do it sleeps without a timer.
 */
#pragma once

#include "fs/mount.h"

int later_new(struct fs_mount *m, struct later **ret);

/* Stop the thread; what is queued is dropped. */
void later_free(struct later *l);

/* The node's attributes: an answer on its way to the kernel may be older than what it has been told since. */
void later_attr(struct fs_mount *m, struct node *n);

/* The node's pages: the kernel took a write for one that it was not. */
void later_content(struct fs_mount *m, struct node *n);

/* The entry `name` of `dir`: what was answered may have been overtaken by a change on the host. */
void later_entry(struct fs_mount *m, struct node *dir, const char *name, size_t len);

/* The entry `name` of `dir`: the kernel was given different answers, and which it took in last can't be known. */
void later_doubt(struct fs_mount *m, struct node *dir, const char *name, size_t len);

/* A writable descriptor is open. */
void later_writer(struct fs_mount *m);

/* Carry out all that was asked for before this call. Not on a serving thread. */
void later_flush(struct fs_mount *m);
