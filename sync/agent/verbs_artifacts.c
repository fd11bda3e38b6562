#include "sync/agent/verbs_artifacts.h"

#include <errno.h>
#include <string.h>

#include "sync/agent/agent.h"
#include "sync/agent/artifacts_ops.h"
#include "sync/agent/writers.h"
#include "sync/serve/json.h"
#include "sync/serve/why.h"

#define TOLD_MAX 3 /* writers that are named */

struct busy {
        const json_t *paths; /* none: any artifact's */
        struct overlay *overlay;
        char *text; /* who; owned */
        unsigned count;
};

static bool is_below_any(const struct busy *b, const char *path)
{
        const json_t *one;
        size_t i;

        if (json_array_size(b->paths) == 0)
                return true;
        json_array_foreach((json_t *)b->paths, i, one)
        {
                CLEANUP_FREE char *root = path_from_json(one);
                size_t len = root ? strlen(root) : 0;

                if (root && strncmp(path, root, len) == 0 && (path[len] == '/' || path[len] == '\0'))
                        return true;
        }
        return false;
}

/* Without paths: is the file below some artifact at all? */
static bool is_artifact(struct busy *b, const char *path)
{
        CLEANUP_FREE char *above = strdup(path);
        const struct rule *rule;
        bool is_dir = false;

        while (above) {
                char *slash;

                if (artifacts_rule(b->overlay, above, is_dir, &rule, NULL) == 0)
                        return rule->key_count == 0;
                slash = strrchr(above, '/');
                if (!slash)
                        return false;
                *slash = '\0';
                is_dir = true;
        }
        return false;
}

static bool take_writer(void *arg, pid_t pid, const char *program, const char *path)
{
        struct busy *b = arg;
        char *text;

        if (!is_below_any(b, path) || (json_array_size(b->paths) == 0 && !is_artifact(b, path)))
                return true;
        if (b->count++ < TOLD_MAX) {
                text = text_new("%s%s%s (process %d) has %s", b->text ? b->text : "", b->text ? ", " : "", program, (int)pid, path);
                free(b->text);
                b->text = text;
        }
        return b->count <= TOLD_MAX;
}

/* -EBUSY and *why, when somebody would be surprised. */
static int check_writers(struct agent *a, const json_t *args, char **why)
{
        unsigned devices[ENGINE_MOUNTS_MAX];
        struct busy b = {.overlay = a->overlay};
        const char *what = json_string_value(json_object_get(args, "do"));
        size_t count = 0;
        json_t *paths;

        if (!what || (strcmp(what, "save") != 0 && strcmp(what, "restore") != 0))
                return 0;
        for (size_t i = 0; i < ENGINE_MOUNTS_MAX; i++) {
                struct seat *s = seat_hold(a, i);

                if (s)
                        devices[count++] = fs_mount_connection(s->mount);
                seat_let_go(s);
        }
        paths = artifacts_paths_of(a->overlay, args);
        b.paths = paths;
        writers_each(devices, count, take_writer, &b);
        json_decref(paths);
        if (!b.count)
                return 0;
        why_set(why, -EBUSY, "%s%s open for writing: stop that first, or --force", why_text(b.text),
                b.count > TOLD_MAX ? " and others have files" : "");
        free(b.text);
        return -EBUSY;
}

int verb_artifacts(void *arg, const json_t *args, json_t **ret, char **why)
{
        CLEANUP_FREE char *warning = NULL;
        struct agent *a = arg;
        int rc;

        if (!a->overlay)
                return why_set(why, -ENOENT, "no rule makes anything in %s an artifact; write some under `artifacts:` in its dsfs.yaml",
                               a->source);
        rc = check_writers(a, args, &warning);
        if (rc < 0 && !json_is_true(json_object_get(args, "force"))) {
                *why = steal_ptr(&warning);
                return rc;
        }
        rc = artifacts_do(a->overlay, args, ret, why);
        if (rc == 0 && warning)
                json_object_set_new(*ret, "warning", bytes_to_json(warning, strlen(warning)));
        figures_stale(&a->figures);
        return rc;
}
