/*
 * Where dsfs keeps what is not in the source: the runtime directory (sockets, records, default mount points) and the state directory
 * (logs). XDG variables win when set, for root too. All texts are the caller's to free; NULL means no memory.
 */
#pragma once

#include "sync/serve/why.h"

#define SOURCE_ID_TEXT 17 /* 16 hexadecimal digits and a NUL */

/* $XDG_RUNTIME_DIR/dsfs; else /run/dsfs for root, /tmp/dsfs-<uid> for others. */
char *path_runtime(void);

/* $XDG_STATE_HOME/dsfs/<id>; else /var/lib/dsfs/<id> for root, ~/.local/state/dsfs/<id> for others. */
char *path_state(const char *id);

/* The identity of a source: XXH3-64 of its canonical path. */
void path_source_id(const char *canonical, char ret[SOURCE_ID_TEXT]);

/* Make `dir` and the directories above it, private to this user; refuse one that belongs to someone else or that others can enter.
 * 0 or -errno and *why. */
int path_make_private(const char *dir, char **why);

/* The canonical path of `path`, whose last component is not looked into: it may be a mount that is dead. 0 or -errno. */
int path_canonical_place(const char *path, char **ret);

/* Whether `path` is `above` or lies below it; both canonical. */
int path_is_below(const char *path, const char *above);
