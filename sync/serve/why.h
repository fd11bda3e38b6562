/*
 * The sentence that explains a failure: built once, where what happened is known, and carried to where a human reads it.
 */
#pragma once

#include "cache/base/err.h"

/* A new text (the caller frees), or NULL when there is no memory. */
char *text_new(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Put a sentence in *why (which the caller frees; NULL when there is no memory) and return `rc`. */
int why_set(char **why, int rc, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* What to print for a sentence that may be missing. */
const char *why_text(const char *why);
