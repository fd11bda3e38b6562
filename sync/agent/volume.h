/*
 * One volume of the docker plugin: what it was created with, who uses it, and its text on disk. Nothing here looks at the disk or at a
 * mount.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "sync/serve/why.h"

#define VOLUME_NAME_MAX 200
#define VOLUME_USERS_MAX 1024
#define VOLUME_USER_MAX 256

/* What `dsfs mount` is to be called with. Texts are owned. */
struct volume_wish {
        char *source;  /* absolute, as it was given */
        char *config;  /* absolute; or NULL */
        char *options; /* as -o takes them; "" for none */
};
void volume_wish_release(struct volume_wish *w);

/* Read the options of a volume: an object of texts, or NULL. 0; or -EINVAL and *why, which names the wrong one and what is right. */
int volume_wish_parse(const json_t *options, struct volume_wish *ret, char **why);

/* Whether it may be a volume's name: letters, digits, and `_.-` but in front. */
bool volume_name_ok(const char *name);

struct volume {
        char *name;
        json_t *options; /* an object of texts, as given */
        struct volume_wish wish;
        json_t *users;    /* an object: the id of each mount (a container's), since when it has been there */
        char created[32]; /* as RFC 3339 has it */
};

/* A volume with no users. 0; or -EINVAL or -ENOMEM and *why. */
int volume_new(const char *name, const json_t *options, int64_t now, struct volume **ret, char **why);
void volume_free(struct volume *v);

/* The record: `boot` is the running kernel's boot id. With these users in place of its own. A new text, or NULL without memory. */
char *volume_to_text(const struct volume *v, const json_t *users, const char *boot);

/* The volume of a record. Users of another boot are gone. 0; or -EINVAL or -ENOMEM and *why. */
int volume_from_text(const char *name, const char *text, size_t len, const char *boot, struct volume **ret, char **why);
