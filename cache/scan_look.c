/*
 * What a thread of a scan does with a piece of work: reads files that have to be hashed; or looks at a directory, compares it with what is
 * remembered, and makes its hash when all that is in it is known.
 */
#include "cache/scan_work.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"

#define BATCH_FILES 64U

/* What says something of this process, not of the source: nothing may be left out for it. */
static bool is_ours(int rc)
{
        return rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE || rc == -ECANCELED;
}

/*
 * Telling
 */

static void tell(struct worker *w, const struct dir *d, const struct entry *e, const struct record *was, enum content_kind is,
                 const struct content *hash)
{
        struct scan *s = w->scan;
        struct cache_change change = {.was = was ? was->kind : CONTENT_NONE, .is = is};

        if (!s->tells)
                return;
        if (was)
                change.old_hash = was->hash;
        if (hash)
                change.new_hash = *hash;
        change.touched = change.was == change.is && is != CONTENT_DIRECTORY && content_equal(&change.old_hash, &change.new_hash);
        change.path = dir_path(d, e, &w->path);
        if (!change.path) {
                scan_fail(s, -ENOMEM);
                return;
        }
        mutex_lock(&s->tell_lock);
        s->job->watcher->changed(s->job->watcher->arg, &change);
        mutex_unlock(&s->tell_lock);
}

/* The record of an entry, or NULL. */
static const struct record *record_of(const struct dir *d, const struct entry *e)
{
        return e->known ? &d->records[e - d->entries] : NULL;
}

/* It is not, or no longer, part of the source. */
static void leave_out(struct worker *w, struct dir *d, struct entry *e)
{
        const struct record *was = record_of(d, e);

        e->kind = CONTENT_NONE;
        if (!was)
                return;
        store_delete(w->scan->store, d->id, dir_name_of(d, e), e->len);
        tell(w, d, e, was, CONTENT_NONE, NULL);
}

struct gone_arg {
        struct worker *worker;
        struct dir *dir;
};

/* A name that is remembered and no longer there. */
static void gone(void *arg, const char *name, size_t len, const struct record *was)
{
        const struct gone_arg *g = arg;
        struct dir one = {.parent = g->dir->parent, .slot = g->dir->slot, .names = (char *)name};
        struct entry e = {.len = (uint16_t)len};

        store_delete(g->worker->scan->store, g->dir->id, name, len);
        tell(g->worker, &one, &e, was, CONTENT_NONE, NULL);
}

/*
 * Files
 */

static void take_hashed(struct worker *w, struct dir *d, struct entry *e, const struct hashed *h)
{
        const struct record *was = record_of(d, e);
        struct record now = {.kind = h->kind, .racy = h->racy, .tuple = h->tuple, .hash = h->hash};

        e->kind = h->kind;
        e->hash = h->hash;
        if (!h->steady)
                atomic_fetch_add(&w->scan->unstable, 1);
        if (w->scan->store) {
                if (was && was->kind == CONTENT_DIRECTORY)
                        store_delete(w->scan->store, d->id, dir_name_of(d, e), e->len);
                store_put(w->scan->store, d->id, dir_name_of(d, e), e->len, &now);
        }
        if (!was || was->kind != now.kind || !content_equal(&was->hash, &now.hash) || !tuple_equal(&was->tuple, &now.tuple))
                tell(w, d, e, was, h->kind, &h->hash);
}

static void hash_files(struct worker *w, struct dir *d, size_t from, size_t to)
{
        struct scan *s = w->scan;

        for (size_t i = from; i < to && !scan_cancelled(s); i++) {
                struct entry *e = &d->entries[i];
                struct hashed h;
                int rc;

                if (!e->todo)
                        continue;
                rc = hash_entry(w->hasher, d->fd, dir_name_of(d, e), &h);
                if (rc == 0) {
                        atomic_fetch_add_explicit(&s->files, 1, memory_order_relaxed);
                        atomic_fetch_add_explicit(&s->bytes, h.bytes, memory_order_relaxed);
                        take_hashed(w, d, e, &h);
                } else if (is_ours(rc)) {
                        scan_fail(s, rc);
                } else {
                        if (rc != -ENOENT)
                                atomic_fetch_add(&s->unread, 1);
                        leave_out(w, d, e);
                }
        }
}

/*
 * Directories
 */

static void let_go(struct scan *s, struct dir *d)
{
        if (!d || atomic_fetch_sub(&d->users, 1) > 1)
                return;
        if (d->fd >= 0)
                atomic_fetch_sub(&s->open_dirs, 1);
        fd_close(&d->fd);
}

static void remember_dir(struct worker *w, struct dir *d, const struct content *hash)
{
        struct record now = {.kind = CONTENT_DIRECTORY, .tuple = d->tuple, .hash = *hash, .child = d->id};
        struct entry *e = d->parent ? &d->parent->entries[d->slot] : NULL;
        const struct record *was = e ? record_of(d->parent, e) : NULL;

        if (!w->scan->store)
                return;
        if (!e)
                store_put(w->scan->store, DIR_ID_META, ROOT_NAME, sizeof(ROOT_NAME) - 1, &now);
        else if (!was || was->kind != CONTENT_DIRECTORY || !content_equal(&was->hash, hash) || was->child != d->id)
                store_put(w->scan->store, d->parent->id, dir_name_of(d->parent, e), e->len, &now);
}

