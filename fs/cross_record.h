/*
 * What is about to be done in several steps, written down in moving/ first: an agent that finds such a record completes or undoes it
 * (fs/cross_recover.c).
 */
#pragma once

#include <limits.h>
#include <stdbool.h>

#include "cache/base/ident.h"
#include "fs/overlay.h"

#define CROSS_PREFIX "cross-"
#define CROSS_RECORD_SUFFIX ".intent"
#define CROSS_NAME_BYTES 48

enum cross_kind {
        CROSS_MOVE = 1,    /* an object goes from one layer to the other, by a copy */
        CROSS_SHADOWS = 2, /* a source's directory is renamed, and its shadow with it */
};

struct cross_record {
        enum cross_kind kind;
        bool exchange;   /* the two directories change places */
        bool to_overlay; /* of a move */
        /* A move: the object and its copy, which is IDENT_NONE until it is whole. Shadows: what `from` and `to` are in the source before.
         */
        struct ident was, is;
        struct ident shadow_from, shadow_to; /* and in the overlay; IDENT_NONE: there is none */
        /* A move: the directories that these are in, which may be called otherwise by the time that somebody looks. */
        struct ident from_dir, to_dir;
        char from[PATH_MAX], to[PATH_MAX]; /* relative to the layers' roots */
        char temp[CROSS_NAME_BYTES];       /* what the copy is called until it is whole: in moving/, or where `to` is in the source */
};

/* Write it down: it is on the disk when this returns. Its name in `ret`. 0 or -errno. Blocks. */
int cross_record_write(const struct overlay *o, const struct cross_record *i, char ret[CROSS_NAME_BYTES]);

/* It is done, or undone. */
void cross_record_drop(const struct overlay *o, const char *name);

/* 0; -EBADMSG: it is none of ours, or was cut off when it was written; or another -errno. */
int cross_record_read(const struct overlay *o, const char *name, struct cross_record *ret);

/* A name that nothing has: `before`, random digits, `after`. */
void cross_record_new_name(const char *before, const char *after, char ret[CROSS_NAME_BYTES]);
