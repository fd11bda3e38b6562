/*
 * What `dsfs artifacts` prints: tables for people, plain numbers when nobody looks at them.
 */
#pragma once

#include <jansson.h>

/* Answers of artifacts_do(). */
void artifacts_print_list(const json_t *list);
void artifacts_print_root(const json_t *root);
void artifacts_print_pruned(const json_t *pruned);

/* "12.3 MiB", or bytes as they are when standard output is no terminal. */
struct amount {
        char text[24];
};
struct amount amount_of(json_int_t bytes);

/* A name as a line can have it. */
void print_name(const char *text);
