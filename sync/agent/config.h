/*
 * The configuration of a source: what the files say, each key with where it was said. Later wins: the defaults, dsfs.yaml at the source's
 * root, the system's file (root's agents), the user's file, and `-o`. Lists of artifacts are put one behind the other in that order, so
 * that the user's rules come last.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "sync/agent/options.h"
#include "sync/agent/rule_list.h"

#define CONFIG_NAME_IN_SOURCE "dsfs.yaml"
#define CONFIG_FILES_MAX 3
#define CONFIG_KEYS_MAX 32

struct config_file {
        char *path;    /* absolute; owned */
        bool checkout; /* the source's, which is not trusted */
        bool required; /* named by DSFS_CFG_PATH */
        bool found;
};

struct config {
        char *source;  /* canonical; owned */
        char *command; /* what `-o` said; owned; or NULL */
        struct config_file files[CONFIG_FILES_MAX];
        size_t file_count;
        struct mount_options options;
        char *origins[CONFIG_KEYS_MAX]; /* of each of config_keys(): owned; NULL: nobody has set it */
        struct rule_list artifacts;     /* of all files */
        struct rule_list keep;          /* as negated patterns */
};

/* Only the defaults. NULL without memory. */
struct config *config_new(const char *source);

/* Read what there is for `source` (canonical), with what `-o` says (or NULL) on top. 0; -EINVAL when a file or `command` says nonsense,
 * another -errno when one can't be read; then *why says what, where and what was expected (the caller frees). */
int config_load(const char *source, const char *command, struct config **ret, char **why);
void config_free(struct config *c);

/* Take what stands in one file. As config_load(). */
int config_take_bytes(struct config *c, const struct config_file *f, const char *bytes, size_t len, char **why);

/* Read one file as if it were there alone. As config_load(). */
int config_check_file(const char *path, bool checkout, char **why);

/* Where a key's value comes from: "dsfs.yaml:3", "-o", "default". */
const char *config_origin(const struct config *c, const char *key);

/* What the files say, as `-o` takes it ("" for nothing); without what all mounts of the source share unless `shared`. A new text, or NULL
 * without memory. */
char *config_options_text(const struct config *c, bool shared);
