#include "sync/hashing_queue.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "sync/watch.h"

int hashing_queue_init(struct hashing_queue *q)
{
        q->ring = calloc(HASHING_QUEUE_MAX, sizeof(*q->ring));
        return q->ring ? 0 : -ENOMEM;
}

void hashing_queue_release(struct hashing_queue *q)
{
        struct hashing_touch *t;

        while (q->ring && (t = hashing_queue_take(q)))
                free(t);
        free(q->ring);
        q->ring = NULL;
}

void hashing_queue_put_all(struct hashing_queue *q)
{
        atomic_fetch_or_explicit(&q->all_by, WATCH_BY_UNKNOWN, memory_order_relaxed);
        atomic_store(&q->all, true);
}

static struct hashing_touch *touch_new(uint8_t by, const struct ident *dir, const char *path, const char *name, size_t len)
{
        size_t path_len = path ? strlen(path) : 0;
        struct hashing_touch *t = path_len < PATH_MAX && len <= NAME_MAX ? malloc(sizeof(*t) + path_len + len) : NULL;

        if (!t)
                return NULL;
        t->by_path = path != NULL;
        t->by = by;
        t->dir = *dir;
        t->path_len = (uint16_t)path_len;
        t->name_len = (uint16_t)len;
        if (path)
                memcpy(t->text, path, path_len);
        memcpy(t->text + path_len, name, len);
        return t;
}

/* Whether this was put last, and waits to be taken: who takes it sees what is now. */
static bool is_last(const struct hashing_queue *q, size_t put, uint8_t by, const struct ident *dir, const char *name, size_t len)
{
        return put != atomic_load(&q->taken) && by == q->last_by && ident_equal(dir, &q->last_dir) &&
               strncmp(name, q->last_name, len) == 0 && q->last_name[len] == '\0';
}

void hashing_queue_put(struct hashing_queue *q, uint8_t by, const struct ident *dir, const char *path, const char *name, size_t len)
{
        size_t put = atomic_load_explicit(&q->put, memory_order_relaxed);
        struct hashing_touch *t;

        /* Whoever takes that looks at everything, and later than now. */
        if (atomic_load(&q->all)) {
                atomic_fetch_or_explicit(&q->all_by, by, memory_order_relaxed);
                return;
        }
        if (len <= NAME_MAX && is_last(q, put, by, dir, name, len))
                return;
        t = put - atomic_load(&q->taken) < HASHING_QUEUE_MAX ? touch_new(by, dir, path, name, len) : NULL;
        if (!t) {
                atomic_fetch_or_explicit(&q->all_by, by, memory_order_relaxed);
                atomic_store(&q->all, true);
                return;
        }
        q->ring[put % HASHING_QUEUE_MAX] = t;
        q->last_dir = *dir;
        q->last_by = by;
        memcpy(q->last_name, name, len);
        q->last_name[len] = '\0';
        atomic_store(&q->put, put + 1);
}

bool hashing_queue_take_all(struct hashing_queue *q, uint8_t *by)
{
        bool all = atomic_exchange(&q->all, false);

        *by = all ? atomic_exchange(&q->all_by, 0) : 0;
        return all;
}

struct hashing_touch *hashing_queue_take(struct hashing_queue *q)
{
        size_t taken = atomic_load_explicit(&q->taken, memory_order_relaxed);
        struct hashing_touch *t;

        if (taken == atomic_load(&q->put))
                return NULL;
        t = q->ring[taken % HASHING_QUEUE_MAX];
        atomic_store(&q->taken, taken + 1);
        return t;
}

bool hashing_queue_is_empty(const struct hashing_queue *q)
{
        return !atomic_load(&q->all) && atomic_load(&q->put) == atomic_load(&q->taken);
}

size_t hashing_queue_count(const struct hashing_queue *q)
{
        return atomic_load(&q->put) - atomic_load(&q->taken) + atomic_load(&q->all);
}
