#include "fs/node.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cache/base/thread.h"

#define SHARDS 64U
#define CHUNK_NODES 1024U
#define CHUNKS_MAX 65536U /* 64 Mi nodes */
#define BUCKETS_MIN 16U
#define NO_INDEX 0U /* index 0 is never a node */

struct shard {
        struct mutex lock;
        uint32_t *buckets GUARDED_BY(lock); /* indices, owned */
        uint32_t bucket_mask GUARDED_BY(lock);
        _Atomic uint32_t count;              /* written under the lock, read by anybody */
        uint32_t free_head GUARDED_BY(lock); /* recycled indices, linked by hash_next */
};

struct node_table {
        struct node *_Atomic chunks[CHUNKS_MAX];
        _Atomic uint32_t next_index;
        struct mutex grow;
        _Atomic uint64_t bytes;
        struct shard shards[SHARDS];
};

/* Under the shard's lock, which `status` doesn't take. */
static void count_by(struct shard *s, int by)
{
        uint32_t was = atomic_load_explicit(&s->count, memory_order_relaxed);

        atomic_store_explicit(&s->count, was + (uint32_t)by, memory_order_relaxed);
}

static struct shard *shard_of(struct node_table *t, uint64_t hash)
{
        return &t->shards[hash >> 58];
}

static struct node *node_at(struct node_table *t, uint32_t index)
{
        struct node *chunk;

        if (index / CHUNK_NODES >= CHUNKS_MAX)
                return NULL;
        chunk = atomic_load_explicit(&t->chunks[index / CHUNK_NODES], memory_order_acquire);
        return chunk ? &chunk[index % CHUNK_NODES] : NULL;
}

int node_table_new(struct node_table **ret)
{
        struct node_table *t = calloc(1, sizeof(*t));

        if (!t)
                return -1;
        mutex_init(&t->grow);
        atomic_init(&t->next_index, (uint32_t)NODE_ROOT);
        atomic_init(&t->bytes, sizeof(*t));
        for (unsigned i = 0; i < SHARDS; i++)
                mutex_init(&t->shards[i].lock);
        *ret = t;
        return 0;
}

void node_table_free(struct node_table *t)
{
        if (!t)
                return;
        for (unsigned i = 0; i < CHUNKS_MAX; i++)
                free(atomic_load(&t->chunks[i]));
        for (unsigned i = 0; i < SHARDS; i++) {
                mutex_release(&t->shards[i].lock);
                free(t->shards[i].buckets);
        }
        mutex_release(&t->grow);
        free(t);
}

struct node *node_get(struct node_table *t, node_id id)
{
        struct node *n = node_at(t, (uint32_t)id);

        if (!n || (uint32_t)id == NO_INDEX || atomic_load_explicit(&n->gen, memory_order_acquire) != (uint32_t)(id >> 32))
                return NULL;
        return n;
}

/* Make sure that the chunk of `index` is there. */
static struct node *chunk_ensure(struct node_table *t, uint32_t index)
{
        struct node *_Atomic *slot;
        struct node *chunk;

        if (index / CHUNK_NODES >= CHUNKS_MAX)
                return NULL;
        slot = &t->chunks[index / CHUNK_NODES];
        mutex_lock(&t->grow);
        chunk = atomic_load(slot);
        if (!chunk) {
                chunk = calloc(CHUNK_NODES, sizeof(*chunk));
                if (chunk) {
                        for (uint32_t i = 0; i < CHUNK_NODES; i++) {
                                chunk[i].index = index / CHUNK_NODES * CHUNK_NODES + i;
                                atomic_init(&chunk[i].slot, -1);
                        }
                        atomic_fetch_add(&t->bytes, CHUNK_NODES * sizeof(*chunk));
                        atomic_store_explicit(slot, chunk, memory_order_release);
                }
        }
        mutex_unlock(&t->grow);
        return chunk;
}

static struct node *node_alloc_locked(struct node_table *t, struct shard *s) REQUIRES(s->lock)
{
        struct node *n;
        uint32_t index;

        if (s->free_head != NO_INDEX) {
                n = node_at(t, s->free_head);
                s->free_head = n->hash_next;
                return n;
        }
        index = atomic_fetch_add(&t->next_index, 1);
        n = node_at(t, index);
        if (!n && chunk_ensure(t, index))
                n = node_at(t, index);
        if (n)
                atomic_store(&n->shard, (uint8_t)(s - t->shards));
        return n;
}

