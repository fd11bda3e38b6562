/*
 * What an agent answers on its control socket.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sync/agent/agent.h"
#include "sync/agent/config.h"
#include "sync/agent/config_keys.h"
#include "sync/agent/reload.h"
#include "sync/agent/report.h"
#include "sync/agent/verbs_artifacts.h"
#include "sync/serve/json.h"
#include "sync/serve/why.h"

#define WAIT_DEFAULT_MS 60000
#define NS_PER_MS 1000000ULL
#define WAIT_MAX_MS (24 * 60 * 60 * 1000)
#define STATUS_VERSION 1
#define MOUNT_NAMESPACE "/proc/self/ns/mnt"

static int answer(json_t *result, json_t **ret, char **why)
{
        *ret = result;
        return result ? 0 : why_set(why, -ENOMEM, "out of memory");
}

static int run_status(void *arg, const json_t *args, json_t **ret, char **why)
{
        json_t *mounts = json_array();

        (void)args;
        for (size_t i = 0; i < ENGINE_MOUNTS_MAX; i++) {
                struct seat *s = seat_hold(arg, i);

                if (s)
                        json_array_append_new(mounts, report_seat(s));
                seat_let_go(s);
        }
        return answer(json_pack("{s:i, s:o}", "version", STATUS_VERSION, "mounts", mounts), ret, why);
}

static int run_ping(void *arg, const json_t *args, json_t **ret, char **why)
{
        (void)arg;
        (void)args;
        return answer(json_pack("{s:i}", "pid", (int)getpid()), ret, why);
}

static int run_help(void *arg, const json_t *args, json_t **ret, char **why);

static int left_ms(unsigned long long deadline)
{
        unsigned long long now = clock_now_ns();

        return now < deadline ? (int)((deadline - now) / NS_PER_MS) : 0;
}

/* What has been told is also in the root hash. */
static int wait_hashed(struct agent *a, unsigned long long deadline, json_t **ret, char **why)
{
        struct engine_stats es;
        int rc;

        engine_stats(a->engine, &es);
        /* Nobody tells what changes: everything is looked at. */
        if (!es.watching || es.watch.degraded)
                hashing_touch_all(a->hashing);
        rc = hashing_wait(a->hashing, left_ms(deadline));
        if (rc == -ETIMEDOUT)
                return why_set(why, rc, "%s is not hashed yet; wait longer with --timeout, `dsfs status` says how far it is", a->source);
        if (rc == -ENODATA)
                return why_set(why, rc, "%s has no root hash; `dsfs status` says why", a->source);
        if (rc)
                return why_set(why, rc, "%s is being unmounted", a->source);
        return answer(json_object(), ret, why);
}

static int run_wait(void *arg, const json_t *args, json_t **ret, char **why)
{
        struct agent *a = arg;
        const json_t *asked = json_object_get(args, "timeout_ms");
        json_int_t timeout = asked ? json_integer_value(asked) : WAIT_DEFAULT_MS;
        unsigned long long deadline;
        int rc;

        if ((asked && !json_is_integer(asked)) || timeout < 0 || timeout > WAIT_MAX_MS)
                return why_set(why, -EINVAL, "\"timeout_ms\" is an integer from 0 to %d", WAIT_MAX_MS);
        deadline = clock_now_ns() + (unsigned long long)timeout * NS_PER_MS;
        rc = engine_barrier(a->engine, (int)timeout);
        if (rc == 0)
                rc = reload_wait(a->reload, left_ms(deadline));
        if (rc == 0 && json_is_true(json_object_get(args, "hashed")))
                return wait_hashed(a, deadline, ret, why);
        if (rc == -ETIMEDOUT)
                return why_set(why, rc, "the mounts of %s are not in step yet after %.3g seconds; wait longer with --timeout", a->source,
                               (double)timeout / 1000);
        if (rc)
                return why_set(why, rc, "%s is being unmounted", a->source);
        return answer(json_object(), ret, why);
}

/* The overlay is the source's, too. */
static int check_overlay(const struct agent *a, const struct mount_options *o, const char *text, char **why)
{
        static const char *const names[] = {"gitignored", "overlay_budget"};
        size_t count;
        const struct config_key *keys = config_keys(&count);

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                const struct config_key *k = config_key_find(keys, count, names[i]);
                CLEANUP_FREE char *ours = config_key_text(&a->config->options, k);
                CLEANUP_FREE char *theirs = config_key_text(o, k);

                if (mount_options_mention(text, k) && strcmp(why_text(ours), why_text(theirs)) != 0)
                        return why_set(why, -EINVAL,
                                       "-o %s: all mounts of %s share it, and it is %s already; leave it out, or unmount them first",
                                       names[i], a->source, why_text(ours));
        }
        return 0;
}

/* The watch is the source's, so its mounts can't differ in what depends on it. */
static int check_shared(const struct agent *a, const struct mount_options *o, char **why)
{
        const char *coherence = engine_coherence(a->engine) == FS_COHERENCE_STRICT ? "strict" : "events";
        enum engine_coherence ours = engine_coherence(a->engine) == FS_COHERENCE_STRICT ? ENGINE_COHERENCE_STRICT : ENGINE_COHERENCE_EVENTS;
        struct engine_stats es;

        engine_stats(a->engine, &es);
        if (o->coherence != ENGINE_COHERENCE_AUTO && o->coherence != ours)
                return why_set(why, -EINVAL,
                               "-o coherence: all mounts of %s share it, and it is %s already; leave it out, or unmount them first",
                               a->source, coherence);
        if (o->watch != WATCH_AUTO && es.watching && o->watch != es.watch.backend)
                return why_set(why, -EINVAL,
                               "-o watch: all mounts of %s share it, and it is %s already; leave it out, or unmount them first", a->source,
                               es.watch.backend == WATCH_FANOTIFY ? "fanotify" : "inotify");
        return 0;
}

