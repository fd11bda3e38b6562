/*
 * The small records of generations. `path` and `current` are files of one line; what else is known, and what is intended, the targets of
 * symlinks: those are there whole or not at all, and cost one call.
 */
#pragma once

#include "fs/generations_root.h"

#define RECORD_PATH "path"
#define RECORD_CURRENT "current"
#define RECORD_NAME (GENERATION_KEY_TEXT + 8)

/* Write the record `name` in `dirfd`, in place of the one that is there. 0 or -errno. */
int line_write(int dirfd, const char *name, const char *text);

/* Read one: `size` bytes in `ret`. 0 or -errno. */
int line_read(int dirfd, const char *name, char *ret, size_t size);

void kept_record_name(const struct key *key, char ret[RECORD_NAME]);
int kept_record_write(int dirfd, const struct kept *k);

/* What isn't known stays as it is. */
void kept_record_read(int dirfd, struct kept *k);

/* An object's identity in a record: IDENT_NOTHING, or hexadecimal digits. */
#define IDENT_TEXT 48
#define IDENT_NOTHING "-"
struct ident_text {
        char text[IDENT_TEXT];
};
struct ident_text ident_text_of(int dirfd, const char *name);

/* Say in moving/ what is about to be done; and that it has been. */
int intent_switch(int moving, const struct root *r, const struct key *to, int above, int kept, const char *from) REQUIRES(r->lock);
int intent_relabel(int moving, const struct root *r, const struct key *to) REQUIRES(r->lock);
void intent_done(int moving, const struct root *r);

struct intent {
        bool relabel;
        struct key from, to;
        struct ident_text was, comes; /* of a switch */
};

/* What was intended with the root of that id. False if nothing was. */
bool intent_read(int moving, const char *id, struct intent *ret);
