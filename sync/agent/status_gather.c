#include "sync/agent/status_gather.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/log.h"
#include "cache/cache.h"
#include "sync/agent/mount_users.h"
#include "sync/agent/mountinfo.h"
#include "sync/agent/shell.h"
#include "sync/agent/state.h"
#include "sync/serve/json.h"

#define ANSWER_MS 10000
#define USERS_MAX 64 /* shown of one mount */
#define REMEMBERED_MAX 64

/* From best to worst, with what a command's exit says. */
static const struct {
        const char *name;
        enum exit_code code;
} verdicts[] = {{"ok", EXIT_OK}, {"degraded", EXIT_DEGRADED}, {"broken", EXIT_FAILED}};

static size_t verdict_rank(const json_t *verdict)
{
        const char *name = json_string_value(verdict);

        for (size_t i = 0; name && i < ARRAY_LEN(verdicts); i++) {
                if (strcmp(verdicts[i].name, name) == 0)
                        return i;
        }
        return ARRAY_LEN(verdicts) - 1;
}

enum exit_code status_exit(const json_t *verdict)
{
        return json_is_string(verdict) ? verdicts[verdict_rank(verdict)].code : EXIT_ABSENT;
}

static json_t *text_json(const char *text)
{
        return text ? bytes_to_json(text, strlen(text)) : json_null();
}

/* A mount that can't speak for itself. Takes the sentence. */
static json_t *broken_mount(const struct record *r, char *sentence)
{
        json_t *m = json_pack("{s:s, s:o, s:o, s:o, s:i, s:[o]}", "verdict", "broken", "name", text_json(r->name), "source",
                              text_json(r->source), "mountpoint", text_json(r->mountpoint), "pid", (int)r->pid, "warnings",
                              text_json(why_text(sentence)));

        free(sentence);
        return m;
}

/* Append the mounts of an agent's answer, or only the one that is called `name`. */
static void take_answer(const json_t *answer, const char *name, json_t *mounts)
{
        json_t *wanted = name ? text_json(name) : NULL;
        json_t *m;
        size_t i;

        json_array_foreach(json_object_get(answer, "mounts"), i, m)
        {
                if (!wanted || json_equal(wanted, json_object_get(m, "name")))
                        json_array_append(mounts, m);
        }
        json_decref(wanted);
}

/* Append the mounts of the record's agent to `mounts`; with `only` none but this one. */
static void ask_record(const char *run, const struct record *r, bool only, json_t *mounts)
{
        CLEANUP_FREE char *why = NULL;
        CLEANUP_FREE char *source = r->source ? shell_word(r->source) : NULL;
        CLEANUP_FREE char *at = r->mountpoint ? shell_word(r->mountpoint) : NULL;
        json_t *answer = NULL;
        pid_t pid;
        int rc;

        if (!r->alive && !r->mountpoint) {
                json_array_append_new(mounts,
                                      broken_mount(r, text_new("an agent died while it started; `dsfs doctor --fix` clears it away")));
                return;
        }
        if (!r->alive) {
                json_array_append_new(mounts,
                                      broken_mount(r, text_new("its agent (process %d) has died: `dsfs mount %s %s` serves it again, "
                                                               "`dsfs umount %s` clears it away",
                                                               (int)r->pid, why_text(source), why_text(at), why_text(at))));
                return;
        }
        rc = command_ask(run, r, "status", NULL, ANSWER_MS, &answer, &pid, &why);
        if (rc == 0)
                take_answer(answer, only ? r->name : NULL, mounts);
        else if (r->mountpoint)
                json_array_append_new(mounts, broken_mount(r, text_new("%s; if that lasts, end process %d and mount it again",
                                                                       why_text(why), (int)r->pid)));
        json_decref(answer);
}

static void add_user(void *arg, size_t which, const struct mount_user *u)
{
        json_t *list = json_array_get(arg, which);

        if (json_array_size(list) >= USERS_MAX)
                return;
        json_array_append_new(list, json_pack("{s:i, s:o, s:o}", "pid", (int)u->pid, "container",
                                              *u->container ? json_string(u->container) : json_null(), "command", text_json(u->command)));
}

