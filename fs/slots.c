#include "fs/slots.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"

#define PARTS 16U
#define SLOTS_MIN 64U
#define PINNED_PERCENT_MAX 75U

/*
 * A slot's state is one word: a count of users, and flags.
 *
 *      FREE --put--> live --evict (no users, not pinned)--> FREE
 *                     |
 *                     +--replaced by a better one--> LEAVING --last user lets go--> FREE
 *
 * A reader raises the count first and looks at the flags and the node then: a slot that is FREE, or another node's, is let go again. So a
 * count may be raised for a moment on a slot that is free; the flags are therefore set and cleared, never stored over.
 */
#define USERS 0x00ffffffU
#define FREE 0x01000000U
#define LEAVING 0x02000000U
#define PINNED 0x04000000U
#define RECENT 0x08000000U /* used since the hand came by */
#define WRITER 0x10000000U
#define BUSY 0x20000000U /* a writer used since slots_close_idle_writers() came by */

struct slot {
        _Atomic uint32_t state;
        _Atomic node_id node;
        int fd;              /* constant while not FREE */
        enum slot_mode mode; /* likewise */
        int32_t next_free;   /* guarded by the part's lock */
};

struct part {
        /* Held while a node of this part changes slots, or a pin: so a pin always goes over to the slot that stays. Taken before `lock`. */
        struct mutex pin_lock;
        struct mutex lock;
        int32_t free_head GUARDED_BY(lock);
        uint32_t hand GUARDED_BY(lock);
};

struct slots {
        struct slots *next; /* of this process; guarded by all_lock */
        uint32_t max, per_part;
        _Atomic uint32_t used, pinned, writers;
        struct part parts[PARTS];
        struct slot *all; /* part p has [p * per_part, (p + 1) * per_part) */
};

/* What the mounts of one process have in common: its descriptors. */
static struct mutex all_lock = MUTEX_INIT;
static struct slots *all_slots GUARDED_BY(all_lock);
static _Atomic uint32_t shared_used, shared_pinned, shared_max = UINT32_MAX;

static void count_used(struct slots *s, int change)
{
        atomic_fetch_add(&s->used, (uint32_t)change);
        atomic_fetch_add(&shared_used, (uint32_t)change);
}

static void count_pinned(struct slots *s, int change)
{
        atomic_fetch_add(&s->pinned, (uint32_t)change);
        atomic_fetch_add(&shared_pinned, (uint32_t)change);
}

void slots_share(unsigned max)
{
        atomic_store(&shared_max, max);
}

int slots_new(unsigned max, struct slots **ret)
{
        struct slots *s = calloc(1, sizeof(*s));

        if (!s)
                return -1;
        if (max < SLOTS_MIN)
                max = SLOTS_MIN;
        s->per_part = max / PARTS;
        s->max = s->per_part * PARTS;
        s->all = calloc(s->max, sizeof(*s->all));
        if (!s->all) {
                free(s);
                return -1;
        }
        for (uint32_t p = 0; p < PARTS; p++) {
                mutex_init(&s->parts[p].pin_lock);
                mutex_init(&s->parts[p].lock);
                s->parts[p].free_head = (int32_t)(p * s->per_part);
        }
        for (uint32_t i = 0; i < s->max; i++) {
                atomic_init(&s->all[i].state, FREE);
                s->all[i].fd = -1;
                s->all[i].next_free = (i + 1) % s->per_part ? (int32_t)i + 1 : -1;
        }
        mutex_lock(&all_lock);
        s->next = all_slots;
        all_slots = s;
        mutex_unlock(&all_lock);
        *ret = s;
        return 0;
}

void slots_free(struct slots *s)
{
        if (!s)
                return;
        mutex_lock(&all_lock);
        for (struct slots **at = &all_slots; *at; at = &(*at)->next) {
                if (*at == s) {
                        *at = s->next;
                        break;
                }
        }
        mutex_unlock(&all_lock);
        atomic_fetch_sub(&shared_used, atomic_load(&s->used));
        atomic_fetch_sub(&shared_pinned, atomic_load(&s->pinned));
        for (uint32_t i = 0; i < s->max; i++)
                fd_close(&s->all[i].fd);
        for (uint32_t p = 0; p < PARTS; p++) {
                mutex_release(&s->parts[p].pin_lock);
                mutex_release(&s->parts[p].lock);
        }
        free(s->all);
        free(s);
}

