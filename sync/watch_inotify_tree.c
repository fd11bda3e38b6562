#include "sync/watch_inotify_tree.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "cache/base/err.h"

#define FIRST_BUCKETS 64

static size_t wd_bucket(const struct watch_tree *t, int wd)
{
        return (size_t)((uint32_t)wd * 2654435761U) & (t->buckets - 1);
}

static size_t name_bucket(const struct watch_tree *t, const struct watch_dir *parent, const char *name, size_t len)
{
        return (size_t)XXH3_64bits_withSeed(name, len, (uint64_t)(uint32_t)parent->wd) & (t->buckets - 1);
}

int watch_tree_init(struct watch_tree *t)
{
        memset(t, 0, sizeof(*t));
        t->wd_table = calloc(FIRST_BUCKETS, sizeof(*t->wd_table));
        t->name_table = calloc(FIRST_BUCKETS, sizeof(*t->name_table));
        if (!t->wd_table || !t->name_table) {
                free(t->wd_table);
                free(t->name_table);
                return -ENOMEM;
        }
        t->buckets = FIRST_BUCKETS;
        return 0;
}

void watch_tree_release(struct watch_tree *t)
{
        for (size_t i = 0; i < t->buckets; i++) {
                struct watch_dir *next;

                for (struct watch_dir *d = t->wd_table[i]; d; d = next) {
                        next = d->by_wd;
                        free(d->name);
                        free(d);
                }
        }
        free(t->wd_table);
        free(t->name_table);
        memset(t, 0, sizeof(*t));
}

struct watch_dir *watch_tree_find(const struct watch_tree *t, int wd)
{
        struct watch_dir *d = t->wd_table[wd_bucket(t, wd)];

        while (d && d->wd != wd)
                d = d->by_wd;
        return d;
}

struct watch_dir *watch_tree_child(const struct watch_tree *t, const struct watch_dir *parent, const char *name, size_t len)
{
        struct watch_dir *d = t->name_table[name_bucket(t, parent, name, len)];

        while (d && !(d->parent == parent && d->len == len && memcmp(d->name, name, len) == 0))
                d = d->by_name;
        return d;
}

/* Doubles both tables. Without the memory for it they stay as they are: slower, not wrong. */
static void grow(struct watch_tree *t)
{
        CLEANUP_FREE struct watch_dir **wds = calloc(t->buckets * 2, sizeof(struct watch_dir *));
        CLEANUP_FREE struct watch_dir **names = calloc(t->buckets * 2, sizeof(struct watch_dir *));
        struct watch_dir **old = t->wd_table;
        size_t old_buckets = t->buckets;

        if (!wds || !names)
                return;
        free(t->name_table);
        t->wd_table = steal_ptr(&wds);
        t->name_table = steal_ptr(&names);
        t->buckets *= 2;
        for (size_t i = 0; i < old_buckets; i++) {
                struct watch_dir *next;

                for (struct watch_dir *d = old[i]; d; d = next) {
                        struct watch_dir **bucket = &t->wd_table[wd_bucket(t, d->wd)];

                        next = d->by_wd;
                        d->by_wd = *bucket;
                        *bucket = d;
                        if (!d->parent)
                                continue;
                        bucket = &t->name_table[name_bucket(t, d->parent, d->name, d->len)];
                        d->by_name = *bucket;
                        *bucket = d;
                }
        }
        free(old);
}

struct watch_dir *watch_tree_add(struct watch_tree *t, int wd, const struct ident *ident)
{
        struct watch_dir *d = calloc(1, sizeof(*d));
        struct watch_dir **bucket;

        if (!d)
                return NULL;
        if (t->count >= t->buckets)
                grow(t);
        d->wd = wd;
        d->ident = *ident;
        bucket = &t->wd_table[wd_bucket(t, wd)];
        d->by_wd = *bucket;
        *bucket = d;
        t->count++;
        return d;
}

void watch_tree_unplace(struct watch_tree *t, struct watch_dir *d)
{
        struct watch_dir **at;

        if (!d->parent)
                return;
        at = &t->name_table[name_bucket(t, d->parent, d->name, d->len)];
        while (*at != d)
                at = &(*at)->by_name;
        *at = d->by_name;
        *d->prev = d->next;
        if (d->next)
                d->next->prev = d->prev;
        free(d->name);
        d->name = NULL;
        d->parent = d->next = d->by_name = NULL;
        d->prev = NULL;
}

int watch_tree_place(struct watch_tree *t, struct watch_dir *d, struct watch_dir *parent, const char *name, size_t len)
{
        struct watch_dir *there = watch_tree_child(t, parent, name, len);
        struct watch_dir **bucket;
        char *copy;

        assert(len > 0 && len <= UINT8_MAX);
        if (there == d)
                return 0;
        for (const struct watch_dir *up = parent; up; up = up->parent)
                if (up == d)
                        return -ELOOP;
        copy = malloc(len);
        if (!copy)
                return -ENOMEM;
        memcpy(copy, name, len);
        if (there)
                watch_tree_unplace(t, there);
        watch_tree_unplace(t, d);
        d->name = copy;
        d->len = (uint8_t)len;
        d->parent = parent;
        d->next = parent->child;
        d->prev = &parent->child;
        if (d->next)
                d->next->prev = &d->next;
        parent->child = d;
        bucket = &t->name_table[name_bucket(t, parent, name, len)];
        d->by_name = *bucket;
        *bucket = d;
        return 0;
}

void watch_tree_remove(struct watch_tree *t, struct watch_dir *d)
{
        struct watch_dir **at = &t->wd_table[wd_bucket(t, d->wd)];

        while (d->child)
                watch_tree_unplace(t, d->child);
        watch_tree_unplace(t, d);
        while (*at != d)
                at = &(*at)->by_wd;
        *at = d->by_wd;
        t->count--;
        if (t->root == d)
                t->root = NULL;
        free(d);
}

struct watch_dir *watch_tree_next_unseen(const struct watch_tree *t, size_t *at)
{
        for (; *at < t->buckets; ++*at)
                for (struct watch_dir *d = t->wd_table[*at]; d; d = d->by_wd)
                        if (!d->seen)
                                return d;
        return NULL;
}

void watch_tree_forget_places(struct watch_tree *t)
{
        for (size_t i = 0; i < t->buckets; i++) {
                for (struct watch_dir *d = t->wd_table[i]; d; d = d->by_wd) {
                        d->seen = d->read = false;
                        watch_tree_unplace(t, d);
                }
        }
}
