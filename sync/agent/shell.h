/*
 * Paths in commands that a person is to copy into a shell.
 */
#pragma once

/* `text` as one word of a shell's command line: as it is, or in quotes where it needs them. New (the caller frees), or NULL when there is
 * no memory. */
char *shell_word(const char *text);