/* Where we mount is where whoever asks looks. */
static int check_namespace(const struct agent *a, const json_t *args, char **why)
{
        const json_t *theirs = json_object_get(args, "namespace");
        struct stat st;

        if (!json_is_integer(theirs) || stat(MOUNT_NAMESPACE, &st) < 0 || (json_int_t)st.st_ino == json_integer_value(theirs))
                return 0;
        return why_set(why, -EXDEV,
                       "%s is served by process %d, which sees other mounts than you do (another mount namespace); mount it from there, or "
                       "with an XDG_RUNTIME_DIR of its own",
                       a->source, (int)getpid());
}

static int run_mount(void *arg, const json_t *args, json_t **ret, char **why)
{
        struct agent *a = arg;
        CLEANUP_FREE char *mountpoint = path_from_json(json_object_get(args, "mountpoint"));
        CLEANUP_FREE char *name = path_from_json(json_object_get(args, "name"));
        CLEANUP_FREE char *text = path_from_json(json_object_get(args, "options"));
        struct mount_options options CLEANUP(mount_options_release);
        struct seat_wish wish = {.mountpoint = mountpoint, .name = name, .options = &options, .text = text ? text : ""};
        int rc;

        mount_options_init(&options);
        wish.own_place = json_is_true(json_object_get(args, "own_place"));
        if (!mountpoint || *mountpoint != '/' || !name || !*name)
                return why_set(why, -EINVAL, "\"mountpoint\" is an absolute path, \"name\" a name");
        rc = text ? mount_options_parse(&options, text, why) : 0;
        if (rc == 0)
                rc = check_namespace(a, args, why);
        if (rc == 0)
                rc = check_shared(a, &options, why);
        if (rc == 0)
                rc = check_overlay(a, &options, text, why);
        if (rc == 0)
                rc = seat_make(a, &wish, why);
        if (rc)
                return rc;
        return answer(json_pack("{s:O, s:O}", "name", json_object_get(args, "name"), "mountpoint", json_object_get(args, "mountpoint")),
                      ret, why);
}

static int run_stop(void *arg, const json_t *args, json_t **ret, char **why)
{
        struct agent *a = arg;
        CLEANUP_FREE char *mountpoint = path_from_json(json_object_get(args, "mountpoint"));
        struct seat *s = mountpoint ? seat_hold_at(a, mountpoint) : NULL;
        struct seat_end end = {0};
        unsigned long serial;
        int rc;

        if (!mountpoint)
                return why_set(why, -EINVAL, "\"mountpoint\" is an absolute path");
        if (!s)
                return why_set(why, -ENOENT, "nothing is mounted at %s any more, or not yet", mountpoint);
        serial = s->serial;
        rc = seat_unmount(s, json_is_true(json_object_get(args, "lazy")));
        seat_let_go(s);
        if (rc == 0 || rc == -EALREADY)
                rc = seat_wait_gone(a, serial, &end);
        if (rc == -EBUSY)
                return why_set(why, rc, "%s is in use; end what uses it, or detach it now with `dsfs umount --lazy %s`", mountpoint,
                               mountpoint);
        if (rc)
                return why_set(why, rc, "%s can't be unmounted: %s", mountpoint, strerror(-rc));
        return answer(json_pack("{s:b, s:b}", "last", (int)end.last, "abroad", (int)end.abroad), ret, why);
}

static const struct verb verbs[] = {
        {"artifacts", "{\"do\": list|show|adopt|place|save|restore|prune, …}: of the source's artifacts", VERB_BLOCKING, verb_artifacts},
        {"status", "{}: the mounts and how they do", VERB_QUICK, run_status},
        {"help", "{}: the verbs and how they are used", VERB_QUICK, run_help},
        {"ping", "{}: whether anyone is there", VERB_QUICK, run_ping},
        {"wait", "{\"timeout_ms\", \"hashed\"}: answers when all earlier changes of the source are visible, or in the root hash too",
         VERB_BLOCKING, run_wait},
        {"mount", "{\"mountpoint\", \"name\", \"options\", \"own_place\", \"namespace\"}: one more mount; answers once it serves",
         VERB_URGENT, run_mount},
        {"stop", "{\"mountpoint\", \"lazy\"}: unmount it; the agent ends after its last mount", VERB_URGENT, run_stop},
};

static int run_help(void *arg, const json_t *args, json_t **ret, char **why)
{
        json_t *list = json_array();

        (void)arg;
        (void)args;
        for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
                json_array_append_new(list, json_pack("{s:s, s:s}", "name", verbs[i].name, "usage", verbs[i].usage));
        return answer(json_pack("{s:o}", "verbs", list), ret, why);
}

struct registry agent_verbs(struct agent *a)
{
        return (struct registry){.verbs = verbs, .count = ARRAY_LEN(verbs), .arg = a};
}
