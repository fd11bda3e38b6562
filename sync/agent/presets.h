/*
 * Rules for kinds of projects, ready made. They name only what tools alone write: a directory that people write by hand in some projects
 * (dist/, build/, coverage/) is in none of them.
 */
#pragma once

#include "sync/agent/rule_list.h"

#define PRESET_KEYS_MAX 6

struct preset_rule {
        const char *pattern; /* NULL: the end */
        const char *keys[PRESET_KEYS_MAX];
        enum rule_on_new on_new;
};

struct preset {
        const char *name;
        const char *about;
        const struct preset_rule *rules;
};

const struct preset *presets(size_t *count);

/* NULL if there is none. */
const struct preset *preset_find(const char *name);

/* Append its rules with the seed of `like`, and those that have keys with its salt and its on_new (RULE_EMPTY: the preset's). `origin` is
 * where it is written. 0 or -ENOMEM. */
int preset_add(const struct preset *p, const struct rule *like, const char *origin, struct rule_list *l);
