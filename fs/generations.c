#include "fs/generations.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "fs/generations_kept.h"
#include "fs/generations_root.h"

/*
 * The table of roots
 */

static struct root **bucket_of(struct generations *g, const char *path)
{
        return &g->buckets[XXH3_64bits(path, strlen(path)) % ROOT_BUCKETS];
}

static struct root *root_new(const char *path)
{
        struct root *r = calloc(1, sizeof(*r));

        if (!r)
                return NULL;
        mutex_init(&r->lock);
        r->path = strdup(path);
        if (r->path)
                return r;
        mutex_release(&r->lock);
        free(r);
        return NULL;
}

static void root_free(struct root *r)
{
        key_files_release(&r->files);
        mutex_release(&r->lock);
        free(r->list);
        free(r->path);
        free(r);
}

struct root *roots_find(struct generations *g, const char *path, bool add)
{
        struct root **at, *r;

        mutex_lock(&g->table);
        for (at = bucket_of(g, path); *at && strcmp((*at)->path, path) != 0;)
                at = &(*at)->next;
        r = *at;
        if (!r && add) {
                *at = r = root_new(path);
                g->count += r != NULL;
        }
        mutex_unlock(&g->table);
        return r;
}

/* All that there are, in an array that the caller frees; NULL without memory. */
static struct root **roots_list(struct generations *g, size_t *count)
{
        struct root **list;

        mutex_lock(&g->table);
        list = malloc((g->count + 1) * sizeof(struct root *));
        *count = 0;
        for (size_t i = 0; list && i < ROOT_BUCKETS; i++) {
                for (struct root *r = g->buckets[i]; r; r = r->next)
                        list[(*count)++] = r;
        }
        mutex_unlock(&g->table);
        return list;
}

void roots_each(struct generations *g, void (*visit)(void *arg, struct root *r), void *arg)
{
        size_t count;
        CLEANUP_FREE struct root **list = roots_list(g, &count);

        for (size_t i = 0; i < count; i++)
                visit(arg, list[i]);
}

/* What follows `above` in a path at or below it ("" or "/…"); NULL for another. */
static const char *rest_of(const char *path, const char *above)
{
        size_t len = strlen(above);

        return strncmp(path, above, len) == 0 && (path[len] == '/' || path[len] == '\0') ? path + len : NULL;
}

struct renaming {
        struct generations *g;
        const char *from, *to;
};

/* One that was known there before goes out of the way: its artifacts did. */
static void rename_root(void *arg, struct root *r)
{
        const struct renaming *n = arg;
        char *path = NULL;
        struct root **at;
        const char *rest;

        mutex_lock(&r->lock);
        rest = rest_of(r->path, n->from);
        if (rest && asprintf(&path, "%s%s", n->to, rest) < 0)
                path = NULL;
        if (path) {
                mutex_lock(&n->g->table);
                for (at = bucket_of(n->g, r->path); *at != r;)
                        at = &(*at)->next;
                *at = r->next;
                free(r->path);
                r->path = path;
                r->next = *bucket_of(n->g, path);
                *bucket_of(n->g, path) = r;
                mutex_unlock(&n->g->table);
                if (r->registered)
                        (void)kept_write_path(n->g, r);
                r->stale = true;
        }
        mutex_unlock(&r->lock);
}

void roots_rename(struct generations *g, const char *from, const char *to)
{
        struct renaming n = {.g = g, .from = from, .to = to};

        roots_each(g, rename_root, &n);
}

struct kept *root_kept_locked(struct root *r, const struct key *key, bool add)
{
        struct kept *more;

        for (size_t i = 0; i < r->count; i++) {
                if (key_equal(&r->list[i].key, key))
                        return &r->list[i];
        }
        more = add ? realloc(r->list, (r->count + 1) * sizeof(*r->list)) : NULL;
        if (!more)
                return NULL;
        r->list = more;
        more = &r->list[r->count++];
        *more = (struct kept){.key = *key, .bytes = GENERATION_UNCOUNTED, .created_s = time(NULL), .used_s = time(NULL), .dirty = true};
        return more;
}

void root_forget_locked(struct root *r, const struct key *key)
{
        struct kept *k = root_kept_locked(r, key, false);

        if (k)
                *k = r->list[--r->count];
}

/*
 * Meeting
 */

bool generations_has_met(const struct generations *g, uint64_t mark)
{
        return atomic_load_explicit(&g->met[mark % MET_MARKS], memory_order_acquire) == mark &&
               atomic_load_explicit(&g->watched, memory_order_relaxed);
}

void generations_remember(struct generations *g, uint64_t mark)
{
        atomic_store_explicit(&g->met[mark % MET_MARKS], mark, memory_order_release);
}

