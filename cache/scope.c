#include "cache/scope.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cache/base/err.h"

static struct scope *scope_make(const char *name, size_t len)
{
        struct scope *s = calloc(1, sizeof(*s));

        if (s)
                s->name = strndup(name, len);
        if (s && !s->name) {
                free(s);
                return NULL;
        }
        return s;
}

void scope_free(struct scope *s)
{
        while (s) {
                struct scope *next = s->next;

                scope_free(s->children);
                free(s->name);
                free(s);
                s = next;
        }
}

/* Name by name, so that what is below a directory comes right after it, and names are in order. */
static int by_path(const void *a, const void *b)
{
        const char *x = *(const char *const *)a, *y = *(const char *const *)b;
        int order = 0;

        while (order == 0) {
                size_t x_len, y_len;

                x += strspn(x, "/");
                y += strspn(y, "/");
                if (!*x || !*y)
                        return (*x != '\0') - (*y != '\0');
                x_len = strcspn(x, "/");
                y_len = strcspn(y, "/");
                order = memcmp(x, y, x_len < y_len ? x_len : y_len);
                if (order == 0)
                        order = (x_len > y_len) - (x_len < y_len);
                x += x_len;
                y += y_len;
        }
        return order;
}

/* Of a name that no entry can have. */
static bool leads_nowhere(const char *name, size_t len)
{
        return len > NAME_MAX || (len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.');
}

/* The child `name`, which is the last one or comes after it. */
static struct scope *child_of(struct scope *parent, const char *name, size_t len)
{
        struct scope *child, *last = parent->last;

        if (last && strlen(last->name) == len && memcmp(last->name, name, len) == 0)
                return last;
        child = scope_make(name, len);
        if (!child)
                return NULL;
        if (last)
                last->next = child;
        else
                parent->children = child;
        parent->last = child;
        return child;
}

static bool add(struct scope *root, const char *path)
{
        struct scope *at = root;

        for (;;) {
                size_t len;

                path += strspn(path, "/");
                if (!*path)
                        break;
                if (at->whole)
                        return true;
                len = strcspn(path, "/");
                if (leads_nowhere(path, len))
                        break;
                at = child_of(at, path, len);
                if (!at)
                        return false;
                path += len;
        }
        at->whole = true;
        scope_free(steal_ptr(&at->children));
        at->last = NULL;
        return true;
}

struct scope *scope_new(const char *const paths[], size_t count)
{
        CLEANUP_FREE const char **sorted = malloc((count + 1) * sizeof(*sorted));
        struct scope *root = scope_make("", 0);
        bool ok = sorted && root;

        if (ok && count > 0) {
                memcpy(sorted, paths, count * sizeof(*sorted));
                qsort(sorted, count, sizeof(*sorted), by_path);
        }
        for (size_t i = 0; ok && i < count; i++)
                ok = add(root, sorted[i]);
        if (!ok) {
                scope_free(root);
                return NULL;
        }
        return root;
}
