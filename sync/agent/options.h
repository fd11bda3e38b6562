/*
 * What `-o` takes: one table of keys, with what is allowed for each and its default.
 */
#pragma once

#include <stdbool.h>

#include "fs/fs.h"
#include "sync/engine.h"
#include "sync/watch.h"

struct mount_options {
        enum fs_profile profile;
        enum fs_transport transport;
        enum watch_backend watch;
        enum engine_coherence coherence;
        bool prewarm;
        bool xattr;
        bool squash;
        bool readonly;
        bool allow_other;
        unsigned max_fds;
        char *name; /* owned; NULL: the folder's name */
};

void mount_options_init(struct mount_options *o);
void mount_options_release(struct mount_options *o);

/* Apply "key=value,key,…" to `o`. 0; or -EINVAL and *why names the key or value with what is allowed (the caller frees). */
int mount_options_parse(struct mount_options *o, const char *text, char **why);

/* The table as help: one line a key, on standard output. */
void mount_options_help(void);
