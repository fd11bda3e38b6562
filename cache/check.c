/*
 * The format is that of LMDB 0.9 (data version 1): pages of psize bytes; the first two are metas, of which the one with the higher
 * transaction number counts, and transaction n writes the meta n % 2; two B+trees, of free pages and of records; nodes in a page are
 * found by 16-bit offsets and fill it from its end without a gap, which LMDB relies on when it moves them. Lists of free pages may lie on
 * runs of overflow pages.
 */
#include "cache/check.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LMDB_MAGIC 0xBEEFC0DEU
#define LMDB_VERSION 1U
#define METAS 2U
#define PSIZE_MIN 256U
#define PSIZE_MAX 65536U
#define DEPTH_MAX 32U
#define KEY_MAX 511U
#define MAPSIZE_MAX (1ULL << 40)
#define NO_PAGE UINT64_MAX
/* So many pages at the end may be free and never written: more than a batch of ours touches. */
#define UNWRITTEN_MAX 65536U

#define PAGE_BRANCH 0x01U
#define PAGE_LEAF 0x02U
#define PAGE_OVERFLOW 0x04U
#define PAGE_META 0x08U
#define NODE_BIG 0x01U
#define DB_INTEGER_KEYS 0x08U

struct page_head {
        uint64_t number;
        uint16_t pad, flags;
        uint16_t lower, upper; /* of an overflow page: together, how many pages the run has */
};

struct tree_head {
        uint32_t pad;
        uint16_t flags, depth;
        uint64_t branches, leaves, overflows, entries, root;
};

struct meta {
        uint32_t magic, version;
        uint64_t address, mapsize;
        struct tree_head trees[2]; /* free pages, records */
        uint64_t last, txn;
};

struct node {
        uint16_t low, high, flags, key_len;
};

struct checker {
        const uint8_t *file;
        size_t psize;
        uint64_t pages; /* that may be in use */
        uint64_t whole; /* that are in the file */
        uint64_t txn;
        uint8_t *seen;                  /* a bit a page */
        uint8_t filled[PSIZE_MAX / 16]; /* a bit for two bytes of the page that is looked at */
        const char *wrong;
};

struct tree {
        struct tree_head head;
        bool is_free_list;
        uint64_t branches, leaves, overflows, entries;
        uint8_t last_key[KEY_MAX];
        size_t last_len;
        bool has_last;
        bool is_bound; /* the last key is a branch's: the next may be the same */
};

static bool wrong(struct checker *c, const char *what)
{
        if (!c->wrong)
                c->wrong = what;
        return false;
}

/* Each page has one place. A free one may be beyond the end: it was given back before it was ever written. */
static bool take(struct checker *c, uint64_t page, bool is_free)
{
        uint8_t bit = (uint8_t)(1U << (page % 8));

        if (page < METAS || page >= c->pages || (!is_free && page >= c->whole))
                return wrong(c, "a page number beyond the end");
        if (c->seen[page / 8] & bit)
                return wrong(c, "a page that is used twice");
        c->seen[page / 8] |= bit;
        return true;
}

static bool check_free_list(struct checker *c, const uint8_t *data, size_t len)
{
        uint64_t count, page, before = NO_PAGE;

        if (len < sizeof(count))
                return wrong(c, "a list of free pages that is cut off");
        memcpy(&count, data, sizeof(count));
        if (count > (len - sizeof(count)) / sizeof(page))
                return wrong(c, "a list of free pages that is cut off");
        for (uint64_t i = 1; i <= count; i++) {
                memcpy(&page, data + i * sizeof(page), sizeof(page));
                if (page >= before)
                        return wrong(c, "a list of free pages that is not in order");
                before = page;
                if (!take(c, page, true))
                        return false;
        }
        return true;
}

/* The run of pages that begins at `first`; its bytes in *ret. */
static bool check_overflow(struct checker *c, struct tree *t, uint64_t first, size_t len, const uint8_t **ret)
{
        uint64_t need = (sizeof(struct page_head) + len + c->psize - 1) / c->psize;
        struct page_head head;
        uint32_t run;

        if (first < METAS || first >= c->whole || need > c->whole - first)
                return wrong(c, "a page number beyond the end");
        memcpy(&head, c->file + first * c->psize, sizeof(head));
        memcpy(&run, &head.lower, sizeof(run));
        if (head.number != first || head.flags != PAGE_OVERFLOW || run != need)
                return wrong(c, "an overflow page that is none");
        for (uint64_t i = 0; i < need; i++)
                if (!take(c, first + i, false))
                        return false;
        t->overflows += need;
        *ret = c->file + first * c->psize + sizeof(head);
        return true;
}

