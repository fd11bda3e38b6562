/*
 * From a node to a descriptor of its backing object. A node's names are hints, and the host may have renamed, replaced or deleted what
 * they stood for: what is opened is always compared with the node's identity, so the answer is the right object or none.
 */
#pragma once

#include "fs/mount.h"

/* A descriptor of the node, in at least `mode`, to be given to slots_release(). 0; -ESTALE when the object can't be found any more, or
 * what opening it said. Any thread. Files are opened for reading or writing, directories only as SLOT_PATH. */
int reach(struct fs_mount *m, struct node *n, enum slot_mode mode, struct held *ret);

/* A file's descriptor for reading with `flags` of the reader's own: with O_NOATIME one that leaves the access time alone, where we may have
 * that. Otherwise as reach(). */
int reach_as_opened(struct fs_mount *m, struct node *n, int flags, struct held *ret);

/* A fresh descriptor of a directory for reading its entries; the caller closes it. The descriptor, or -errno. */
int reach_directory(struct fs_mount *m, struct node *n);

/* See that the node can be reached when its last name is gone. False: it can't, the caller refuses the removal. */
bool reach_pin(struct fs_mount *m, struct node *n);

/* openat(), which lets go of descriptors that aren't needed when there is none left: the process, or the system, may have fewer than the
 * budget takes for granted. The descriptor or -errno. Any thread. */
int reach_openat(int dirfd, const char *name, int flags, mode_t mode);
