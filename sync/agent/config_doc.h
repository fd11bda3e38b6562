/*
 * A small YAML document as a tree that knows lines and columns: texts, lists and maps, nothing else. Bounded in size, depth and number of
 * nodes, for a checkout's file may come from anybody; no aliases, tags, merged or repeated keys.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "cache/base/err.h"

#define DOC_BYTES_MAX (256 * 1024)
#define DOC_DEPTH_MAX 8
#define DOC_NODES_MAX 20000
#define DOC_KEYS_MAX 100 /* of one map */

enum doc_kind {
        DOC_TEXT,
        DOC_LIST,
        DOC_MAP,
};

struct doc_node {
        enum doc_kind kind;
        size_t line, column; /* from 1 */
        char *text;          /* of a TEXT; owned; no NUL inside */
        /* Of an entry of a MAP. */
        char *key; /* owned */
        size_t key_line, key_column;
        /* Of a LIST or MAP. */
        struct doc_node **items; /* owned */
        size_t count;
};

/* `file` is only for messages. 0; -EINVAL and *why "file:line:column: what, and what was expected" (the caller frees); -ENOMEM and *why. */
int doc_parse(const char *file, const char *bytes, size_t len, struct doc_node **ret, char **why);
void doc_free(struct doc_node *n);

/* The text as it can be written in a document, in quotes: new, or NULL. */
char *doc_quoted(const char *text);

/* Put "file:line:column: …" in *why, and return -EINVAL. */
int doc_refuse(const char *file, size_t line, size_t column, char **why, const char *fmt, ...) PRINTF_LIKE(5, 6);
