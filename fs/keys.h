/*
 * What chooses a generation: a hash over the files that an artifact was built from. Each of a rule's keys is looked for beside the
 * artifact, then further up to the source's root, and the nearest counts; that there is none is a state of its own. They are looked for in
 * the source: what is itself an artifact is no key.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/artifacts.h"

struct key {
        char text[GENERATION_KEY_TEXT];
};

bool key_equal(const struct key *a, const struct key *b);

/* Is it 32 hex digits? */
bool key_is_text(const char *text);

/* A file as it is found: whoever changes it changes this. */
struct key_stamp {
        bool there;
        uint32_t mode;
        uint64_t dev, ino;
        int64_t size, mtime_ns, ctime_ns;
};

bool key_stamp_equal(const struct key_stamp *a, const struct key_stamp *b);

struct stat;
void key_stamp_of(const struct stat *st, struct key_stamp *ret);

/* One of a rule's keys. */
struct key_file {
        char *path; /* where it is, relative to the source; NULL: nowhere; owned */
        struct key_stamp stamp;
        int64_t looked_ns; /* real time */
};

struct key_files {
        struct key_file *list; /* as many as the rule has keys, in their order; owned */
        size_t count;
};
void key_files_release(struct key_files *f);

/* Find those of `rule` for an artifact in the directory `parent` of the source (open as `root`; "" is itself). No content is read. 0 or
 * -errno, when *ret is untouched. Any thread. */
int key_files_find(int root, const char *parent, const struct rule *rule, struct key_files *ret);

/* Is it certain that what was hashed as `before` has the same content as was found now? What is in a directory isn't looked at. */
bool key_files_same(const struct key_files *before, const struct key_files *now);

bool key_files_have_directory(const struct key_files *f);

/* The key that they make, with the rule. 0 or -errno: -EAGAIN when they changed meanwhile. Any thread. */
int key_of(int root, const struct rule *rule, const struct key_files *f, struct key *ret);