static struct part *part_of(struct slots *s, int32_t index)
{
        return &s->parts[(uint32_t)index / s->per_part];
}

/* The slot has been claimed (FREE set by us): take its contents out and put it on the free list. */
static void retire(struct slots *s, int32_t index, uint32_t flags)
{
        struct slot *slot = &s->all[index];
        struct part *part = part_of(s, index);
        int fd = fd_steal(&slot->fd);

        atomic_store(&slot->node, NODE_NONE);
        count_used(s, -1);
        if (flags & PINNED)
                count_pinned(s, -1);
        if (flags & WRITER)
                atomic_fetch_sub(&s->writers, 1);
        atomic_fetch_and(&slot->state, USERS | FREE);
        close(fd);
        mutex_lock(&part->lock);
        slot->next_free = part->free_head;
        part->free_head = index;
        mutex_unlock(&part->lock);
}

/* Claim a slot that has no users and none of the flags in `unless`. */
static bool claim(struct slots *s, int32_t index, uint32_t need, uint32_t unless, uint32_t *flags)
{
        struct slot *slot = &s->all[index];
        uint32_t state = atomic_load(&slot->state);

        do {
                if ((state & (USERS | FREE | unless)) || (state & need) != need)
                        return false;
        } while (!atomic_compare_exchange_weak(&slot->state, &state, state | FREE));
        *flags = state;
        return true;
}

static void let_go(struct slots *s, int32_t index)
{
        uint32_t state = atomic_fetch_sub(&s->all[index].state, 1) - 1;

        if ((state & LEAVING) && !(state & (USERS | FREE)) && claim(s, index, LEAVING, 0, &state))
                retire(s, index, state);
}

void slots_release(struct slots *s, struct held *h)
{
        if (h->slot >= 0)
                let_go(s, h->slot);
        else
                fd_close(&h->fd);
        *h = HELD_NONE;
}

bool slots_get(struct slots *s, struct node *n, enum slot_mode mode, struct held *ret)
{
        int32_t index = atomic_load_explicit(&n->slot, memory_order_acquire);
        uint32_t want = RECENT;
        uint32_t state;
        struct slot *slot;

        if (index < 0)
                return false;
        slot = &s->all[index];
        state = atomic_fetch_add(&slot->state, 1);
        if ((state & (FREE | LEAVING)) || atomic_load(&slot->node) != node_id_of(n) || slot->mode < mode) {
                let_go(s, index);
                return false;
        }
        if (state & WRITER)
                want |= BUSY;
        if ((state & want) != want)
                atomic_fetch_or(&slot->state, want);
        *ret = (struct held){.fd = slot->fd, .slot = index};
        return true;
}

/* Other mounts may have taken what this one could: a few it has in any case. */
static bool may_use_more(struct slots *s)
{
        return atomic_load(&shared_used) < atomic_load(&shared_max) || atomic_load(&s->used) < SLOTS_MIN;
}

/* A free slot of the part that the node belongs to, evicting one if there is none. -1 when all are in use. */
static int32_t take_free(struct slots *s, uint32_t p)
{
        struct part *part = &s->parts[p];
        int32_t index = -1;
        uint32_t flags = 0;

        mutex_lock(&part->lock);
        if (part->free_head >= 0 && may_use_more(s)) {
                index = part->free_head;
                part->free_head = s->all[index].next_free;
                mutex_unlock(&part->lock);
                return index;
        }
        for (uint32_t i = 0; i < 2 * s->per_part && index < 0; i++) {
                int32_t at = (int32_t)(p * s->per_part + part->hand);

                part->hand = (part->hand + 1) % s->per_part;
                if (claim(s, at, 0, PINNED | RECENT, &flags))
                        index = at;
                else
                        atomic_fetch_and(&s->all[at].state, ~RECENT);
        }
        mutex_unlock(&part->lock);
        if (index >= 0) {
                struct slot *slot = &s->all[index];

                close(fd_steal(&slot->fd));
                atomic_store(&slot->node, NODE_NONE);
                count_used(s, -1);
                if (flags & WRITER)
                        atomic_fetch_sub(&s->writers, 1);
                atomic_fetch_and(&slot->state, USERS | FREE);
        }
        return index;
}

