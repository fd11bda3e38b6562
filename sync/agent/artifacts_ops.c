#include "sync/agent/artifacts_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "cache/cache.h"
#include "fs/artifacts.h"
#include "sync/serve/json.h"
#include "sync/serve/why.h"

/* So many of the roots of one rule that has no key are listed one by one; of more, their sum. */
#define SINGLES_MAX 4000

static json_t *text_json(const char *text)
{
        return text ? bytes_to_json(text, strlen(text)) : json_null();
}

static json_t *texts_json(char *const *texts, size_t count)
{
        json_t *list = json_array();

        for (size_t i = 0; i < count; i++)
                json_array_append_new(list, text_json(texts[i]));
        return list;
}

static json_t *rule_json(const struct rule *r)
{
        json_t *keys;

        if (!r)
                return json_null();
        keys = json_array();
        for (size_t i = 0; i < r->key_count; i++)
                json_array_append_new(keys, text_json(r->keys[i]));
        return json_pack("{s:o, s:o, s:o, s:o, s:s, s:b}", "pattern", text_json(r->pattern), "origin", text_json(r->origin), "key", keys,
                         "salt", text_json(r->salt), "on_new", r->on_new == RULE_COPY ? "copy" : "empty", "seed", (int)r->seed);
}

static void add_size(json_t *object, const struct artifact_size *size)
{
        json_object_set_new(object, "bytes", json_integer((json_int_t)size->bytes));
        json_object_set_new(object, "files", json_integer((json_int_t)size->files));
}

static json_t *root_json(const struct artifact_root *r)
{
        json_t *m = json_pack("{s:o, s:o, s:s, s:b, s:b, s:I, s:n}", "path", text_json(r->path), "rule", rule_json(r->rule), "type",
                              r->is_dir ? "directory" : "file", "present", (int)r->there, "orphan", (int)r->orphan, "changed",
                              (json_int_t)r->changed, "key");
        json_t *generations = json_array();

        add_size(m, &r->size);
        for (size_t i = 0; i < r->generation_count; i++) {
                const struct artifact_generation *g = &r->generations[i];
                json_t *one = json_pack("{s:s, s:b, s:I}", "key", g->key, "current", (int)g->current, "used", (json_int_t)g->used);

                add_size(one, &g->size);
                json_array_append_new(generations, one);
                if (g->current)
                        json_object_set_new(m, "key", json_string(g->key));
        }
        json_object_set_new(m, "generations", generations);
        return m;
}

static json_t *snapshot_json(const struct artifact_snapshot *s)
{
        json_t *m = json_pack("{s:o, s:I, s:o}", "name", text_json(s->name), "made", (json_int_t)s->made, "paths",
                              texts_json(s->paths, s->path_count));

        add_size(m, &s->size);
        return m;
}

static bool is_single(const struct artifact_root *r)
{
        return r->orphan || !r->rule || r->rule->key_count || r->generation_count;
}

/* The roots of the rule that the `i`th goes by, if it is the first of them. */
static json_t *sum_json(const struct artifact_survey *s, size_t i)
{
        const struct rule *rule = s->roots[i].rule;
        struct artifact_size size = {0};
        size_t places = 0;
        json_t *m;

        for (size_t j = 0; j < s->root_count; j++) {
                const struct artifact_root *r = &s->roots[j];

                if (r->rule != rule || is_single(r))
                        continue;
                if (j < i)
                        return NULL;
                size.bytes += r->size.bytes;
                size.files += r->size.files;
                places++;
        }
        m = json_pack("{s:n, s:o, s:I, s:s, s:b, s:b, s:I, s:n, s:[]}", "path", "rule", rule_json(rule), "places", (json_int_t)places,
                      "type", s->roots[i].is_dir ? "directory" : "file", "present", 1, "orphan", 0, "changed",
                      (json_int_t)s->roots[i].changed, "key", "generations");
        add_size(m, &size);
        return m;
}

static json_t *roots_json(const struct artifact_survey *s)
{
        bool many = s->root_count > SINGLES_MAX;
        json_t *roots = json_array();

        for (size_t i = 0; i < s->root_count; i++) {
                json_t *m = many && !is_single(&s->roots[i]) ? sum_json(s, i) : root_json(&s->roots[i]);

                if (m)
                        json_array_append_new(roots, m);
        }
        return roots;
}

static int answer(json_t *result, json_t **ret, char **why)
{
        *ret = result;
        return result ? 0 : why_set(why, -ENOMEM, "out of memory");
}

static int do_list(struct overlay *o, const json_t *args, json_t **ret, char **why)
{
        struct artifact_survey s;
        json_t *snapshots = json_array();
        json_t *result;
        int rc = artifacts_survey(o, NULL, &s, why);

        (void)args;
        if (rc < 0) {
                json_decref(snapshots);
                return rc;
        }
        for (size_t i = 0; i < s.snapshot_count; i++)
                json_array_append_new(snapshots, snapshot_json(&s.snapshots[i]));
        result = json_pack("{s:i, s:o, s:o, s:o, s:o}", "version", ARTIFACTS_VERSION, "source", text_json(artifacts_source(o)), "roots",
                           roots_json(&s), "shadowed", texts_json(s.shadowed, s.shadowed_count), "snapshots", snapshots);
        artifacts_survey_release(&s);
        return answer(result, ret, why);
}

