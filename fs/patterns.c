/*
 * A pattern with a slash is a list of components. A place is the set of (pattern, component) that a name in that directory may match
 * next: from the root, each name on the way moves every component that it matches one on. Equal sets are one place. Patterns without a
 * slash match anywhere, and are in no place.
 */
#include "fs/patterns.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "cache/base/err.h"
#include "cache/base/thread.h"
#include "fs/finder.h"
#include "fs/glob.h"

#define PLACE_SLOTS 256U

struct component {
        struct glob *glob; /* owned; NULL: `**`, any number of directories, or at the end anything below */
};

struct pattern {
        bool negated, dirs_only;
        bool dead; /* can't match */
        bool by_path;
        struct component *components; /* owned */
        size_t count;
};

struct step {
        uint32_t pattern, component;
};

struct pattern_place {
        struct pattern_place *next; /* of the same slot */
        uint64_t hash;
        struct finder *finder; /* of the steps that are a pattern's last; NULL: none is */
        size_t count;
        struct step steps[];
};

struct patterns {
        struct pattern *list; /* owned */
        size_t count;
        struct finder *names; /* of the patterns without a slash */
        size_t steps_max;     /* that a place can have */
        struct pattern_place *root, *nowhere;

        struct mutex lock;
        struct pattern_place *places[PLACE_SLOTS] GUARDED_BY(lock); /* never taken away */
};

/*
 * Compiling
 */

/* Where the component ends: at a slash that isn't in brackets. -EINVAL for an open bracket. `*next` is behind the slash. */
static ssize_t component_end(const char *text, size_t len, size_t *next)
{
        size_t at = 0;

        while (at < len && text[at] != '/') {
                size_t token = glob_token_len(text + at, len - at);

                if (token == 0)
                        return -EINVAL;
                /* A backslash before a slash says nothing. */
                if (token == 2 && text[at] == '\\' && text[at + 1] == '/') {
                        *next = at + 2;
                        return (ssize_t)at;
                }
                at += token;
        }
        *next = at + 1;
        return (ssize_t)at;
}

static int add_component(struct pattern *p, const char *text, size_t len)
{
        struct component *c = &p->components[p->count];
        size_t stars = 0;

        while (stars < len && text[stars] == '*')
                stars++;
        if (len == 0)
                return -EINVAL;
        if (stars == len && len > 1 && p->by_path) {
                /* Two in a row say what one says. */
                if (p->count == 0 || p->components[p->count - 1].glob)
                        p->components[p->count++].glob = NULL;
                return 0;
        }
        p->count++;
        return glob_new(text, len, &c->glob);
}

/* -EINVAL: it can't match anything. */
static int compile_components(struct pattern *p, const char *text, size_t len)
{
        size_t at = 0;
        int rc = 0;

        while (rc == 0 && at <= len) {
                size_t next;
                ssize_t end = component_end(text + at, len - at, &next);

                if (end < 0)
                        return -EINVAL;
                rc = add_component(p, text + at, (size_t)end);
                if (at + next > len + 1)
                        break;
                at += next;
        }
        return rc;
}

static int compile(struct pattern *p, const char *text)
{
        size_t len;
        int rc;

        if (*text == '!') {
                p->negated = true;
                text++;
        }
        len = strlen(text);
        if (len && text[len - 1] == '/') {
                p->dirs_only = true;
                len--;
        }
        p->by_path = memchr(text, '/', len);
        p->components = calloc(len + 2, sizeof(*p->components));
        if (!p->components)
                return -ENOMEM;
        if (p->by_path && *text == '/') {
                text++;
                len--;
        }
        rc = compile_components(p, text, len);
        p->dead = rc == -EINVAL;
        return p->dead ? 0 : rc;
}

/*
 * Places
 */

static bool is_many(const struct patterns *p, struct step s)
{
        return !p->list[s.pattern].components[s.component].glob;
}

static bool is_last(const struct patterns *p, struct step s)
{
        return s.component + 1 == p->list[s.pattern].count;
}

static void add_step(const struct patterns *p, struct step *steps, size_t *count, struct step s)
{
        for (;;) {
                size_t at = *count;

                /* They come in order of patterns: the same one can only be among the last. */
                while (at > 0 && steps[at - 1].pattern == s.pattern && steps[at - 1].component != s.component)
                        at--;
                if (at == 0 || steps[at - 1].pattern != s.pattern)
                        steps[(*count)++] = s;
                /* `**` may also stand for no directory at all. */
                if (!is_many(p, s) || is_last(p, s))
                        return;
                s.component++;
        }
}

static int by_step(const void *a, const void *b)
{
        const struct step *x = a, *y = b;

        if (x->pattern != y->pattern)
                return x->pattern < y->pattern ? -1 : 1;
        return (x->component > y->component) - (x->component < y->component);
}

static struct finder *finder_of_steps(const struct patterns *p, const struct step *steps, size_t count)
{
        CLEANUP_FREE struct finder_item *items = malloc((count + 1) * sizeof(*items));
        size_t n = 0;

        if (!items)
                return NULL;
        for (size_t i = 0; i < count; i++) {
                const struct pattern *pattern = &p->list[steps[i].pattern];

                if (is_last(p, steps[i]))
                        items[n++] = (struct finder_item){
                                .index = (int)steps[i].pattern,
                                .dirs_only = pattern->dirs_only,
                                .glob = pattern->components[steps[i].component].glob,
                        };
        }
        return finder_new(items, n);
}

static struct pattern_place *place_new(const struct patterns *p, const struct step *steps, size_t count, uint64_t hash)
{
        struct pattern_place *place = malloc(sizeof(*place) + count * sizeof(*steps));

