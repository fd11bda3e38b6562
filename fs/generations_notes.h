/*
 * What key files were after the mounts' own last changes of them: see fs/generations.h. A few are kept, for they are of interest for some
 * milliseconds.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/base/thread.h"
#include "fs/keys.h"

#define NOTES_MAX 64U

struct note {
        bool used;
        struct key_stamp stamp; /* not there: of the name below */
        uint64_t dir_dev, dir_ino, name_hash;
        unsigned writers;
};

struct notes {
        struct mutex lock;
        struct note list[NOTES_MAX] GUARDED_BY(lock);
        unsigned next GUARDED_BY(lock);
        uint64_t count GUARDED_BY(lock);
};

void notes_init(struct notes *n);
void notes_release(struct notes *n);

/* How often something was noted. */
uint64_t notes_count(struct notes *n);

/* As generations_note() and generations_note_writer(). With an entry its directory is noted, which has changed with it. */
void notes_add(struct notes *n, int dirfd, const char *name);
void notes_writer(struct notes *n, int fd, int by);

/* Was the file that has this stamp, or is being written, changed last by one of ours? */
bool notes_have(struct notes *n, const struct key_stamp *stamp);

/* Was the name of that directory, which isn't there, removed by one of ours? */
bool notes_have_gone(struct notes *n, uint64_t dir_dev, uint64_t dir_ino, const char *name);

/* Of the directory that is open as `dirfd` and all below it, the last thing to have changed: was that by one of ours? Of several that
 * changed at the same time, any. */
bool notes_have_newest(struct notes *n, int dirfd);
