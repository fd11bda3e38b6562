/*
 * Comparing what two places said and what was left in them, line by line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/conform/batch.h"

#define SHOWN_MAX 40 /* failures in full, unless all are wanted */
#define LINE_MAX_LEN 512

struct verdict {
        const struct batch *b;
        const char *trial; /* CALL/TARGET/USER */
        const char *what;
        struct unlike *unlike; /* owned */
        size_t count;
};

static void differ(struct verdict *v, const char *want, const char *have)
{
        v->unlike = realloc(v->unlike, (v->count + 1) * sizeof(*v->unlike));
        must(v->unlike, "memory");
        v->unlike[v->count++] = (struct unlike){v->what, strdup(want), strdup(have), false};
}

static void show(const struct verdict *v)
{
        char combination[64];
        const char *what = "";

        combination_name(v->b->combination, combination, sizeof(combination));
        for (size_t i = 0; i < v->count; i++) {
                const struct unlike *u = &v->unlike[i];

                if (u->expected)
                        continue;
                if (strcmp(what, u->what) != 0)
                        printf("DIFFERS %s %s/%s (%s)\n", combination, v->b->group->name, v->trial, u->what);
                what = u->what;
                printf("  want: %s\n  have: %s\n", u->want, u->have);
        }
}

static void verdict_end(struct verdict *v, struct tally *tally)
{
        size_t unexpected = differences_judge(v->b->combination, v->trial, v->unlike, v->count);

        if (unexpected && (tally->show_all || tally->failed < SHOWN_MAX))
                show(v);
        tally->trials++;
        tally->failed += unexpected > 0;
        tally->expected += unexpected == 0 && v->count > 0;
        for (size_t i = 0; i < v->count; i++)
                free((char *)v->unlike[i].want), free((char *)v->unlike[i].have);
        free(v->unlike);
}

/* The next line of text[*at, end), NUL-terminated in `ret`. False at the end. */
static bool next_line(const char *text, size_t *at, size_t end, char *ret, size_t size)
{
        const char *line = text + *at;
        const char *stop = *at < end ? memchr(line, '\n', end - *at) : NULL;

        if (*at >= end) {
                snprintf(ret, size, "-");
                return false;
        }
        snprintf(ret, size, "%.*s", (int)((stop ? stop : text + end) - line), line);
        *at = stop ? (size_t)(stop - text) + 1 : end;
        return true;
}

static bool same_subject(const char *a, const char *b)
{
        size_t len = strcspn(a, "=>");

        return strncmp(a, b, len) == 0;
}

/* Is a line about the same thing as `line` still to come? */
static bool comes(const char *text, size_t at, size_t end, const char *line)
{
        char other[LINE_MAX_LEN];

        while (next_line(text, &at, end, other, sizeof(other)))
                if (same_subject(line, other))
                        return true;
        return false;
}

static void compare_text(struct verdict *v, const struct lane *want, const struct lane *have, size_t i)
{
        size_t w = want->begin[i], w_end = want->begin[i + 1], h = have->begin[i], h_end = have->begin[i + 1];
        const char *wt = want->out->bytes, *ht = have->out->bytes;
        char wl[LINE_MAX_LEN], hl[LINE_MAX_LEN];

        if (w_end - w == h_end - h && memcmp(wt + w, ht + h, w_end - w) == 0)
                return;
        for (;;) {
                size_t w_at = w, h_at = h;
                bool more_w = next_line(wt, &w, w_end, wl, sizeof(wl));
                bool more_h = next_line(ht, &h, h_end, hl, sizeof(hl));

                if (!more_w && !more_h)
                        return;
                if (strcmp(wl, hl) == 0)
                        continue;
                if (more_w && more_h && !same_subject(wl, hl)) {
                        /* A line that one side alone has. */
                        if (comes(ht, h_at, h_end, wl)) {
                                w = w_at;
                                snprintf(wl, sizeof(wl), "-");
                        } else if (comes(wt, w_at, w_end, hl)) {
                                h = h_at;
                                snprintf(hl, sizeof(hl), "-");
                        }
                }
                differ(v, wl, hl);
        }
}

void trial_name(const struct call *call, const struct target *target, enum user user, char *ret, size_t size)
{
        char text[256];

        snprintf(text, sizeof(text), "%s/%s/%s", call->name, target->name, user_names[user]);
        for (const char *p = text; *p && size > 1; p++, ret++, size--) {
                bool joint = strncmp(p, " | ", 3) == 0;

                *ret = joint ? '+' : *p;
                p += joint ? 2 : 0;
        }
        *ret = '\0';
}

/* It was made, to its end. */
static bool ended_well(const struct lane *lane, size_t i)
{
        const char *text = lane->out->bytes + lane->begin[i];
        size_t len = lane->begin[i + 1] - lane->begin[i];

        return len && !memmem(text, len, ENDED, strlen(ENDED));
}

void batch_compare(const struct batch *b, const struct lanes *l, struct tally *tally)
{
        for (size_t i = 0; i < b->count; i++) {
                size_t failed = tally->failed;
                char trial[256];
                struct verdict v = {.b = b, .trial = trial};

                trial_name(b->items[i].call, b->items[i].target, b->user, trial, sizeof(trial));
                v.what = "the calls";
                compare_text(&v, &l->want, &l->have, i);
                v.what = "what is left in the source";
                compare_text(&v, &l->plain, &l->source, i);
                v.what = "what the mount shows of the source";
                compare_text(&v, &l->source_exact, &l->mnt_exact, i);
                verdict_end(&v, tally);
                if (!ended_well(&l->want, i) || !ended_well(&l->have, i)) {
                        printf("%s: it did not end well\n", trial);
                        tally->failed++;
                }
                b->items[i].failed = tally->failed != failed;
        }
}
