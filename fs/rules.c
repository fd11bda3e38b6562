#include "fs/rules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "cache/base/err.h"
#include "fs/patterns.h"

#define KEY_NAMES_MIN 8U
#define KEY_NAME_LAST 1U

struct rules {
        struct patterns *patterns;
        struct rule *list; /* with all that it points to owned */
        size_t count;
        const struct pattern_place *root;
        /* Hashes of the components of all keys, with KEY_NAME_LAST in the lowest bit; 0: none. A power of two, half of them free. Owned. */
        uint64_t *key_names;
        size_t key_mask;
        bool seeded;
};

static void rule_release(struct rule *r)
{
        for (size_t i = 0; r->keys && i < r->key_count; i++)
                free((char *)r->keys[i]);
        free((void *)r->keys);
        free((char *)r->pattern);
        free((char *)r->salt);
        free((char *)r->origin);
}

/* A copy of `text` in *ret. False without memory. */
static bool copy_text(const char *text, const char **ret)
{
        *ret = text ? strdup(text) : NULL;
        return *ret || !text;
}

static bool copy_keys(const struct rule *from, struct rule *to)
{
        const char **keys = calloc(from->key_count + 1, sizeof(*keys));

        to->keys = keys;
        for (size_t i = 0; keys && i < from->key_count; i++) {
                if (!copy_text(from->keys[i], &keys[i]))
                        return false;
        }
        return keys;
}

/* What was copied before memory ran out is in *to. */
static bool copy_rule(const struct rule *from, struct rule *to)
{
        *to = *from;
        to->keys = NULL;
        to->pattern = to->salt = to->origin = NULL;
        return copy_text(from->pattern, &to->pattern) && copy_text(from->salt, &to->salt) && copy_text(from->origin, &to->origin) &&
               (!from->key_count || copy_keys(from, to));
}

/* Never 0, and without KEY_NAME_LAST. */
static uint64_t hash_name(const char *name, size_t len)
{
        return (XXH3_64bits(name, len) | (KEY_NAME_LAST << 1)) & ~(uint64_t)KEY_NAME_LAST;
}

/* Where the name of that hash stands, or would. */
static uint64_t *key_name(const struct rules *r, uint64_t hash)
{
        size_t i = (size_t)(hash >> 2) & r->key_mask;

        while (r->key_names[i] && (r->key_names[i] & ~(uint64_t)KEY_NAME_LAST) != hash)
                i = (i + 1) & r->key_mask;
        return &r->key_names[i];
}

/* The components of a key. */
static size_t note_key(struct rules *r, const char *key, bool only_count)
{
        size_t count = 0;

        while (*(key += strspn(key, "/"))) {
                size_t len = strcspn(key, "/");
                uint64_t hash = hash_name(key, len);
                bool last = !key[len + strspn(key + len, "/")];

                if (!only_count)
                        *key_name(r, hash) |= hash | (last ? KEY_NAME_LAST : 0);
                count++;
                key += len;
        }
        return count;
}

static size_t note_keys(struct rules *r, bool only_count)
{
        size_t count = 0;

        for (size_t i = 0; i < r->count; i++) {
                for (size_t k = 0; k < r->list[i].key_count; k++)
                        count += note_key(r, r->list[i].keys[k], only_count);
                r->seeded = r->seeded || r->list[i].seed;
        }
        return count;
}

static int gather_key_names(struct rules *r)
{
        size_t need = 2 * note_keys(r, true);
        size_t size = KEY_NAMES_MIN;

        while (size < need)
                size *= 2;
        r->key_names = calloc(size, sizeof(*r->key_names));
        if (!r->key_names)
                return -ENOMEM;
        r->key_mask = size - 1;
        (void)note_keys(r, false);
        return 0;
}

static int compile(struct rules *r)
{
        CLEANUP_FREE const char **texts = calloc(r->count + 1, sizeof(*texts));

        if (!texts)
                return -ENOMEM;
        for (size_t i = 0; i < r->count; i++)
                texts[i] = r->list[i].pattern;
        if (patterns_new(texts, r->count, &r->patterns))
                return -ENOMEM;
        r->root = patterns_root(r->patterns);
        return gather_key_names(r);
}

int rules_new(const struct rule *list, size_t count, struct rules **ret)
{
        struct rules *r = calloc(1, sizeof(*r));
        int rc = -ENOMEM;

        if (!r)
                return -ENOMEM;
        r->list = calloc(count + 1, sizeof(*r->list));
        if (r->list) {
                for (rc = 0; rc == 0 && r->count < count; r->count++)
                        rc = copy_rule(&list[r->count], &r->list[r->count]) ? 0 : -ENOMEM;
        }
        if (rc == 0)
                rc = compile(r);
        if (rc < 0) {
                rules_free(r);
                return rc;
        }
        *ret = r;
        return 0;
}

void rules_free(struct rules *r)
{
        if (!r)
                return;
        patterns_free(r->patterns);
        for (size_t i = 0; r->list && i < r->count; i++)
                rule_release(&r->list[i]);
        free(r->list);
        free(r->key_names);
        free(r);
}

const struct rule *rules_list(const struct rules *r, size_t *count)
{
        *count = r->count;
        return r->list;
}

const struct pattern_place *rules_root(const struct rules *r)
{
        return r->root;
}

bool rules_can_match(const struct rules *r, size_t index)
{
        return patterns_can_match(r->patterns, (int)index);
}

int rules_move_root(struct rules *r, const char *path)
{
        while (*path) {
                size_t len = strcspn(path, "/");

                r->root = patterns_enter(r->patterns, r->root, path, len);
                if (!r->root)
                        return -ENOMEM;
                path += len + (path[len] == '/');
        }
        return 0;
}

const struct pattern_place *rules_enter(const struct rules *r, const struct pattern_place *place, const char *name, size_t len)
{
        return patterns_enter(r->patterns, place, name, len);
}

const struct rule *rules_find(const struct rules *r, const struct pattern_place *place, const char *name, size_t len, bool is_dir)
{
        int index = patterns_find(r->patterns, place, name, len, is_dir);

        return index < 0 || patterns_negated(r->patterns, index) ? NULL : &r->list[index];
}

bool rules_key_name(const struct rules *r, const char *name, size_t len)
{
        return *key_name(r, hash_name(name, len)) & KEY_NAME_LAST;
}

bool rules_key_part(const struct rules *r, const char *name, size_t len)
{
        return *key_name(r, hash_name(name, len));
}

bool rules_seeded(const struct rules *r)
{
        return r->seeded;
}
