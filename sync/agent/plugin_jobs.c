#include "sync/agent/plugin_jobs.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "cache/base/log.h"

static void job_free(struct job *j)
{
        json_decref(j->users);
        volume_free(j->fresh);
        free(j->user);
        free(j->text);
        free(j->why);
        free(j);
}

/*
 * On the job's thread
 */

static void work_create(struct job *j, const struct volume_store *s)
{
        j->rc = volume_check(&j->fresh->wish, &j->why);
        if (j->rc == 0)
                j->rc = volume_store_write(s, j->entry->name, j->text, &j->why);
}

static void work_mount(struct job *j, const struct volume_store *s)
{
        const struct entry *e = j->entry;
        CLEANUP_FREE char *ignored = NULL;

        j->rc = volume_mount(e->plugin->run, e->place, &e->volume->wish, &j->why);
        if (j->rc || j->kind == JOB_HEAL)
                return;
        j->rc = volume_store_write(s, e->name, j->text, &j->why);
        if (j->rc && json_object_size(e->volume->users) == 0)
                (void)volume_umount(e->place, &ignored);
}

/* First the record: a mount with no users is found at the next start. */
static void work_unmount(struct job *j, const struct volume_store *s)
{
        j->rc = volume_store_write(s, j->entry->name, j->text, &j->why);
        if (j->rc == 0 && json_object_size(j->users) == 0)
                j->rc = volume_umount(j->entry->place, &j->why);
}

/* Who asks knows of no container that has it. Those we count may be of a crash, or somebody else's. */
static void work_remove(struct job *j, const struct volume_store *s)
{
        const struct entry *e = j->entry;

        if (json_object_size(e->volume->users) && volume_is_used(e->place))
                j->rc = why_set(&j->why, -EBUSY, "the volume %s is in use; `docker volume inspect %s` says by which mounts", e->name,
                                e->name);
        if (j->rc == 0)
                j->rc = volume_umount(e->place, &j->why);
        if (j->rc == 0)
                j->rc = volume_store_remove(s, e->name, &j->why);
}

static void work_tidy(struct job *j, const struct volume_store *s)
{
        const struct entry *e = j->entry;

        if (j->young || volume_is_used(e->place))
                return;
        j->forget = json_object_size(e->volume->users) > 0;
        if (j->forget)
                j->rc = volume_store_write(s, e->name, j->text, &j->why);
        if (j->rc == 0)
                j->rc = volume_umount(e->place, &j->why);
}

static void work_run(uv_work_t *w)
{
        struct job *j = w->data;
        const struct volume_store *s = &j->entry->plugin->store;

        switch (j->kind) {
        case JOB_CREATE:
                work_create(j, s);
                break;
        case JOB_MOUNT:
        case JOB_HEAL:
                work_mount(j, s);
                break;
        case JOB_UNMOUNT:
                work_unmount(j, s);
                break;
        case JOB_REMOVE:
                work_remove(j, s);
                break;
        case JOB_TIDY:
                work_tidy(j, s);
                break;
        }
}

/*
 * On the loop's thread
 */

static void begin(struct entry *e);

static void forget_users(struct entry *e, const char *because)
{
        const char *id;
        json_t *since;

        json_object_foreach(e->volume->users, id, since)
        {
                log_info("%s: %.12s is forgotten: %s", e->name, id, because);
        }
        json_object_clear(e->volume->users);
}

static void take_users(struct job *j)
{
        json_decref(j->entry->volume->users);
        j->entry->volume->users = steal_ptr(&j->users);
}

/* It worked: that is how things are now. */
static void apply(struct job *j)
{
        struct entry *e = j->entry;

        switch (j->kind) {
        case JOB_CREATE:
                e->volume = steal_ptr(&j->fresh);
                log_info("%s: created, of %s", e->name, e->volume->wish.source);
                break;
        case JOB_MOUNT:
                take_users(j);
                log_info("%s: %.12s has it", e->name, j->user);
                break;
        case JOB_UNMOUNT:
                take_users(j);
                log_info("%s: %.12s is done with it%s", e->name, j->user, json_object_size(e->volume->users) ? "" : "; unmounted");
                break;
        case JOB_REMOVE:
                volume_free(steal_ptr(&e->volume));
                log_info("%s: removed", e->name);
                break;
        case JOB_TIDY:
                if (j->forget)
                        forget_users(e, "no process sees it any more");
                break;
        case JOB_HEAL:
                log_warn("%s: its agent had died; it is mounted again, over the dead mount: containers that ran then have to be restarted",
                         e->name);
                break;
        }
}

