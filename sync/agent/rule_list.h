/*
 * A list of rules in the making, with all the texts that they point to.
 */
#pragma once

#include "cache/base/err.h"
#include "fs/artifacts.h"

struct rule_text;

struct rule_list {
        struct rule *rules; /* owned */
        size_t count, room;
        struct rule_text *texts; /* owned */
};

void rule_list_release(struct rule_list *l);

/* A text that lives as long as the list. NULL without memory. */
const char *rule_list_text(struct rule_list *l, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Room for `count` texts and a NULL, zeroed, that lives as long as the list. NULL without memory. */
const char **rule_list_texts(struct rule_list *l, size_t count);

/* Append it: what it points to must live as long as the list. 0; -ENOMEM, also when its pattern or origin is NULL for want of memory. */
int rule_list_add(struct rule_list *l, struct rule r);

/* The rules of several lists, one after the other, compiled. 0 or -ENOMEM. */
int rule_list_compile(const struct rule_list *const lists[], size_t count, struct rules **ret);

/* 0 for NULL. */
size_t rules_count(const struct rules *rules);

/* Do both say the same, wherever it is written? NULL is none. */
bool rules_same(const struct rules *a, const struct rules *b);