static bool is_in(int dirfd, const char *name)
{
        struct stat st;

        return dirfd >= 0 && fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Is there anything yet that could be a generation? Mounts look for far more names than there are artifacts. */
static bool is_worth_knowing(struct generations *g, const char *path, const struct rule *rule)
{
        CLEANUP_FD int above = kept_above(g, path, false);

        return is_in(above, root_name(path)) || (rule->seed && root_has_seed(g, path));
}

void generations_meet(struct generations *g, const char *path, const struct rule *rule, bool making)
{
        struct root *r = roots_find(g, path, making || is_worth_knowing(g, path, rule));
        bool look;

        if (!r)
                return;
        mutex_lock(&r->lock);
        look = r->verified && atomic_load(&g->watched) && (r->rule != rule || !root_is_same_locked(g, r));
        r->stale = r->stale || look;
        r->rule = rule;
        if (!r->verified || !atomic_load(&g->watched))
                root_verify_locked(g, r);
        mutex_unlock(&r->lock);
        if (look)
                generations_wake(g);
}

struct naming {
        const char *parent;
        void (*visit)(void *arg, const char *name);
        void *arg;
};

static void visit_in(void *arg, struct root *r)
{
        const struct naming *n = arg;
        size_t len = strlen(n->parent);
        CLEANUP_FREE char *name = NULL;
        const char *rest;

        mutex_lock(&r->lock);
        rest = root_name(r->path);
        if ((size_t)(rest - r->path) == len + (len > 0) && strncmp(r->path, n->parent, len) == 0)
                name = strdup(rest);
        mutex_unlock(&r->lock);
        if (name)
                n->visit(n->arg, name);
}

void generations_each_in(struct generations *g, const char *parent, void (*visit)(void *arg, const char *name), void *arg)
{
        struct naming n = {.parent = parent, .visit = visit, .arg = arg};

        roots_each(g, visit_in, &n);
}

void generations_watched(struct generations *g, bool watched)
{
        atomic_store(&g->watched, watched);
}

/*
 * Noting
 */

void generations_change_begin(struct generations *g)
{
        atomic_fetch_add(&g->changing, 1);
}

void generations_change_end(struct generations *g)
{
        atomic_fetch_sub(&g->changing, 1);
}

void generations_note(struct generations *g, int dirfd, const char *name)
{
        if (generations_git_is_busy(g)) {
                generations_wake(g);
                return;
        }
        notes_add(&g->notes, dirfd, name);
        generations_wake(g);
}

void generations_note_writer(struct generations *g, int fd, int by)
{
        if (by > 0 && generations_git_is_busy(g))
                return;
        notes_writer(&g->notes, fd, by);
        generations_wake(g);
}

/*
 * Beginning and end
 */

static int start(struct generations *g)
{
        int rc = thread_start(&g->runner, "dsfs-switch", generations_run, g);

        g->running = rc == 0;
        if (rc == 0)
                rc = thread_start(&g->sweeper, "dsfs-sweep", generations_sweep, g);
        g->sweeping = rc == 0;
        return rc;
}

int generations_new(struct overlay *o, struct generations **ret)
{
        struct generations *g = calloc(1, sizeof(*g));
        int rc;

        if (!g)
                return -ENOMEM;
        g->o = o;
        mutex_init(&g->table);
        mutex_init(&g->lock);
        cond_init(&g->wake);
        cond_init(&g->settled);
        cond_init(&g->sweep);
        notes_init(&g->notes, o->kept_fd);
        g->tree_fd = openat(o->dir_fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        rc = g->tree_fd < 0 ? -errno : kept_load(g);
        generations_remove_gone(g, true);
        if (rc == 0)
                rc = start(g);
        if (rc < 0)
                generations_free(g);
        else
                *ret = g;
        return rc;
}

void generations_stop(struct generations *g)
{
        mutex_lock(&g->lock);
        g->stop = true;
        cond_broadcast(&g->wake);
        cond_broadcast(&g->settled);
        cond_broadcast(&g->sweep);
        mutex_unlock(&g->lock);
        if (g->running)
                pthread_join(g->runner, NULL);
        if (g->sweeping)
                pthread_join(g->sweeper, NULL);
        g->running = g->sweeping = false;
}

void generations_free(struct generations *g)
{
        if (!g)
                return;
        generations_stop(g);
        for (size_t i = 0; i < ROOT_BUCKETS; i++) {
                struct root *r = g->buckets[i];

                while (r) {
                        struct root *next = r->next;

                        root_free(r);
                        r = next;
                }
        }
        for (size_t i = 0; i < g->touched_count && i < TOUCHED_MAX; i++)
                free(g->touched[i].path);
        notes_release(&g->notes);
        fd_close(&g->tree_fd);
        cond_release(&g->wake);
        cond_release(&g->settled);
        cond_release(&g->sweep);
        mutex_release(&g->lock);
        mutex_release(&g->table);
        free(g);
}
