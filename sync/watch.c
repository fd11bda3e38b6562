/*
 * The watch's thread: sleeps until the kernel's queue has something or somebody asks (barrier, stop), takes all there is, tells it, says
 * idle(). What an event means is the backends' business.
 *
 * A barrier rests on the kernel queueing an event inside the system call that causes it: whatever had happened when the barrier was
 * asked for is in the queue by then, so telling as much as the queue holds after that moment is enough, however fast it fills.
 */
#include "sync/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "cache/base/thread.h"
#include "sync/watch_backend.h"

enum {
        STORM_EVENTS = 64,  /* a batch this large, or all our own: more is coming, let it gather */
        PACE_MS = 1,        /* ... for so long */
        CYCLE_READS = 16,   /* batches until the sink hears idle() even when there is always more */
        SETTLE_TRIES = 100, /* patience, in PACE_MS, with what was put off */
};

struct watch {
        /* Set before the thread starts. */
        const struct watch_ops *ops;
        struct watch_core core;
        int wake;   /* eventfd: asked or stopping */
        int mounts; /* mountinfo: POLLPRI when a mount came or went; -1 without procfs */
        bool running;
        pthread_t thread;

        struct mutex lock; /* innermost; never held while telling */
        struct cond changed;
        uint64_t asked GUARDED_BY(lock);    /* barriers so far */
        uint64_t answered GUARDED_BY(lock); /* of these, told up to */
        unsigned waiters GUARDED_BY(lock);
        bool stopping GUARDED_BY(lock);
        bool ended GUARDED_BY(lock);
};

void watch_tell_entry(struct watch_core *c, const struct watch_name *at, const struct ident *object, unsigned how)
{
        c->content_told = false;
        atomic_fetch_add_explicit(&c->events, 1, memory_order_relaxed);
        c->sink.entry(c->arg, c->origin, at, object, how);
}

void watch_tell_moved(struct watch_core *c, const struct watch_name *from, const struct watch_name *to, const struct ident *object,
                      unsigned how)
{
        if (!c->sink.moved) {
                watch_tell_entry(c, from, object, WATCH_DELETED | how);
                watch_tell_entry(c, to, object, WATCH_CREATED | how);
                return;
        }
        c->content_told = false;
        atomic_fetch_add_explicit(&c->events, 1, memory_order_relaxed);
        c->sink.moved(c->arg, c->origin, from, to, object, how);
}

void watch_tell_content(struct watch_core *c, const struct ident *file, const struct watch_name *at, unsigned how)
{
        /* What came from one was told to the others; what came from nobody, to all. */
        if (c->content_told && ident_equal(file, &c->last_content) && (!c->last_origin || c->last_origin == c->origin) &&
            (how & ~c->last_how) == 0) {
                atomic_fetch_add_explicit(&c->coalesced, 1, memory_order_relaxed);
                return;
        }
        c->last_content = *file;
        c->last_origin = c->origin;
        c->last_how = how;
        c->content_told = true;
        atomic_fetch_add_explicit(&c->events, 1, memory_order_relaxed);
        c->sink.content(c->arg, c->origin, file, at, how);
}

void watch_tell_attr(struct watch_core *c, const struct ident *object, const struct watch_name *at, unsigned how)
{
        c->content_told = false;
        atomic_fetch_add_explicit(&c->events, 1, memory_order_relaxed);
        c->sink.attr(c->arg, c->origin, object, at, how);
}

void watch_tell_touched(struct watch_core *c, const struct ident *dir, const char *path, const char *name, size_t len)
{
        if (c->sink.touched)
                c->sink.touched(c->arg, c->by, dir, path, name, len);
}

void watch_tell_taken(struct watch_core *c)
{
        if (c->sink.taken)
                c->sink.taken(c->arg, clock_now_ns());
}

void watch_tell_lost(struct watch_core *c, enum watch_loss why, const char *detail)
{
        c->content_told = false;
        if (why == WATCH_OVERFLOW)
                atomic_fetch_add_explicit(&c->overflows, 1, memory_order_relaxed);
        c->sink.lost(c->arg, why, detail);
        /* Who sees this can see what to do about it. */
        if (why != WATCH_OVERFLOW)
                atomic_store(&c->degraded, true);
}

/* Whether `fd` is the directory that the watch began with. Handles repeat between filesystems, so the device counts too. */
static int identify(int fd, dev_t *dev, struct ident *id)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        *dev = st.st_dev;
        return ident_of(fd, "", id);
}

