#include "cache/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "cache/quiet.h"
#include "cache/scan_dir.h"

#define ROOT_NAME "root"
#define BATCH_FILES 64U
#define THREADS_MAX 64U
/* So much work has to wait before another thread is worth starting. */
#define ENOUGH_TASKS 4U
#define PROGRESS_NS 100000000ULL
#define OPEN_DIRS_MAX 256U
/* The part of the descriptors that this process may have. */
#define OPEN_DIRS_PART 8U

struct scan {
        const struct scan_job *job;
        int source; /* the source, open */
        struct store *store;
        uint32_t dev_major, dev_minor;
        bool tells; /* there is something to differ from, and somebody who wants to know */
        unsigned long long began_ns;
        _Atomic uint64_t entries, files, bytes, reused, unstable, unread;
        atomic_int rc;
        _Atomic size_t open_dirs;
        size_t open_dirs_max; /* above, directories don't wait open for those in them */
        /* Directories that were visited, by number, below `known_ids`: for the sweep. NULL: not kept. */
        _Atomic uint8_t *visited;
        dir_id known_ids;
        struct content root;

        struct mutex lock;
        struct cond wake;
        struct task *stack GUARDED_BY(lock);
        size_t waiting GUARDED_BY(lock); /* tasks */
        size_t idle GUARDED_BY(lock);    /* threads */
        bool over GUARDED_BY(lock);
        pthread_t threads[THREADS_MAX] GUARDED_BY(lock);
        unsigned started GUARDED_BY(lock);

        struct mutex tell_lock; /* one difference is told at a time */
};

/* What one thread works with. */
struct worker {
        struct scan *scan;
        struct hasher *hasher;
        struct path_room path;
};

static void *worker_run(void *arg);

static bool cancelled(const struct scan *s)
{
        return (s->job->cancel && atomic_load_explicit(s->job->cancel, memory_order_relaxed)) || atomic_load(&s->rc) != 0;
}

static void fail(struct scan *s, int rc)
{
        int none = 0;

        atomic_compare_exchange_strong(&s->rc, &none, rc);
}

/* What says something of this process, not of the source: nothing may be left out for it. */
static bool is_ours(int rc)
{
        return rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE || rc == -ECANCELED;
}

static void start_thread_locked(struct scan *s) REQUIRES(s->lock)
{
        if (s->started + 1 < s->job->threads && s->started < THREADS_MAX &&
            thread_start(&s->threads[s->started], "dsfs-scan", worker_run, s) == 0)
                s->started++;
}

static void push(struct scan *s, struct task *t)
{
        mutex_lock(&s->lock);
        t->next = s->stack;
        s->stack = t;
        s->waiting++;
        if (s->idle)
                cond_signal(&s->wake);
        else if (s->waiting >= ENOUGH_TASKS)
                start_thread_locked(s);
        mutex_unlock(&s->lock);
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
                fail(s, -ENOMEM);
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

        for (size_t i = from; i < to && !cancelled(s); i++) {
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
                        fail(s, rc);
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
                        fail(s, d->rc);
                else if (!cancelled(s))
                        leave_out(w, d->parent, e);
                return;
        }
        hash_dir_begin(w->hasher);
        for (size_t i = 0; i < d->count; i++)
                if (d->entries[i].kind != CONTENT_NONE)
                        hash_dir_add(w->hasher, dir_name_of(d, &d->entries[i]), d->entries[i].len, d->entries[i].kind, &d->entries[i].hash);
        hash_dir_end(w->hasher, &hash);
        /* What was cut short is nobody's hash. */
        if (cancelled(s))
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
        if (d)
                return;
        mutex_lock(&w->scan->lock);
        w->scan->over = true;
        cond_broadcast(&w->scan->wake);
        mutex_unlock(&w->scan->lock);
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
        push(s, &child->task);
        return 0;
}

static bool is_skipped(struct worker *w, struct dir *d, const struct entry *e, bool is_dir)
{
        const struct cache_options *o = w->scan->job->options;
        const char *path = o->skip ? dir_path(d, NULL, &w->path) : NULL;

        if (o->skip && !path)
                fail(w->scan, -ENOMEM);
        return path && o->skip(o->arg, path, dir_name_of(d, e), is_dir);
}

/* Device numbers tell less: overlayfs gives files another one than directories, btrfs each subvolume its own, and what is bound from
 * elsewhere in the same filesystem has the same. */
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
                push(w->scan, t);
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
        for (size_t i = 0; rc == 0 && i < d->count && !cancelled(s); i++) {
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

        d->fd = cancelled(s) ? -ECANCELED : open_dir(s, d);
        if (!d->detached)
                let_go(s, d->parent);
        if (d->fd < 0) {
                d->rc = d->fd;
                d->fd = -1;
                if (is_ours(d->rc))
                        fail(s, d->rc);
                else if (d->rc != -ENOENT && d->rc != -ENOTDIR && d->rc != -ELOOP && d->rc != -ECANCELED)
                        atomic_fetch_add(&s->unread, 1);
        } else {
                visited(s, d->id);
                d->rc = look_around(w, d);
                if (is_ours(d->rc))
                        fail(s, d->rc);
                else if (d->rc < 0)
                        atomic_fetch_add(&s->unread, 1);
        }
        let_go(w->scan, d);
        settle(w, d);
}

/*
 * Threads
 */

static void run_task(struct worker *w, struct task *t)
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

