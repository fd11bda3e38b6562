/*
 * Which paths are artifacts, hidden or read-only: a list of rules, compiled once, of which the last that matches counts. The topmost path
 * that a rule makes an artifact is an artifact root, and no rule applies inside it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct pattern_place;
struct rules;

enum rule_route {
        RULE_SOURCE,
        RULE_ARTIFACT,
        RULE_HIDDEN,   /* absent in the mount */
        RULE_READONLY, /* the source's, but not to be changed */
};

enum rule_on_new {
        RULE_EMPTY, /* a new generation has nothing */
        RULE_COPY,  /* … or what the last one has */
};

struct rule {
        const char *pattern; /* as gitignore has them; "!" in front: what matches is the source's */
        enum rule_route route;
        const char *const *keys; /* names relative to the artifact's parent; NULL: one generation */
        size_t key_count;
        const char *salt; /* NULL: none */
        enum rule_on_new on_new;
        bool seed;          /* a generation begins with what the source has there */
        const char *origin; /* where the rule is written, for messages: "dsfs.yaml:12", "preset python" */
};

/* Copies all of it. 0 or -ENOMEM. */
int rules_new(const struct rule *list, size_t count, struct rules **ret);
void rules_free(struct rules *r);

/* In the order given. */
const struct rule *rules_list(const struct rules *r, size_t *count);

/* Whether anything can match the pattern of a rule. */
bool rules_can_match(const struct rules *r, size_t index);

/* The patterns are relative to a directory above the source, which is at `path` ("a/b") in it: a place further down is the root from now
 * on. Before anyone uses the rules. 0 or -ENOMEM. */
int rules_move_root(struct rules *r, const char *path);

/* The place of the source's root, and of the directory `name` in the one at `place`: constant, live as long as the rules. NULL without
 * memory. Any thread. */
const struct pattern_place *rules_root(const struct rules *r);
const struct pattern_place *rules_enter(const struct rules *r, const struct pattern_place *place, const char *name, size_t len);

/* The rule that the entry `name` of the directory at `place` goes by; NULL: none, it is the source's. Any thread, no lock, no allocation.
 */
const struct rule *rules_find(const struct rules *r, const struct pattern_place *place, const char *name, size_t len, bool is_dir);

/* Is `name` the last component of some rule's key? Any thread, no lock, at one cost whatever the number of rules. */
bool rules_key_name(const struct rules *r, const char *name, size_t len);

/* Is it any component of one? */
bool rules_key_part(const struct rules *r, const char *name, size_t len);

/* Does some rule seed? */
bool rules_seeded(const struct rules *r);

/* Is there a generation of what goes by the rule for each key, or is the first not empty? */
static inline bool rule_has_generations(const struct rule *r)
{
        return r && r->route == RULE_ARTIFACT && (r->key_count || r->seed);
}