static bool check_key(struct checker *c, struct tree *t, const uint8_t *key, size_t len, bool is_bound)
{
        size_t common = len < t->last_len ? len : t->last_len;
        uint64_t now, before;
        int order;

        if (len == 0 || len > KEY_MAX || (t->is_free_list && len != sizeof(now)))
                return wrong(c, "a key of a wrong length");
        if (t->is_free_list) {
                memcpy(&now, key, sizeof(now));
                memcpy(&before, t->last_key, sizeof(before));
                order = (now < before) - (now > before);
                if (now > c->txn)
                        return wrong(c, "a free page of the future");
        } else {
                order = memcmp(t->last_key, key, common);
                if (order == 0)
                        order = (t->last_len > len) - (t->last_len < len);
        }
        if (t->has_last && (order > 0 || (order == 0 && !t->is_bound)))
                return wrong(c, "keys that are not in order");
        t->is_bound = is_bound;
        memcpy(t->last_key, key, len);
        t->last_len = len;
        t->has_last = true;
        return true;
}

static bool check_leaf_node(struct checker *c, struct tree *t, const struct node *n, const uint8_t *key)
{
        size_t len = n->low | (size_t)n->high << 16;
        const uint8_t *data = key + n->key_len;
        uint64_t page;

        if (!check_key(c, t, key, n->key_len, false))
                return false;
        t->entries++;
        if (n->flags & NODE_BIG) {
                memcpy(&page, data, sizeof(page));
                if (!check_overflow(c, t, page, len, &data))
                        return false;
        }
        return !t->is_free_list || check_free_list(c, data, len);
}

static bool check_page(struct checker *c, struct tree *t, uint64_t number, unsigned depth);

/* The first of a branch stands for whatever is less than the next: its key is not used. */
static bool check_node(struct checker *c, struct tree *t, const uint8_t *page, uint16_t at, bool leaf, bool first, unsigned depth)
{
        const uint8_t *key = page + at + sizeof(struct node);
        struct node n;
        uint64_t child;

        memcpy(&n, page + at, sizeof(n));
        if (leaf)
                return check_leaf_node(c, t, &n, key);
        if (!first && !check_key(c, t, key, n.key_len, true))
                return false;
        child = n.low | (uint64_t)n.high << 16 | (uint64_t)n.flags << 32;
        return check_page(c, t, child, depth + 1);
}

/* How many bytes the node at `at` has; 0 if it isn't within its page. */
static size_t node_size(const struct checker *c, const uint8_t *page, size_t at, size_t upper, bool leaf)
{
        struct node n;
        size_t size;

        if (at < upper || at % 2 || at > c->psize - sizeof(n))
                return 0;
        memcpy(&n, page + at, sizeof(n));
        size = sizeof(n) + n.key_len;
        if (leaf && n.flags & ~NODE_BIG)
                return 0;
        if (leaf)
                size += n.flags & NODE_BIG ? sizeof(uint64_t) : n.low | (size_t)n.high << 16;
        size += size % 2;
        return size <= c->psize - at ? size : 0;
}

/* The nodes of a page lie side by side. */
static bool check_nodes(struct checker *c, const uint8_t *page, const struct page_head *head, bool leaf)
{
        size_t sum = 0;

        memset(c->filled, 0, c->psize / 16);
        for (size_t i = sizeof(*head); i < head->lower; i += 2) {
                uint16_t at;
                size_t size;

                memcpy(&at, page + i, sizeof(at));
                size = node_size(c, page, at, head->upper, leaf);
                if (size == 0)
                        return wrong(c, "a node beyond its page");
                sum += size;
                for (size_t slot = at / 2U; slot < (at + size) / 2; slot++) {
                        uint8_t bit = (uint8_t)(1U << (slot % 8));

                        if (c->filled[slot / 8] & bit)
                                return wrong(c, "two nodes in one place");
                        c->filled[slot / 8] |= bit;
                }
        }
        return sum == c->psize - head->upper ? true : wrong(c, "a page with a gap");
}

