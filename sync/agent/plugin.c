#include "sync/agent/plugin.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "cache/base/log.h"
#include "sync/agent/plugin_jobs.h"
#include "sync/serve/json.h"

#define MS_PER_S 1000

/*
 * Answers
 */

void reply(struct http_exchange *x, json_t *answer)
{
        json_object_set_new(answer, "Err", json_string(""));
        http_answer(x, 200, answer ? json_dumps(answer, JSON_COMPACT) : NULL);
        json_decref(answer);
}

static void reply_status(struct http_exchange *x, int status, const char *why)
{
        json_t *text = json_string(why);
        json_t *answer = json_pack("{s:o}", "Err", text ? text : bytes_to_json(why, strlen(why)));

        http_answer(x, status, answer ? json_dumps(answer, JSON_COMPACT) : NULL);
        json_decref(answer);
}

/* docker shows it as it is if the status is good, and with "VolumeDriver.Mount: " in front otherwise; podman sees no error in a good
 * status. */
void reply_error(struct http_exchange *x, const char *why)
{
        reply_status(x, http_is_docker(x) ? 200 : 500, why);
}

/*
 * Entries
 */

struct entry *entry_find(struct plugin *p, const char *name)
{
        for (struct entry *e = p->entries; e; e = e->next) {
                if (strcmp(e->name, name) == 0)
                        return e;
        }
        return NULL;
}

static void entry_free(struct entry *e)
{
        volume_free(e->volume);
        json_decref(e->seen);
        free(e->seen_why);
        free(e->name);
        free(e->place);
        free(e);
}

struct entry *entry_make(struct plugin *p, const char *name)
{
        struct entry *e = calloc(1, sizeof(*e));

        if (!e)
                return NULL;
        e->plugin = p;
        e->name = strdup(name);
        e->place = text_new("%s/%s", p->places, name);
        if (!e->name || !e->place) {
                entry_free(e);
                return NULL;
        }
        e->next = p->entries;
        p->entries = e;
        p->entry_count++;
        return e;
}

void entry_let_go(struct entry *e)
{
        if (e->volume || e->jobs || e->looking || e->inquiries || e->closing)
                return;
        for (struct entry **p = &e->plugin->entries; *p; p = &(*p)->next) {
                if (*p == e) {
                        *p = e->next;
                        break;
                }
        }
        e->plugin->entry_count--;
        entry_free(e);
}

/*
 * Verbs
 */

static void verb_activate(struct plugin *p, struct http_exchange *x, const json_t *args, const char *name)
{
        (void)p;
        (void)args;
        (void)name;
        reply(x, json_pack("{s:[s]}", "Implements", "VolumeDriver"));
}

static void verb_capabilities(struct plugin *p, struct http_exchange *x, const json_t *args, const char *name)
{
        (void)p;
        (void)args;
        (void)name;
        reply(x, json_pack("{s:{s:s}}", "Capabilities", "Scope", "local"));
}

static void verb_create(struct plugin *p, struct http_exchange *x, const json_t *args, const char *name)
{
        CLEANUP_FREE char *why = NULL;
        struct entry *e = entry_find(p, name);
        struct volume *v;

        if (volume_new(name, json_object_get(args, "Opts"), (int64_t)time(NULL), &v, &why)) {
                reply_error(x, why_text(why));
                return;
        }
        if (!e)
                e = entry_make(p, name);
        if (e) {
                job_start(e, JOB_CREATE, x, NULL, v);
                return;
        }
        volume_free(v);
        reply_error(x, "out of memory");
}

static void no_such_volume(struct http_exchange *x, const char *name)
{
        CLEANUP_FREE char *why = text_new("there is no volume %s; `docker volume create -d dsfs -o source=/… %s` makes one", name, name);

        reply_error(x, why_text(why));
}

/* What is done to a volume, in turn. */
static void verb_change(struct plugin *p, struct http_exchange *x, enum job_kind kind, const char *name, const char *user)
{
        struct entry *e = entry_find(p, name);

        if (e)
                job_start(e, kind, x, user, NULL);
        else
                no_such_volume(x, name);
}

static void verb_remove(struct plugin *p, struct http_exchange *x, const json_t *args, const char *name)
{
        (void)args;
        verb_change(p, x, JOB_REMOVE, name, NULL);
}

/* Who mounts is told apart by the id that he gives: the same may come twice. */
static const char *user_of(const json_t *args)
{
        const char *id = json_string_value(json_object_get(args, "ID"));

        return id && *id && strlen(id) <= VOLUME_USER_MAX ? id : NULL;
}

static void mount_or_unmount(struct plugin *p, struct http_exchange *x, const json_t *args, enum job_kind kind, const char *name)
{
        const char *user = user_of(args);

        if (user)
                verb_change(p, x, kind, name, user);
        else
                reply_error(x, "the request has no \"ID\" of who mounts");
}

static void verb_mount(struct plugin *p, struct http_exchange *x, const json_t *args, const char *name)
{
        mount_or_unmount(p, x, args, JOB_MOUNT, name);
}