/* Nobody is to find the slot any more; it goes with its last user. */
static void leave(struct slots *s, int32_t index)
{
        uint32_t state;

        atomic_fetch_or(&s->all[index].state, LEAVING);
        if (claim(s, index, LEAVING, 0, &state))
                retire(s, index, state);
}

/* `slot` has taken the place of the node's old one: the pin goes over. Held meanwhile, the old one can't become another node's. */
static void supersede(struct slots *s, struct node *n, int32_t old, struct slot *slot)
{
        uint32_t state = atomic_fetch_add(&s->all[old].state, 1);

        if (!(state & (FREE | LEAVING)) && atomic_load(&s->all[old].node) == node_id_of(n)) {
                atomic_fetch_or(&s->all[old].state, LEAVING);
                if ((atomic_fetch_and(&s->all[old].state, ~PINNED) & PINNED) && (atomic_fetch_or(&slot->state, PINNED) & PINNED))
                        count_pinned(s, -1);
        }
        let_go(s, old);
}

/* The slot isn't the node's any more. */
static void forget_slot(struct slots *s, const struct node *n, int32_t index)
{
        struct slot *slot = &s->all[index];

        /* Hold it, so that it can't become another node's between the look and the deed. */
        if (!(atomic_fetch_add(&slot->state, 1) & (FREE | LEAVING)) && atomic_load(&slot->node) == node_id_of(n))
                atomic_fetch_or(&slot->state, LEAVING);
        let_go(s, index);
}

/* A free slot with this in it and one user, us. -1 when all are in use. */
static int32_t fill_free(struct slots *s, const struct node *n, enum slot_mode mode, int fd)
{
        int32_t index = take_free(s, n->index % PARTS);
        struct slot *slot;

        if (index < 0)
                return index;
        slot = &s->all[index];
        slot->fd = fd;
        slot->mode = mode;
        atomic_store(&slot->node, node_id_of(n));
        count_used(s, 1);
        if (mode == SLOT_WRITE)
                atomic_fetch_add(&s->writers, 1);
        /* RECENT only with its second use: a walk over everything evicts nobody who is used again. */
        atomic_fetch_or(&slot->state, mode == SLOT_WRITE ? WRITER | BUSY : 0);
        atomic_fetch_add(&slot->state, 1);
        atomic_fetch_and(&slot->state, ~FREE);
        return index;
}

struct held slots_put_bound(struct slots *s, struct node *n, enum slot_mode mode, int fd, uint32_t bound)
{
        struct mutex *pin_lock = &s->parts[n->index % PARTS].pin_lock;
        int32_t index = fill_free(s, n, mode, fd);
        struct held found;
        int32_t old;

        if (index < 0)
                return (struct held){.fd = fd, .slot = -1};
        mutex_lock(pin_lock);
        for (;;) {
                old = atomic_load(&n->slot);
                if (atomic_load(&n->bound) != bound) {
                        mutex_unlock(pin_lock);
                        atomic_fetch_or(&s->all[index].state, LEAVING); /* it goes when the caller lets go */
                        return (struct held){.fd = fd, .slot = index};
                }
                if (slots_get(s, n, mode, &found)) {
                        mutex_unlock(pin_lock);
                        /* The node may still name this slot, from an earlier life of it: then that user is us. */
                        if (found.slot != index)
                                leave(s, index);
                        let_go(s, index);
                        return found;
                }
                if (atomic_compare_exchange_strong(&n->slot, &old, index))
                        break;
        }
        if (old >= 0 && old != index)
                supersede(s, n, old, &s->all[index]);
        mutex_unlock(pin_lock);
        return (struct held){.fd = fd, .slot = index};
}

struct held slots_put(struct slots *s, struct node *n, enum slot_mode mode, int fd)
{
        return slots_put_bound(s, n, mode, fd, atomic_load(&n->bound));
}