/* Everything about the directory is known: make its hash, and tell its parent. */
static void complete(struct worker *w, struct dir *d)
{
        struct scan *s = w->scan;
        struct entry *e = d->parent ? &d->parent->entries[d->slot] : NULL;
        struct content hash;

        if (d->rc < 0) {
                if (!e)
                        scan_fail(s, d->rc);
                else if (!scan_cancelled(s))
                        leave_out(w, d->parent, e);
                return;
        }
        hash_dir_begin(w->hasher);
        for (size_t i = 0; i < d->count; i++)
                if (d->entries[i].kind != CONTENT_NONE)
                        hash_dir_add(w->hasher, dir_name_of(d, &d->entries[i]), d->entries[i].len, d->entries[i].kind, &d->entries[i].hash);
        hash_dir_end(w->hasher, &hash);
        /* What was cut short is nobody's hash. */
        if (scan_cancelled(s))
                return;
        remember_dir(w, d, &hash);
        if (e) {
                const struct record *was = record_of(d->parent, e);

                e->hash = hash;
                if (!was || was->kind != CONTENT_DIRECTORY)
                        tell(w, d->parent, e, was, CONTENT_DIRECTORY, &hash);
        } else {
                s->root = hash;
        }
}

/* One thing less that the directory waits for. */
static void settle(struct worker *w, struct dir *d)
{
        while (d && atomic_fetch_sub(&d->pending, 1) == 1) {
                struct dir *parent = d->parent;

                complete(w, d);
                dir_free(d);
                d = parent;
        }
        if (!d)
                scan_over(w->scan);
}

static int open_at(int at, const char *name)
{
        int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
        int fd = openat(at, name, flags | O_NOATIME);

        if (fd < 0 && errno == EPERM)
                fd = openat(at, name, flags);
        return fd < 0 ? -errno : fd;
}

/* From the source on, name by name: no path is too long for that. */
static int open_from_root(struct scan *s, const struct dir *d)
{
        CLEANUP_FREE const struct dir **way = NULL;
        size_t depth = 0;
        int fd;

        for (const struct dir *at = d; at->parent; at = at->parent)
                depth++;
        way = malloc((depth + 1) * sizeof(const struct dir *));
        if (!way)
                return -ENOMEM;
        for (size_t i = depth; i > 0; i--, d = d->parent)
                way[i - 1] = d;
        fd = open_at(s->source, ".");
        for (size_t i = 0; i < depth && fd >= 0; i++) {
                int above = fd;

                fd = open_at(above, dir_name_of(way[i]->parent, &way[i]->parent->entries[way[i]->slot]));
                fd_close(&above);
        }
        return fd;
}

static int open_dir(struct scan *s, struct dir *d)
{
        int fd;

        if (!d->parent || d->detached)
                fd = open_from_root(s, d);
        else
                fd = open_at(d->parent->fd, dir_name_of(d->parent, &d->parent->entries[d->slot]));
        if (fd >= 0)
                atomic_fetch_add(&s->open_dirs, 1);
        return fd;
}

static void visited(struct scan *s, dir_id id)
{
        if (s->visited && id < s->known_ids)
                atomic_fetch_or(&s->visited[id / 8], (uint8_t)(1U << (id % 8)));
}

static int find_subdir(struct scan *s, struct dir *d, struct entry *e, const struct tuple *tuple)
{
        const struct record *was = record_of(d, e);
        bool same = was && was->kind == CONTENT_DIRECTORY && was->child != DIR_ID_META;
        dir_id id = same ? was->child : s->store ? store_new_dir(s->store) : DIR_ID_META;
        struct dir *child = dir_new(d, (size_t)(e - d->entries), same ? e->scope : NULL, id, same);

        if (!child)
                return -ENOMEM;
        child->tuple = *tuple;
        e->kind = CONTENT_DIRECTORY;
        atomic_fetch_add(&d->pending, 1);
        child->detached = atomic_load(&s->open_dirs) > s->open_dirs_max;
        if (!child->detached)
                atomic_fetch_add(&d->users, 1);
        child->task.dir = child;
        scan_push(s, &child->task);
        return 0;
}

static bool is_skipped(struct worker *w, struct dir *d, const struct entry *e, bool is_dir)
{
        const struct cache_options *o = w->scan->job->options;
        const char *path = o->skip ? dir_path(d, NULL, &w->path) : NULL;

        if (o->skip && !path)
                scan_fail(w->scan, -ENOMEM);
        return path && o->skip(o->arg, path, dir_name_of(d, e), is_dir);
}

/* Device numbers tell less: overlayfs gives files another one than directories, btrfs each subvolume its own, and what is bound
 * from elsewhere in the same filesystem has the same. */
