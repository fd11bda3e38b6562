#include "fs/name.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "cache/base/thread.h"

#define SHARDS 64U
#define NODE_LOCKS 256U
#define BUCKETS_MIN 16U

struct name {
        struct name *next;  /* guarded by the shard: chain of the bucket */
        struct name *alias; /* guarded by the node's lock: further names of the node */
        node_id dir;
        struct node *owner; /* guarded by the shard; alive: its names go before it does */
        uint32_t hash;
        uint8_t len;
        bool told; /* guarded by the shard */
        char text[];
};

struct shard {
        struct mutex lock;
        struct name **buckets GUARDED_BY(lock);
        uint32_t mask GUARDED_BY(lock);
        _Atomic uint32_t count; /* written under the lock, read by anybody */
};

struct name_index {
        _Atomic uint64_t bytes;
        /* Order: a shard's lock, then a node's lock. */
        struct shard shards[SHARDS];
        struct mutex node_locks[NODE_LOCKS];
};

/* Under the shard's lock, which `status` doesn't take. */
static void count_by(struct shard *s, int by)
{
        uint32_t was = atomic_load_explicit(&s->count, memory_order_relaxed);

        atomic_store_explicit(&s->count, was + (uint32_t)by, memory_order_relaxed);
}

int name_index_new(struct name_index **ret)
{
        struct name_index *x = calloc(1, sizeof(*x));

        if (!x)
                return -1;
        for (unsigned i = 0; i < SHARDS; i++)
                mutex_init(&x->shards[i].lock);
        for (unsigned i = 0; i < NODE_LOCKS; i++)
                mutex_init(&x->node_locks[i]);
        *ret = x;
        return 0;
}

void name_index_free(struct name_index *x)
{
        if (!x)
                return;
        for (unsigned i = 0; i < SHARDS; i++) {
                struct shard *s = &x->shards[i];

                for (uint32_t b = 0; s->buckets && b <= s->mask; b++) {
                        for (struct name *m = s->buckets[b]; m;) {
                                struct name *next = m->next;

                                free(m);
                                m = next;
                        }
                }
                free(s->buckets);
                mutex_release(&s->lock);
        }
        for (unsigned i = 0; i < NODE_LOCKS; i++)
                mutex_release(&x->node_locks[i]);
        free(x);
}

static uint64_t hash_of(node_id dir, const char *name, size_t len)
{
        return XXH3_64bits_withSeed(name, len, dir);
}

static struct mutex *node_lock(struct name_index *x, uint32_t index)
{
        return &x->node_locks[index % NODE_LOCKS];
}

static int grow_locked(struct name_index *x, struct shard *s) REQUIRES(s->lock)
{
        uint32_t size = s->buckets ? (s->mask + 1) * 2 : BUCKETS_MIN;
        struct name **buckets = calloc(size, sizeof(*buckets));

        if (!buckets)
                return -1;
        for (uint32_t b = 0; s->buckets && b <= s->mask; b++) {
                for (struct name *m = s->buckets[b]; m;) {
                        struct name *next = m->next;

                        m->next = buckets[m->hash & (size - 1)];
                        buckets[m->hash & (size - 1)] = m;
                        m = next;
                }
        }
        atomic_fetch_add(&x->bytes, (uint64_t)size * sizeof(*buckets) / (s->buckets ? 2 : 1));
        free(s->buckets);
        s->buckets = buckets;
        s->mask = size - 1;
        return 0;
}

static struct name **find_locked(struct shard *s, uint32_t hash, node_id dir, const char *name, size_t len) REQUIRES(s->lock)
{
        struct name **link;

        if (!s->buckets)
                return NULL;
        for (link = &s->buckets[hash & s->mask]; *link; link = &(*link)->next) {
                struct name *m = *link;

                if (m->hash == hash && m->dir == dir && m->len == len && memcmp(m->text, name, len) == 0)
                        return link;
        }
        return NULL;
}

/* The chains of a node's names start in the node itself; the number is enough to find the lock, the record only to walk from its head. */
static void alias_add(struct name_index *x, struct node *n, struct name *m)
{
        struct mutex *lock = node_lock(x, n->index);

        mutex_lock(lock);
        m->alias = n->names;
        n->names = m;
        mutex_unlock(lock);
}

static void alias_remove(struct name_index *x, struct node *n, struct name *m)
{
        struct mutex *lock = node_lock(x, n->index);

        mutex_lock(lock);
        for (struct name **link = &n->names; *link; link = &(*link)->alias) {
                if (*link == m) {
                        *link = m->alias;
                        break;
                }
        }
        mutex_unlock(lock);
}

static void drop_locked(struct name_index *x, struct shard *s, struct name **link) REQUIRES(s->lock)
{
        struct name *m = *link;

        *link = m->next;
        count_by(s, -1);
        atomic_fetch_sub(&x->bytes, malloc_usable_size(m) + sizeof(size_t));
        free(m);
}

