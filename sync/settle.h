/*
 * When a source has settled, as far as git is concerned, and what git did to it meanwhile. git changes a tree in many steps, and between
 * them keeps a lock, or the state of a rebase, in its directory: that is looked at whenever things seem to rest, never followed. What it
 * did stands in HEAD's log (a repository without logs, or with reftables, says little or nothing), what was stashed in that of refs/stash.
 *
 * One thread.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sync/reflog.h"

/* What of git's stands there for so long while nothing is touched, in the source and where git keeps its own, is left over (by a git that
 * was killed, by a rebase that waits for its user, by a commit that waits for an editor) and counts no more until it changes. */
#define SETTLE_STALE_MS 2000

struct settled;

/* Which state of a file has been seen. */
struct settle_mark {
        bool there;
        dev_t dev;
        ino_t ino;
        off_t size; /* of a log: as far as it has been read */
        struct timespec changed;
};

#define SETTLE_SIGNS 5

struct settle {
        int root; /* the source, open; borrowed */
        struct settle_mark log, stash;
        struct settle_mark stale[SETTLE_SIGNS];
        char head[REFLOG_TEXT]; /* what HEAD says */
        char path[PATH_MAX];    /* where git keeps its own, shared between worktrees, as the kernel says; "": nowhere */
        struct reflog_move move;
};

/* What git has done so far is none of ours. */
void settle_init(struct settle *s, int root);

/* Is git at it? `quiet_ms`: for how long nothing has been touched. */
bool settle_git_is_busy(struct settle *s, uint64_t quiet_ms);

/* What git has done since the last call: its operation and HEAD, in *ret, until the next call; false: nothing that it says. */
bool settle_git_did(struct settle *s, struct settled *ret);
