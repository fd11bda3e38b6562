#include "tests/lib/schema.h"

#include <regex.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 32

struct check {
        const json_t *root;
        char said[1024];
        char path[256];
};

static bool is_object(const json_t *v)
{
        return json_is_object(v);
}
static bool is_array(const json_t *v)
{
        return json_is_array(v);
}
static bool is_string(const json_t *v)
{
        return json_is_string(v);
}
static bool is_integer(const json_t *v)
{
        return json_is_integer(v);
}
static bool is_number(const json_t *v)
{
        return json_is_number(v);
}
static bool is_boolean(const json_t *v)
{
        return json_is_boolean(v);
}
static bool is_null(const json_t *v)
{
        return json_is_null(v);
}

static const struct {
        const char *name;
        bool (*is)(const json_t *v);
} types[] = {{"object", is_object}, {"array", is_array},     {"string", is_string}, {"integer", is_integer},
             {"number", is_number}, {"boolean", is_boolean}, {"null", is_null}};

static bool wrong(struct check *c, const char *what, const char *detail)
{
        snprintf(c->said, sizeof(c->said), "%s: %s%s", *c->path ? c->path : "(all of it)", what, detail);
        return false;
}

static bool is_type(const char *name, const json_t *value)
{
        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
                if (strcmp(types[i].name, name) == 0)
                        return types[i].is(value);
        }
        return false;
}

static bool has_type(const json_t *wanted, const json_t *value)
{
        size_t i;
        json_t *one;

        if (json_is_string(wanted))
                return is_type(json_string_value(wanted), value);
        json_array_foreach(wanted, i, one)
        {
                if (is_type(json_string_value(one), value))
                        return true;
        }
        return !wanted;
}

static bool is_one_of(const json_t *list, const json_t *value)
{
        size_t i;
        json_t *one;

        json_array_foreach(list, i, one)
        {
                if (json_equal(one, value))
                        return true;
        }
        return !list;
}

static bool matches(const json_t *pattern, const json_t *value)
{
        regex_t r;
        bool yes;

        if (!json_is_string(pattern) || !json_is_string(value))
                return true;
        if (regcomp(&r, json_string_value(pattern), REG_EXTENDED | REG_NOSUB))
                return false;
        yes = regexec(&r, json_string_value(value), 0, NULL, 0) == 0;
        regfree(&r);
        return yes;
}

static bool holds(struct check *c, const json_t *schema, const json_t *value, int depth);

static bool holds_below(struct check *c, const json_t *schema, const json_t *value, const char *name, int depth)
{
        size_t len = strlen(c->path);
        bool yes;

        snprintf(c->path + len, sizeof(c->path) - len, "/%s", name);
        yes = holds(c, schema, value, depth + 1);
        if (yes)
                c->path[len] = '\0';
        return yes;
}

static bool holds_object(struct check *c, const json_t *schema, json_t *value, int depth)
{
        const json_t *known = json_object_get(schema, "properties");
        const json_t *others = json_object_get(schema, "additionalProperties");
        const char *key;
        json_t *member;
        size_t i;

        json_array_foreach(json_object_get(schema, "required"), i, member)
        {
                if (!json_object_get(value, json_string_value(member)))
                        return wrong(c, "there is no ", json_string_value(member));
        }
        json_object_foreach(value, key, member)
        {
                const json_t *s = json_object_get(known, key);

                if (!s && json_is_false(others))
                        return wrong(c, "the schema (packaging/schema) does not know ", key);
                s = s ? s : others;
                if (json_is_object(s) && !holds_below(c, s, member, key, depth))
                        return false;
        }
        return true;
}

static bool holds(struct check *c, const json_t *schema, const json_t *value, int depth)
{
        static const char definitions[] = "#/definitions/";
        const char *ref = json_string_value(json_object_get(schema, "$ref"));
        const json_t *least = json_object_get(schema, "minimum");
        const json_t *only = json_object_get(schema, "const");
        json_t *item;
        size_t i;

        if (depth > DEPTH_MAX)
                return wrong(c, "too deep", "");
        if (ref && strncmp(ref, definitions, sizeof(definitions) - 1) == 0)
                return holds(c, json_object_get(json_object_get(c->root, "definitions"), ref + sizeof(definitions) - 1), value, depth + 1);
        if (!json_is_object(schema))
                return wrong(c, "the schema has nothing for it", "");
        if (!has_type(json_object_get(schema, "type"), value))
                return wrong(c, "it is of another type", "");
        if (!is_one_of(json_object_get(schema, "enum"), value) || (only && !json_equal(only, value)))
                return wrong(c, "it has none of the values that it may have", "");
        if (json_is_number(least) && json_is_number(value) && json_number_value(value) < json_number_value(least))
                return wrong(c, "it is too small", "");
        if (!matches(json_object_get(schema, "pattern"), value))
                return wrong(c, "it doesn't match the pattern", "");
        json_array_foreach(value, i, item)
        {
                char name[24];

                snprintf(name, sizeof(name), "%zu", i);
                if (json_object_get(schema, "items") && !holds_below(c, json_object_get(schema, "items"), item, name, depth))
                        return false;
        }
        return !json_is_object(value) || holds_object(c, schema, (json_t *)value, depth);
}

const char *schema_violation(const char *name, const json_t *value)
{
        static struct check c;
        const char *dir = getenv("DSFS_SCHEMAS");
        char path[512];
        json_t *schema;
        bool yes;

        snprintf(path, sizeof(path), "%s/%s.schema.json", dir ? dir : "packaging/schema", name);
        schema = json_load_file(path, 0, NULL);
        memset(&c, 0, sizeof(c));
        c.root = schema;
        yes = schema ? holds(&c, schema, value, 0) : wrong(&c, "no schema at ", path);
        json_decref(schema);
        return yes ? NULL : c.said;
}
