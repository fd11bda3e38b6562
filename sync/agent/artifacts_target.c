#include "sync/agent/artifacts_target.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/log.h"
#include "fs/artifacts.h"
#include "sync/agent/artifacts_ops.h"
#include "sync/agent/cmd.h"
#include "sync/agent/config.h"
#include "sync/agent/paths.h"
#include "sync/agent/ruling.h"
#include "sync/agent/state.h"
#include "sync/serve/json.h"
#include "sync/serve/why.h"

void artifacts_target_release(struct artifacts_target *t)
{
        record_list_release(&t->records);
        free(t->run);
        free(t->source);
        free(t->dir);
}

/*
 * Paths
 */

char *artifacts_absolute(const char *arg)
{
        CLEANUP_FREE char *here = *arg == '/' ? NULL : getcwd(NULL, 0);
        CLEANUP_FREE char *whole = *arg == '/' ? strdup(arg) : here ? text_new("%s/%s", here, arg) : NULL;
        char *ret = whole ? calloc(1, strlen(whole) + 2) : NULL;
        char *end = ret;

        for (const char *at = whole; ret && *at;) {
                size_t len = strcspn(at, "/");

                if (len == 2 && at[0] == '.' && at[1] == '.') {
                        *end = '\0';
                        end = strrchr(ret, '/') ? strrchr(ret, '/') : ret;
                        *end = '\0';
                } else if (len && !(len == 1 && *at == '.')) {
                        *end++ = '/';
                        memcpy(end, at, len);
                        end += len;
                }
                at += len + strspn(at + len, "/");
        }
        if (ret && end == ret)
                strcpy(ret, "/");
        else if (ret)
                *end = '\0';
        return ret;
}

/* With symlinks on the way resolved, as far as the way is there. The caller frees. */
static char *resolve(const char *absolute)
{
        CLEANUP_FREE char *above = strdup(absolute);
        char *ret = NULL;

        while (above && *above && !ret) {
                char *slash = strrchr(above, '/');
                CLEANUP_FREE char *parent = NULL;

                *slash = '\0';
                parent = realpath(slash == above ? "/" : above, NULL);
                if (parent)
                        ret = text_new("%s%s", strcmp(parent, "/") == 0 ? "" : parent, absolute + (slash - above));
        }
        return ret ? ret : strdup(absolute);
}

static const char *below(const char *path, const char *above)
{
        size_t len = strlen(above);

        if (!path_is_below(path, above))
                return NULL;
        return path + len + (path[len] == '/');
}

char *artifacts_target_path(const struct artifacts_target *t, const char *arg, bool in_source, char **why)
{
        CLEANUP_FREE char *joined = in_source && *arg != '/' ? text_new("%s/%s", t->source, arg) : strdup(arg);
        CLEANUP_FREE char *absolute = joined ? artifacts_absolute(joined) : NULL;
        CLEANUP_FREE char *path = absolute ? resolve(absolute) : NULL;
        const char *rest = path ? below(path, t->source) : NULL;

        for (size_t i = 0; path && !rest && i < t->records.count; i++) {
                const struct record *r = &t->records.records[i];

                if (r->mountpoint && r->source && strcmp(r->source, t->source) == 0)
                        rest = below(path, r->mountpoint);
        }
        if (rest && *rest)
                return strdup(rest);
        why_set(why, -EINVAL, "%s is not below the source %s, nor below a mount of it", arg, t->source);
        return NULL;
}

/*
 * Sources
 */

struct search {
        const char *path; /* the source that this is in is looked for; NULL: all are */
        char *best;
        json_t *all;
};

static void look_at_state(void *arg, const struct state_entry *e)
{
        struct search *s = arg;
        CLEANUP_FREE char *dir = text_new("%s/overlay", e->dir);

        if (!e->source || !dir || access(dir, F_OK) < 0)
                return;
        if (s->all)
                json_array_append_new(s->all, bytes_to_json(e->source, strlen(e->source)));
        if (s->path && path_is_below(s->path, e->source) && (!s->best || strlen(e->source) > strlen(s->best))) {
                free(s->best);
                s->best = strdup(e->source);
        }
}

json_t *artifacts_sources(void)
{
        struct search s = {.all = json_array()};

        (void)state_list(look_at_state, &s);
        return s.all;
}

static const struct record *record_around(const struct record_list *l, const char *path)
{
        for (size_t i = 0; i < l->count; i++) {
                const struct record *r = &l->records[i];

                if (r->source && ((r->mountpoint && path_is_below(path, r->mountpoint)) || path_is_below(path, r->source)))
                        return r;
        }
        return NULL;
}