/* Depth is bounded, and no page is seen twice, so this ends. */
static bool check_page(struct checker *c, struct tree *t, uint64_t number, unsigned depth)
{
        const uint8_t *page;
        struct page_head head;
        bool leaf;

        if (!take(c, number, false))
                return false;
        page = c->file + number * c->psize;
        memcpy(&head, page, sizeof(head));
        leaf = head.flags == PAGE_LEAF;
        if (head.number != number || (!leaf && head.flags != PAGE_BRANCH))
                return wrong(c, "a page that is none of the tree");
        if (depth > t->head.depth || leaf != (depth == t->head.depth))
                return wrong(c, "a tree of a wrong depth");
        if (head.lower < sizeof(head) || head.lower > head.upper || head.upper > c->psize || (head.lower - sizeof(head)) % 2)
                return wrong(c, "a page with wrong bounds");
        if (head.lower - sizeof(head) < (leaf ? 2U : 4U))
                return wrong(c, "a page with too few nodes");
        if (!check_nodes(c, page, &head, leaf))
                return false;
        leaf ? t->leaves++ : t->branches++;
        for (size_t i = sizeof(head); i < head.lower; i += 2) {
                uint16_t at;

                memcpy(&at, page + i, sizeof(at));
                if (!check_node(c, t, page, at, leaf, i == sizeof(head), depth))
                        return false;
        }
        return true;
}

static bool check_tree(struct checker *c, const struct tree_head *head, bool is_free_list)
{
        struct tree t = {.head = *head, .is_free_list = is_free_list};

        if (head->flags != (is_free_list ? DB_INTEGER_KEYS : 0))
                return wrong(c, "a database of an unknown kind");
        if (head->root == NO_PAGE)
                return head->entries == 0 && head->depth == 0 ? true : wrong(c, "a tree without its root");
        if (head->depth == 0 || head->depth > DEPTH_MAX)
                return wrong(c, "a tree of a wrong depth");
        if (!check_page(c, &t, head->root, 1))
                return false;
        if (t.entries != head->entries || t.leaves != head->leaves || t.branches != head->branches || t.overflows != head->overflows)
                return wrong(c, "a tree that isn't as large as it says");
        return true;
}

/* Both metas have to be good: the next transaction but one goes on from the other. */
static bool read_metas(struct checker *c, size_t size, struct meta *ret)
{
        struct meta metas[METAS];
        struct page_head head;

        if (size < sizeof(head) + sizeof(struct meta))
                return wrong(c, "too short");
        memcpy(&metas[0], c->file + sizeof(head), sizeof(metas[0]));
        c->psize = metas[0].trees[0].pad;
        if (c->psize < PSIZE_MIN || c->psize > PSIZE_MAX || (c->psize & (c->psize - 1)) || size < METAS * c->psize)
                return wrong(c, "no page size");
        for (uint64_t i = 0; i < METAS; i++) {
                memcpy(&head, c->file + i * c->psize, sizeof(head));
                memcpy(&metas[i], c->file + i * c->psize + sizeof(head), sizeof(metas[i]));
                if (head.number != i || head.flags != PAGE_META || metas[i].magic != LMDB_MAGIC || metas[i].version != LMDB_VERSION ||
                    metas[i].trees[0].pad != c->psize || metas[i].mapsize > MAPSIZE_MAX)
                        return wrong(c, "no beginning of an environment");
        }
        *ret = metas[metas[0].txn < metas[1].txn];
        if (ret->last < METAS - 1 || ret->last >= ret->mapsize / c->psize || ret->last >= size / c->psize + UNWRITTEN_MAX)
                return wrong(c, "cut off");
        /* Both are 0 before the first. */
        if (ret->txn > UINT64_MAX / 2 ||
            (ret->txn ? metas[ret->txn % 2].txn != ret->txn || metas[(ret->txn + 1) % 2].txn != ret->txn - 1 : metas[1].txn != 0))
                return wrong(c, "a transaction number that can't be");
        return true;
}

const char *check_lmdb(const void *file, size_t size)
{
        struct checker c = {.file = file};
        struct meta meta;

        if (!read_metas(&c, size, &meta))
                return c.wrong;
        c.pages = meta.last + 1;
        c.whole = size / c.psize < c.pages ? size / c.psize : c.pages;
        c.txn = meta.txn;
        c.seen = calloc(1, c.pages / 8 + 1);
        if (!c.seen)
                return "too large to be checked";
        if (check_tree(&c, &meta.trees[0], true))
                (void)check_tree(&c, &meta.trees[1], false);
        free(c.seen);
        return c.wrong;
}
