/*
 * Names in JSON. A file's name is bytes, a JSON string is Unicode: whatever is not valid UTF-8 is written as \xHH, and a backslash as two,
 * so that every name has exactly one text and every such text exactly one name. ("a\b" is the string "a\\b", before JSON's own escaping.)
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

/* A JSON string that stands for these bytes. A new reference, or NULL when there is no memory. */
json_t *bytes_to_json(const char *bytes, size_t len);

/* The bytes that a string made by bytes_to_json() stands for, NUL-terminated, in *ret (the caller frees). 0, -ENOMEM, or -EINVAL when it is
 * no string or holds an escape that bytes_to_json() never writes. */
int bytes_from_json(const json_t *value, char **ret, size_t *len);

/* As bytes_from_json(), for what must be usable as a C string: no NUL inside. NULL when it isn't, or there is no memory. */
char *path_from_json(const json_t *value);

/* A copy for people to read on a terminal: what it would obey, in any of the strings, is written as \xHH. A new reference. */
json_t *json_plain(const json_t *value);

/* The length of the valid UTF-8 sequence at `s`, or 0. */
size_t utf8_sequence(const unsigned char *s, size_t len);
