/*
 * Keeps the rules of an agent true to what they follow from: the configuration files, and git's lists when gitignored is on. One thread of
 * its own looks again, a moment after something of that has changed; a file that says nonsense leaves the rules as they were, and is a
 * warning. Only rules change while an agent lives, not what a mount was made with.
 *
 * A directory that comes into the source from elsewhere with lists inside is noticed at the next look only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "cache/base/err.h"

struct config;
struct engine;
struct overlay;
struct reload;
struct rules;

/* Make the first rules. From the return on no change is missed, where the engine watches. `command` is what `-o` said (or NULL), copied.
 * 0, or -errno and *why. */
int reload_new(const char *source, const char *command, struct engine *engine, struct reload **ret, char **why);

/* The first rules, once: the caller's. NULL: there are none. */
struct rules *reload_take_rules(struct reload *r);

/* Tell `say` what is worth knowing about the first rules, line by line. */
void reload_tell(const struct reload *r, void (*say)(void *arg, const char *line), void *arg);

/* Begin. Later rules go to `overlay` (borrowed); NULL: there is none, and to have rules takes another mount. 0 or -errno. */
int reload_start(struct reload *r, struct overlay *overlay);

/* Wait until all that changed in the source before, as far as the engine has told, is in the rules. 0 or -ETIMEDOUT. Any thread that
 * serves nothing. */
int reload_wait(struct reload *r, int timeout_ms);

/* Let every wait return. Any thread. */
void reload_shutdown(struct reload *r);

/* Stop looking. The engine and the overlay must still be there, and tell nothing more afterwards. Takes NULL. */
void reload_free(struct reload *r);

/* Visit what is wrong, each a sentence. Any thread; `visit` must not call back. */
void reload_warnings(struct reload *r, void (*visit)(void *arg, const char *sentence), void *arg);
