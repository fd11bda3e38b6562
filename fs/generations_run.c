/*
 * The thread that switches. Woken by a change of a key file it waits for a moment of quiet, for files are written in several steps, and for
 * git to have done: a checkout holds .git/index.lock from beginning to end.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "cache/base/fd.h"
#include "cache/base/gitdir.h"
#include "fs/generations_root.h"

#define NS_PER_MS 1000000ULL
#define QUIET_NS (2 * NS_PER_MS)
/* What changes all the time is looked at nevertheless. */
#define PATIENCE_NS (20 * NS_PER_MS)
#define GIT_STEP_NS NS_PER_MS
#define GIT_PATIENCE_NS (30000 * NS_PER_MS)

/*
 * What wakes it
 */

static void wake_locked(struct generations *g) REQUIRES(g->lock)
{
        g->last_ns = clock_now_ns();
        if (g->asked == g->done)
                g->first_ns = g->last_ns;
        g->asked++;
        cond_signal(&g->wake);
}

void generations_wake(struct generations *g)
{
        mutex_lock(&g->lock);
        wake_locked(g);
        mutex_unlock(&g->lock);
}

static void touch_locked(struct generations *g, const struct ident *dir, const char *path) REQUIRES(g->lock)
{
        struct touched *t;

        if (g->touched_count && g->touched_count <= TOUCHED_MAX && ident_equal(&g->touched[g->touched_count - 1].dir, dir))
                return;
        if (g->touched_count >= TOUCHED_MAX) {
                g->touched_count = TOUCHED_MAX + 1;
                return;
        }
        t = &g->touched[g->touched_count++];
        *t = (struct touched){.dir = *dir, .path = path ? strdup(path) : NULL};
}

void generations_touched(struct overlay *o, const struct ident *dir, const char *path, const char *name, size_t len)
{
        struct generations *g = o->generations;
        bool part = len == 0 || rules_key_part(overlay_rules(o), name, len);

        if (!part && !atomic_load_explicit(&g->directories, memory_order_relaxed))
                return;
        mutex_lock(&g->lock);
        if (atomic_load_explicit(&g->directories, memory_order_relaxed))
                touch_locked(g, dir, path);
        wake_locked(g);
        mutex_unlock(&g->lock);
}

void generations_touched_all(struct overlay *o)
{
        struct generations *g = o->generations;

        mutex_lock(&g->lock);
        g->touched_count = TOUCHED_MAX + 1;
        wake_locked(g);
        mutex_unlock(&g->lock);
}

/*
 * Keys that are directories
 */

struct marking {
        const struct generations *g;
        const char *dir; /* in which something was touched; NULL: anywhere */
};

static bool is_below(const char *dir, const char *above)
{
        size_t len = strlen(above);

        return strncmp(dir, above, len) == 0 && (dir[len] == '\0' || dir[len] == '/');
}

static void mark_stale(void *arg, struct root *r)
{
        const struct marking *m = arg;

        mutex_lock(&r->lock);
        for (size_t i = 0; i < r->files.count; i++) {
                const struct key_file *f = &r->files.list[i];

                if (f->path && S_ISDIR(f->stamp.mode) && (!m->dir || is_below(m->dir, f->path)))
                        r->stale = true;
        }
        mutex_unlock(&r->lock);
}

