#include "fs/tree_links.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#define FIRST_SIZE 64
#define SPREAD 0x9e3779b97f4a7c15ULL

struct tree_link {
        ino_t ino; /* 0: free */
        char *what;
};

static struct tree_link *slot_of(struct tree_link *slots, size_t size, ino_t ino)
{
        size_t at = (size_t)(((uint64_t)ino * SPREAD) >> 32) & (size - 1);

        while (slots[at].ino && slots[at].ino != ino)
                at = (at + 1) & (size - 1);
        return &slots[at];
}

static int grow(struct tree_links *l)
{
        size_t size = l->size ? l->size * 2 : FIRST_SIZE;
        struct tree_link *slots = calloc(size, sizeof(*slots));

        if (!slots)
                return -ENOMEM;
        for (size_t i = 0; i < l->size; i++) {
                if (l->slots[i].ino)
                        *slot_of(slots, size, l->slots[i].ino) = l->slots[i];
        }
        free(l->slots);
        l->slots = slots;
        l->size = size;
        return 0;
}

int tree_links_add(struct tree_links *l, ino_t ino, char *what, const char **before)
{
        struct tree_link *slot;

        if (2 * l->count >= l->size && grow(l) < 0)
                return -ENOMEM;
        slot = slot_of(l->slots, l->size, ino);
        if (slot->ino) {
                if (before)
                        *before = slot->what;
                return -EEXIST;
        }
        *slot = (struct tree_link){.ino = ino, .what = what};
        l->count++;
        return 0;
}

void tree_links_release(struct tree_links *l)
{
        for (size_t i = 0; i < l->size; i++)
                free(l->slots[i].what);
        free(l->slots);
        *l = (struct tree_links){0};
}
