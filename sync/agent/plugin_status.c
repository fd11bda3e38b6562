/*
 * How a volume is, for `docker volume inspect`. docker asks often (Get), and must never hang on an agent: what was heard a moment ago is
 * good enough, else the agent is asked, and whoever wants to know waits a quarter of a second at most. A mount that is found dead while
 * somebody uses it is mounted over.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "sync/agent/plugin_jobs.h"

#define FRESH_MS 100
#define PATIENCE_MS 250
#define HEAL_AGAIN_MS 5000

static bool is_in_use(const struct entry *e)
{
        return e->volume && json_object_size(e->volume->users) > 0;
}

static json_t *ids(const json_t *users)
{
        json_t *list = json_array();
        const char *id;
        json_t *since;

        json_object_foreach((json_t *)users, id, since)
        {
                json_array_append_new(list, json_string(id));
        }
        return list;
}

/* Some of what the agent said. */
static void add_seen(json_t *status, const json_t *seen)
{
        static const struct {
                const char *name, *as;
        } fields[] = {
                {"verdict", "verdict"},   {"profile", "profile"},   {"transport", "transport"}, {"pid", "agent_pid"},
                {"name", "mount"},        {"restarts", "restarts"}, {"root_hash", "root_hash"}, {"root_hash_pending", "root_hash_pending"},
                {"view_uid", "view_uid"}, {"view_gid", "view_gid"}, {"readonly", "readonly"}};

        for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
                json_t *value = json_object_get(seen, fields[i].name);

                if (value)
                        json_object_set(status, fields[i].as, value);
        }
}

static void warn(json_t *warnings, const char *sentence)
{
        json_t *text = json_string(sentence);

        json_array_append_new(warnings, text ? text : json_string("it can't be put in words"));
}

static json_t *status_of(const struct entry *e)
{
        const json_t *seen = e->seen_rc == 0 ? e->seen : NULL;
        json_t *said = json_object_get(seen, "warnings");
        json_t *warnings = json_is_array(said) ? json_copy(said) : json_array();
        json_t *status = json_pack("{s:s, s:s, s:s, s:o}", "source", e->volume->wish.source, "options", e->volume->wish.options, "verdict",
                                   !is_in_use(e) ? "not mounted"
                                   : e->seen_rc  ? "broken"
                                                 : "unknown",
                                   "mounted_by", ids(e->volume->users));

        if (is_in_use(e) && seen)
                add_seen(status, seen);
        else if (is_in_use(e) && e->seen_why)
                warn(warnings, e->seen_why);
        else if (is_in_use(e) && e->seen_rc)
                warn(warnings, "its agent has died; the volume is being mounted again");
        else if (is_in_use(e))
                warn(warnings, "its agent has not answered yet");
        if (is_in_use(e) && e->seen_over)
                warn(warnings,
                     "its agent had died, and it was mounted over: containers that were running then see \"Transport endpoint is not "
                     "connected\" until they are restarted");
        json_object_set_new(status, "warnings", warnings);
        return status;
}

static void reply_get(struct entry *e, struct http_exchange *x)
{
        json_t *v;

        if (!e->volume) {
                reply_error(x, "there is no such volume any more");
                return;
        }
        v = json_pack("{s:s, s:s, s:s, s:o}", "Name", e->name, "Mountpoint", is_in_use(e) ? e->place : "", "CreatedAt", e->volume->created,
                      "Status", status_of(e));
        reply(x, json_pack("{s:o}", "Volume", v));
}

static void inquiry_closed(uv_handle_t *h)
{
        struct inquiry *q = h->data;
        struct entry *e = q->entry;

        free(q);
        e->closing--;
        entry_let_go(e);
}

/* Answer it, and be rid of it; the entry stays until libuv has let go of the timer. */
static void inquiry_end(struct inquiry *q)
{
        reply_get(q->entry, q->exchange);
        for (struct inquiry **p = &q->entry->inquiries; *p; p = &(*p)->next) {
                if (*p == q) {
                        *p = q->next;
                        break;
                }
        }
        q->entry->closing++;
        uv_close((uv_handle_t *)&q->patience, inquiry_closed);
}

static void inquiry_late(uv_timer_t *t)
{
        inquiry_end(t->data);
}

static void answer_all(struct entry *e)
{
        while (e->inquiries)
                inquiry_end(e->inquiries);
}

/*
 * Looking
 */

struct look {
        uv_work_t work;
        struct entry *entry;
        json_t *seen;
        int rc;
        char *why;
        bool over;
};

static void look_run(uv_work_t *w)
{
        struct look *l = w->data;

        l->rc = volume_look(l->entry->plugin->run, l->entry->place, &l->seen, &l->over, &l->why);
}

static void look_done(uv_work_t *w, int status)
{
        struct look *l = w->data;
        struct entry *e = l->entry;
        uint64_t now = uv_now(e->plugin->loop);
        bool heal;

        (void)status;
        e->looking = false;
        json_decref(e->seen);
        free(e->seen_why);
        e->seen = l->seen;
        e->seen_rc = l->rc;
        e->seen_why = l->why;
        e->seen_over = l->over;
        e->seen_ms = now;
        free(l);
        heal = e->seen_rc == -ENOENT && is_in_use(e) && !e->jobs && (!e->healed_ms || now - e->healed_ms > HEAL_AGAIN_MS);
        if (heal) {
                e->healed_ms = now;
                job_start(e, JOB_HEAL, NULL, NULL, NULL);
                return;
        }
        answer_all(e);
        entry_let_go(e);
}

static void look(struct entry *e)
{
        struct look *l = e->looking ? NULL : calloc(1, sizeof(*l));

        if (!l)
                return; /* the patience of those who wait ends */
        l->entry = e;
        l->work.data = l;
        e->looking = true;
        (void)uv_queue_work(e->plugin->loop, &l->work, look_run, look_done);
}

void status_outdated(struct entry *e)
{
        json_decref(e->seen);
        e->seen = NULL;
        free(steal_ptr(&e->seen_why));
        e->seen_rc = 0;
        e->seen_ms = 0;
}

void status_healed(struct entry *e)
{
        if (e->seen_why)
                answer_all(e);
        else if (e->inquiries)
                look(e);
}

/* Heard a moment ago, of somebody who still is. */
static bool is_fresh(const struct entry *e)
{
        pid_t agent = (pid_t)json_integer_value(json_object_get(e->seen, "pid"));

        return e->seen_ms && uv_now(e->plugin->loop) - e->seen_ms < FRESH_MS && agent > 0 && kill(agent, 0) == 0;
}

void status_get(struct entry *e, struct http_exchange *x)
{
        bool fresh = is_fresh(e);
        struct inquiry *q = !is_in_use(e) || fresh ? NULL : calloc(1, sizeof(*q));

        if (!q) {
                reply_get(e, x);
                return;
        }
        (void)uv_timer_init(e->plugin->loop, &q->patience);
        q->patience.data = q;
        q->entry = e;
        q->exchange = x;
        q->next = e->inquiries;
        e->inquiries = q;
        (void)uv_timer_start(&q->patience, inquiry_late, PATIENCE_MS, 0);
        look(e);
}