/*
 * One root
 */

/* What a key file is now: looked for beside the artifact, then further up. */
static json_t *key_file_json(struct overlay *o, const char *path, const char *name)
{
        CLEANUP_FREE char *at = text_new("%s/%s", artifacts_source(o), path);
        size_t source = strlen(artifacts_source(o));
        struct content hash;
        char digits[CONTENT_TEXT];

        while (at && strlen(at) > source) {
                CLEANUP_FREE char *file = NULL;

                *strrchr(at, '/') = '\0';
                file = text_new("%s/%s", at, name);
                if (file && content_of_file(AT_FDCWD, file, &hash) >= 0) {
                        content_to_text(&hash, digits);
                        return json_pack("{s:o, s:o, s:s}", "name", text_json(name), "path", text_json(file + source + 1), "hash", digits);
                }
        }
        return json_pack("{s:o, s:n, s:n}", "name", text_json(name), "path", "hash");
}

static int do_show(struct overlay *o, const json_t *args, json_t **ret, char **why)
{
        CLEANUP_FREE char *path = path_from_json(json_object_get(args, "path"));
        struct artifact_survey s;
        const struct rule *rule;
        json_t *keys;
        json_t *m;
        int rc = path ? artifacts_survey(o, path, &s, why) : why_set(why, -EINVAL, "\"path\" is a path");

        if (rc < 0)
                return rc;
        if (s.root_count == 0) {
                artifacts_survey_release(&s);
                rc = artifacts_rule(o, path, true, &rule, NULL) == 0 ? 0 : artifacts_rule(o, path, false, &rule, why);
                return rc < 0 ? rc : why_set(why, -ENOENT, "there is nothing at the artifact path %s yet", path);
        }
        m = root_json(&s.roots[0]);
        keys = json_array();
        for (size_t i = 0; s.roots[0].rule && i < s.roots[0].rule->key_count; i++)
                json_array_append_new(keys, key_file_json(o, path, s.roots[0].rule->keys[i]));
        json_object_set_new(m, "key_files", keys);
        json_object_set_new(m, "source", text_json(artifacts_source(o)));
        json_object_set_new(m, "version", json_integer(ARTIFACTS_VERSION));
        artifacts_survey_release(&s);
        return answer(m, ret, why);
}

/*
 * Changes
 */

static json_t *done_json(const char *path, const struct artifact_size *size)
{
        json_t *m = json_pack("{s:o}", "path", text_json(path));

        add_size(m, size);
        return m;
}

static int do_adopt(struct overlay *o, const json_t *args, json_t **ret, char **why)
{
        CLEANUP_FREE char *path = path_from_json(json_object_get(args, "path"));
        struct adopt_wish wish = {.move = json_is_true(json_object_get(args, "move")),
                                  .replace = json_is_true(json_object_get(args, "replace")),
                                  .dry = json_is_true(json_object_get(args, "dry"))};
        struct artifact_size size = {0};
        int rc = path ? artifacts_adopt(o, path, &wish, &size, why) : why_set(why, -EINVAL, "\"path\" is a path");

        return rc < 0 ? rc : answer(done_json(path, &size), ret, why);
}

static int do_place(struct overlay *o, const json_t *args, json_t **ret, char **why)
{
        CLEANUP_FREE char *path = path_from_json(json_object_get(args, "path"));
        CLEANUP_FREE char *name = path_from_json(json_object_get(args, "name"));
        const char *stage = json_string_value(json_object_get(args, "stage"));
        bool replace = json_is_true(json_object_get(args, "replace"));
        struct artifact_size size = {0};
        int rc;

        if (path && json_is_true(json_object_get(args, "dry"))) {
                rc = artifacts_place_ok(o, path, replace, why);
                return rc < 0 ? rc : answer(done_json(path, &size), ret, why);
        }
        if (!path || !name || !stage)
                return why_set(why, -EINVAL, "\"path\", \"stage\" and \"name\" are needed");
        rc = artifacts_place(o, stage, name, path, replace, &size, why);
        return rc < 0 ? rc : answer(done_json(path, &size), ret, why);
}

static char **paths_from_json(const json_t *list, size_t *count)
{
        char **paths = calloc(json_array_size(list) + 1, sizeof(*paths));
        const json_t *one;
        size_t i;

        *count = 0;
        json_array_foreach((json_t *)list, i, one)
        {
                if (paths && (paths[*count] = path_from_json(one)))
                        ++*count;
        }
        return paths;
}

