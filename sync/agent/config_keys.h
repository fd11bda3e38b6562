/*
 * Every key of the configuration, in one table: what it takes, what it is when nobody sets it, who may set it, and what it means. Files and
 * `-o` are read by it, and `config show`, the sample and the help are made from it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "fs/artifacts.h"
#include "sync/agent/options.h"

enum config_kind {
        CONFIG_VERSION,
        CONFIG_ENUM,      /* one of `choices`, into an int-sized enum */
        CONFIG_FLAG,      /* one of `choices`, into a bool */
        CONFIG_BARE,      /* the same, and no value is on */
        CONFIG_NAME,      /* a file's name, into a char * (owned) */
        CONFIG_TEXT,      /* any text, into a char * (owned) */
        CONFIG_COUNT,     /* into an unsigned */
        CONFIG_ID,        /* a user or group, into a uid_t */
        CONFIG_SIZE,      /* bytes, into an uint64_t */
        CONFIG_LIST,      /* of texts; only in files */
        CONFIG_ARTIFACTS, /* the list of rules; only in files */
};

enum config_setter {
        CONFIG_CHECKOUT = 1, /* the file at the source's root: not trusted */
        CONFIG_USER = 2,     /* the user's own file, and the system's */
        CONFIG_COMMAND = 4,  /* -o */
        CONFIG_SHARED = 8,   /* not a setter: it is the source's, so all its mounts have it in common */
};

struct config_choice {
        const char *word;
        int value;
};

struct config_key {
        const char *name;
        enum config_kind kind;
        size_t offset;    /* of its field */
        unsigned setters; /* config_setter; 0 in an entry of `artifacts` */
        const char *allowed;
        const char *fallback; /* the default; NULL: none, or as `about` says */
        const struct config_choice *choices;
        const char *about; /* NULL: another name of the key above */
};

/* The fields are those of struct mount_options. */
const struct config_key *config_keys(size_t *count);

/* An entry of `artifacts`. */
struct config_artifact {
        char *path, *preset, *salt; /* owned */
        enum rule_route route;
        enum rule_on_new on_new;
        bool seed;
};
const struct config_key *config_artifact_keys(size_t *count);

/* NULL if there is none. */
const struct config_key *config_key_find(const struct config_key *keys, size_t count, const char *name);

/* Give the field in `object` this value, which may be NULL (none). False if it is not allowed, or there is no memory. */
bool config_key_set(void *object, const struct config_key *k, const char *value);

/* The field's value as config_key_set() takes it: a new text. NULL when it has none, or no memory. */
char *config_key_text(const void *object, const struct config_key *k);

/* "a, b, c" of those that `setters` (any, if 0) may set: a new text, or NULL. */
char *config_key_names(const struct config_key *keys, size_t count, unsigned setters);
