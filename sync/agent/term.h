/*
 * What the terminal can show: colours, how wide it is, whether it has more than ASCII.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum colour {
        COLOUR_PLAIN,
        COLOUR_GOOD,
        COLOUR_WARN,
        COLOUR_BAD,
        COLOUR_FAINT,
        COLOUR_STRONG,
};

struct term {
        bool terminal; /* standard output is one */
        bool colours, utf8;
        size_t columns, rows; /* SIZE_MAX when it is none */
};

/* `when` is --color's value (auto, always, never) or NULL for auto, which goes by NO_COLOR, TERM and whether it is a terminal. False if it
 * is none of them. */
bool term_look(const char *when, struct term *ret);

/* Its size, which may have changed. */
void term_measure(struct term *t);

/* The text in this colour, if there are colours. */
void term_print(FILE *to, const struct term *t, enum colour c, const char *text);

/* The text, whose lines are broken at the terminal's width; what goes on stands `indent` in. */
void term_wrap(FILE *to, const struct term *t, const char *text, size_t indent);

/* The length of the start of `line` (`len` bytes; colours count as nothing, a UTF-8 sequence as one) that `columns` hold. */
size_t term_fit(const char *line, size_t len, size_t columns);