static int do_save(struct overlay *o, const json_t *args, json_t **ret, char **why)
{
        CLEANUP_FREE char *name = path_from_json(json_object_get(args, "name"));
        struct artifact_snapshot s;
        size_t count;
        char **paths = paths_from_json(json_object_get(args, "paths"), &count);
        int rc = -EINVAL;

        if (!name || !paths || count != json_array_size(json_object_get(args, "paths")))
                why_set(why, rc, "\"name\" is a name, \"paths\" are paths");
        else
                rc = artifacts_save(o, name, (const char *const *)paths, count, json_is_true(json_object_get(args, "replace")), &s, why);
        for (size_t i = 0; paths && i < count; i++)
                free(paths[i]);
        free(paths);
        if (rc < 0)
                return rc;
        rc = answer(snapshot_json(&s), ret, why);
        artifacts_snapshot_release(&s);
        return rc;
}

static int do_restore(struct overlay *o, const json_t *args, json_t **ret, char **why)
{
        CLEANUP_FREE char *name = path_from_json(json_object_get(args, "name"));
        struct artifact_snapshot s;
        int rc = name ? artifacts_restore(o, name, &s, why) : why_set(why, -EINVAL, "\"name\" is a name");

        if (rc < 0)
                return rc;
        rc = answer(snapshot_json(&s), ret, why);
        artifacts_snapshot_release(&s);
        return rc;
}

static void pruned(void *arg, enum prune_what what, const char *path, const char *name, const struct artifact_size *size)
{
        static const char *const kinds[] = {[PRUNE_GENERATION] = "generation", [PRUNE_ORPHAN] = "orphan", [PRUNE_SNAPSHOT] = "snapshot"};
        json_t *m = json_pack("{s:s, s:o, s:o}", "kind", kinds[what], "path", text_json(path), "name", text_json(name));

        add_size(m, size);
        json_array_append_new(arg, m);
}

static int do_prune(struct overlay *o, const json_t *args, json_t **ret, char **why)
{
        json_int_t keep = json_integer_value(json_object_get(args, "keep"));
        const json_t *older = json_object_get(args, "older_than");
        struct prune_wish wish = {
                .generations = json_is_true(json_object_get(args, "generations")),
                .orphans = json_is_true(json_object_get(args, "orphans")),
                .snapshots = json_is_true(json_object_get(args, "snapshots")),
                .unsure = json_is_true(json_object_get(args, "unsure")),
                .older_than = older ? json_integer_value(older) : -1,
                .keep = keep > 0 ? (size_t)keep : 0,
                .dry = json_is_true(json_object_get(args, "dry")),
        };
        json_t *list = json_array();
        int rc = artifacts_prune(o, &wish, pruned, list, why);

        if (rc < 0) {
                json_decref(list);
                return rc;
        }
        return answer(json_pack("{s:i, s:b, s:o}", "version", ARTIFACTS_VERSION, "dry", (int)wish.dry, "removed", list), ret, why);
}

static const struct {
        const char *name;
        int (*run)(struct overlay *o, const json_t *args, json_t **ret, char **why);
} operations[] = {{"list", do_list}, {"show", do_show},       {"adopt", do_adopt}, {"place", do_place},
                  {"save", do_save}, {"restore", do_restore}, {"prune", do_prune}};

int artifacts_do(struct overlay *o, const json_t *args, json_t **ret, char **why)
{
        const char *name = json_string_value(json_object_get(args, "do"));

        for (size_t i = 0; name && i < ARRAY_LEN(operations); i++) {
                if (strcmp(operations[i].name, name) == 0)
                        return operations[i].run(o, args, ret, why);
        }
        return why_set(why, -EINVAL, "\"do\" is list, show, adopt, place, save, restore or prune");
}

json_t *artifacts_paths_of(struct overlay *o, const json_t *args)
{
        const char *what = json_string_value(json_object_get(args, "do"));
        CLEANUP_FREE char *name = path_from_json(json_object_get(args, "name"));
        struct artifact_snapshot s;
        json_t *list;

        if (!what || !name)
                return NULL;
        if (strcmp(what, "save") == 0)
                return json_incref(json_object_get(args, "paths"));
        if (strcmp(what, "restore") != 0 || artifacts_snapshot(o, name, &s, NULL) < 0)
                return NULL;
        list = texts_json(s.paths, s.path_count);
        artifacts_snapshot_release(&s);
        return list;
}

int artifacts_sum(struct overlay *o, struct artifacts_figures *ret)
{
        struct artifact_survey s;
        int rc = artifacts_survey(o, NULL, &s, NULL);

        *ret = (struct artifacts_figures){0};
        if (rc < 0)
                return rc;
        for (size_t i = 0; i < s.root_count; i++) {
                const struct artifact_root *r = &s.roots[i];

                ret->roots += !r->orphan;
                ret->orphans += r->orphan;
                ret->bytes += r->size.bytes;
                ret->generations += r->generation_count;
                for (size_t j = 0; j < r->generation_count; j++)
                        ret->bytes += r->generations[j].current ? 0 : r->generations[j].size.bytes;
        }
        for (size_t i = 0; i < s.snapshot_count; i++)
                ret->bytes += s.snapshots[i].size.bytes;
        ret->snapshots = s.snapshot_count;
        ret->shadowed = s.shadowed_count;
        artifacts_survey_release(&s);
        return 0;
}