        if (!place)
                return NULL;
        *place = (struct pattern_place){.hash = hash, .count = count};
        if (count)
                memcpy(place->steps, steps, count * sizeof(*steps));
        for (size_t i = 0; i < count && !place->finder; i++) {
                if (!is_last(p, steps[i]))
                        continue;
                place->finder = finder_of_steps(p, steps, count);
                if (!place->finder) {
                        free(place);
                        return NULL;
                }
        }
        return place;
}

/* The place with these steps, which are sorted for it. */
static struct pattern_place *place_of(struct patterns *p, struct step *steps, size_t count)
{
        struct pattern_place **at, *place;
        uint64_t hash;

        qsort(steps, count, sizeof(*steps), by_step);
        hash = XXH3_64bits(steps, count * sizeof(*steps));
        mutex_lock(&p->lock);
        at = &p->places[hash % PLACE_SLOTS];
        for (place = *at; place; place = place->next)
                if (place->hash == hash && place->count == count && memcmp(place->steps, steps, count * sizeof(*steps)) == 0)
                        break;
        if (!place) {
                place = place_new(p, steps, count, hash);
                if (place) {
                        place->next = *at;
                        *at = place;
                }
        }
        mutex_unlock(&p->lock);
        return place;
}

static int make_root(struct patterns *p)
{
        CLEANUP_FREE struct step *steps = malloc((p->steps_max + 1) * sizeof(*steps));
        size_t count = 0;

        if (!steps)
                return -ENOMEM;
        p->nowhere = place_of(p, steps, 0);
        for (size_t i = 0; i < p->count; i++)
                if (p->list[i].by_path && !p->list[i].dead)
                        add_step(p, steps, &count, (struct step){.pattern = (uint32_t)i});
        p->root = place_of(p, steps, count);
        return p->root && p->nowhere ? 0 : -ENOMEM;
}

static int make_names(struct patterns *p)
{
        CLEANUP_FREE struct finder_item *items = malloc((p->count + 1) * sizeof(*items));
        size_t count = 0;

        if (!items)
                return -ENOMEM;
        for (size_t i = 0; i < p->count; i++) {
                const struct pattern *pattern = &p->list[i];

                if (!pattern->by_path && !pattern->dead)
                        items[count++] = (struct finder_item){(int)i, pattern->dirs_only, pattern->components[0].glob};
        }
        p->names = finder_new(items, count);
        return p->names ? 0 : -ENOMEM;
}

int patterns_new(const char *const texts[], size_t count, struct patterns **ret)
{
        struct patterns *p = calloc(1, sizeof(*p));
        int rc = p ? 0 : -ENOMEM;

        if (!p)
                return rc;
        mutex_init(&p->lock);
        p->list = calloc(count + 1, sizeof(*p->list));
        if (!p->list)
                rc = -ENOMEM;
        for (; rc == 0 && p->count < count; p->count++) {
                rc = compile(&p->list[p->count], texts[p->count]);
                p->steps_max += p->list[p->count].count;
        }
        if (rc == 0)
                rc = make_names(p);
        if (rc == 0)
                rc = make_root(p);
        if (rc < 0) {
                patterns_free(p);
                return rc;
        }
        *ret = p;
        return 0;
}

static void free_place(struct pattern_place *place)
{
        finder_free(place->finder);
        free(place);
}

void patterns_free(struct patterns *p)
{
        if (!p)
                return;
        for (size_t i = 0; p->list && i <= p->count; i++) {
                for (size_t k = 0; k < p->list[i].count; k++)
                        glob_free(p->list[i].components[k].glob);
                free(p->list[i].components);
        }
        for (size_t i = 0; i < PLACE_SLOTS; i++) {
                for (struct pattern_place *next, *place = p->places[i]; place; place = next) {
                        next = place->next;
                        free_place(place);
                }
        }
        finder_free(p->names);
        mutex_release(&p->lock);
        free(p->list);
        free(p);
}

const struct pattern_place *patterns_root(const struct patterns *p)
{
        return p->root;
}

const struct pattern_place *patterns_enter(struct patterns *p, const struct pattern_place *dir, const char *name, size_t len)
{
        CLEANUP_FREE struct step *steps = NULL;
        size_t count = 0;

        if (dir->count == 0)
                return dir;
        steps = malloc(p->steps_max * sizeof(*steps));
        if (!steps)
                return NULL;
        for (size_t i = 0; i < dir->count; i++) {
                struct step s = dir->steps[i];

                if (is_many(p, s)) {
                        add_step(p, steps, &count, s);
                } else if (!is_last(p, s) && glob_match(p->list[s.pattern].components[s.component].glob, name, len)) {
                        s.component++;
                        add_step(p, steps, &count, s);
                }
        }
        return count ? place_of(p, steps, count) : p->nowhere;
}

int patterns_find(const struct patterns *p, const struct pattern_place *dir, const char *name, size_t len, bool is_dir)
{
        int best = finder_find(p->names, name, len, is_dir, -1);

        return dir->finder ? finder_find(dir->finder, name, len, is_dir, best) : best;
}

bool patterns_negated(const struct patterns *p, int index)
{
        return p->list[index].negated;
}

bool patterns_can_match(const struct patterns *p, int index)
{
        return !p->list[index].dead && p->list[index].count > 0;
}

bool patterns_may_match_in(const struct patterns *p, const struct pattern_place *dir)
{
        for (size_t i = 0; i < p->count; i++)
                if (!p->list[i].by_path && !p->list[i].dead && !p->list[i].negated)
                        return true;
        for (size_t i = 0; i < dir->count; i++)
                if (!p->list[dir->steps[i].pattern].negated)
                        return true;
        return false;
}
