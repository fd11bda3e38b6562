/*
 * What a mount goes by, and `-o`, which sets it. The keys are in config_keys.c.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/fs.h"
#include "sync/engine.h"
#include "sync/watch.h"

struct mount_options {
        enum fs_profile profile;
        enum fs_transport transport;
        enum watch_backend watch;
        enum engine_coherence coherence;
        bool prewarm;
        bool replay;
        bool xattr;
        bool squash;
        bool readonly;
        bool allow_other;
        bool gitignored;
        unsigned max_fds;
        uint64_t overlay_budget;
        uid_t view_uid, view_gid; /* or FS_VIEW_AS_IS */
        char *name;               /* owned; NULL: the folder's name */
};

/* The defaults. */
void mount_options_init(struct mount_options *o);
void mount_options_release(struct mount_options *o);

/* Apply "key=value,key,…" to `o`. 0; or -EINVAL and *why names the key or value with what is allowed (the caller frees). */
int mount_options_parse(struct mount_options *o, const char *text, char **why);

/* Whether "key=value,key,…" (or NULL) sets this key, by whatever name. */
struct config_key;
bool mount_options_mention(const char *text, const struct config_key *k);

/* The table as help: one line a key, on standard output. */
void mount_options_help(void);