void slots_rebind(struct slots *s, struct node *n, enum slot_mode mode, int fd)
{
        struct mutex *pin_lock = &s->parts[n->index % PARTS].pin_lock;
        int32_t index = fd < 0 ? -1 : fill_free(s, n, mode, fd);
        int32_t old;

        mutex_lock(pin_lock);
        atomic_fetch_add(&n->bound, 1);
        old = atomic_exchange(&n->slot, index);
        if (old >= 0 && old != index && index >= 0)
                supersede(s, n, old, &s->all[index]);
        else if (old >= 0 && old != index)
                forget_slot(s, n, old);
        mutex_unlock(pin_lock);
        if (index >= 0)
                let_go(s, index);
        else
                fd_close(&fd);
}

/* Pin or unpin the node's slot. -1 if it has none; else whether that changed anything. A slot that has been superseded meanwhile is not the
 * one: its successor is. */
static int pin_locked(struct slots *s, struct node *n, bool on)
{
        for (;;) {
                int32_t index = atomic_load(&n->slot);
                uint32_t state;
                struct held h;

                if (!slots_get(s, n, SLOT_PATH, &h)) {
                        if (atomic_load(&n->slot) == index)
                                return -1;
                        continue;
                }
                state = atomic_load(&s->all[h.slot].state);
                while (!(state & LEAVING) &&
                       !atomic_compare_exchange_weak(&s->all[h.slot].state, &state, on ? state | PINNED : state & ~PINNED))
                        ;
                slots_release(s, &h);
                if (!(state & LEAVING))
                        return ((state & PINNED) != 0) != on;
        }
}

static int pin(struct slots *s, struct node *n, bool on)
{
        struct mutex *pin_lock = &s->parts[n->index % PARTS].pin_lock;
        int changed;

        mutex_lock(pin_lock);
        changed = pin_locked(s, n, on);
        mutex_unlock(pin_lock);
        return changed;
}

bool slots_pin(struct slots *s, struct node *n)
{
        int changed;

        if (atomic_load(&s->pinned) >= s->max * PINNED_PERCENT_MAX / 100 ||
            atomic_load(&shared_pinned) >= (uint64_t)atomic_load(&shared_max) * PINNED_PERCENT_MAX / 100)
                return false;
        changed = pin(s, n, true);
        if (changed > 0)
                count_pinned(s, 1);
        return changed >= 0;
}

void slots_unpin(struct slots *s, struct node *n)
{
        if (pin(s, n, false) > 0)
                count_pinned(s, -1);
}

void slots_forget(struct slots *s, struct node *n)
{
        int32_t index = atomic_exchange(&n->slot, -1);

        if (index >= 0)
                forget_slot(s, n, index);
}

bool slots_close_idle_writers(struct slots *s)
{
        uint32_t left = atomic_load(&s->writers);
        bool more = false;

        for (uint32_t i = 0; i < s->max && left > 0; i++) {
                uint32_t state = atomic_load(&s->all[i].state);
                uint32_t flags;

                if (!(state & WRITER) || (state & FREE))
                        continue;
                left--;
                if (state & PINNED)
                        continue;
                if (state & BUSY)
                        atomic_fetch_and(&s->all[i].state, ~BUSY);
                else if (claim(s, (int32_t)i, WRITER, PINNED | BUSY, &flags))
                        retire(s, (int32_t)i, flags);
                else
                        more = true;
                more |= (state & BUSY) != 0;
        }
        return more;
}

void slots_trim(void)
{
        uint32_t flags;

        mutex_lock(&all_lock);
        for (struct slots *s = all_slots; s; s = s->next)
                for (uint32_t i = 0; i < s->max; i++)
                        if (claim(s, (int32_t)i, 0, PINNED, &flags))
                                retire(s, (int32_t)i, flags);
        mutex_unlock(&all_lock);
}

void slots_stats(struct slots *s, struct slots_stats *ret)
{
        *ret = (struct slots_stats){
                .used = atomic_load(&s->used),
                .max = s->max,
                .pinned = atomic_load(&s->pinned),
        };
}
