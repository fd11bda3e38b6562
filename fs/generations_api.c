/*
 * What the door offers about generations: listing, dropping, adopting; and what follows when others move things.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "cache/base/fd.h"
#include "fs/generations_kept.h"

/* The rule that the entry at `path` goes by; NULL: none. */
static const struct rule *rule_at(const struct rules *rules, const char *path, bool is_dir)
{
        const struct pattern_place *place = rules_root(rules);
        const char *name = root_name(path);

        while (path < name && place) {
                size_t len = strcspn(path, "/");

                place = rules_enter(rules, place, path, len);
                path += len + 1;
        }
        return place ? rules_find(rules, place, name, strlen(name), is_dir) : NULL;
}

static const struct rule *rule_with_generations(const struct overlay *o, const char *path)
{
        const struct rules *rules = atomic_load(&o->rules);
        const struct rule *rule = rule_at(rules, path, true);

        if (!rule_has_generations(rule))
                rule = rule_at(rules, path, false);
        return rule_has_generations(rule) ? rule : NULL;
}

/*
 * Listing
 */

struct listing {
        struct overlay *o;
        bool (*visit)(void *arg, const struct generation *g);
        void *arg;
        bool ended;
};

static void list_one(struct listing *l, const struct root *r, const struct kept *k, const struct rule *rule) REQUIRES(r->lock)
{
        struct generation shown = {
                .path = r->path,
                .key = k->key.text,
                .key_files = rule ? rule->keys : NULL,
                .key_file_count = rule ? rule->key_count : 0,
                .current = key_equal(&k->key, &r->current),
                .bytes = k->bytes,
                .created_s = k->created_s,
                .used_s = k->used_s,
        };

        l->ended = l->ended || !l->visit(l->arg, &shown);
}

static void list_root(void *arg, struct root *r)
{
        struct listing *l = arg;
        const struct rule *rule;
        const struct kept *current;

        mutex_lock(&r->lock);
        rule = rule_with_generations(l->o, r->path);
        current = r->registered ? root_kept_locked(r, &r->current, false) : NULL;
        if (current && !l->ended)
                list_one(l, r, current, rule);
        for (size_t i = 0; i < r->count && !l->ended; i++) {
                if (&r->list[i] != current)
                        list_one(l, r, &r->list[i], rule);
        }
        mutex_unlock(&r->lock);
}

void generations_each(struct overlay *o, bool (*visit)(void *arg, const struct generation *g), void *arg)
{
        struct listing l = {.o = o, .visit = visit, .arg = arg};

        roots_each(o->generations, list_root, &l);
}

static void count_into(void *arg, struct root *r)
{
        struct generations_stats *s = arg;

        mutex_lock(&r->lock);
        s->roots += r->registered;
        s->generations += r->count;
        for (size_t i = 0; i < r->count; i++)
                s->bytes += r->list[i].bytes == GENERATION_UNCOUNTED ? 0 : r->list[i].bytes;
        mutex_unlock(&r->lock);
}

void generations_stats(struct overlay *o, struct generations_stats *ret)
{
        struct generations *g = o->generations;

        *ret = (struct generations_stats){.switches = atomic_load(&g->switches), .rekeys = atomic_load(&g->rekeys)};
        mutex_lock(&g->lock);
        ret->pending = g->asked != g->done;
        mutex_unlock(&g->lock);
        roots_each(g, count_into, ret);
}

/*
 * Changing
 */

int generations_drop(struct overlay *o, const char *path, const char *key)
{
        struct generations *g = o->generations;
        struct root *r = roots_find(g, path, false);
        struct key k = {0};
        int rc;

        if (!r || !key_is_text(key))
                return -ENOENT;
        memcpy(k.text, key, sizeof(k.text));
        mutex_lock(&r->lock);
        rc = key_equal(&k, &r->current) ? -EBUSY : root_kept_locked(r, &k, false) ? kept_drop(g, r, &k) : -ENOENT;
        if (rc == 0)
                root_forget_locked(r, &k);
        mutex_unlock(&r->lock);
        return rc;
}

/* No files make it. */
#define ADOPTED_KEY "00000000000000000000000000000000"

/* In place of what is in tree/: a switch to itself, by way of a key that nothing has. */
static int adopt_current(struct generations *g, struct root *r, const char *prepared) REQUIRES(r->lock)
{
        struct key current = r->current;
        struct key other = {.text = ADOPTED_KEY};
        int rc = kept_put(g, r, &other, g->o->moving_fd, prepared);

        if (rc == 0)
                rc = root_switch_locked(g, r, &other);
        return rc < 0 ? rc : root_relabel_locked(g, r, &current);
}

static int adopt_other(struct generations *g, struct root *r, const char *prepared, const struct key *key) REQUIRES(r->lock)
{
        struct kept *k;
        int rc = kept_put(g, r, key, g->o->moving_fd, prepared);

        if (rc < 0)
                return rc;
        root_forget_locked(r, key);
        k = root_kept_locked(r, key, true);
        generations_want_sweep(g);
        return k ? 0 : -ENOMEM;
}

int generations_adopt(struct overlay *o, const char *prepared, const char *path, const char *key)
{
        struct generations *g = o->generations;
        const struct rule *rule = rule_with_generations(o, path);
        struct root *r = rule && (!key || key_is_text(key)) ? roots_find(g, path, true) : NULL;
        struct root_told told;
        struct key k = {0};
        bool tell = false;
        int rc = 0;

        if (!r)
                return rule && (!key || key_is_text(key)) ? -ENOMEM : -EINVAL;
        if (key)
                memcpy(k.text, key, sizeof(k.text));
        mutex_lock(&r->lock);
        r->rule = rule;
        if (!r->verified)
                root_verify_locked(g, r);
        if (!r->registered)
                rc = -EIO;
        else if (!key || key_equal(&k, &r->current)) {
                root_keep_locked(g, r);
                rc = adopt_current(g, r, prepared);
                tell = root_told_locked(g, r, &told);
        } else {
                rc = adopt_other(g, r, prepared, &k);
        }
        mutex_unlock(&r->lock);
        if (tell)
                root_tell(g, &told);
        return rc;
}

struct rechecking {
        struct generations *g;
        const char *path;
};

static void recheck(void *arg, struct root *r)
{
        const struct rechecking *c = arg;
        size_t len = strlen(c->path);
        struct kept *k;

        mutex_lock(&r->lock);
        if (len == 0 || (strncmp(r->path, c->path, len) == 0 && (r->path[len] == '\0' || r->path[len] == '/'))) {
                r->stale = true;
                k = root_kept_locked(r, &r->current, false);
                if (k)
                        k->bytes = GENERATION_UNCOUNTED;
        }
        mutex_unlock(&r->lock);
}

void generations_recheck(struct overlay *o, const char *path)
{
        struct rechecking c = {.g = o->generations, .path = path};

        roots_each(o->generations, recheck, &c);
        overlay_raise_epoch(o);
        generations_wake(o->generations);
        generations_want_sweep(o->generations);
}

void generations_moved(struct overlay *o, const char *from, const char *to)
{
        roots_rename(o->generations, from, to);
        overlay_raise_epoch(o);
        generations_wake(o->generations);
}

void generations_quiesce(struct overlay *o)
{
        generations_stop(o->generations);
}
