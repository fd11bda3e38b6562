#include "sync/agent/ruling.h"

#include <errno.h>
#include <string.h>

#include "sync/agent/config_doc.h"
#include "sync/agent/ignore_file.h"
#include "sync/agent/ignored.h"
#include "sync/serve/why.h"

#define LINES_MAX 10

static void free_texts(char **list, size_t count)
{
        for (size_t i = 0; i < count; i++)
                free(list[i]);
        free(list);
}

void ruling_release(struct ruling *r)
{
        rules_free(r->rules);
        free_texts(r->shadowed, r->shadowed_count);
        free_texts(r->lists, r->list_count);
        free(r->git_dir);
        free(r->note);
        memset(r, 0, sizeof(*r));
}

/* The list, relative to the working tree that the source is in at `prefix`. Its other texts are still the old one's. */
static int anchor(const struct rule_list *from, const char *prefix, struct rule_list *ret)
{
        int rc = 0;

        for (size_t i = 0; i < from->count && rc == 0; i++) {
                struct rule r = from->rules[i];

                r.pattern = ignore_anchor(ret, prefix, r.pattern);
                rc = rule_list_add(ret, r);
        }
        return rc;
}

/* The rule that the path (a directory's with a slash behind) is under. */
static const struct rule *rule_of(const struct rules *rules, const char *path)
{
        const struct pattern_place *place = rules_root(rules);
        const struct rule *r = NULL;

        while (*path && !r && place) {
                size_t len = strcspn(path, "/");

                r = rules_find(rules, place, path, len, path[len] == '/');
                place = rules_enter(rules, place, path, len);
                path += len + (path[len] == '/');
        }
        return r;
}

/* Of what git ignores, what other rules don't decide: theirs was said by hand. */
static void take_shadowed(struct ignored *ignored, struct ruling *ret)
{
        size_t all, n = 0;
        const struct rule *list = rules_list(ret->rules, &all);

        for (size_t i = 0; i < ignored->found_count; i++) {
                const struct rule *r = rule_of(ret->rules, ignored->found[i]);

                if (r && r->route == RULE_ARTIFACT && (size_t)(r - list) < ignored->rules.count)
                        ignored->found[n++] = ignored->found[i];
                else
                        free(ignored->found[i]);
        }
        ret->shadowed = ignored->found;
        ret->shadowed_count = n;
        ret->shadowed_more = ignored->found_more > 0;
        ignored->found = NULL;
        ignored->found_count = 0;
}

static int compile(const struct config *c, struct ignored *ignored, struct ruling *ret)
{
        struct rule_list keep CLEANUP(rule_list_release) = {0};
        struct rule_list artifacts CLEANUP(rule_list_release) = {0};
        const struct rule_list *lists[] = {&ignored->rules, &keep, &artifacts};
        int rc = anchor(&c->keep, ignored->prefix, &keep);

        if (rc == 0)
                rc = anchor(&c->artifacts, ignored->prefix, &artifacts);
        if (rc == 0)
                rc = rule_list_compile(lists, ARRAY_LEN(lists), &ret->rules);
        return rc ? rc : rules_move_root(ret->rules, ignored->prefix);
}

static int make_with_git(const struct config *c, struct ruling *ret, char **why)
{
        struct ignored ignored CLEANUP(ignored_release) = {0};
        int rc = ignored_find(c->source, &ignored, why);

        if (rc)
                return rc;
        if (compile(c, &ignored, ret)) {
                ruling_release(ret);
                return why_set(why, -ENOMEM, "out of memory");
        }
        take_shadowed(&ignored, ret);
        ret->note = steal_ptr(&ignored.note);
        ret->git_dir = steal_ptr(&ignored.git_dir);
        ret->lists = steal_ptr(&ignored.lists);
        ret->list_count = ignored.list_count;
        ignored.list_count = 0;
        return 0;
}

int ruling_make(const struct config *c, struct ruling *ret, char **why)
{
        const struct rule_list *lists[] = {&c->artifacts};

        memset(ret, 0, sizeof(*ret));
        if (c->options.gitignored)
                return make_with_git(c, ret, why);
        if (c->artifacts.count && rule_list_compile(lists, 1, &ret->rules))
                return why_set(why, -ENOMEM, "out of memory");
        return 0;
}

void ruling_tell_shadowed(const struct ruling *r, void (*say)(void *arg, const char *line), void *arg)
{
        size_t shown = r->shadowed_count < LINES_MAX ? r->shadowed_count : LINES_MAX;

        if (shown)
                say(arg, "the mount has its own of these, which git ignores; a line of `keep` in dsfs.yaml shows the source's:");
        for (size_t i = 0; i < shown; i++) {
                struct rule_list texts CLEANUP(rule_list_release) = {0};
                const char *path = r->shadowed[i];
                const char *pattern = ignore_exactly(&texts, "", "", path, strlen(path), "");
                CLEANUP_FREE char *quoted = doc_quoted(why_text(pattern));
                CLEANUP_FREE char *line = text_new("  %-32s keep: [%s]", path, why_text(quoted));

                say(arg, why_text(line));
        }
        if (r->shadowed_count > shown) {
                CLEANUP_FREE char *line = text_new("  and %zu%s more", r->shadowed_count - shown, r->shadowed_more ? " or" : "");

                say(arg, why_text(line));
        }
}
