#include "cache/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "cache/quiet.h"
#include "cache/scan_work.h"

/* So much work has to wait before another thread is worth starting. */
#define ENOUGH_TASKS 4U
#define PROGRESS_NS 100000000ULL
#define OPEN_DIRS_MAX 256U
/* The part of the descriptors that this process may have. */
#define OPEN_DIRS_PART 8U

static void *worker_run(void *arg);

static void start_thread_locked(struct scan *s) REQUIRES(s->lock)
{
        if (s->started + 1 < s->job->threads && s->started < THREADS_MAX &&
            thread_start(&s->threads[s->started], "dsfs-scan", worker_run, s) == 0)
                s->started++;
}

void scan_push(struct scan *s, struct task *t)
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

void scan_over(struct scan *s)
{
        mutex_lock(&s->lock);
        s->over = true;
        cond_broadcast(&s->wake);
        mutex_unlock(&s->lock);
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
                        scan_do(w, t);
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
        scan_push(s, &root->task);
        work(w, s->job->watcher && s->job->watcher->progress);
        /* No more are started: what starts them is over. */
        for (unsigned i = 0; i < s->started; i++)
                pthread_join(s->threads[i], NULL);
        if (s->job->cancel && atomic_load(s->job->cancel))
                scan_fail(s, -ECANCELED);
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
