#include "sync/agent/cmd_artifacts_do.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/log.h"
#include "sync/agent/artifacts_from.h"
#include "sync/agent/artifacts_target.h"
#include "sync/agent/cmd_artifacts_show.h"
#include "sync/serve/json.h"

/*
 * Asking
 */

static enum exit_code refused(int rc, const char *why)
{
        log_error("%s", why_text(why));
        return rc == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
}

/* The source that is meant: by --of, else by the first argument if that is a path (`where`), else by the working directory. */
static enum exit_code find_target(const struct artifacts_wish *w, const char *where, struct artifacts_target *ret)
{
        CLEANUP_FREE char *why = NULL;
        CLEANUP_FREE char *here = getcwd(NULL, 0);
        CLEANUP_FREE char *absolute = where ? artifacts_absolute(where) : NULL;
        int rc = artifacts_target_find(w->of, absolute ? absolute : here ? here : "/", ret, &why);

        if (rc == 0)
                return EXIT_OK;
        log_error("%s", why_text(why));
        return rc == -ENOENT ? EXIT_ABSENT : EXIT_FAILED;
}

/* Takes `args`. */
static enum exit_code ask(const struct artifacts_target *t, json_t *args, json_t **ret)
{
        CLEANUP_FREE char *why = NULL;
        const char *warning;
        int rc = artifacts_ask(t, args, ret, &why);

        if (rc)
                return refused(rc, why);
        warning = json_string_value(json_object_get(*ret, "warning"));
        if (warning)
                log_warn("%s", warning);
        return EXIT_OK;
}

static void print_json(const json_t *answer)
{
        (void)json_dumpf(answer, stdout, JSON_INDENT(2));
        printf("\n");
}

static json_t *path_json(const struct artifacts_target *t, const struct artifacts_wish *w, const char *arg)
{
        CLEANUP_FREE char *why = NULL;
        CLEANUP_FREE char *path = artifacts_target_path(t, arg, w->of != NULL, &why);

        if (path)
                return bytes_to_json(path, strlen(path));
        log_error("%s", why_text(why));
        return NULL;
}

/*
 * list, show
 */

static enum exit_code list_one(const struct artifacts_wish *w, const char *of)
{
        struct artifacts_target t CLEANUP(artifacts_target_release) = ARTIFACTS_TARGET_NONE;
        struct artifacts_wish mine = *w;
        json_t *answer = NULL;
        enum exit_code code;

        mine.of = of;
        code = find_target(&mine, NULL, &t);
        if (code == EXIT_OK && !t.agent && access(t.dir, F_OK) < 0) {
                log_error("%s has no artifacts yet; mounting it makes those that the rules in its dsfs.yaml name", t.source);
                return EXIT_ABSENT;
        }
        if (code == EXIT_OK)
                code = ask(&t, json_pack("{s:s}", "do", "list"), &answer);
        if (code == EXIT_OK && w->as_json)
                print_json(answer);
        else if (code == EXIT_OK)
                artifacts_print_list(answer);
        json_decref(answer);
        return code;
}

static enum exit_code list_all(const struct artifacts_wish *w)
{
        json_t *sources = artifacts_sources();
        enum exit_code worst = EXIT_OK;
        const json_t *one;
        size_t i;

        if (json_array_size(sources) == 0) {
                log_error("no source has artifacts; rules under `artifacts:` in its dsfs.yaml say what is one");
                worst = EXIT_ABSENT;
        }
        json_array_foreach(sources, i, one)
        {
                CLEANUP_FREE char *source = path_from_json(one);
                enum exit_code code = source ? list_one(w, source) : EXIT_FAILED;

                worst = worst ? worst : code;
        }
        json_decref(sources);
        return worst;
}

enum exit_code command_artifacts_list(const struct artifacts_wish *w)
{
        struct artifacts_target t CLEANUP(artifacts_target_release) = ARTIFACTS_TARGET_NONE;
        CLEANUP_FREE char *why = NULL;
        CLEANUP_FREE char *here = getcwd(NULL, 0);

        if (w->count || w->of)
                return list_one(w, w->count ? w->args[0] : w->of);
        if (artifacts_target_find(NULL, here ? here : "/", &t, &why) == 0)
                return list_one(w, t.source);
        return list_all(w);
}

