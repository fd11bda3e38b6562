#include "sync/agent/config_artifacts.h"

#include <errno.h>
#include <string.h>

#include "sync/agent/config_keys.h"
#include "sync/agent/presets.h"
#include "sync/serve/why.h"

/* What people write themselves, for this place only: secrets and settings, editors' folders. */
static const char *const default_keep[] = {".env*", "*.local", ".idea/", ".vscode/", ".zed/", ".fleet/", "*.swp", "*~"};

static int no_memory(char **why)
{
        return why_set(why, -ENOMEM, "out of memory");
}

static int refuse(const struct config_scope *s, const struct doc_node *n, char **why, const char *what, const char *expected)
{
        return doc_refuse(s->file, n->line, n->column, why, "%s%s%s; expected is %s", what, n->kind == DOC_TEXT ? " is " : "",
                          n->kind == DOC_TEXT  ? (*n->text ? n->text : "nothing")
                          : n->kind == DOC_MAP ? " is a map"
                                               : " is a list",
                          expected);
}

/* Whether a component of the path is this. */
static bool has_component(const char *path, const char *name)
{
        size_t len = strlen(name);

        for (const char *at = path;; at++) {
                size_t n = strcspn(at, "/");

                if (n == len && memcmp(at, name, len) == 0)
                        return true;
                at += n;
                if (!*at)
                        return false;
        }
}

/* Why nothing can match the pattern, or NULL. */
static const char *bad_pattern(const char *pattern)
{
        struct rules *rules;
        struct rule r = {.pattern = pattern};
        bool works;

        if (has_component(pattern, ".") || has_component(pattern, ".."))
                return "a pattern relative to the source's root, without . and ..";
        if (rules_new(&r, 1, &rules))
                return NULL;
        works = rules_can_match(rules, 0);
        rules_free(rules);
        return works ? NULL : "a pattern as in .gitignore that can match something (mind open brackets, and a backslash at the end)";
}

static int check_pattern(const struct config_scope *s, const struct doc_node *n, const char *what, char **why)
{
        const char *expected;

        if (n->kind != DOC_TEXT || !*n->text)
                return refuse(s, n, why, what, "a pattern as in .gitignore");
        expected = bad_pattern(n->text);
        return expected ? refuse(s, n, why, what, expected) : 0;
}

/*
 * artifacts
 */

struct entry {
        struct config_artifact set;
        const struct doc_node *path, *preset, *key, *route;
};

static void release_entry(struct entry *e)
{
        free(e->set.path);
        free(e->set.preset);
        free(e->set.salt);
}

static int check_key(const struct config_scope *s, const struct doc_node *n, char **why)
{
        if (n->kind != DOC_LIST || n->count == 0)
                return refuse(s, n, why, "key", "a list of paths, as [package-lock.json]");
        for (size_t i = 0; i < n->count; i++) {
                const struct doc_node *k = n->items[i];

                if (k->kind != DOC_TEXT || !*k->text || *k->text == '/' || has_component(k->text, "") || has_component(k->text, ".") ||
                    has_component(k->text, ".."))
                        return refuse(s, k, why, "key", "a path relative to the artifact's directory, without . and ..");
        }
        return 0;
}

static int take_field(const struct config_scope *s, struct entry *e, const struct doc_node *n, char **why)
{
        size_t count;
        const struct config_key *keys = config_artifact_keys(&count);
        const struct config_key *k = config_key_find(keys, count, n->key);
        CLEANUP_FREE char *names = k ? NULL : config_key_names(keys, count, 0);

        if (!k)
                return doc_refuse(s->file, n->key_line, n->key_column, why,
                                  "there is no key %s in an entry of artifacts; expected is one of %s", n->key, why_text(names));
        if (k->kind == CONFIG_LIST) {
                e->key = n;
                return check_key(s, n, why);
        }
        if (n->kind != DOC_TEXT || !config_key_set(&e->set, k, n->text))
                return refuse(s, n, why, k->name, k->allowed);
        if (strcmp(k->name, "path") == 0)
                e->path = n;
        else if (strcmp(k->name, "preset") == 0)
                e->preset = n;
        else if (strcmp(k->name, "route") == 0)
                e->route = n;
        return 0;
}

