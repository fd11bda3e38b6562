/*
 * JSON against a schema of packaging/schema: as much of JSON Schema as those use (type, enum, const, minimum, pattern, items, properties,
 * required, additionalProperties, definitions). `make check-docs` holds the schemas themselves against the real thing.
 */
#pragma once

#include <jansson.h>

/* NULL when `value` is what packaging/schema/<name>.schema.json says; else what is wrong with it, in a static buffer. */
const char *schema_violation(const char *name, const json_t *value);
