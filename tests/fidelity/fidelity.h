/*
 * The fidelity suite: what inotify watchers of a mount hear of the host's edits, beside watchers of a bind mount of the same directory, who
 * are in the mount namespace of the mount's users. The result is a table, packaging/manual/fidelity.md.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/inotify.h>

#include "tests/lib/mount.h"

/* Not OPEN, ACCESS, CLOSE_NOWRITE: see packaging/manual/differences.md. */
#define HEARD (IN_CREATE | IN_DELETE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF)

/*
 * Hearing (ear.c)
 */

struct event {
        uint32_t mask; /* one bit of HEARD */
        bool self;     /* heard by the object's own watcher, not by its directory's */
        bool dir;
        unsigned cookie, pair; /* pair: both halves of a rename have the same, and not 0 */
        char what[128];        /* relative to where it was listened; where its watcher first was */
};

struct heard {
        struct event *at; /* owned */
        size_t count;
};

struct ear;

/* Watch `dir` and every directory that is below its twin `like`; with `files`, every file as well. Nothing else is looked at in `dir`. */
struct ear *ear_open(const char *dir, const char *like, bool files);
/* All that has been queued. */
struct heard ear_hear(struct ear *e);
void ear_close(struct ear *e);

void heard_release(struct heard *h);
/* "CREATE made/, MOVED_FROM a #1, …", kept for the rest of the test. */
char *heard_text(const struct heard *h);

/*
 * Comparing (rules.c)
 */

/* What may be different, as the tables of the manual name it. */
enum rule {
        RULE_JOINED = 1,
        RULE_ORDER = 2,
        RULE_OBJECTS = 4,
        RULE_BRIEF = 8,
        RULE_GONE = 16,
        RULE_ALL = 31,
};

/* The fewest rules by which both are the same, or -1: none does. `bind` says what is there. */
int rules_compare(const struct heard *bind, const struct heard *mount, unsigned allowed);
/* "joined, order" */
char *rules_text(unsigned rules);

/*
 * Edits, a system call each (edits.c)
 */

struct edit {
        const char *name;
        const char *script;
};
extern const struct edit edits[];
extern const size_t edit_count;

/* The tree that is edited in: DIR/w, which is watched, DIR/unwatched, and `out`, outside the source. */
void edit_furnish(const char *dir, const char *out);
/* Make it in `dir`; `paced`: call `pause` after each system call. On a process of its own. */
void edit_make(const struct edit *edit, const char *dir, void (*pause)(void *arg), void *arg);

/*
 * Programs at work, and who watches a tree as it grows (tools.c, follower.c)
 */

struct tool {
        const char *name;             /* "slow:" before it: one variant has to do */
        const char *prepare, *script; /* for sh, in the tree */
};
extern const struct tool tools[];
extern const size_t tool_count;

struct follower;

/* Watch `dir` and what appears in it, as watchers of whole trees do: a directory that appears is watched, then read. */
struct follower *follower_start(const char *dir);
/* When all that was queued has been followed: what was heard of each name, a sorted list of "made PATH", "changed PATH", "gone PATH" (of
 * what there was before, what there is now, and nothing else). `before` and `after` are sorted lists of names. */
struct names {
        char **at; /* owned */
        size_t count;
};
struct names names_below(const char *dir);
void names_release(struct names *n);
struct names follower_end(struct follower *w, const struct names *before, const struct names *after);
/* Whether the mount's watcher heard something else than the bind mount's, which is said on standard error. */
bool names_differ(const char *what, const struct names *bind, const struct names *mount);
/* "3 made, 2 changed, 1 gone" */
char *names_count(const struct names *n);
