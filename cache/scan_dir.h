/*
 * One directory of a scan: its names as they are and as they were remembered. Private to the scan.
 */
#pragma once

#include <stdatomic.h>

#include "cache/hash.h"
#include "cache/scope.h"
#include "cache/store.h"

struct entry {
        uint32_t name; /* in the directory's names */
        uint16_t len;
        uint8_t kind;              /* CONTENT_NONE: not, or not yet, part of the hash */
        bool looked;               /* to be looked at on the disk */
        bool named;                /* by the scope: it is said to have changed */
        bool known;                /* there is a record */
        bool todo;                 /* its content has to be read */
        const struct scope *scope; /* of a directory: what to look at in it; NULL: everything */
        struct content hash;
};

/* A piece of work: a directory to look at, or some of its files to read. */
struct task {
        struct task *next;
        struct dir *dir;
        bool is_batch;
        size_t from, to;
};

struct dir {
        struct task task;
        struct dir *parent;
        size_t slot; /* in the parent's entries */
        const struct scope *scope;
        dir_id id;
        bool remembered; /* there may be records */
        bool detached;   /* it doesn't hold its parent's descriptor */
        int rc;          /* why it could not be read, or 0 */
        int fd;
        struct tuple tuple;
        struct entry *entries; /* owned; in order of their names' bytes */
        size_t count, room;
        struct record *records; /* owned; of each entry that is known, in the same order; NULL: none is */
        char *names;            /* owned; each ends with a NUL */
        size_t names_len, names_room;
        /* What has to come to nothing before the hash can be made: directories and batches of files, and the first look. */
        _Atomic size_t pending;
        /* What still needs the descriptor. */
        _Atomic size_t users;
};

struct dir *dir_new(struct dir *parent, size_t slot, const struct scope *scope, dir_id id, bool remembered);
void dir_free(struct dir *d);

/* Append an entry; -ENOMEM. */
int dir_add(struct dir *d, const char *name, size_t len, struct entry **ret);

static inline const char *dir_name_of(const struct dir *d, const struct entry *e)
{
        return d->names + e->name;
}

/* Read the names of the open directory, but for `.git`. 0 or -errno. */
int dir_read(struct dir *d);

/* Put the entries in order. */
void dir_sort(struct dir *d);

/* Put what is remembered beside the entries: of all of them; or instead of them, when a scope says what to look at. Names that are
 * remembered and not there are told to `gone`. -ENOMEM; -EBADMSG when what is remembered doesn't add up (only with a scope). */
int dir_remember(struct dir *d, struct store *store, struct hasher *hasher, const struct content *believed,
                 void (*gone)(void *arg, const char *name, size_t len, const struct record *r), void *arg);

/* Room for a path, which may be longer than PATH_MAX. */
struct path_room {
        char *bytes; /* owned */
        size_t size;
};

/* The directory's path relative to the source, with an entry's name unless NULL. Valid until the room is used again; NULL without
 * memory. */
const char *dir_path(const struct dir *d, const struct entry *e, struct path_room *room);
