/*
 * What makes a file this file, beyond any name, and beyond (dev, ino), which a filesystem reuses: its file handle, inode number and
 * generation as the filesystem encodes them. fanotify names objects by the same bytes, so an event finds its node without a path.
 * Handles too long to keep become a digest; where there are no handles at all, (ino, birth time) stands in. Identities are compared
 * within one source; where that is on several filesystems, whoever knows says so in `fs`.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

#define IDENT_BYTES 20

enum ident_how {
        IDENT_NONE,
        IDENT_HANDLE, /* open_by_handle_at() takes it */
        IDENT_FID,    /* identifies only (AT_HANDLE_FID) */
        IDENT_DIGEST, /* XXH3-128 of a longer handle */
        IDENT_STAT,   /* inode number and birth time */
};

struct ident {
        uint8_t how : 4; /* enum ident_how: not part of the comparison between HANDLE and FID */
        uint8_t fs : 4;  /* of which filesystem, where there are several: 0 is the source's */
        uint8_t len;
        int16_t type; /* the handle's type */
        uint8_t bytes[IDENT_BYTES];
};

/* The identity of `name` in `dirfd` (AT_EMPTY_PATH semantics when name is ""), never following a symlink. 0 or -errno. Any thread. */
int ident_of(int dirfd, const char *name, struct ident *ret);

/* The identity that a handle's bytes, as an event carries them, stand for. False if it can't be one that ident_of() returns. */
bool ident_from_handle(int type, const void *bytes, size_t len, struct ident *ret);

bool ident_equal(const struct ident *a, const struct ident *b);
uint64_t ident_hash(const struct ident *id);

/* Open by handle below the filesystem that `mount_fd` is on; needs CAP_DAC_READ_SEARCH. The descriptor, or -errno: -ESTALE when the
 * object is gone, -EOPNOTSUPP when the identity is no handle. */
int ident_open(int mount_fd, const struct ident *id, int flags);