static bool is_mounted(const struct scan *s, const struct statx *stx)
{
        if (stx->stx_attributes_mask & STATX_ATTR_MOUNT_ROOT)
                return stx->stx_attributes & STATX_ATTR_MOUNT_ROOT;
        return S_ISDIR(stx->stx_mode) && (stx->stx_dev_major != s->dev_major || stx->stx_dev_minor != s->dev_minor);
}

/* What the entry is now. Files whose content isn't known are left to do; subdirectories become work. 0 or -ENOMEM. */
static int examine(struct worker *w, struct dir *d, struct entry *e)
{
        struct scan *s = w->scan;
        const struct record *was = record_of(d, e);
        struct tuple tuple;
        struct statx stx;
        enum content_kind kind;

        if (statx(d->fd, dir_name_of(d, e), AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &stx) < 0) {
                if (errno != ENOENT && errno != ENOTDIR)
                        atomic_fetch_add(&s->unread, 1);
                leave_out(w, d, e);
                return 0;
        }
        kind = content_kind_of(stx.stx_mode);
        if (kind == CONTENT_NONE || is_mounted(s, &stx) || is_skipped(w, d, e, kind == CONTENT_DIRECTORY)) {
                leave_out(w, d, e);
                return 0;
        }
        tuple_of(&stx, &tuple);
        if (kind == CONTENT_DIRECTORY)
                return find_subdir(s, d, e, &tuple);
        e->kind = (uint8_t)kind;
        /* The times are those of a write's beginning: of one that lasts, only who saw its end knows. */
        e->todo = !was || was->racy || e->named || was->kind != kind || !tuple_equal(&was->tuple, &tuple);
        if (!e->todo) {
                e->hash = was->hash;
                atomic_fetch_add_explicit(&s->reused, 1, memory_order_relaxed);
        }
        return 0;
}

/* Read the files that are left to do: here, but for what others can do meanwhile. */
static void hash_in_batches(struct worker *w, struct dir *d)
{
        size_t todo = 0, from = 0;

        for (size_t i = 0; i < d->count; i++) {
                struct task *t;

                if (!d->entries[i].todo || ++todo % BATCH_FILES != 0)
                        continue;
                t = malloc(sizeof(*t));
                if (!t)
                        continue; /* then the next batch is longer */
                *t = (struct task){.dir = d, .is_batch = true, .from = from, .to = i + 1};
                from = i + 1;
                atomic_fetch_add(&d->pending, 1);
                atomic_fetch_add(&d->users, 1);
                scan_push(w->scan, t);
        }
        hash_files(w, d, from, d->count);
}

static int look_around(struct worker *w, struct dir *d)
{
        struct scan *s = w->scan;
        struct gone_arg g = {.worker = w, .dir = d};
        struct content believed = {0};
        struct record root;
        int rc = 0;

        if (d->scope) {
                if (d->parent)
                        believed = record_of(d->parent, &d->parent->entries[d->slot])->hash;
                else if (store_get(s->store, DIR_ID_META, ROOT_NAME, sizeof(ROOT_NAME) - 1, &root))
                        believed = root.hash;
                rc = dir_remember(d, s->store, w->hasher, &believed, gone, &g);
                /* Something in it is damaged: it is looked at whole. */
                if (rc == -EBADMSG)
                        d->scope = NULL;
                else if (rc < 0)
                        return rc;
        }
        if (!d->scope) {
                rc = dir_read(d);
                dir_sort(d);
                if (rc == 0 && d->remembered && s->store)
                        rc = dir_remember(d, s->store, w->hasher, NULL, gone, &g);
        }
        for (size_t i = 0; rc == 0 && i < d->count && !scan_cancelled(s); i++) {
                if (!d->entries[i].looked)
                        continue;
                atomic_fetch_add_explicit(&s->entries, 1, memory_order_relaxed);
                rc = examine(w, d, &d->entries[i]);
        }
        if (rc == 0)
                hash_in_batches(w, d);
        return rc;
}

static void run_dir(struct worker *w, struct dir *d)
{
        struct scan *s = w->scan;

        d->fd = scan_cancelled(s) ? -ECANCELED : open_dir(s, d);
        if (!d->detached)
                let_go(s, d->parent);
        if (d->fd < 0) {
                d->rc = d->fd;
                d->fd = -1;
                if (is_ours(d->rc))
                        scan_fail(s, d->rc);
                else if (d->rc != -ENOENT && d->rc != -ENOTDIR && d->rc != -ELOOP && d->rc != -ECANCELED)
                        atomic_fetch_add(&s->unread, 1);
        } else {
                visited(s, d->id);
                d->rc = look_around(w, d);
                if (is_ours(d->rc))
                        scan_fail(s, d->rc);
                else if (d->rc < 0)
                        atomic_fetch_add(&s->unread, 1);
        }
        let_go(w->scan, d);
        settle(w, d);
}

void scan_do(struct worker *w, struct task *t)
{
        struct dir *d = t->dir;

        if (!t->is_batch) {
                run_dir(w, d);
                return;
        }
        hash_files(w, d, t->from, t->to);
        free(t);
        let_go(w->scan, d);
        settle(w, d);
}