static int shard_grow_locked(struct node_table *t, struct shard *s) REQUIRES(s->lock)
{
        uint32_t size = s->buckets ? (s->bucket_mask + 1) * 2 : BUCKETS_MIN;
        uint32_t *buckets = calloc(size, sizeof(*buckets));

        if (!buckets)
                return -1;
        for (uint32_t b = 0; s->buckets && b <= s->bucket_mask; b++) {
                uint32_t index = s->buckets[b];

                while (index != NO_INDEX) {
                        struct node *n = node_at(t, index);
                        uint32_t next = n->hash_next;
                        uint32_t to = (uint32_t)ident_hash(&n->ident) & (size - 1);

                        n->hash_next = buckets[to];
                        buckets[to] = index;
                        index = next;
                }
        }
        atomic_fetch_add(&t->bytes, (uint64_t)size * sizeof(*buckets) / (s->buckets ? 2 : 1));
        free(s->buckets);
        s->buckets = buckets;
        s->bucket_mask = size - 1;
        return 0;
}

static struct node *find_locked(struct node_table *t, struct shard *s, uint64_t hash, const struct ident *ident) REQUIRES(s->lock)
{
        if (!s->buckets)
                return NULL;
        for (uint32_t i = s->buckets[(uint32_t)hash & s->bucket_mask]; i != NO_INDEX;) {
                struct node *n = node_at(t, i);

                if (ident_equal(&n->ident, ident))
                        return n;
                i = n->hash_next;
        }
        return NULL;
}

struct node *node_find(struct node_table *t, const struct ident *ident)
{
        uint64_t hash = ident_hash(ident);
        struct shard *s = shard_of(t, hash);
        struct node *n;

        mutex_lock(&s->lock);
        n = find_locked(t, s, hash, ident);
        if (n)
                atomic_fetch_add(&n->refs, 1);
        mutex_unlock(&s->lock);
        return n;
}

/* The shard that the node is in, locked. */
static struct shard *lock_shard_of(struct node_table *t, const struct node *n) NO_THREAD_CHECK
{
        for (;;) {
                uint8_t shard = atomic_load(&n->shard);
                struct shard *s = &t->shards[shard];

                mutex_lock(&s->lock);
                if (atomic_load(&n->shard) == shard)
                        return s;
                mutex_unlock(&s->lock);
        }
}

static void unlock_shard(struct shard *s) NO_THREAD_CHECK
{
        mutex_unlock(&s->lock);
}

struct ident node_ident(struct node_table *t, const struct node *n)
{
        struct shard *s = lock_shard_of(t, n);
        struct ident ident = n->ident;

        unlock_shard(s);
        return ident;
}

struct node *node_intern(struct node_table *t, const struct ident *ident, mode_t mode, uint8_t is)
{
        uint64_t hash = ident_hash(ident);
        struct shard *s = shard_of(t, hash);
        struct node *n;

        mutex_lock(&s->lock);
        n = find_locked(t, s, hash, ident);
        if (n) {
                atomic_fetch_add(&n->refs, 1);
                atomic_store_explicit(&n->type, (uint16_t)(mode & S_IFMT), memory_order_relaxed);
                /* What has become changeable is known when all its names have been looked at (fs/guard.h). */
                is |= atomic_load_explicit(&n->is, memory_order_relaxed) & NODE_READONLY;
                atomic_store_explicit(&n->is, is, memory_order_relaxed);
                mutex_unlock(&s->lock);
                return n;
        }
        if ((!s->buckets || s->count > s->bucket_mask) && shard_grow_locked(t, s) < 0 && !s->buckets) {
                mutex_unlock(&s->lock);
                return NULL;
        }
        n = node_alloc_locked(t, s);
        if (n) {
                n->ident = *ident;
                atomic_store_explicit(&n->type, (uint16_t)(mode & S_IFMT), memory_order_relaxed);
                atomic_store_explicit(&n->is, is, memory_order_relaxed);
                atomic_store_explicit(&n->place_epoch, 0, memory_order_relaxed);
                n->names = NULL;
                atomic_store(&n->retell, false);
                atomic_store(&n->refs, 1);
                /* What was written is seen by whoever finds the node by its number (node_get): requests come by way of the kernel. */
                atomic_store_explicit(&n->gen, atomic_load_explicit(&n->gen, memory_order_relaxed), memory_order_release);
                n->hash_next = s->buckets[(uint32_t)hash & s->bucket_mask];
                s->buckets[(uint32_t)hash & s->bucket_mask] = n->index;
                count_by(s, 1);
        }
        mutex_unlock(&s->lock);
        return n;
}

struct node *node_hold(struct node_table *t, node_id id)
{
        struct node *n = node_get(t, id);
        struct shard *s;
        uint8_t shard;
        bool alive;

