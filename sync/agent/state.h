/*
 * What is kept of a source from one agent to the next, in a directory of its own below the state directory:
 *
 *   <source id>/source   the source's canonical path, a newline, and the identity of the filesystem it was on (statfs's f_fsid)
 *   <source id>/cache/   the memory of its contents (cache/cache.h)
 *   <source id>/agent.log, agent.log.1
 *
 * The memory may be thrown away at any time; what else may come to lie there may not.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Where the memory of `source` (canonical) is; NULL without memory. */
char *state_cache(const char *source);

/* Make the source's state directory, and say in it whose it is. -ELOOP when it would lie inside the source, where each write to it would be
 * a change. 0 or -errno and *why. */
int state_make(const char *source, char **why);

/* Whether there is a memory of `source`. */
bool state_remembers(const char *source);

/* What became of a source. */
enum state_life {
        STATE_IN_USE,  /* it is there, or it can't be known whether it is */
        STATE_GONE,    /* it isn't there, though the filesystem that it was on is: the directory that it was in is still on that */
        STATE_UNKNOWN, /* nothing says which source it is */
};

struct state_entry {
        const char *dir;    /* the state directory */
        const char *id;     /* its last component */
        const char *source; /* or NULL */
        enum state_life life;
        uint64_t cache_bytes;    /* on disk */
        int64_t cache_written_s; /* when the memory was last written, in seconds since 1970; 0: there is none */
};

/* Visit every state directory of this user. 0 or -errno. */
int state_list(void (*visit)(void *arg, const struct state_entry *e), void *arg);

/* Throw away the memory in this state directory, and nothing else in it, unless a process keeps it up to date. 0, -EBUSY, or -errno. */
int state_forget(const char *dir);
