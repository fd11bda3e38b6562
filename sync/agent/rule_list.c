#include "sync/agent/rule_list.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct rule_text {
        struct rule_text *next;
        char bytes[];
};

void rule_list_release(struct rule_list *l)
{
        for (struct rule_text *next, *t = l->texts; t; t = next) {
                next = t->next;
                free(t);
        }
        free(l->rules);
        memset(l, 0, sizeof(*l));
}

static void *allot(struct rule_list *l, size_t size)
{
        struct rule_text *t = calloc(1, sizeof(*t) + size);

        if (!t)
                return NULL;
        t->next = l->texts;
        l->texts = t;
        return t->bytes;
}

const char *rule_list_text(struct rule_list *l, const char *fmt, ...)
{
        va_list ap, again;
        char *text;
        int len;

        va_start(ap, fmt);
        va_copy(again, ap);
        len = vsnprintf(NULL, 0, fmt, ap);
        va_end(ap);
        text = len < 0 ? NULL : allot(l, (size_t)len + 1);
        if (text)
                vsnprintf(text, (size_t)len + 1, fmt, again);
        va_end(again);
        return text;
}

const char **rule_list_texts(struct rule_list *l, size_t count)
{
        /* The bytes lie behind a pointer, so they are aligned for pointers. */
        return allot(l, (count + 1) * sizeof(const char *));
}

int rule_list_add(struct rule_list *l, struct rule r)
{
        if (!r.pattern || !r.origin)
                return -ENOMEM;
        if (l->count == l->room) {
                size_t room = l->room ? l->room * 2 : 16;
                struct rule *rules = realloc(l->rules, room * sizeof(*rules));

                if (!rules)
                        return -ENOMEM;
                l->rules = rules;
                l->room = room;
        }
        l->rules[l->count++] = r;
        return 0;
}

int rule_list_compile(const struct rule_list *const lists[], size_t count, struct rules **ret)
{
        CLEANUP_FREE struct rule *all = NULL;
        size_t sum = 0;

        for (size_t i = 0; i < count; i++)
                sum += lists[i]->count;
        all = calloc(sum + 1, sizeof(*all));
        if (!all)
                return -ENOMEM;
        sum = 0;
        for (size_t i = 0; i < count; i++) {
                for (size_t k = 0; k < lists[i]->count; k++)
                        all[sum++] = lists[i]->rules[k];
        }
        return rules_new(all, sum, ret);
}

static bool same_text(const char *a, const char *b)
{
        return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

static bool same_rule(const struct rule *a, const struct rule *b)
{
        if (strcmp(a->pattern, b->pattern) != 0 || a->route != b->route || a->key_count != b->key_count || !same_text(a->salt, b->salt) ||
            a->on_new != b->on_new || a->seed != b->seed)
                return false;
        for (size_t i = 0; i < a->key_count; i++) {
                if (strcmp(a->keys[i], b->keys[i]) != 0)
                        return false;
        }
        return true;
}

size_t rules_count(const struct rules *rules)
{
        size_t count = 0;

        if (rules)
                (void)rules_list(rules, &count);
        return count;
}

bool rules_same(const struct rules *a, const struct rules *b)
{
        size_t count = rules_count(a), other = rules_count(b);
        const struct rule *x, *y;

        if (count != other || !count)
                return count == other;
        x = rules_list(a, &count);
        y = rules_list(b, &count);
        for (size_t i = 0; i < count; i++) {
                if (!same_rule(&x[i], &y[i]))
                        return false;
        }
        return true;
}
