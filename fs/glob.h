/*
 * One component of a gitignore pattern, compiled: literal bytes, `?`, `*`, `[…]`. Names are bytes; nothing here knows slashes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct glob;

enum glob_form {
        GLOB_LITERAL, /* no wildcard: only its own bytes match */
        GLOB_SUFFIX,  /* a star, then literal bytes */
        GLOB_ANY,     /* nothing but stars */
        GLOB_GENERAL,
};

/* Compile `len` bytes of a pattern. 0, -EINVAL when nothing can match it (an open bracket, a backslash at the end), or -ENOMEM. */
int glob_new(const char *text, size_t len, struct glob **ret);
void glob_free(struct glob *g);

/* How many bytes the first thing in a pattern takes: a byte, with the backslash before it, or a bracket with all that is in it. 0 if it has
 * no end. */
size_t glob_token_len(const char *text, size_t len);

bool glob_match(const struct glob *g, const char *name, size_t len);

enum glob_form glob_form(const struct glob *g);

/* The byte that every match begins with, or -1. */
int glob_first(const struct glob *g);

/* The literal bytes of a LITERAL or SUFFIX. */
const char *glob_bytes(const struct glob *g, size_t *len);