static void progress(struct scan *s)
{
        struct scan_progress p = {
                .entries = atomic_load(&s->entries),
                .files = atomic_load(&s->files),
                .bytes = atomic_load(&s->bytes),
        };

        s->job->watcher->progress(s->job->watcher->arg, &p);
}

/* Until there is nothing left to do anywhere. `shows`: this thread tells the progress. */
static void work(struct worker *w, bool shows)
{
        struct scan *s = w->scan;
        unsigned long long next = clock_now_ns() + PROGRESS_NS;

        mutex_lock(&s->lock);
        while (!s->over) {
                struct task *t = s->stack;

                if (t) {
                        s->stack = t->next;
                        s->waiting--;
                        mutex_unlock(&s->lock);
                        run_task(w, t);
                } else {
                        s->idle++;
                        if (shows)
                                (void)cond_wait_until(&s->wake, &s->lock, next);
                        else
                                cond_wait(&s->wake, &s->lock);
                        s->idle--;
                        mutex_unlock(&s->lock);
                }
                if (shows && clock_now_ns() >= next) {
                        progress(s);
                        next = clock_now_ns() + PROGRESS_NS;
                }
                mutex_lock(&s->lock);
        }
        mutex_unlock(&s->lock);
}

static struct worker *worker_new(struct scan *s)
{
        struct worker *w = calloc(1, sizeof(*w));

        if (!w)
                return NULL;
        w->scan = s;
        w->hasher = hasher_new(s->job->cancel);
        if (!w->hasher) {
                free(w);
                return NULL;
        }
        return w;
}

static void worker_free(struct worker *w)
{
        hasher_free(w->hasher);
        free(w->path.bytes);
        free(w);
}

static void *worker_run(void *arg)
{
        struct worker *w = worker_new(arg);

        /* The others do it without this one. */
        if (w) {
                work(w, false);
                worker_free(w);
        }
        return NULL;
}

static bool was_visited(void *arg, dir_id id)
{
        struct scan *s = arg;

        return id >= s->known_ids || (atomic_load(&s->visited[id / 8]) & (1U << (id % 8)));
}

/* Records in directories that no record leads to any more: left by a process that was killed between two batches. */
static void sweep(struct scan *s)
{
        if (s->visited && atomic_load(&s->rc) == 0 && atomic_load(&s->unread) == 0)
                store_sweep(s->store, was_visited, s);
}

static void report(struct scan *s, struct scan_report *ret)
{
        *ret = (struct scan_report){
                .root = s->root,
                .seen = {.entries = atomic_load(&s->entries), .files = atomic_load(&s->files), .bytes = atomic_load(&s->bytes)},
                .reused = atomic_load(&s->reused),
                .unstable = atomic_load(&s->unstable),
                .unread = atomic_load(&s->unread),
                .ns = clock_now_ns() - s->began_ns,
        };
}

static int run(struct scan *s, struct worker *w, struct dir *root)
{
        struct statx stx;

        s->source = quiet_open(s->job->source);
        if (s->source < 0 || statx(s->source, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stx) < 0) {
                int rc = s->source < 0 ? s->source : -errno;

                dir_free(root);
                return rc;
        }
        s->dev_major = stx.stx_dev_major;
        s->dev_minor = stx.stx_dev_minor;
        tuple_of(&stx, &root->tuple);
        root->task.dir = root;
        push(s, &root->task);
        work(w, s->job->watcher && s->job->watcher->progress);
        /* No more are started: what starts them is over. */
        for (unsigned i = 0; i < s->started; i++)
                pthread_join(s->threads[i], NULL);
        if (s->job->cancel && atomic_load(s->job->cancel))
                fail(s, -ECANCELED);
        return atomic_load(&s->rc);
}

static size_t open_dirs_max(void)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > OPEN_DIRS_MAX * OPEN_DIRS_PART)
                return OPEN_DIRS_MAX;
        return limit.rlim_cur / OPEN_DIRS_PART;
}

/* Even without the root's: a first scan may have been killed. */
static bool has_records(struct store *store)
{
        struct store_stats stats;

        if (!store || !store_writable(store))
                return false;
        store_stats(store, &stats);
        return stats.entries > 0;
}

int scan_run(const struct scan_job *job, struct scan_report *ret)
{
        struct scan s = {.job = job, .source = -1, .store = job->store, .began_ns = clock_now_ns(), .open_dirs_max = open_dirs_max()};
        struct record before;
        bool remembered = job->store && store_get(job->store, DIR_ID_META, ROOT_NAME, sizeof(ROOT_NAME) - 1, &before);
        struct worker *w = worker_new(&s);
        struct dir *root =
                w ? dir_new(NULL, 0, remembered && job->scope && !job->scope->whole ? job->scope : NULL, DIR_ID_ROOT, remembered) : NULL;
        int rc = root ? 0 : -ENOMEM;

        mutex_init(&s.lock);
        mutex_init(&s.tell_lock);
        cond_init(&s.wake);
        s.tells = remembered && job->watcher && job->watcher->changed;
        if (rc == 0 && !root->scope && has_records(job->store)) {
                s.known_ids = store_new_dir(job->store);
                s.visited = calloc(1, s.known_ids / 8 + 1);
        }
        if (rc == 0) {
                rc = run(&s, w, root);
                if (s.store)
                        store_flush(s.store);
                sweep(&s);
                report(&s, ret);
        }
        fd_close(&s.source);
        free((void *)s.visited);
        cond_release(&s.wake);
        mutex_release(&s.tell_lock);
        mutex_release(&s.lock);
        if (w)
                worker_free(w);
        return rc;
}
