/*
 * What the shells' completions ask: which words could stand there? Made from each command's own help, the table of keys and the records of
 * mounts, so that it can't fall behind.
 */
#pragma once

#include <stddef.h>

#include "sync/agent/cmd.h"

#define COMPLETE_COMMAND "complete"

/* `words` are those behind "dsfs", the last is the one to be completed. Prints "word<TAB>what it is" a line; ":files" when names of files
 * fit, too. */
enum exit_code complete_words(const struct command *const commands[], size_t count, char *const words[], size_t word_count);
