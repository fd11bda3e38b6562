#include "fs/later.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/tell.h"
#include "fs/threads.h"

#define GATHER_NS 10000000ULL      /* how long requests are gathered */
#define WRITER_IDLE_NS 30000000ULL /* how long a writable descriptor stays open unused: this, to twice this */
#define QUEUE_MAX 4096U            /* more than that at once: everything is told instead */

enum kind {
        LATER_ATTR,
        LATER_CONTENT,
        LATER_ENTRY,
        LATER_DOUBT,
};

struct item {
        struct item *next;
        node_id node;
        enum kind kind;
        uint8_t len;
        char name[]; /* of LATER_ENTRY and LATER_DOUBT */
};

struct later {
        struct fs_mount *mount;
        pthread_t thread;
        /* Somebody is to look for idle writers. */
        atomic_bool writers;

        struct mutex lock;
        struct cond wake;
        struct cond flushed;
        struct item *head GUARDED_BY(lock); /* owned */
        struct item **tail GUARDED_BY(lock);
        unsigned queued GUARDED_BY(lock);
        bool overflow GUARDED_BY(lock);
        bool stop GUARDED_BY(lock);
        bool asleep GUARDED_BY(lock);
        /* A flush waits until `done` has reached the `asked` that it saw. */
        uint64_t asked GUARDED_BY(lock);
        uint64_t done GUARDED_BY(lock);
};

static void push(struct later *l, struct node *n, enum kind kind, const char *name, size_t len)
{
        struct item *item = malloc(sizeof(*item) + len);

        if (item) {
                *item = (struct item){.node = node_id_of(n), .kind = kind, .len = (uint8_t)len};
                memcpy(item->name, name, len);
        }
        mutex_lock(&l->lock);
        if (!item || l->queued >= QUEUE_MAX) {
                l->overflow = true;
                /* Or nobody would ever ask for it again. */
                if (kind == LATER_ATTR)
                        atomic_store(&n->retell, false);
                free(item);
        } else {
                *l->tail = item;
                l->tail = &item->next;
                l->queued++;
        }
        if (l->asleep)
                cond_signal(&l->wake);
        mutex_unlock(&l->lock);
}

void later_attr(struct fs_mount *m, struct node *n)
{
        if (!atomic_load_explicit(&n->retell, memory_order_relaxed) && !atomic_exchange(&n->retell, true))
                push(m->later, n, LATER_ATTR, "", 0);
}

void later_content(struct fs_mount *m, struct node *n)
{
        push(m->later, n, LATER_CONTENT, "", 0);
}

void later_entry(struct fs_mount *m, struct node *dir, const char *name, size_t len)
{
        push(m->later, dir, LATER_ENTRY, name, len);
}

void later_doubt(struct fs_mount *m, struct node *dir, const char *name, size_t len)
{
        push(m->later, dir, LATER_DOUBT, name, len);
}

void later_writer(struct fs_mount *m)
{
        struct later *l = m->later;

        if (atomic_load_explicit(&l->writers, memory_order_relaxed) || atomic_exchange(&l->writers, true))
                return;
        mutex_lock(&l->lock);
        if (l->asleep)
                cond_signal(&l->wake);
        mutex_unlock(&l->lock);
}

static void carry_out(struct fs_mount *m, const struct item *item)
{
        struct node *n = node_hold(m->nodes, item->node);

        if (!n)
                return;
        switch (item->kind) {
        case LATER_ATTR:
                /* Cleared first: who asks from now on must be told again. */
                atomic_store(&n->retell, false);
                tell_attr(m, n);
                break;
        case LATER_CONTENT:
                tell_content(m, n);
                break;
        case LATER_ENTRY:
        case LATER_DOUBT:
                tell_entry(m, n, item->name, item->len, item->kind == LATER_DOUBT);
                break;
        }
        mount_forget(m, n, 1);
}

static void carry_out_all(struct fs_mount *m, struct item *list, bool overflow)
{
        while (list) {
                struct item *next = list->next;

                carry_out(m, list);
                free(list);
                list = next;
        }
        if (overflow)
                fs_tell_all(m);
}

/* Sleep until there is something to do, and then until enough has been gathered or somebody waits for it. False: stop. */
static bool wait_for_work_locked(struct later *l) REQUIRES(l->lock)
{
        unsigned long long until;

        l->asleep = true;
        while (!l->stop && !l->head && !l->overflow && l->asked == l->done && !atomic_load(&l->writers))
                cond_wait(&l->wake, &l->lock);
        l->asleep = false;
        until = clock_now_ns() + GATHER_NS;
        while (!l->stop && l->asked == l->done && cond_wait_until(&l->wake, &l->lock, until) != -ETIMEDOUT)
                ;
        return !l->stop;
}

/* At a flush all that aren't in use at this moment: once it returns, what was written can be executed on the host, and its watchers have
 * seen CLOSE_WRITE. */
static void close_writers(struct later *l, bool flush)
{
        bool left;

        atomic_store(&l->writers, false);
        left = slots_close_idle_writers(l->mount->slots);
        if (left && flush)
                left = slots_close_idle_writers(l->mount->slots);
        if (left)
                atomic_store(&l->writers, true);
}

static void *later_run(void *arg)
{
        struct later *l = arg;
        struct fs_mount *m = l->mount;
        unsigned long long looked = 0;

        threads_enter(m);
        mutex_lock(&l->lock);
        while (wait_for_work_locked(l)) {
                struct item *list = l->head;
                bool overflow = l->overflow;
                uint64_t asked = l->asked;
                bool flush = asked != l->done;

                l->head = NULL;
                l->tail = &l->head;
                l->queued = 0;
                l->overflow = false;
                mutex_unlock(&l->lock);
                carry_out_all(m, list, overflow);
                if (atomic_load(&l->writers) && (flush || clock_now_ns() - looked >= WRITER_IDLE_NS)) {
                        looked = clock_now_ns();
                        close_writers(l, flush);
                }
                mutex_lock(&l->lock);
                l->done = asked;
                cond_broadcast(&l->flushed);
        }
        l->done = UINT64_MAX;
        cond_broadcast(&l->flushed);
        mutex_unlock(&l->lock);
        return NULL;
}

int later_new(struct fs_mount *m, struct later **ret)
{
        struct later *l = calloc(1, sizeof(*l));
        int rc;

        if (!l)
                return -ENOMEM;
        l->mount = m;
        l->tail = &l->head;
        mutex_init(&l->lock);
        cond_init(&l->wake);
        cond_init(&l->flushed);
        *ret = l;
        rc = thread_start(&l->thread, "dsfs-later", later_run, l);
        if (rc < 0) {
                *ret = NULL;
                free(l);
        }
        return rc;
}

void later_free(struct later *l)
{
        if (!l)
                return;
        mutex_lock(&l->lock);
        l->stop = true;
        cond_signal(&l->wake);
        mutex_unlock(&l->lock);
        pthread_join(l->thread, NULL);
        while (l->head) {
                struct item *next = l->head->next;

                free(l->head);
                l->head = next;
        }
        mutex_release(&l->lock);
        cond_release(&l->wake);
        cond_release(&l->flushed);
        free(l);
}

void later_flush(struct fs_mount *m)
{
        struct later *l = m->later;
        uint64_t mine;

        mutex_lock(&l->lock);
        mine = ++l->asked;
        cond_signal(&l->wake);
        while (l->done < mine && !l->stop)
                cond_wait(&l->flushed, &l->lock);
        mutex_unlock(&l->lock);
}
