/*
 * What git tracks though a pattern matches it stays the source's.
 */
#pragma once

#include "sync/agent/ignored.h"

/* Ask git, and append what follows to the rules, which say what its lists ignore in `source`. 0, or -errno and *why; -ENOMEM perhaps
 * without. */
int ignored_keep_tracked(struct ignored *i, const char *source, char **why);
