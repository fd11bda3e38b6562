/*
 * A directory that git ignores can't be an artifact as a whole when something in it is tracked: it is the source's, and all that is in it
 * is an artifact but for what is tracked, or leads to that.
 */
#include "sync/agent/ignored_tracked.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "sync/agent/git.h"
#include "sync/agent/ignore_file.h"
#include "sync/serve/why.h"

static int add_exception(struct ignored *i, const char *pattern, enum rule_route route, const char *origin)
{
        return rule_list_add(&i->rules, (struct rule){.pattern = pattern, .route = route, .origin = origin});
}

/* How much of `path` lies above the entry that the rules make an artifact; -1 if they make none of it one. */
static ssize_t ignored_from(const struct rules *rules, const char *path)
{
        const struct pattern_place *place = rules_root(rules);

        for (const char *at = path; *at;) {
                size_t len = strcspn(at, "/");
                const struct rule *r = place ? rules_find(rules, place, at, len, at[len] == '/') : NULL;

                if (r)
                        return at - path;
                place = place ? rules_enter(rules, place, at, len) : NULL;
                at += len + (at[len] == '/');
        }
        return -1;
}

/* How many bytes two paths have in common, in whole components: "a/b/c" and "a/b/d" have "a/b/". */
static size_t common(const char *a, const char *b)
{
        size_t whole = 0;

        for (size_t i = 0; a[i] && a[i] == b[i]; i++)
                whole = a[i] == '/' ? i + 1 : whole;
        return whole;
}

/* `path` stays the source's, and so must the directories on the way, though nothing else in those that are ignored. What `before` (the
 * one before it in order) has in common with it is done. */
static int keep_tracked(struct ignored *i, const struct rules *rules, const char *path, const char *before)
{
        struct rule_list *l = &i->rules;
        ssize_t from = ignored_from(rules, path);
        size_t done = common(path, before);
        int rc = 0;

        if (from < 0)
                return 0;
        for (const char *slash = strchr(path + from, '/'); slash && slash[1] && rc == 0; slash = strchr(slash + 1, '/')) {
                size_t len = (size_t)(slash - path);

                if (len < done)
                        continue;
                rc = add_exception(i, ignore_exactly(l, "!", i->prefix, path, len, "/"), RULE_SOURCE, "tracked by git");
                if (rc == 0)
                        rc = add_exception(i, ignore_exactly(l, "", i->prefix, path, len, "/*"), RULE_ARTIFACT, "beside what git tracks");
        }
        return rc ? rc : add_exception(i, ignore_exactly(l, "!", i->prefix, path, strlen(path), ""), RULE_SOURCE, "tracked by git");
}

/* A submodule is tracked as one entry, and all in it is its own. */
static int keep_submodule(struct ignored *i, const char *source, const char *path)
{
        CLEANUP_FREE char *full = text_new("%s/%s", source, path);
        struct stat st;

        if (!full)
                return -ENOMEM;
        if (lstat(full, &st) < 0 || !S_ISDIR(st.st_mode))
                return 0;
        return add_exception(i, ignore_exactly(&i->rules, "!", i->prefix, path, strlen(path), "/**"), RULE_SOURCE, "another repository");
}

static int keep_all_tracked(struct ignored *i, const char *source, const struct git_answer *a, char **why)
{
        const struct rule_list *lists[] = {&i->rules};
        const char *before = "";
        struct rules *rules;
        int rc = rule_list_compile(lists, 1, &rules);

        if (rc)
                return rc;
        rc = rules_move_root(rules, i->prefix);
        for (const char *path = a->text; path < a->text + a->len && rc == 0; path += strlen(path) + 1) {
                rc = keep_tracked(i, rules, path, before);
                if (rc == 0)
                        rc = keep_submodule(i, source, path);
                before = path;
                if (rc == 0 && i->rules.count > 2 * IGNORED_RULES_MAX)
                        rc = why_set(why, -E2BIG, "git tracks too many files in %s that it would ignore; set gitignored: off", source);
        }
        rules_free(rules);
        return rc;
}

int ignored_keep_tracked(struct ignored *i, const char *source, char **why)
{
        static const char *const args[] = {"ls-files", "-z", "-c", "-i", "--exclude-standard", NULL};
        struct git_answer a CLEANUP(git_answer_release) = {0};
        int rc = git_ask(source, args, &a, why);

        if (rc)
                return rc;
        if (a.status)
                return why_set(why, -EPERM, "git won't say what it tracks in %s: %s", source, a.said);
        return keep_all_tracked(i, source, &a, why);
}
