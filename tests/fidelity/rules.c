/*
 * A rule brings what was heard into a form in which one kind of difference doesn't show. Two sequences differ by those rules of which the
 * fewest make them the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fidelity/fidelity.h"

#define CONTENT (IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB)
#define COMES (IN_CREATE | IN_MOVED_TO)
#define GOES (IN_DELETE | IN_MOVED_FROM)

static const char *const names[] = {"joined", "order", "objects", "brief", "gone"};

static bool same_object(const struct event *a, const struct event *b)
{
        return a->self == b->self && strcmp(a->what, b->what) == 0;
}

static void drop(struct heard *h, size_t i)
{
        memmove(&h->at[i], &h->at[i + 1], (h->count - i - 1) * sizeof(*h->at));
        h->count--;
}

/* What happened to an object again, and it was still the same object, is not heard again. */
static void join(struct heard *h)
{
        for (size_t i = h->count; i-- > 0;) {
                bool again = false;

                for (size_t k = i; k-- > 0 && (h->at[i].mask & CONTENT) && !again;) {
                        if (!same_object(&h->at[i], &h->at[k]))
                                continue;
                        if (h->at[k].mask & (COMES | GOES))
                                break;
                        again = h->at[k].mask == h->at[i].mask;
                }
                if (again)
                        drop(h, i);
        }
}

/* An insertion sort; `after` says whether `a` has to come after `b`, which stood behind it. */
static void sort(struct heard *h, bool (*after)(const struct event *a, const struct event *b))
{
        for (size_t i = 1; i < h->count; i++) {
                for (size_t k = i; k > 0 && after(&h->at[k - 1], &h->at[k]); k--) {
                        struct event ev = h->at[k];

                        h->at[k] = h->at[k - 1];
                        h->at[k - 1] = ev;
                }
        }
}

static bool after_in_content(const struct event *a, const struct event *b)
{
        return same_object(a, b) && (a->mask & CONTENT) && (b->mask & CONTENT) && a->mask > b->mask;
}

static bool after_of_objects(const struct event *a, const struct event *b)
{
        int order = strcmp(a->what, b->what);

        return order > 0 || (order == 0 && a->self && !b->self);
}

static void forget(struct heard *h, const char *what)
{
        for (size_t i = h->count; i-- > 0;) {
                unsigned pair = h->at[i].pair;

                if (strcmp(h->at[i].what, what) != 0 || h->at[i].self)
                        continue;
                drop(h, i);
                for (size_t k = 0; k < h->count && pair; k++) {
                        if (h->at[k].pair == pair)
                                h->at[k].pair = 0;
                }
        }
}

/* Whether a name first came, and in the end was gone. */
static bool is_brief(const struct heard *h, const char *what)
{
        uint32_t first = 0, last = 0;

        for (size_t i = 0; i < h->count; i++) {
                if (h->at[i].self || strcmp(h->at[i].what, what) != 0 || !(h->at[i].mask & (COMES | GOES)))
                        continue;
                first = first ? first : h->at[i].mask;
                last = h->at[i].mask;
        }
        return (first & COMES) && (last & GOES);
}

static void forget_brief(struct heard *h, const struct heard *bind)
{
        for (size_t i = 0; i < bind->count; i++) {
                if (is_brief(bind, bind->at[i].what))
                        forget(h, bind->at[i].what);
        }
}

/* Whether something happened to it after its name was deleted. */
static bool is_gone(const struct heard *h, const char *what)
{
        bool gone = false;

        for (size_t i = 0; i < h->count; i++) {
                if (strcmp(h->at[i].what, what) != 0)
                        continue;
                if (gone && (h->at[i].mask & (IN_MODIFY | IN_CLOSE_WRITE)))
                        return true;
                if (!h->at[i].self && (h->at[i].mask & (COMES | GOES)))
                        gone = h->at[i].mask & IN_DELETE;
        }
        return false;
}

static void forget_gone(struct heard *h, const struct heard *bind)
{
        for (size_t i = h->count; i-- > 0;) {
                if ((h->at[i].mask & (IN_MODIFY | IN_CLOSE_WRITE)) && is_gone(bind, h->at[i].what))
                        drop(h, i);
        }
}

static void number_pairs(struct heard *h)
{
        unsigned pairs = 0;

        for (size_t i = 0; i < h->count; i++) {
                unsigned was = h->at[i].pair;

                if (!was || was > h->count * 4)
                        continue;
                ++pairs;
                for (size_t k = i; k < h->count; k++) {
                        if (h->at[k].pair == was)
                                h->at[k].pair = (unsigned)h->count * 4 + pairs;
                }
        }
}

static struct heard apply(const struct heard *of, const struct heard *bind, unsigned rules)
{
        struct heard h = {.at = malloc((of->count + 1) * sizeof(*of->at)), .count = of->count};

        must(h.at, "memory");
        if (of->count)
                memcpy(h.at, of->at, of->count * sizeof(*of->at));
        if (rules & RULE_BRIEF)
                forget_brief(&h, bind);
        if (rules & RULE_GONE)
                forget_gone(&h, bind);
        if (rules & RULE_OBJECTS)
                sort(&h, after_of_objects);
        if (rules & RULE_ORDER)
                sort(&h, after_in_content);
        if (rules & RULE_JOINED)
                join(&h);
        number_pairs(&h);
        return h;
}

static bool equal(const struct heard *a, const struct heard *b)
{
        for (size_t i = 0; i < a->count && i < b->count; i++) {
                const struct event *x = &a->at[i], *y = &b->at[i];

                if (x->mask != y->mask || x->dir != y->dir || x->pair != y->pair || !same_object(x, y))
                        return false;
        }
        return a->count == b->count;
}

int rules_compare(const struct heard *bind, const struct heard *mount, unsigned allowed)
{
        int best = -1;

        for (unsigned rules = 0; rules <= RULE_ALL; rules++) {
                struct heard a, b;

                if ((rules & ~allowed) || (best >= 0 && __builtin_popcount(rules) >= __builtin_popcount((unsigned)best)))
                        continue;
                a = apply(bind, bind, rules);
                b = apply(mount, bind, rules);
                if (equal(&a, &b))
                        best = (int)rules;
                heard_release(&a);
                heard_release(&b);
        }
        return best;
}

char *rules_text(unsigned rules)
{
        char text[128] = "";

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                if (rules & (1u << i))
                        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s`%s`", *text ? ", " : "", names[i]);
        }
        return keep(text);
}