/* Where it is, or NULL: it may be anywhere. False: nowhere in the source. */
static bool find_touched(const struct generations *g, struct touched *t, char path[PATH_MAX], const char **ret)
{
        CLEANUP_FD int fd = -1;
        int rc;

        *ret = t->path;
        if (t->path)
                return true;
        fd = ident_open(g->o->source_layer.root_fd, &t->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        rc = fd < 0 ? fd : layer_path(&g->o->source_layer, fd, path, PATH_MAX);
        *ret = rc == 0 ? path : NULL;
        return rc != -EXDEV && rc != -ESTALE && rc != -ENOENT;
}

static void take_touched(struct generations *g)
{
        struct touched list[TOUCHED_MAX];
        struct marking m = {.g = g};
        char path[PATH_MAX];
        size_t count;
        bool all;

        mutex_lock(&g->lock);
        all = g->touched_count > TOUCHED_MAX;
        count = all ? TOUCHED_MAX : g->touched_count;
        memcpy(list, g->touched, sizeof(list));
        memset(g->touched, 0, sizeof(g->touched));
        g->touched_count = 0;
        mutex_unlock(&g->lock);
        if (all)
                roots_each(g, mark_stale, &m);
        for (size_t i = 0; i < count; i++) {
                if (!all && find_touched(g, &list[i], path, &m.dir))
                        roots_each(g, mark_stale, &m);
                free(list[i].path);
        }
}

/*
 * Waiting for the right moment
 */

static bool git_is_busy(int git)
{
        return git >= 0 && gitdir_has_lock(git);
}

bool generations_git_is_busy(const struct generations *g)
{
        CLEANUP_FD int git = gitdir_open(g->o->source_layer.root_fd);

        return git_is_busy(git);
}

static void wait_for_quiet_locked(struct generations *g) REQUIRES(g->lock)
{
        while (!g->stop) {
                unsigned long long now = clock_now_ns(), quiet = g->last_ns + QUIET_NS, patience = g->first_ns + PATIENCE_NS;
                unsigned long long until = quiet < patience ? quiet : patience;

                if (now >= until)
                        return;
                (void)cond_wait_until(&g->settled, &g->lock, until);
        }
}

/* Not under g->lock, but for the wait. */
static void wait_for_git(struct generations *g)
{
        CLEANUP_FD int git = gitdir_open(g->o->source_layer.root_fd);
        unsigned long long until = clock_now_ns() + GIT_PATIENCE_NS;
        bool stop = false;

        while (!stop && git_is_busy(git) && clock_now_ns() < until) {
                mutex_lock(&g->lock);
                stop = g->stop;
                if (!stop)
                        (void)cond_wait_until(&g->settled, &g->lock, clock_now_ns() + GIT_STEP_NS);
                mutex_unlock(&g->lock);
        }
}

/*
 * The thread
 */

struct turn {
        struct generations *g;
        bool again;
};

static void look(void *arg, struct root *r)
{
        struct turn *t = arg;

        t->again = !root_look(t->g, r) || t->again;
}

/* False: once more. */
static bool take_turn(struct generations *g)
{
        struct turn t = {.g = g};

        take_touched(g);
        roots_each(g, look, &t);
        if (!t.again)
                notes_forget_left(&g->notes);
        return !t.again;
}

void *generations_run(void *arg)
{
        struct generations *g = arg;
        uint64_t upto;
        bool done;

        mutex_lock(&g->lock);
        while (!g->stop) {
                if (g->asked == g->done) {
                        cond_wait(&g->wake, &g->lock);
                        continue;
                }
                wait_for_quiet_locked(g);
                mutex_unlock(&g->lock);
                wait_for_git(g);
                mutex_lock(&g->lock);
                upto = g->asked;
                mutex_unlock(&g->lock);
                done = take_turn(g);
                mutex_lock(&g->lock);
                g->first_ns = clock_now_ns();
                if (!done) {
                        g->last_ns = g->first_ns;
                        continue;
                }
                g->done = upto;
                cond_broadcast(&g->settled);
        }
        mutex_unlock(&g->lock);
        return NULL;
}

int generations_settle(struct overlay *o, int timeout_ms)
{
        struct generations *g = o->generations;
        unsigned long long deadline = clock_now_ns() + (unsigned long long)timeout_ms * NS_PER_MS;
        uint64_t upto;
        int rc = 0;

        mutex_lock(&g->lock);
        upto = g->asked;
        while (rc == 0 && g->done < upto)
                rc = g->stop ? -ESHUTDOWN : cond_wait_until(&g->settled, &g->lock, deadline);
        if (g->done >= upto)
                rc = 0;
        mutex_unlock(&g->lock);
        return rc;
}