enum exit_code command_artifacts_show(const struct artifacts_wish *w)
{
        struct artifacts_target t CLEANUP(artifacts_target_release) = ARTIFACTS_TARGET_NONE;
        enum exit_code code = find_target(w, w->args[0], &t);
        json_t *answer = NULL;
        json_t *path;

        if (code)
                return code;
        path = path_json(&t, w, w->args[0]);
        if (!path)
                return EXIT_USAGE;
        code = ask(&t, json_pack("{s:s, s:o}", "do", "show", "path", path), &answer);
        if (code == EXIT_OK && w->as_json)
                print_json(answer);
        else if (code == EXIT_OK)
                artifacts_print_root(answer);
        json_decref(answer);
        return code;
}

/*
 * adopt
 */

static void print_done(const struct artifacts_wish *w, const json_t *answer, const char *did, const char *would)
{
        if (w->as_json) {
                print_json(answer);
                return;
        }
        printf("%s ", w->dry ? would : did);
        print_name(json_string_value(json_object_get(answer, "path")));
        printf(": %s in %" JSON_INTEGER_FORMAT " files\n", amount_of(json_integer_value(json_object_get(answer, "bytes"))).text,
               json_integer_value(json_object_get(answer, "files")));
}

static enum exit_code adopt_source(const struct artifacts_wish *w, const struct artifacts_target *t, const char *arg)
{
        json_t *path = path_json(t, w, arg);
        json_t *answer = NULL;
        enum exit_code code;

        if (!path)
                return EXIT_USAGE;
        code = ask(t,
                   json_pack("{s:s, s:o, s:b, s:b, s:b}", "do", "adopt", "path", path, "move", (int)w->move, "replace", (int)w->replace,
                             "dry", (int)w->dry),
                   &answer);
        if (code == EXIT_OK)
                print_done(w, answer, w->move ? "moved" : "copied", w->move ? "would move" : "would copy");
        json_decref(answer);
        return code;
}

/* The stage has to be there before an overlay is opened for the first time. */
static enum exit_code adopt_fetched(const struct artifacts_wish *w, const struct artifacts_target *t, const char *path)
{
        struct artifact_stage stage CLEANUP(artifacts_stage_end) = ARTIFACT_STAGE_NONE;
        const char *slash = strrchr(path, '/');
        CLEANUP_FREE char *name = NULL;
        CLEANUP_FREE char *why = NULL;
        json_t *answer = NULL;
        enum exit_code code;
        int rc = artifacts_stage_at(t->dir, &stage, &why);

        if (rc == 0)
                rc = artifacts_fetch(w->from, slash ? slash + 1 : path, &stage, &name, &why);
        if (rc)
                return refused(rc == -EINVAL ? -EBADMSG : rc, why);
        code = ask(t,
                   json_pack("{s:s, s:o, s:s, s:s, s:b}", "do", "place", "path", bytes_to_json(path, strlen(path)), "stage", stage.name,
                             "name", name, "replace", (int)w->replace),
                   &answer);
        if (code == EXIT_OK)
                print_done(w, answer, "adopted", "would adopt");
        json_decref(answer);
        return code;
}

static enum exit_code adopt_from(const struct artifacts_wish *w, const struct artifacts_target *t)
{
        CLEANUP_FREE char *why = NULL;
        CLEANUP_FREE char *path = artifacts_target_path(t, w->args[0], w->of != NULL, &why);
        json_t *answer = NULL;
        enum exit_code code;

        if (!path)
                return refused(-EINVAL, why);
        /* Before anything is fetched: is that a place for it? */
        code = ask(t,
                   json_pack("{s:s, s:o, s:s, s:s, s:b, s:b}", "do", "place", "path", bytes_to_json(path, strlen(path)), "stage", "",
                             "name", "", "replace", (int)w->replace, "dry", 1),
                   &answer);
        json_decref(answer);
        if (code == EXIT_OK && w->dry)
                printf("would adopt %s from %s\n", path, w->from);
        return code || w->dry ? code : adopt_fetched(w, t, path);
}

