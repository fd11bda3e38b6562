/*
 * What has changed in a source, in order, for as long as there is room: a bounded ring in memory of changes that hashing has confirmed,
 * in batches, each ended by a record that says it has settled. A position in it is a clock; who asks for what follows a clock gets that,
 * or is told that it is forgotten and everything has to be looked at anew.
 *
 * In a batch changes are in the order of their paths' bytes, so a directory comes before what is in it; a batch that several looks were
 * needed for (git was at it for long, or somebody waited for the hash) is a row of such runs. Only files, symlinks, and directories that
 * were created or are gone are in it; `.git`, artifacts and whatever else isn't hashed are not. What was something else before (a
 * directory became a file) is deleted, then created. A file whose executable bit alone has changed is modified, its hashes being equal.
 *
 * Whose change it was is what the watch knows: `container` when it came through a mount of ours. Of what both sides changed before it was
 * looked at, the host's change wins. `unknown`: inotify doesn't say; nor is it known when more was touched at once than is kept apart and
 * both sides had part in it, nor of what happened while no agent was there. In the data profile what is written past the agent
 * (passthrough) passes for the host's.
 *
 * One writer, any number of readers on other threads.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/cache.h"

/* Of all records (some 50 and the path each), and how many there are at most. What is more is forgotten, the oldest first. */
#define JOURNAL_BYTES ((size_t)8 << 20)
#define JOURNAL_RECORDS 65536U

struct journal;

enum change_kind { CHANGE_CREATED, CHANGE_MODIFIED, CHANGE_DELETED, CHANGE_TOUCHED };
enum change_origin { ORIGIN_HOST, ORIGIN_CONTAINER, ORIGIN_UNKNOWN };

/* "created", "modified", "deleted", "touched"; "host", "container", "unknown"; "file", "program", "symlink", "directory". */
const char *change_kind_text(enum change_kind kind);
const char *change_origin_text(enum change_origin origin);
const char *change_type_text(enum content_kind type);

/* One path; a directory that is gone stands for all that was below it, one that was created does not. */
struct change {
        enum change_kind kind;
        enum change_origin origin;
        enum content_kind type; /* what it is, or was if it is deleted */
        const char *path;       /* relative to the source, bytes; borrowed during the call */
        bool has_old, has_new;  /* neither is there of a directory */
        struct content old_hash, new_hash;
};

/* Ends a batch. Texts are borrowed during the call; they are bytes, and cut at JOURNAL_TEXT_MAX. */
struct settled {
        /* Of the batch; counted by the journal, whatever is given to it. One with no changes is no reason to reload anything. */
        uint64_t changes; /* without the touches */
        uint64_t touches;
        bool has_root;
        struct content root;
        const char *operation;          /* git: "checkout", "rebase", "merge", "commit", "stash", "reset", …; NULL: none was seen */
        const char *head_was, *head_is; /* a ref's name or a commit's id; NULL: unknown, or unchanged */
};
#define JOURNAL_TEXT_MAX 255U

struct journal_record {
        uint64_t seq, batch;
        int64_t time_ns; /* since the epoch */
        bool is_settled;
        union {
                struct change change;
                struct settled settled;
        };
};

/* Room for "c:<boot id>:<seq>". Seq 0 is before everything. */
#define CLOCK_TEXT 40

/* `bytes_max` 0: JOURNAL_BYTES. 0 or -errno. */
int journal_new(size_t bytes_max, struct journal **ret);

/* Nobody may use it any more. Takes NULL. */
void journal_free(struct journal *j);

/* Add a change; opens a batch if none is open. What has no room at all is as journal_lost(). The writer's thread. */
void journal_append(struct journal *j, const struct change *c);

/* Close the batch. When none is open nothing happens, unless git did something (a commit changes no file): that is a batch of no changes.
 * The writer's thread. */
void journal_settle(struct journal *j, const struct settled *s);

/* Continuity is gone (the memory was rebuilt, more changed than fits in): every reader is told that what follows his clock is forgotten,
 * and an open batch ends untold. The writer's thread. */
void journal_lost(struct journal *j);

/* The clock of the newest record. Any thread. */
void journal_clock(struct journal *j, char ret[CLOCK_TEXT]);

/* The clock of a record of this journal. Any thread. */
void journal_clock_of(const struct journal *j, uint64_t seq, char ret[CLOCK_TEXT]);

/* 0 and *seq; -EINVAL: it is none, or none that was ever given; -ESTALE: it is another agent's, or what followed it is forgotten.
 * Any thread. */
int journal_clock_parse(struct journal *j, const char *text, uint64_t *seq);

/* The first record after `seq`. 0; -EAGAIN: there is none yet; -ESTALE: it is forgotten (journal_clock() is where to go on from).
 * `visit` is called under the journal's lock: it copies, and returns. Any thread. */
int journal_next(struct journal *j, uint64_t seq, void (*visit)(void *arg, const struct journal_record *r), void *arg);

/* Have `news` called (on the writer's thread, no lock held) whenever there is something new, journal_lost() included. One listener, set
 * before the writer starts. */
void journal_on_news(struct journal *j, void (*news)(void *arg), void *arg);

struct journal_stats {
        uint64_t records, bytes; /* held */
        uint64_t forgotten;      /* records, for want of room, ever */
        uint64_t changes;        /* and touches, ever */
        uint64_t batches;        /* that settled, ever */
        uint64_t lost;           /* how often continuity was */
        bool open;               /* a batch is */
};

/* Any thread. */
void journal_stats(struct journal *j, struct journal_stats *ret);
