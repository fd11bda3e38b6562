/*
 * What key files were after the mounts' own last changes of them: see fs/generations.h. A few are kept, for they are of interest for some
 * milliseconds.
 *
 * They are on disk as well, each as it is made, so that the next process knows whose the changes were that a killed one had not come to
 * look at.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/base/thread.h"
#include "fs/keys.h"

#define NOTES_MAX 64U

/* Also the format on disk: as large as what the kernel writes in one piece. */
struct note {
        uint64_t magic;         /* NOTE_MAGIC, or it is free */
        struct key_stamp stamp; /* not there: of the name below */
        uint64_t dir_dev, dir_ino, name_hash;
        unsigned writers;
        unsigned left_writers; /* an earlier process's, whose last change wasn't noted */
} __attribute__((aligned(128)));

struct notes {
        struct mutex lock;
        struct note list[NOTES_MAX] GUARDED_BY(lock);
        unsigned next GUARDED_BY(lock);
        int fd; /* of where they are on disk; owned; -1: nowhere */
};

/* With what an earlier process noted. The file is in `dirfd`; if it can't be written, notes end with the process. */
void notes_init(struct notes *n, int dirfd);
void notes_release(struct notes *n);

/* All that an earlier process noted has been looked at. */
void notes_forget_left(struct notes *n);

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