/* "used_by" of each: the mount namespaces that it is in besides ours; null when that can't be seen. */
static void add_users(json_t *mounts)
{
        size_t count = json_array_size(mounts);
        unsigned *devs = calloc(count ? count : 1, sizeof(*devs));
        json_t *lists = json_array();
        struct mount_list here;
        int rc = mount_list_read(&here);

        for (size_t i = 0; i < count && devs; i++) {
                CLEANUP_FREE char *place = path_from_json(json_object_get(json_array_get(mounts, i), "mountpoint"));
                const struct mount_entry *m = rc == 0 && place ? mount_at(&here, place) : NULL;

                devs[i] = m && mount_is_dsfs(m) ? m->dev : 0;
                json_array_append_new(lists, json_array());
        }
        if (rc == 0)
                mount_list_release(&here);
        if (rc == 0 && devs)
                rc = mount_users(devs, count, add_user, lists);
        for (size_t i = 0; i < count; i++)
                json_object_set_new(json_array_get(mounts, i), "used_by",
                                    rc == 0 && devs && devs[i] ? json_incref(json_array_get(lists, i)) : json_null());
        json_decref(lists);
        free(devs);
}

/* With no agent: what would be known at once if it were mounted again. */
static void add_remembered(void *arg, const struct state_entry *e)
{
        CLEANUP_FREE char *dir = text_new("%s/cache", e->dir);
        CLEANUP_FREE char *notice = NULL;
        struct cache_options options = {.source = e->source, .dir = dir, .readonly = true};
        char text[CONTENT_TEXT];
        enum cache_found found;
        struct cache_stats stats;
        struct content root;
        struct cache *c = NULL;
        const char *why;

        if (json_array_size(arg) >= REMEMBERED_MAX || !e->source || !dir || cache_look(dir, &why) ||
            cache_open(&options, &c, &found, &notice))
                return;
        cache_stats(c, &stats);
        if (cache_entry(c, "", &root) == CONTENT_DIRECTORY) {
                content_to_text(&root, text);
                json_array_append_new(arg, json_pack("{s:o, s:s, s:I, s:I, s:I}", "source", text_json(e->source), "root_hash", text,
                                                     "entries", (json_int_t)stats.entries, "bytes", (json_int_t)stats.bytes, "written",
                                                     (json_int_t)e->cache_written_s));
        }
        cache_close(c);
}

static json_t *worst_of(const json_t *mounts)
{
        size_t worst = 0;
        size_t i;
        json_t *m;

        json_array_foreach(mounts, i, m)
        {
                size_t rank = verdict_rank(json_object_get(m, "verdict"));

                worst = rank > worst ? rank : worst;
        }
        return json_array_size(mounts) ? json_string(verdicts[worst].name) : json_null();
}

json_t *status_gather(const char *run, const char *arg, bool users)
{
        struct record_list records CLEANUP(record_list_release) = {0};
        const struct record *only;
        json_t *mounts;
        json_t *root;

        if (record_list_read(run, &records)) {
                log_error("the runtime directory %s can't be read", run);
                return NULL;
        }
        only = arg ? command_find(&records, arg) : NULL;
        mounts = json_array();
        for (size_t i = 0; i < records.count && (!arg || only); i++) {
                const struct record *r = &records.records[i];

                /* An agent that lives tells all its mounts at once. */
                if (only ? only == r : !r->alive || i == 0 || strcmp(r->id, records.records[i - 1].id) != 0)
                        ask_record(run, r, only != NULL, mounts);
        }
        if (users && json_array_size(mounts))
                add_users(mounts);
        root = json_pack("{s:i, s:o, s:O}", "version", STATUS_VERSION, "verdict", worst_of(mounts), "mounts", mounts);
        if (!json_array_size(mounts)) {
                json_t *remembered = json_array();

                (void)state_list(add_remembered, remembered);
                json_object_set_new(root, "remembered", remembered);
        }
        json_decref(mounts);
        return root;
}