static void verb_unmount(struct plugin *p, struct http_exchange *x, const json_t *args, const char *name)
{
        mount_or_unmount(p, x, args, JOB_UNMOUNT, name);
}

static const char *mounted_at(const struct entry *e)
{
        return json_object_size(e->volume->users) ? e->place : "";
}

static void verb_path(struct plugin *p, struct http_exchange *x, const json_t *args, const char *name)
{
        const struct entry *e = entry_find(p, name);

        (void)args;
        if (e && e->volume)
                reply(x, json_pack("{s:s}", "Mountpoint", mounted_at(e)));
        else
                no_such_volume(x, name);
}

static void verb_get(struct plugin *p, struct http_exchange *x, const json_t *args, const char *name)
{
        struct entry *e = entry_find(p, name);

        (void)args;
        if (e && e->volume)
                status_get(e, x);
        else
                no_such_volume(x, name);
}

static void verb_list(struct plugin *p, struct http_exchange *x, const json_t *args, const char *name)
{
        json_t *list = json_array();

        (void)args;
        (void)name;
        for (const struct entry *e = p->entries; e; e = e->next) {
                if (e->volume)
                        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "Name", e->name, "Mountpoint", mounted_at(e), "CreatedAt",
                                                              e->volume->created));
        }
        reply(x, json_pack("{s:o}", "Volumes", list));
}

static const struct {
        const char *target;
        bool names; /* it is about one volume */
        void (*run)(struct plugin *p, struct http_exchange *x, const json_t *args, const char *name);
} verbs[] = {
        {"/Plugin.Activate", false, verb_activate},  {"/VolumeDriver.Capabilities", false, verb_capabilities},
        {"/VolumeDriver.Create", true, verb_create}, {"/VolumeDriver.Get", true, verb_get},
        {"/VolumeDriver.List", false, verb_list},    {"/VolumeDriver.Path", true, verb_path},
        {"/VolumeDriver.Mount", true, verb_mount},   {"/VolumeDriver.Unmount", true, verb_unmount},
        {"/VolumeDriver.Remove", true, verb_remove},
};

void plugin_handle(void *plugin, struct http_exchange *x, const char *target, const char *body, size_t len)
{
        for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
                json_t *args;
                const char *name;

                if (strcmp(verbs[i].target, target) != 0)
                        continue;
                args = len ? json_loadb(body, len, JSON_REJECT_DUPLICATES, NULL) : json_object();
                name = json_string_value(json_object_get(args, "Name"));
                if (!json_is_object(args) && verbs[i].names)
                        reply_status(x, 400, "the request's body is no JSON object");
                else if (verbs[i].names && (!name || !volume_name_ok(name)))
                        reply_error(x, "a volume's name is made of letters, digits and _.- (not in front), at most 200");
                else
                        verbs[i].run(plugin, x, args, name);
                json_decref(args);
                return;
        }
        reply_status(x, 404, "that can't be asked of a volume plugin");
}

/*
 * Beginning and end
 */

static void take_volume(void *arg, struct volume *v)
{
        struct plugin *p = arg;
        struct entry *e = entry_make(p, v->name);

        if (!e) {
                volume_free(v);
                return;
        }
        e->volume = v;
}

static void tidy_all(struct plugin *p)
{
        for (struct entry *e = p->entries, *next; e; e = next) {
                next = e->next;
                job_start(e, JOB_TIDY, NULL, NULL, NULL);
        }
}

static void tidy_again(uv_timer_t *t)
{
        tidy_all(t->data);
}

int plugin_new(uv_loop_t *loop, const char *run, const char *state, struct plugin **ret, char **why)
{
        struct plugin *p = calloc(1, sizeof(*p));
        int rc;

        if (!p)
                return why_set(why, -ENOMEM, "out of memory");
        p->loop = loop;
        p->store.fd = -1;
        p->run = strdup(run);
        rc = p->run ? volume_places(run, &p->places, why) : why_set(why, -ENOMEM, "out of memory");
        if (rc == 0)
                rc = volume_store_open(state, &p->store, why);
        if (rc == 0) {
                rc = volume_store_load(&p->store, take_volume, p);
                if (rc)
                        why_set(why, rc, "%s can't be read: %s", state, strerror(-rc));
        }
        if (rc) {
                plugin_free(p);
                return rc;
        }
        (void)uv_timer_init(loop, &p->tidy);
        p->tidy.data = p;
        (void)uv_timer_start(&p->tidy, tidy_again, (YOUNG_S + 1) * MS_PER_S, 0);
        tidy_all(p);
        *ret = p;
        return 0;
}

void plugin_stop(struct plugin *p)
{
        uv_close((uv_handle_t *)&p->tidy, NULL);
}

void plugin_free(struct plugin *p)
{
        if (!p)
                return;
        while (p->entries) {
                struct entry *e = p->entries;

                p->entries = e->next;
                entry_free(e);
        }
        volume_store_close(&p->store);
        free(p->run);
        free(p->places);
        free(p);
}
