/*
 * Where a name of a directory lives. In a directory of the source each name is the source's or the overlay's by the rules, which may say
 * one thing of a directory and another of a file; in a directory of the overlay all are the overlay's.
 */
#pragma once

#include "fs/mount.h"
#include "fs/overlay.h"

/* A backing directory in which a name is to be used with the …at() calls. */
struct place {
        const struct layer *layer;
        const struct rule *rule; /* that says so; NULL: none, or one further up */
        int fd;                  /* -1: not there, so nor is the name */
        uint8_t is;              /* enum node_is, of what is found there */
        bool key;                /* what may be a key is perhaps about to change */
        bool shadow;             /* the overlay's part of a directory of the source */
        struct held held;
};
#define PLACE_NONE ((struct place){.fd = -1, .held = {.fd = -1, .slot = -1}})

/* Where `name` of `dir` is now: in the layer that shows it, or would. 0; -ENOENT: nowhere; or what reaching the directory said. Any thread.
 * To be given to place_end() even when it failed. */
int place_find(struct fs_mount *m, struct node *dir, const char *name, struct place *ret);

/* Where `name` is to be made. -EROFS or -EACCES by the rules; -EEXIST: something of the other kind is shown there, from the other layer.
 * Else as place_find(). */
int place_make(struct fs_mount *m, struct node *dir, const char *name, bool is_dir, struct place *ret);

void place_end(struct fs_mount *m, struct place *p);

/* `name` in it was changed: other mounts hear of it, if nobody else tells them. */
void place_changed(struct fs_mount *m, const struct node *dir, const struct place *p, const char *name);

/* Is it in the overlay, where it is now? Any thread. */
bool place_is_artifact(struct fs_mount *m, struct node *n);

/* The content or attributes of a node are about to be changed: to be followed by place_touched() with what this returns. */
bool place_touch(struct fs_mount *m, const struct node *n);

/* They were, or weren't: other mounts hear of it, too. */
void place_touched(struct fs_mount *m, struct node *n, bool key, bool changed);

/* The two places where a directory's entries may be, the source's and the overlay's: for reading them, and each perhaps not there. */
struct place_pair {
        struct place source, overlay;
};
int place_list(struct fs_mount *m, struct node *dir, struct place_pair *ret);
void place_list_end(struct fs_mount *m, struct place_pair *p);

/* Is the entry, of that type (DT_…), shown from there? `*is` is what it is then. */
bool place_shows(struct fs_mount *m, struct node *dir, const struct place_pair *pair, const struct place *p, const char *name,
                 unsigned char type, uint8_t *is);

/* The overlay's part of the source's directory that is open as `dirfd`; an O_PATH descriptor, or -errno (-ENOENT: there is none). */
int place_shadow(const struct fs_mount *m, int dirfd);