        if (!n)
                return NULL;
        shard = atomic_load(&n->shard);
        s = &t->shards[shard];
        mutex_lock(&s->lock);
        /* A node that is just being made for the first time may have got its shard meanwhile. */
        alive = node_get(t, id) == n && atomic_load(&n->refs) > 0 && atomic_load(&n->shard) == shard;
        if (alive)
                atomic_fetch_add(&n->refs, 1);
        mutex_unlock(&s->lock);
        return alive ? n : NULL;
}

static void unhash_locked(struct node_table *t, struct shard *s, struct node *n, uint64_t hash) REQUIRES(s->lock)
{
        uint32_t *link = &s->buckets[(uint32_t)hash & s->bucket_mask];

        while (*link != n->index)
                link = &node_at(t, *link)->hash_next;
        *link = n->hash_next;
        count_by(s, -1);
}

/* Both shards, in order; the first is the node's. */
static void lock_two(struct node_table *t, struct node *n, struct shard *other, struct shard **ret) NO_THREAD_CHECK
{
        for (;;) {
                uint8_t shard = atomic_load(&n->shard);
                struct shard *mine = &t->shards[shard];
                struct shard *first = mine < other ? mine : other;
                struct shard *second = mine < other ? other : mine;

                mutex_lock(&first->lock);
                if (second != first)
                        mutex_lock(&second->lock);
                *ret = mine;
                if (atomic_load(&n->shard) == shard)
                        return;
                if (second != first)
                        mutex_unlock(&second->lock);
                mutex_unlock(&first->lock);
        }
}

bool node_rebind(struct node_table *t, struct node *n, const struct ident *ident, uint8_t is) NO_THREAD_CHECK
{
        uint64_t hash = ident_hash(ident);
        struct shard *to = shard_of(t, hash);
        struct shard *from;
        bool can;

        lock_two(t, n, to, &from);
        can = !find_locked(t, to, hash, ident);
        if (can && (!to->buckets || to->count > to->bucket_mask))
                can = shard_grow_locked(t, to) == 0 || to->buckets;
        if (can) {
                unhash_locked(t, from, n, ident_hash(&n->ident));
                n->ident = *ident;
                atomic_store(&n->shard, (uint8_t)(to - t->shards));
                atomic_store(&n->is, is);
                atomic_store(&n->place_epoch, 0);
                n->hash_next = to->buckets[(uint32_t)hash & to->bucket_mask];
                to->buckets[(uint32_t)hash & to->bucket_mask] = n->index;
                count_by(to, 1);
        }
        mutex_unlock(&from->lock);
        if (to != from)
                mutex_unlock(&to->lock);
        return can;
}

bool node_drop(struct node_table *t, struct node *n, uint64_t count) NO_THREAD_CHECK
{
        uint64_t refs = atomic_load(&n->refs);
        struct shard *s;
        bool last;

        while (refs > count) {
                if (atomic_compare_exchange_weak(&n->refs, &refs, refs - count))
                        return false;
        }
        /* The last ones go under the lock, so that nobody finds the node meanwhile. */
        s = lock_shard_of(t, n);
        last = atomic_fetch_sub(&n->refs, count) == count;
        if (last)
                unhash_locked(t, s, n, ident_hash(&n->ident));
        unlock_shard(s);
        return last;
}

void node_recycle(struct node_table *t, struct node *n)
{
        struct shard *s = shard_of(t, ident_hash(&n->ident));

        mutex_lock(&s->lock);
        atomic_fetch_add_explicit(&n->gen, 1, memory_order_release);
        n->hash_next = s->free_head;
        s->free_head = n->index;
        mutex_unlock(&s->lock);
}

void node_each(struct node_table *t, bool (*visit)(void *arg, struct node *n), void (*put)(void *arg, struct node *n), void *arg)
{
        uint32_t end = atomic_load(&t->next_index);
        bool more = true;

        for (uint32_t i = (uint32_t)NODE_ROOT; i < end && more; i++) {
                struct node *at = node_at(t, i);
                struct node *n = at ? node_hold(t, node_id_of(at)) : NULL;

                if (n) {
                        more = visit(arg, n);
                        put(arg, n);
                }
        }
}

uint64_t node_count(struct node_table *t)
{
        uint64_t count = 0;

        for (unsigned i = 0; i < SHARDS; i++)
                count += atomic_load_explicit(&t->shards[i].count, memory_order_relaxed);
        return count;
}

uint64_t node_table_bytes(struct node_table *t)
{
        return atomic_load(&t->bytes);
}