static void answer(struct job *j)
{
        const struct entry *e = j->entry;

        if (!j->exchange)
                return;
        if (j->rc)
                reply_error(j->exchange, why_text(j->why));
        else
                reply(j->exchange, j->kind == JOB_MOUNT ? json_pack("{s:o}", "Mountpoint", json_string(e->place)) : json_object());
}

/* The first job is done, or was never needed. */
static void finish(struct job *j)
{
        struct entry *e = j->entry;
        bool heal = j->kind == JOB_HEAL;

        assert(e->jobs == j);
        if (j->rc)
                log_warn("%s: %s", e->name, why_text(j->why));
        answer(j);
        status_outdated(e);
        if (heal && j->rc) {
                e->seen_rc = j->rc;
                e->seen_why = steal_ptr(&j->why);
        }
        e->jobs = j->next;
        job_free(j);
        if (heal)
                status_healed(e);
        if (e->jobs)
                begin(e);
        else
                entry_let_go(e);
}

static void work_done(uv_work_t *w, int status)
{
        struct job *j = w->data;

        (void)status;
        if (j->rc == 0)
                apply(j);
        finish(j);
}

static bool has_user(const struct volume *v, const char *user)
{
        return json_object_get(v->users, user) != NULL;
}

/* What can be said without looking: whether there is anything to be done. rc and why are set if not, and it went wrong. */
static bool is_needed(struct job *j)
{
        const struct volume *v = j->entry->volume;

        if (j->kind == JOB_CREATE && v && json_equal(v->options, j->fresh->options))
                return false;
        if (j->kind == JOB_CREATE && v)
                j->rc = why_set(&j->why, -EEXIST,
                                "there is a volume %s already, of %s; `docker volume rm %s` first, or choose another name", v->name,
                                v->wish.source, v->name);
        else if (j->kind == JOB_CREATE && j->entry->plugin->entry_count > VOLUMES_MAX)
                j->rc = why_set(&j->why, -ENOSPC, "there are %d volumes already; remove some", VOLUMES_MAX);
        else if (j->kind != JOB_CREATE && !v)
                j->rc = why_set(&j->why, -ENOENT, "there is no volume %s; `docker volume create -d dsfs -o source=…` makes one",
                                j->entry->name);
        else if (j->kind == JOB_MOUNT && !has_user(v, j->user) && json_object_size(v->users) >= VOLUME_USERS_MAX)
                j->rc = why_set(&j->why, -EUSERS, "the volume %s is mounted %d times already", v->name, VOLUME_USERS_MAX);
        else if (j->kind == JOB_UNMOUNT && !has_user(v, j->user))
                log_info("%s: %.12s was not counted; nothing to do", v->name, j->user);
        else
                return true;
        return false;
}

static bool is_young(const struct volume *v)
{
        json_int_t now = (json_int_t)time(NULL);
        const char *id;
        json_t *since;

        json_object_foreach(v->users, id, since)
        {
                json_int_t age = now - json_integer_value(since);

                if (age >= 0 && age < YOUNG_S)
                        return true;
        }
        return false;
}

/* What the record will be. */
static void prepare(struct job *j)
{
        const struct entry *e = j->entry;
        const struct volume *v = j->fresh ? j->fresh : e->volume;

        j->young = is_young(v);
        j->users = j->kind == JOB_TIDY ? json_object() : json_copy(v->users);
        if (j->kind == JOB_MOUNT)
                json_object_set_new(j->users, j->user, json_integer((json_int_t)time(NULL)));
        else if (j->kind == JOB_UNMOUNT)
                json_object_del(j->users, j->user);
        j->text = volume_to_text(v, j->users, e->plugin->store.boot);
}

/* Set the first job going. */
static void begin(struct entry *e)
{
        struct job *j = e->jobs;

        if (!is_needed(j)) {
                finish(j);
                return;
        }
        prepare(j);
        j->work.data = j;
        /* Fails only without a callback. */
        (void)uv_queue_work(e->plugin->loop, &j->work, work_run, work_done);
}

void job_start(struct entry *e, enum job_kind kind, struct http_exchange *exchange, const char *user, struct volume *fresh)
{
        struct job *j = calloc(1, sizeof(*j));
        struct job **p = &e->jobs;

        if (j)
                j->user = user ? strdup(user) : NULL;
        if (!j || (user && !j->user)) {
                free(j);
                volume_free(fresh);
                if (exchange)
                        reply_error(exchange, "out of memory");
                entry_let_go(e);
                return;
        }
        j->entry = e;
        j->kind = kind;
        j->exchange = exchange;
        j->fresh = fresh;
        while (*p)
                p = &(*p)->next;
        *p = j;
        if (e->jobs == j)
                begin(e);
}