enum exit_code command_artifacts_adopt(const struct artifacts_wish *w)
{
        struct artifacts_target t CLEANUP(artifacts_target_release) = ARTIFACTS_TARGET_NONE;
        enum exit_code worst = find_target(w, w->args[0], &t);

        if (worst)
                return worst;
        if (w->from && (w->count != 1 || w->move))
                return command_usage("artifacts adopt", "--from takes one PATH, and never moves");
        if (w->from)
                return adopt_from(w, &t);
        for (size_t i = 0; i < w->count; i++) {
                enum exit_code code = adopt_source(w, &t, w->args[i]);

                worst = worst ? worst : code;
        }
        return worst;
}

/*
 * save, restore
 */

static void print_snapshot(const struct artifacts_wish *w, const json_t *answer, const char *did)
{
        const json_t *path;
        size_t i;

        if (w->as_json) {
                print_json(answer);
                return;
        }
        printf("%s ", did);
        print_name(json_string_value(json_object_get(answer, "name")));
        printf(", %s in %" JSON_INTEGER_FORMAT " files:", amount_of(json_integer_value(json_object_get(answer, "bytes"))).text,
               json_integer_value(json_object_get(answer, "files")));
        json_array_foreach(json_object_get(answer, "paths"), i, path)
        {
                putchar(' ');
                print_name(json_string_value(path));
        }
        putchar('\n');
}

enum exit_code command_artifacts_save(const struct artifacts_wish *w)
{
        struct artifacts_target t CLEANUP(artifacts_target_release) = ARTIFACTS_TARGET_NONE;
        enum exit_code code = find_target(w, w->count > 1 ? w->args[1] : NULL, &t);
        json_t *answer = NULL;
        json_t *paths;

        if (code)
                return code;
        paths = json_array();
        for (size_t i = 1; i < w->count; i++) {
                json_t *path = path_json(&t, w, w->args[i]);

                if (!path) {
                        json_decref(paths);
                        return EXIT_USAGE;
                }
                json_array_append_new(paths, path);
        }
        code = ask(&t,
                   json_pack("{s:s, s:o, s:o, s:b, s:b}", "do", "save", "name", bytes_to_json(w->args[0], strlen(w->args[0])), "paths",
                             paths, "replace", (int)w->replace, "force", (int)w->force),
                   &answer);
        if (code == EXIT_OK)
                print_snapshot(w, answer, "saved");
        json_decref(answer);
        return code;
}

enum exit_code command_artifacts_restore(const struct artifacts_wish *w)
{
        struct artifacts_target t CLEANUP(artifacts_target_release) = ARTIFACTS_TARGET_NONE;
        enum exit_code code = find_target(w, NULL, &t);
        json_t *answer = NULL;

        if (code)
                return code;
        code = ask(&t,
                   json_pack("{s:s, s:o, s:b}", "do", "restore", "name", bytes_to_json(w->args[0], strlen(w->args[0])), "force",
                             (int)w->force),
                   &answer);
        if (code == EXIT_OK)
                print_snapshot(w, answer, "restored");
        if (code == EXIT_OK && !w->as_json)
                printf("What it replaced is the snapshot %s.\n", ARTIFACT_BEFORE);
        json_decref(answer);
        return code;
}

/*
 * prune
 */

enum exit_code command_artifacts_prune(const struct artifacts_wish *w)
{
        struct artifacts_target t CLEANUP(artifacts_target_release) = ARTIFACTS_TARGET_NONE;
        bool some = w->orphans || w->snapshots;
        struct artifacts_wish mine = *w;
        json_t *answer = NULL;
        json_t *args;
        enum exit_code code;

        if (w->count)
                mine.of = w->args[0];
        code = find_target(&mine, NULL, &t);
        if (code)
                return code;
        args = json_pack("{s:s, s:b, s:b, s:b, s:I, s:I, s:b}", "do", "prune", "generations", w->all || !some, "orphans",
                         w->all || w->orphans, "snapshots", w->all || w->snapshots, "older_than", w->older_than, "keep", w->keep, "dry",
                         (int)w->dry);
        code = ask(&t, args, &answer);
        if (code == EXIT_OK && w->as_json)
                print_json(answer);
        else if (code == EXIT_OK)
                artifacts_print_pruned(answer);
        json_decref(answer);
        return code;
}