static void check_root(struct watch_core *c)
{
        CLEANUP_FD int fd = open(c->source, O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct ident id;
        dev_t dev = 0;

        c->check_root = false;
        if (c->root_is_gone)
                return;
        if (fd >= 0 && identify(fd, &dev, &id) == 0 && dev == c->dev && ident_equal(&id, &c->root_ident))
                return;
        c->root_is_gone = true;
        watch_tell_lost(c, WATCH_ROOT, "the source was deleted, moved away or unmounted: unmount, and mount it where it is now");
}

static bool is_asked(struct watch *w)
{
        bool asked;

        mutex_lock(&w->lock);
        asked = w->asked != w->answered;
        mutex_unlock(&w->lock);
        return asked;
}

/* Take from the queue until it is empty, or what a barrier waits for is told; if there is none yet, until there is one or a fair share is
 * told. 0 or -errno. */
static int take(struct watch *w, bool asked, bool *storm)
{
        struct watch_core *c = &w->core;
        uint64_t own = atomic_load_explicit(&c->own, memory_order_relaxed);
        size_t told = 0;
        size_t all = 0;
        int queued = 0;

        *storm = false;
        if (asked && ioctl(c->fd, FIONREAD, &queued) < 0)
                return -errno;
        for (int reads = 0; asked ? told < (size_t)queued : reads < CYCLE_READS && (reads == 0 || !is_asked(w)); reads++) {
                size_t events = 0;
                ssize_t n = w->ops->read(c, &events);

                if (n <= 0) {
                        /* A container is at work: nobody waits for our own changes to be told, and waking for each would slow it. */
                        if (all > 0 && atomic_load_explicit(&c->own, memory_order_relaxed) - own == all)
                                *storm = true;
                        return (int)n;
                }
                told += (size_t)n;
                all += events;
                c->content_told = false;
                if (events >= STORM_EVENTS)
                        *storm = true;
        }
        /* That it is empty is for the backend to see, too: whose threads are how old goes by that. */
        if (asked && ioctl(c->fd, FIONREAD, &queued) == 0 && queued == 0) {
                size_t events = 0;
                ssize_t n = w->ops->read(c, &events);

                c->content_told = false;
                return n < 0 ? (int)n : 0;
        }
        return 0;
}

/* Sleep for news. Returns true when there may be some in the queue. */
static void rest(struct watch *w, bool storm, bool retry)
{
        struct pollfd p[] = {
                {.fd = w->wake, .events = POLLIN},
                {.fd = w->core.fd, .events = POLLIN},
                {.fd = w->mounts, .events = POLLPRI},
        };
        uint64_t count;

        if (storm)
                poll(p, 1, PACE_MS);
        if (poll(p, ARRAY_LEN(p), retry ? PACE_MS : -1) < 0)
                return;
        if (p[0].revents)
                (void)!read(w->wake, &count, sizeof(count));
        if (p[2].revents)
                w->core.check_root = true;
}

/* One round: what is in the queue, told; then idle(); then whoever asked before is answered. 0 or -errno. */
static int cycle(struct watch *w, bool *storm, unsigned *tries)
{
        struct watch_core *c = &w->core;
        uint64_t upto;
        bool asked;
        bool settled;
        int rc;

        mutex_lock(&w->lock);
        upto = w->asked;
        asked = upto != w->answered;
        mutex_unlock(&w->lock);
        rc = take(w, asked, storm);
        if (rc < 0)
                return rc;
        settled = !w->ops->settle || w->ops->settle(c, *tries >= SETTLE_TRIES);
        c->content_told = false;
        if (c->check_root)
                check_root(c);
        c->sink.idle(c->arg);
        *tries = settled ? 0 : *tries + 1;
        if (!asked || !settled)
                return 0;
        mutex_lock(&w->lock);
        w->answered = upto;
        cond_broadcast(&w->changed);
        mutex_unlock(&w->lock);
        return 0;
}

static void *run(void *arg)
{
        struct watch *w = arg;
        unsigned tries = 0;
        bool storm = false;
        bool stop = false;

        while (!stop) {
                int rc = cycle(w, &storm, &tries);

                if (rc < 0) {
                        log_error("watch %s: reading events: %s", w->core.source, strerror(-rc));
                        watch_tell_lost(&w->core, WATCH_OVERFLOW, "the kernel's event queue can't be read any more: mount again");
                        atomic_store(&w->core.degraded, true);
                        break;
                }
                rest(w, storm, tries > 0);
                mutex_lock(&w->lock);
                stop = w->stopping;
                mutex_unlock(&w->lock);
        }
        mutex_lock(&w->lock);
        w->ended = true;
        cond_broadcast(&w->changed);
        mutex_unlock(&w->lock);
        return NULL;
}

static void wake(struct watch *w)
{
        uint64_t one = 1;

        (void)!write(w->wake, &one, sizeof(one));
}

uint64_t watch_ask(struct watch *w)
{
        uint64_t mine;

        mutex_lock(&w->lock);
        mine = ++w->asked;
        if (!w->ended)
                wake(w);
        mutex_unlock(&w->lock);
        return mine;
}

int watch_await(struct watch *w, uint64_t asked, int timeout_ms)
{
        unsigned long long deadline = clock_now_ns() + (unsigned long long)(timeout_ms < 0 ? 0 : timeout_ms) * 1000000ULL;
        int rc = 0;

        mutex_lock(&w->lock);
        w->waiters++;
        while (w->answered < asked && !w->ended && rc == 0)
                rc = cond_wait_until(&w->changed, &w->lock, deadline);
        if (w->answered >= asked)
                rc = 0;
        else if (w->ended)
                rc = -ESHUTDOWN;
        if (--w->waiters == 0)
                cond_broadcast(&w->changed);
        mutex_unlock(&w->lock);
        return rc;
}

int watch_barrier(struct watch *w, int timeout_ms)
{
        return watch_await(w, watch_ask(w), timeout_ms);
}

void watch_stats(struct watch *w, struct watch_stats *ret)
{
        struct watch_core *c = &w->core;

        *ret = (struct watch_stats){
                .backend = w->ops->backend,
                .events = atomic_load_explicit(&c->events, memory_order_relaxed),
                .coalesced = atomic_load_explicit(&c->coalesced, memory_order_relaxed),
                .own = atomic_load_explicit(&c->own, memory_order_relaxed),
                .overflows = atomic_load_explicit(&c->overflows, memory_order_relaxed),
                .watches = atomic_load_explicit(&c->watches, memory_order_relaxed),
                .degraded = atomic_load(&c->degraded),
        };
}

static void stop(struct watch *w)
{
        mutex_lock(&w->lock);
        w->stopping = true;
        mutex_unlock(&w->lock);
        wake(w);
        pthread_join(w->thread, NULL);
        mutex_lock(&w->lock);
        while (w->waiters)
                cond_wait(&w->changed, &w->lock);
        mutex_unlock(&w->lock);
}

void watch_free(struct watch *w)
{
        if (!w)
                return;
        if (w->running)
                stop(w);
        if (w->core.state)
                w->ops->close(&w->core);
        fd_close(&w->core.root);
        fd_close(&w->wake);
        fd_close(&w->mounts);
        cond_release(&w->changed);
        mutex_release(&w->lock);
        free(w->core.source);
        free(w);
}

/* Take the backend that was asked for, or the better one that works. On success *why is why it isn't fanotify, or NULL. */
static int choose(struct watch *w, enum watch_backend backend, const char **why)
{
        const char *refused = NULL;
        int rc;

        if (backend != WATCH_INOTIFY) {
                w->ops = &watch_fanotify_ops;
                rc = w->ops->open(&w->core, &refused);
                if (rc == 0 || backend == WATCH_FANOTIFY) {
                        *why = refused;
                        return rc;
                }
                log_debug("watch %s: inotify, for %s", w->core.source, refused);
        }
        w->ops = &watch_inotify_ops;
        rc = w->ops->open(&w->core, why);
        if (rc == 0)
                *why = refused;
        return rc;
}

/* All that comes before the backend. 0 or -errno. */
static int prepare(struct watch *w, const char *source)
{
        struct watch_core *c = &w->core;

        c->source = strdup(source);
        if (!c->source)
                return -ENOMEM;
        c->root = open(source, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (c->root < 0)
                return -errno;
        w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (w->wake < 0)
                return -errno;
        w->mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
        return identify(c->root, &c->dev, &c->root_ident);
}

int watch_new_with(const char *source, enum watch_backend backend, const struct watch_options *options, const struct watch_sink *sink,
                   void *arg, struct watch **ret, const char **why)
{
        struct watch *w = calloc(1, sizeof(*w));
        int rc;

        *why = "out of memory";
        if (!w)
                return -ENOMEM;
        w->core.root = w->core.fd = w->wake = w->mounts = -1;
        w->core.options = *options;
        w->core.sink = *sink;
        w->core.arg = arg;
        mutex_init(&w->lock);
        cond_init(&w->changed);
        *why = "the source can't be opened";
        rc = prepare(w, source);
        if (rc == 0)
                rc = choose(w, backend, why);
        if (rc == 0) {
                rc = thread_start(&w->thread, "dsfs-watch", run, w);
                w->running = rc == 0;
                if (rc)
                        *why = "no thread could be started";
        }
        if (rc) {
                watch_free(w);
                return rc;
        }
        *ret = w;
        return 0;
}

int watch_new(const char *source, enum watch_backend backend, const struct watch_sink *sink, void *arg, struct watch **ret,
              const char **why)
{
        return watch_new_with(source, backend, &(struct watch_options){0}, sink, arg, ret, why);
}