/* True if the kernel had been told that the name is another node. */
static bool put(struct name_index *x, node_id dir, const char *name, size_t len, struct node *n, bool told)
{
        uint64_t h = hash_of(dir, name, len);
        struct shard *s = &x->shards[h >> 58];
        uint32_t hash = (uint32_t)h;
        struct name **link;
        struct name *m;
        bool other = false;

        mutex_lock(&s->lock);
        link = find_locked(s, hash, dir, name, len);
        if (link && (!told || (*link)->owner == n)) {
                (*link)->told |= told;
                mutex_unlock(&s->lock);
                return false;
        }
        if (link) {
                m = *link;
                other = m->told;
                alias_remove(x, m->owner, m);
        } else {
                if ((!s->buckets || s->count > s->mask) && grow_locked(x, s) < 0 && !s->buckets)
                        goto out;
                m = malloc(sizeof(*m) + len);
                if (!m)
                        goto out;
                atomic_fetch_add(&x->bytes, malloc_usable_size(m) + sizeof(size_t));
                m->dir = dir;
                m->hash = hash;
                m->len = (uint8_t)len;
                memcpy(m->text, name, len);
                m->next = s->buckets[hash & s->mask];
                s->buckets[hash & s->mask] = m;
                count_by(s, 1);
        }
        m->owner = n;
        m->told = told;
        alias_add(x, n, m);
out:
        mutex_unlock(&s->lock);
        return other;
}

bool name_set(struct name_index *x, node_id dir, const char *name, size_t len, struct node *n)
{
        return put(x, dir, name, len, n, true);
}

void name_saw(struct name_index *x, node_id dir, const char *name, size_t len, struct node *n)
{
        (void)put(x, dir, name, len, n, false);
}

bool name_clear(struct name_index *x, node_id dir, const char *name, size_t len)
{
        uint64_t h = hash_of(dir, name, len);
        struct shard *s = &x->shards[h >> 58];
        struct name **link;
        bool told = false;

        mutex_lock(&s->lock);
        link = find_locked(s, (uint32_t)h, dir, name, len);
        if (link) {
                told = (*link)->told;
                alias_remove(x, (*link)->owner, *link);
                drop_locked(x, s, link);
        }
        mutex_unlock(&s->lock);
        return told;
}

static node_id find_owner(struct name_index *x, node_id dir, const char *name, size_t len, bool seen_too)
{
        uint64_t h = hash_of(dir, name, len);
        struct shard *s = &x->shards[h >> 58];
        struct name **link;
        node_id id = NODE_NONE;

        mutex_lock(&s->lock);
        link = find_locked(s, (uint32_t)h, dir, name, len);
        if (link && (seen_too || (*link)->told))
                id = node_id_of((*link)->owner);
        mutex_unlock(&s->lock);
        return id;
}

node_id name_belief(struct name_index *x, node_id dir, const char *name, size_t len)
{
        return find_owner(x, dir, name, len, false);
}

node_id name_known(struct name_index *x, node_id dir, const char *name, size_t len)
{
        return find_owner(x, dir, name, len, true);
}

node_id name_of_node(struct name_index *x, struct node *n, unsigned nth, char *buf)
{
        struct mutex *lock = node_lock(x, n->index);
        node_id dir = NODE_NONE;
        struct name *m;

        mutex_lock(lock);
        for (m = n->names; m && nth > 0; m = m->alias)
                nth--;
        if (m) {
                memcpy(buf, m->text, m->len);
                buf[m->len] = '\0';
                dir = m->dir;
        }
        mutex_unlock(lock);
        return dir;
}

/* A record is found through its directory and name, so its shard's lock is taken first and the record looked for again: another thread
 * may have replaced it meanwhile. */
void name_clear_node(struct name_index *x, struct node *n)
{
        char text[NAME_BYTES_MAX + 1];
        node_id dir;

        while ((dir = name_of_node(x, n, 0, text)) != NODE_NONE) {
                size_t len = strlen(text);
                uint64_t h = hash_of(dir, text, len);
                struct shard *s = &x->shards[h >> 58];
                struct name **link;

                mutex_lock(&s->lock);
                link = find_locked(s, (uint32_t)h, dir, text, len);
                if (link && (*link)->owner == n) {
                        alias_remove(x, n, *link);
                        drop_locked(x, s, link);
                }
                mutex_unlock(&s->lock);
        }
}

uint64_t name_count(struct name_index *x)
{
        uint64_t count = 0;

        for (unsigned i = 0; i < SHARDS; i++)
                count += atomic_load_explicit(&x->shards[i].count, memory_order_relaxed);
        return count;
}

uint64_t name_index_bytes(struct name_index *x)
{
        return atomic_load(&x->bytes);
}