/* What makes no sense together. */
static int check_entry(const struct config_scope *s, const struct entry *e, const struct doc_node *n, char **why)
{
        size_t count;
        const struct preset *list = presets(&count);
        CLEANUP_FREE char *names = NULL;

        if (!e->path == !e->preset)
                return doc_refuse(s->file, n->line, n->column, why, "this entry has %s; expected is exactly one of path and preset",
                                  e->path ? "path and preset" : "neither path nor preset");
        if (e->preset && (e->key || e->route))
                return doc_refuse(s->file, (e->key ? e->key : e->route)->key_line, (e->key ? e->key : e->route)->key_column, why,
                                  "a preset has keys and routes of its own; expected is %s only beside path", e->key ? "key" : "route");
        if (e->key && e->set.route != RULE_ARTIFACT)
                return doc_refuse(s->file, e->key->key_line, e->key->key_column, why,
                                  "only artifacts have generations; expected is key only beside route: artifact");
        if (e->path)
                return check_pattern(s, e->path, "path", why);
        if (preset_find(e->set.preset))
                return 0;
        for (size_t i = 0; i < count; i++) {
                CLEANUP_FREE char *before = names;

                names = text_new("%s%s%s", before ? before : "", before ? ", " : "", list[i].name);
        }
        return refuse(s, e->preset, why, "preset", why_text(names));
}

static int add_entry(const struct config_scope *s, const struct entry *e, const struct doc_node *n, struct rule_list *l)
{
        struct rule r = {
                .route = e->set.route,
                .on_new = e->set.on_new,
                .seed = e->set.seed,
                .salt = e->set.salt && *e->set.salt ? rule_list_text(l, "%s", e->set.salt) : NULL,
                .origin = rule_list_text(l, "%s:%zu", s->origin, n->line),
        };
        size_t count = e->key ? e->key->count : 0;
        const char **keys = count ? rule_list_texts(l, count) : NULL;

        if (!r.origin || (e->set.salt && *e->set.salt && !r.salt) || (count && !keys))
                return -ENOMEM;
        if (e->preset)
                return preset_add(preset_find(e->set.preset), &r, r.origin, l);
        for (size_t i = 0; i < count; i++) {
                keys[i] = rule_list_text(l, "%s", e->key->items[i]->text);
                if (!keys[i])
                        return -ENOMEM;
        }
        r.keys = keys;
        r.key_count = count;
        r.pattern = rule_list_text(l, "%s", e->set.path);
        return rule_list_add(l, r);
}

static int take_entry(const struct config_scope *s, const struct doc_node *n, struct rule_list *l, char **why)
{
        struct entry e CLEANUP(release_entry) = {.set = {.route = RULE_ARTIFACT}};
        int rc = 0;

        if (n->kind != DOC_MAP)
                return refuse(s, n, why, "an entry of artifacts", "a map with path or preset");
        for (size_t i = 0; i < n->count && rc == 0; i++)
                rc = take_field(s, &e, n->items[i], why);
        if (rc == 0)
                rc = check_entry(s, &e, n, why);
        if (rc == 0 && add_entry(s, &e, n, l))
                rc = no_memory(why);
        return rc;
}

int config_take_artifacts(const struct config_scope *scope, const struct doc_node *n, struct rule_list *l, char **why)
{
        int rc = 0;

        if (n->kind != DOC_LIST)
                return refuse(scope, n, why, "artifacts", "a list of rules");
        for (size_t i = 0; i < n->count && rc == 0; i++)
                rc = take_entry(scope, n->items[i], l, why);
        return rc;
}

/*
 * keep
 */

static int add_kept(struct rule_list *l, const char *pattern, const char *origin)
{
        return rule_list_add(l, (struct rule){.pattern = rule_list_text(l, "!%s", pattern), .route = RULE_SOURCE, .origin = origin});
}

int config_take_keep(const struct config_scope *scope, const struct doc_node *n, struct rule_list *l, char **why)
{
        int rc = 0;

        if (n->kind != DOC_LIST)
                return refuse(scope, n, why, "keep", "a list of patterns, as [\".env*\"]");
        rule_list_release(l);
        for (size_t i = 0; i < n->count && rc == 0; i++) {
                const struct doc_node *p = n->items[i];

                rc = check_pattern(scope, p, "keep", why);
                if (rc == 0 && *p->text == '!')
                        rc = refuse(scope, p, why, "keep", "a pattern without ! in front: what is not kept need not be named");
                if (rc == 0 && add_kept(l, p->text, rule_list_text(l, "keep, %s:%zu", scope->origin, p->line)))
                        rc = no_memory(why);
        }
        return rc;
}

int config_add_default_keep(struct rule_list *l)
{
        int rc = 0;

        for (size_t i = 0; i < ARRAY_LEN(default_keep) && rc == 0; i++)
                rc = add_kept(l, default_keep[i], "keep, default");
        return rc;
}
