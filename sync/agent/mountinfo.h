/*
 * What is mounted where, as /proc/self/mountinfo says: asking the kernel's list never touches a mount, so a dead one can't hang us.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct mount_entry {
        char *path;   /* owned, unescaped */
        char *type;   /* owned */
        bool shared;  /* what is mounted on it is seen elsewhere, too */
        unsigned dev; /* the device's minor number: for FUSE the connection's number */
};

struct mount_list {
        struct mount_entry *entries; /* owned */
        size_t count;
};

/* 0 or -errno. */
int mount_list_read(struct mount_list *ret);
void mount_list_release(struct mount_list *l);

/* A path as mountinfo writes it (blank, tab, newline and backslash as \ooo), in place. */
void mount_unescape(char *text);

/* The topmost mount at exactly `path` (canonical), or NULL. */
const struct mount_entry *mount_at(const struct mount_list *l, const char *path);
bool mount_is_dsfs(const struct mount_entry *m);

enum mount_life {
        MOUNT_LIVE,   /* it answers (or answers us that we may not) */
        MOUNT_DEAD,   /* nobody serves it */
        MOUNT_SILENT, /* no answer in time: hung, or dead in a way that the kernel doesn't notice */
};

/* Ask the filesystem at `path`, from a process of its own that may hang. */
enum mount_life mount_probe(const char *path);

/* End a FUSE connection that nobody serves, so that whoever waits for it gets an error. For root, and whoever mounted it; 0 or -errno. */
int mount_abort(unsigned dev);

/* The directory in which each connection has its control files, wherever it is mounted, if need be nowhere. A descriptor or -errno. */
int mount_connections(void);

/* The file that aborts connection `dev`, of that directory: any byte written to it does, for as long as that connection lives, and never
 * reaches another of the same number. A descriptor or -errno. */
int mount_abort_open(int connections, unsigned dev);

/* Unmount the topmost mount at `path`; by fusermount3 when this is not root. 0 or -errno (-EBUSY). */
int mount_remove(const char *path, bool lazy);
