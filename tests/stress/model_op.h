/*
 * One operation of the model stress: what it is, drawn by dice, and as a line of text that can be read back (model --replay). An operation
 * says everything that it needs, so that any part of a sequence can be run by itself.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/lib/child.h"

#define OP_ACTORS 4 /* the even ones on the source, the odd ones in the mount */
#define OP_HANDS 5  /* open files of an actor */
#define OP_PATH 48

struct op {
        uint8_t actor;
        uint8_t kind;
        uint8_t h, h2;
        bool look; /* at the attributes of what it was done to, afterwards */
        char path[OP_PATH], to[OP_PATH];
        int64_t off, off2, len;
        uint32_t flags, mode, salt;
};

struct side;
struct answer;

/* Which of its fields an operation uses. */
enum op_field {
        OP_H = 1,
        OP_H2 = 2,
        OP_AT = 4, /* path */
        OP_TO = 8,
        OP_OFF = 16,
        OP_OFF2 = 32,
        OP_LEN = 64,
        OP_FLAGS = 128,
        OP_MODE = 256,
        OP_SALT = 512,
        OP_SOURCE_ONLY = 1024, /* FUSE has no such call */
        OP_AFTER_ALL = 2048,   /* a barrier comes before it whoever does it */
        OP_LINKS = 4096,       /* may give a file a second name */
        OP_REMOVES = 8192,     /* may leave an open file without a name */
};

/* What a path should be, mostly. */
enum op_want {
        WANT_ANY,
        WANT_FILE,
        WANT_DIR,
        WANT_NEW,
        WANT_LINK,
};

struct op_kind {
        const char *name;
        void (*act)(struct side *p, const struct op *op, struct answer *a);
        unsigned weight;
        unsigned fields;
        enum op_want at, to;
        const uint32_t *flags; /* to choose from, the first element is their number; NULL: none */
};

const struct op_kind *op_kind(const struct op *op);

/* All kinds, by number. */
const struct op_kind *op_kinds(size_t *count);

/* A kind by its name; it must be there. */
uint8_t op_named(const char *name);

static inline bool op_in_mount(const struct op *op)
{
        return op->actor % 2;
}

/* What to draw from. */
struct op_scene {
        const char *root; /* of the model: names that exist are seen here */
        bool links;       /* hard links too */
        bool crowd;       /* there is one (tests/stress/model_side.h) */
        bool mounts;      /* all actors see it by a mount */
        /* Masks of each actor's hands, as far as it is known. */
        uint8_t open[OP_ACTORS], mapped[OP_ACTORS];
};

/* Draw the sequence's `nth` operation: the first ones make a tree. */
void op_draw(struct dice *dice, const struct op_scene *scene, unsigned nth, struct op *ret);

/* One line, without its end. */
void op_print(const struct op *op, char *ret, size_t size);

/* False when it isn't one. Empty lines and comments (#) aren't. */
bool op_parse(const char *line, struct op *ret);
