#include "sync/run/selection.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cache/base/err.h"
#include "fs/patterns.h"

#define GROW_MIN 4096U

struct selection {
        struct patterns *on; /* owned; NULL: everything */
        struct patterns *ignore;
        bool host_only;
};

static int compile(const char *const *texts, size_t count, struct patterns **ret, const char **pattern)
{
        int rc = count ? patterns_new(texts, count, ret) : 0;

        for (size_t i = 0; rc == 0 && i < count; i++) {
                if (*texts[i] && patterns_can_match(*ret, (int)i))
                        continue;
                *pattern = texts[i];
                rc = -EINVAL;
        }
        return rc;
}

int selection_new(const struct selection_rules *rules, struct selection **ret, const char **pattern)
{
        struct selection *s = calloc(1, sizeof(*s));
        int rc;

        if (!s)
                return -ENOMEM;
        s->host_only = rules->host_only;
        rc = compile(rules->on, rules->on_count, &s->on, pattern);
        if (rc == 0)
                rc = compile(rules->ignore, rules->ignore_count, &s->ignore, pattern);
        if (rc) {
                selection_free(s);
                return rc;
        }
        *ret = s;
        return 0;
}

void selection_free(struct selection *s)
{
        if (!s)
                return;
        patterns_free(s->on);
        patterns_free(s->ignore);
        free(s);
}

/* Whether the path or a directory above it matches: the last pattern that matches the deepest of them counts. With `below`, also whether
 * something in the directory that it is might. */
static bool matches(struct patterns *p, const char *path, bool is_dir, bool below)
{
        const struct pattern_place *place = patterns_root(p);
        bool yes = false;

        for (const char *name = path; place;) {
                const char *slash = strchr(name, '/');
                size_t len = slash ? (size_t)(slash - name) : strlen(name);
                int found = patterns_find(p, place, name, len, slash || is_dir);

                if (found >= 0)
                        yes = !patterns_negated(p, found);
                if (slash || below)
                        place = patterns_enter(p, place, name, len);
                if (!slash)
                        return yes || (below && (!place || patterns_may_match_in(p, place)));
                name = slash + 1;
        }
        /* No memory: rather once too often than never. */
        return true;
}

enum selected selection_of(struct selection *s, const char *path, bool is_dir, bool deleted, bool from_mount)
{
        if (is_dir && !deleted)
                return SELECTED_NO;
        if (s->on && !matches(s->on, path, is_dir, is_dir))
                return SELECTED_NO;
        if (s->ignore && matches(s->ignore, path, is_dir, false))
                return SELECTED_NO;
        return from_mount && s->host_only ? SELECTED_BUT_ORIGIN : SELECTED_YES;
}

/*
 * What was gathered
 */

void gathered_clear(struct gathered *g)
{
        free(g->bytes);
        *g = (struct gathered){0};
}

void gathered_anything(struct gathered *g)
{
        gathered_clear(g);
        g->anything = true;
}

int gathered_add(struct gathered *g, const char *path)
{
        size_t len = strlen(path) + 1;

        if (g->anything)
                return 0;
        if (len > GATHERED_BYTES_MAX - g->len) {
                gathered_anything(g);
                return 0;
        }
        if (len > g->size - g->len) {
                size_t size = 2 * g->size + len + GROW_MIN;
                char *grown = realloc(g->bytes, size);

                if (!grown) {
                        gathered_anything(g);
                        return -ENOMEM;
                }
                g->bytes = grown;
                g->size = size;
        }
        memcpy(g->bytes + g->len, path, len);
        g->len += len;
        return 0;
}

static int by_bytes(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The paths in order, each once, in a buffer of their own. NULL without memory. */
static char *in_order(const struct gathered *g, const char **paths, size_t *count, size_t *len)
{
        char *sorted = malloc(g->len + 1);
        size_t kept = 0;

        if (!sorted)
                return NULL;
        *len = 0;
        qsort(paths, *count, sizeof(*paths), by_bytes);
        for (size_t i = 0; i < *count; i++) {
                size_t n = strlen(paths[i]) + 1;

                if (i > 0 && strcmp(paths[i], paths[i - 1]) == 0)
                        continue;
                memcpy(sorted + *len, paths[i], n);
                *len += n;
                kept++;
        }
        *count = kept;
        return sorted;
}

size_t gathered_finish(struct gathered *g)
{
        CLEANUP_FREE const char **paths = NULL;
        size_t count = 0, len;
        char *sorted;

        for (size_t i = 0; i < g->len; i++)
                count += g->bytes[i] == '\0';
        if (count < 2)
                return count;
        paths = malloc(count * sizeof(*paths));
        if (!paths)
                return count;
        for (size_t i = 0, at = 0; i < count; i++, at += strlen(g->bytes + at) + 1)
                paths[i] = g->bytes + at;
        sorted = in_order(g, paths, &count, &len);
        if (!sorted)
                return count;
        free(g->bytes);
        g->bytes = sorted;
        g->size = g->len + 1;
        g->len = len;
        return count;
}
