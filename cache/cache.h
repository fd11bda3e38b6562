/*
 * The door of cache/: what the content of a source is. A scan hashes every file (XXH3-128) and makes of each directory a hash over its
 * entries, so that one root hash names the state of the checkout. What was hashed is remembered in an LMDB environment, with the file's
 * stat tuple: what has not been touched is not read again. The memory is never believed further than that: whatever is lost, damaged or
 * of another version is made anew from the source.
 *
 * The hash of a directory is XXH3-128 over its entries in the order of their names' bytes: the name, a NUL, one of 'f' (file), 'x'
 * (executable file), 'l' (symlink: its target is its content), 'd' (directory), and the entry's hash, 16 bytes. `.git` is left out, so is
 * what is neither file, symlink nor directory, and what another filesystem or directory is mounted on.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cache;

#define CONTENT_BYTES 16
#define CONTENT_TEXT (2 * CONTENT_BYTES + 1)

/* In the canonical (big endian) form: as `xxhsum -H128` prints it. */
struct content {
        uint8_t bytes[CONTENT_BYTES];
};

bool content_equal(const struct content *a, const struct content *b);
void content_to_text(const struct content *c, char ret[CONTENT_TEXT]);

enum content_kind {
        CONTENT_NONE = 0, /* no such entry, or one that is left out */
        CONTENT_FILE = 'f',
        CONTENT_PROGRAM = 'x',
        CONTENT_SYMLINK = 'l',
        CONTENT_DIRECTORY = 'd',
};

struct cache_options {
        const char *source; /* absolute, canonical */
        const char *dir;    /* where the memory is kept, private to this user, made if its parent is there; NULL: nowhere */
        bool readonly;      /* use what is remembered, remember nothing */
        unsigned threads;   /* of a scan; 0: as many as there are processors */
        /* Whether the entry `name` of the directory `dir` (relative to the source, "" for itself) is left out with all below it. From
         * several threads. NULL: only `.git` is. */
        bool (*skip)(void *arg, const char *dir, const char *name, bool is_directory);
        void *arg;
};

/* How what was remembered was found. */
enum cache_found {
        CACHE_FRESH,   /* nothing was there */
        CACHE_GOOD,    /* what was there is used */
        CACHE_REBUILT, /* what was there was not to be trusted, or of an older version, and is gone */
        CACHE_SHARED,  /* another process keeps it up to date: it is read, not written */
        CACHE_REFUSED, /* it is of a newer version, or can't be opened: it is left alone, and everything is hashed anew */
};

/* 0 or -errno (of the source, or without memory). *notice, unless NULL (the caller frees it): one sentence if the memory is REBUILT or
 * REFUSED, why. */
int cache_open(const struct cache_options *options, struct cache **ret, enum cache_found *found, char **notice);

/* Whether the memory in `dir` is one that cache_open() would use. Changes nothing. 0; -EUCLEAN with *why (one phrase, static text) when it
 * would be made anew; -EBUSY when a process keeps it up to date; or -errno (-ENOENT: there is none). */
int cache_look(const char *dir, const char **why);

/* Write down what isn't yet, and close. Takes NULL. */
void cache_close(struct cache *c);

/* One difference between what was known and what is. A directory that is gone, or something else now, stands for all that was below it. */
struct cache_change {
        const char *path; /* relative to the source, valid during the call */
        enum content_kind was, is;
        struct content old_hash, new_hash;
        bool touched; /* only the stat tuple differs: the content is what it was */
};

struct scan_progress {
        uint64_t entries; /* names seen */
        uint64_t files;   /* hashed */
        uint64_t bytes;   /* read */
};

struct scan_report {
        struct content root;
        struct scan_progress seen;
        uint64_t reused;   /* files whose hash was remembered */
        uint64_t unstable; /* files that changed faster than they could be read: they are hashed again next time */
        uint64_t unread;   /* entries that could not be read (permissions, I/O errors, beyond 1 TiB): left out */
        unsigned long long ns;
};

struct scan_watcher {
        /* Called about ten times a second while a scan runs. May be NULL. */
        void (*progress)(void *arg, const struct scan_progress *p);
        /* For each difference, with a memory to differ from; from several threads, one at a time. May be NULL. */
        void (*changed)(void *arg, const struct cache_change *change);
        void *arg;
};

/* Look at everything below the source. 0, -ECANCELED after cache_cancel(), or -errno when the source itself can't be read. One thread at
 * a time may scan, update or ask for an entry. */
int cache_scan(struct cache *c, const struct scan_watcher *watcher, struct scan_report *ret);

/* Look only at these entries (paths relative to the source; "" is everything): each may have been created, changed, replaced or deleted,
 * with all below it if it is a directory. A file that is named itself is read whatever its stat tuple says. Needs a scan before it, else it
 * becomes one. As cache_scan(). */
int cache_update(struct cache *c, const char *const paths[], size_t count, const struct scan_watcher *watcher, struct scan_report *ret);

/* What is known of one path after a scan, without a look at the source. CONTENT_NONE if nothing is. */
enum content_kind cache_entry(struct cache *c, const char *path, struct content *ret);

/* Let the scan or update that runs, else the next, end soon. Any thread. */
void cache_cancel(struct cache *c);

/* The hash of one file's bytes, or of a symlink's target; nothing is remembered. Its kind, or -errno: -EISDIR of a directory, -EINVAL of
 * what has no content. */
int content_of_file(int dirfd, const char *name, struct content *ret);

/* The hash of a directory with all below it, read by one thread; nothing is remembered. 0 or -errno. */
int content_of_tree(const char *path, struct content *ret);

struct cache_stats {
        bool has_root;
        struct content root;  /* of the last scan or update that ended */
        uint64_t entries;     /* remembered */
        uint64_t bytes;       /* of memory on disk */
        uint64_t hits, reads; /* files whose hash was remembered; that were read */
        const char *off;      /* why nothing is remembered any more (a full disk, …), one phrase; or NULL */
};

/* Any thread. */
void cache_stats(struct cache *c, struct cache_stats *ret);
