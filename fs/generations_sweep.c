/*
 * What takes time and nobody waits for: removing what was dropped, counting bytes, writing down what is known of generations, and keeping
 * to the budget.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "fs/generations_kept.h"
#include "fs/tree.h"

#define NICENESS 10
/* Whoever switches to and fro has other things to wait for. */
#define CALM_NS 1000000000ULL

void generations_want_sweep(struct generations *g)
{
        mutex_lock(&g->lock);
        g->dirt_ns = clock_now_ns();
        g->dirt = true;
        cond_signal(&g->sweep);
        mutex_unlock(&g->lock);
}

static bool has_prefix(const char *text, const char *prefix)
{
        return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Of what lies in moving/: what was put there to be removed; and before anything begins (`all`), what was not finished. */
void generations_remove_gone(struct generations *g, bool all)
{
        int fd = openat(g->o->moving_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        const struct dirent *e;

        while (d && (e = readdir(d))) {
                int rc = 0;

                if (has_prefix(e->d_name, GONE_PREFIX) || (all && has_prefix(e->d_name, COPY_PREFIX)))
                        rc = tree_remove(g->o->moving_fd, e->d_name);
                if (rc < 0)
                        log_warn("%s/moving/%s can't be removed: %s", g->o->dir, e->d_name, strerror(-rc));
        }
        if (d)
                closedir(d);
        else
                fd_close(&fd);
}

/*
 * Counting
 */

/* Where a generation is, for counting it; or -errno. It may be elsewhere by the time that is done: then what was counted is of no use. */
static int open_kept(struct generations *g, const struct root *r, const struct key *key) REQUIRES(r->lock)
{
        char path[ROOT_ID_TEXT + GENERATION_KEY_TEXT];
        int fd;

        if (key_equal(key, &r->current))
                return kept_above(g, r->path, false);
        snprintf(path, sizeof(path), "%s/%s", r->id, key->text);
        fd = openat(g->o->kept_fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* The next generation that has not been counted. False when there is none. */
static bool next_uncounted(struct generations *g, struct root *r, struct key *key, char name[NAME_MAX + 1], int *fd)
{
        bool found = false;

        mutex_lock(&r->lock);
        for (size_t i = 0; i < r->count && !found; i++) {
                if (r->list[i].bytes != GENERATION_UNCOUNTED)
                        continue;
                *key = r->list[i].key;
                snprintf(name, NAME_MAX + 1, "%s", root_name(r->path));
                *fd = open_kept(g, r, key);
                found = true;
        }
        mutex_unlock(&r->lock);
        return found;
}

static void count_one(struct generations *g, struct root *r, const struct key *key, int fd, const char *name)
{
        struct tree_work w = {0};
        struct artifact_size size = {0};
        struct kept *k;

        if (fd >= 0)
                (void)tree_count(&w, fd, name, &size);
        mutex_lock(&r->lock);
        k = root_kept_locked(r, key, false);
        if (k) {
                k->bytes = size.bytes;
                k->dirty = true;
        }
        for (size_t i = 0; i < r->count; i++) {
                if (r->list[i].dirty && r->registered)
                        kept_write_record(g, r, &r->list[i]);
                r->list[i].dirty = false;
        }
        mutex_unlock(&r->lock);
}

static void count_root(void *arg, struct root *r)
{
        char name[NAME_MAX + 1];
        struct key key;
        int fd = -1;

        while (next_uncounted(arg, r, &key, name, &fd)) {
                count_one(arg, r, &key, fd, name);
                fd_close(&fd);
        }
}

/*
 * The budget
 */

struct candidate {
        uint64_t bytes; /* of all */
        struct root *root;
        struct key key;
        int64_t used_s;
};

static void weigh(void *arg, struct root *r)
{
        struct candidate *c = arg;

        mutex_lock(&r->lock);
        for (size_t i = 0; i < r->count; i++) {
                const struct kept *k = &r->list[i];

                if (k->bytes != GENERATION_UNCOUNTED)
                        c->bytes += k->bytes;
                if (key_equal(&k->key, &r->current) || (c->root && k->used_s >= c->used_s))
                        continue;
                c->root = r;
                c->key = k->key;
                c->used_s = k->used_s;
        }
        mutex_unlock(&r->lock);
}

static void keep_to_budget(struct generations *g)
{
        for (;;) {
                struct candidate c = {0};
                int rc;

                roots_each(g, weigh, &c);
                if (!g->o->budget || c.bytes <= g->o->budget || !c.root)
                        return;
                mutex_lock(&c.root->lock);
                rc = key_equal(&c.key, &c.root->current) ? -EBUSY : kept_drop(g, c.root, &c.key);
                if (rc == 0 || rc == -ENOENT) {
                        log_info("%s: generation %s is dropped: there are more bytes of them than overlay_budget allows", c.root->path,
                                 c.key.text);
                        root_forget_locked(c.root, &c.key);
                }
                mutex_unlock(&c.root->lock);
                if (rc < 0 && rc != -ENOENT && rc != -EBUSY)
                        return;
        }
}

static void wait_for_calm_locked(struct generations *g) REQUIRES(g->lock)
{
        while (!g->stop && clock_now_ns() < g->dirt_ns + CALM_NS)
                (void)cond_wait_until(&g->sweep, &g->lock, g->dirt_ns + CALM_NS);
}

void *generations_sweep(void *arg)
{
        struct generations *g = arg;

        (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICENESS);
        mutex_lock(&g->lock);
        while (!g->stop) {
                if (!g->dirt) {
                        cond_wait(&g->sweep, &g->lock);
                        continue;
                }
                wait_for_calm_locked(g);
                g->dirt = false;
                mutex_unlock(&g->lock);
                generations_remove_gone(g, false);
                roots_each(g, count_root, g);
                keep_to_budget(g);
                generations_remove_gone(g, false);
                mutex_lock(&g->lock);
        }
        mutex_unlock(&g->lock);
        return NULL;
}
