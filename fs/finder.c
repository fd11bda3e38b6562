#include "fs/finder.h"

#include <stdint.h>
#include <stdlib.h>
#include <xxhash.h>

#define BYTES 256U
#define NONE (-1)

/* In chains from the highest index down, so that the first that matches ends the search. */
struct link {
        struct finder_item item;
        int next;
};

struct finder {
        int *literals; /* owned; heads by hash */
        size_t mask;
        bool has_literals, has_suffixes;
        int suffixes[BYTES]; /* by last byte */
        int prefixes[BYTES]; /* what else has a first byte, by that */
        int others;
        struct link links[];
};

static size_t slot_of(const struct finder *f, const char *name, size_t len)
{
        return XXH3_64bits(name, len) & f->mask;
}

static int *head_of(struct finder *f, const struct glob *g)
{
        const char *bytes;
        size_t len;

        if (!g)
                return &f->others;
        bytes = glob_bytes(g, &len);
        switch (glob_form(g)) {
        case GLOB_LITERAL:
                f->has_literals = true;
                return &f->literals[slot_of(f, bytes, len)];
        case GLOB_SUFFIX:
                f->has_suffixes = true;
                return &f->suffixes[(uint8_t)bytes[len - 1]];
        default:
                return glob_first(g) < 0 ? &f->others : &f->prefixes[glob_first(g)];
        }
}

static int by_index(const void *a, const void *b)
{
        const struct link *x = a, *y = b;

        return (x->item.index > y->item.index) - (x->item.index < y->item.index);
}

struct finder *finder_new(const struct finder_item *items, size_t count)
{
        struct finder *f = malloc(sizeof(*f) + count * sizeof(f->links[0]));
        size_t slots = 1;

        while (slots < 2 * count)
                slots *= 2;
        if (f)
                f->literals = malloc(slots * sizeof(*f->literals));
        if (!f || !f->literals) {
                free(f);
                return NULL;
        }
        f->mask = slots - 1;
        f->has_literals = f->has_suffixes = false;
        f->others = NONE;
        for (size_t i = 0; i < slots; i++)
                f->literals[i] = NONE;
        for (size_t i = 0; i < BYTES; i++)
                f->suffixes[i] = f->prefixes[i] = NONE;
        for (size_t i = 0; i < count; i++)
                f->links[i] = (struct link){.item = items[i]};
        qsort(f->links, count, sizeof(f->links[0]), by_index);
        for (size_t i = 0; i < count; i++) {
                int *head = head_of(f, f->links[i].item.glob);

                f->links[i].next = *head;
                *head = (int)i;
        }
        return f;
}

void finder_free(struct finder *f)
{
        if (!f)
                return;
        free(f->literals);
        free(f);
}

static int search(const struct finder *f, int at, const char *name, size_t len, bool is_dir, int best)
{
        for (; at != NONE; at = f->links[at].next) {
                const struct finder_item *item = &f->links[at].item;

                if (item->index <= best)
                        break;
                if ((is_dir || !item->dirs_only) && (!item->glob || glob_match(item->glob, name, len)))
                        return item->index;
        }
        return best;
}

int finder_find(const struct finder *f, const char *name, size_t len, bool is_dir, int best)
{
        if (len == 0)
                return best;
        if (f->has_literals)
                best = search(f, f->literals[slot_of(f, name, len)], name, len, is_dir, best);
        if (f->has_suffixes)
                best = search(f, f->suffixes[(uint8_t)name[len - 1]], name, len, is_dir, best);
        best = search(f, f->prefixes[(uint8_t)name[0]], name, len, is_dir, best);
        return search(f, f->others, name, len, is_dir, best);
}