/* The nearest directory, `path` or above it, with rules of its own: one that was never mounted. */
static char *configured_around(const char *path)
{
        CLEANUP_FREE char *at = strdup(path);

        while (at && *at) {
                CLEANUP_FREE char *file = text_new("%s/" CONFIG_NAME_IN_SOURCE, at);

                if (file && access(file, F_OK) == 0)
                        return steal_ptr(&at);
                *strrchr(at, '/') = '\0';
        }
        return NULL;
}

static char *source_around(const struct artifacts_target *t, const char *absolute)
{
        CLEANUP_FREE char *inside = text_new("%s/.", absolute);
        CLEANUP_FREE char *path = inside ? resolve(inside) : NULL;
        struct search s = {0};
        const struct record *r;

        if (!path)
                return NULL;
        path[strlen(path) - 2] = '\0';
        r = record_around(&t->records, *path ? path : "/");
        if (r)
                return strdup(r->source);
        s.path = *path ? path : "/";
        (void)state_list(look_at_state, &s);
        return s.best ? s.best : configured_around(path);
}

static char *find_source(const struct artifacts_target *t, const char *arg, const char *where)
{
        CLEANUP_FREE char *absolute = NULL;
        const struct record *r = arg ? command_find(&t->records, arg) : NULL;

        if (r && r->source)
                return strdup(r->source);
        absolute = artifacts_absolute(arg ? arg : where);
        return absolute ? source_around(t, absolute) : NULL;
}

int artifacts_target_find(const char *arg, const char *where, struct artifacts_target *ret, char **why)
{
        CLEANUP_FREE char *state = NULL;
        char id[SOURCE_ID_TEXT];
        int rc;

        *ret = ARTIFACTS_TARGET_NONE;
        ret->run = path_runtime();
        rc = ret->run ? record_list_read(ret->run, &ret->records) : -ENOMEM;
        if (rc)
                return why_set(why, rc, "the runtime directory %s can't be read: %s", why_text(ret->run), strerror(-rc));
        ret->source = find_source(ret, arg, where);
        if (!ret->source && arg)
                return why_set(why, -ENOENT, "%s is neither a mount nor in a source that has artifacts; `dsfs status` lists mounts", arg);
        if (!ret->source)
                return why_set(why, -ENOENT, "%s is not in a source that has artifacts, nor in a mount of one; name one with --of", where);
        path_source_id(ret->source, id);
        state = path_state(id);
        ret->dir = state ? text_new("%s/overlay", state) : NULL;
        if (!ret->dir)
                return why_set(why, -ENOMEM, "out of memory");
        for (size_t i = 0; i < ret->records.count; i++) {
                if (ret->records.records[i].alive && strcmp(ret->records.records[i].id, id) == 0)
                        ret->agent = &ret->records.records[i];
        }
        return 0;
}

/*
 * Asking
 */

static int load_rules(const char *source, struct rules **ret, uint64_t *budget, char **why)
{
        struct ruling ruling CLEANUP(ruling_release) = {0};
        struct config *c;
        int rc = config_load(source, NULL, &c, why);

        *ret = NULL;
        *budget = 0; /* what is too much is the agent's to drop */
        if (rc)
                return rc;
        rc = ruling_make(c, &ruling, why);
        config_free(c);
        *ret = steal_ptr(&ruling.rules);
        if (rc == 0 && !*ret && rules_new(NULL, 0, ret))
                rc = why_set(why, -ENOMEM, "out of memory");
        return rc;
}

/* Without an agent: the overlay is ours for as long. */
static int do_alone(const struct artifacts_target *t, const json_t *args, json_t **ret, char **why)
{
        struct overlay_options options = {.dir = t->dir, .source = t->source};
        struct overlay *o;
        int rc = load_rules(t->source, &options.rules, &options.budget, why);

        if (rc == 0)
                rc = state_make(t->source, why);
        if (rc == 0)
                rc = overlay_open(&options, &o, why);
        if (rc) {
                rules_free(options.rules);
                return rc;
        }
        /* What an agent's log would have is none of a user's business. */
        log_set_level(LOG_WARN);
        artifacts_sweep(o);
        rc = artifacts_do(o, args, ret, why);
        overlay_free(o);
        return rc;
}

int artifacts_ask(const struct artifacts_target *t, json_t *args, json_t **ret, char **why)
{
        pid_t pid;
        int rc;

        if (t->agent)
                return command_ask(t->run, t->agent, "artifacts", args, -1, ret, &pid, why);
        /* The options of a mount may make rules, which we don't know. */
        json_object_set_new(args, "unsure", json_true());
        rc = do_alone(t, args, ret, why);
        json_decref(args);
        return rc;
}
