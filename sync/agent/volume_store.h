/*
 * Where the plugin's volumes are kept: <directory>/<name>.json, each replaced as a whole and on disk before anybody is told, so that a
 * crash leaves what was or what is. One plugin has the directory at a time.
 */
#pragma once

#include "sync/agent/volume.h"

#define VOLUMES_MAX 1024

struct volume_store {
        char *dir; /* owned */
        int fd;    /* of it, locked */
        char boot[64];
};

/* Open `dir`, which is made if it isn't there, and have it alone. 0 or -errno (-EBUSY) and *why. */
int volume_store_open(const char *dir, struct volume_store *ret, char **why);
void volume_store_close(struct volume_store *s);

/* Hand over each volume there is; what can't be read is logged and left as it is. 0 or -errno. */
int volume_store_load(const struct volume_store *s, void (*take)(void *arg, struct volume *v), void *arg);

/* Replace or make a volume's record. 0 or -errno and *why. Any thread, but one at a time for a name. */
int volume_store_write(const struct volume_store *s, const char *name, const char *text, char **why);

/* Remove it; what isn't there is fine. 0 or -errno and *why. As volume_store_write(). */
int volume_store_remove(const struct volume_store *s, const char *name, char **why);
