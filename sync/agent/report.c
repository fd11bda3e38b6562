#include "sync/agent/report.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "sync/agent/agent.h"
#include "sync/agent/comeback.h"
#include "sync/agent/disks.h"
#include "sync/agent/events.h"
#include "sync/agent/holder.h"
#include "sync/agent/holding.h"
#include "sync/agent/prewarm.h"
#include "sync/agent/reload.h"
#include "sync/agent/shell.h"
#include "sync/journal.h"
#include "sync/serve/json.h"
#include "sync/serve/why.h"

#define OP_COUNTS_MAX 128
#define PUBLIC_VERSION 1
#define NS_PER_S 1e9
#define NS_PER_MS 1e6
#define LOOK_BACK 16

static json_t *text_json(const char *text)
{
        return bytes_to_json(text, strlen(text));
}

static json_int_t resident_bytes(void)
{
        CLEANUP_FREE char *text = NULL;
        long long pages;

        if (fd_read_file(AT_FDCWD, "/proc/self/statm", 256, &text) < 0 || sscanf(text, "%*d %lld", &pages) != 1)
                return 0;
        return (json_int_t)pages * sysconf(_SC_PAGESIZE);
}

static json_t *requests_json(struct seat *s)
{
        struct fs_op_count counts[OP_COUNTS_MAX];
        size_t n = fs_mount_op_counts(s->mount, counts, OP_COUNTS_MAX);
        json_t *requests = json_object();

        for (size_t i = 0; i < n && i < OP_COUNTS_MAX; i++) {
                if (counts[i].count)
                        json_object_set_new(requests, counts[i].name, json_integer((json_int_t)counts[i].count));
        }
        return requests;
}

static json_t *prewarm_json(struct seat *s)
{
        struct prewarm_report r;

        prewarm_progress(s->prewarm, &r);
        return json_pack("{s:s, s:I, s:I, s:I, s:f}", "state", prewarm_state_name(r.state), "entries", (json_int_t)r.entries, "files",
                         (json_int_t)r.files, "bytes", (json_int_t)r.bytes, "seconds", (double)r.ns / NS_PER_S);
}

/* How the source's memory of its content does, and the root hash that comes of it. */
static void add_hash(json_t *m, const struct agent *a, const struct engine_stats *es)
{
        struct hashing_stats h;
        char root[CONTENT_TEXT];

        hashing_stats(a->hashing, &h);
        content_to_text(&h.root, root);
        json_object_set_new(m, "root_hash", h.has_root ? json_string(root) : json_null());
        /* Where changes are not seen there is no telling whether it is of now. */
        json_object_set_new(m, "root_hash_pending", json_boolean(h.pending || !es->watching || es->watch.degraded));
        json_object_set_new(m, "cache",
                            json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:s?, s:f, s:{s:I, s:I, s:I}}", "entries",
                                      (json_int_t)h.cache.entries, "bytes", (json_int_t)h.cache.bytes, "hits", (json_int_t)h.cache.hits,
                                      "reads", (json_int_t)h.cache.reads, "scans", (json_int_t)h.scans, "updates", (json_int_t)h.updates,
                                      "scanning", (int)h.scanning, "waits", (int)h.waits, "off", h.cache.off, "seconds", h.seconds,
                                      "progress", "entries", (json_int_t)h.progress.entries, "files", (json_int_t)h.progress.files, "bytes",
                                      (json_int_t)h.progress.bytes));
}

static void add_warning(void *arg, const char *sentence)
{
        json_array_append_new(arg, text_json(sentence));
}

static const char *ordinal(unsigned n)
{
        if (n % 100 / 10 == 1)
                return "th";
        return n % 10 == 1 ? "st" : n % 10 == 2 ? "nd" : n % 10 == 3 ? "rd" : "th";
}

static const char *backend_name(const struct engine_stats *es)
{
        if (!es->watching)
                return "none";
        return es->watch.backend == WATCH_FANOTIFY ? "fanotify" : "inotify";
}

/* Of the agents before this one. */
static void add_deaths(json_t *warnings, const struct agent *a)
{
        const struct heritage *h = a->heritage;
        CLEANUP_FREE char *text = NULL;
        time_t at = (time_t)h->died_at;
        struct tm tm;
        char when[32];

        if (h->channel >= 0 && holding_pid(a->holding) == 0)
                add_warning(warnings, "the holder, which would start dsfs again, has died: unmount and mount again to have another");
        if (h->deaths == 0)
                return;
        (void)localtime_r(&at, &tm);
        (void)strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
        text = text_new("the agent %s and was started again at %s, for the %u%s time; files that were open answered ENOTCONN", h->died_of,
                        when, h->deaths, ordinal(h->deaths));
        add_warning(warnings, why_text(text));
}

/* What the mounts show isn't what is at the source's path: what to do. */
static void add_source(json_t *warnings, const struct seat *s, enum source_state state)
{
        const struct agent *a = s->agent;
        CLEANUP_FREE char *source = shell_word(a->source), *mountpoint = shell_word(s->mountpoint);
        CLEANUP_FREE char *text = NULL;

        if (state == SOURCE_REPLACED)
                text = text_new(
                        "another directory is at the source's path than the one that is shown: `dsfs umount %s`, then `dsfs mount %s %s`",
                        why_text(mountpoint), why_text(source), why_text(mountpoint));
        else if (holding_pid(a->holding))
                text = text_new("the source is deleted: it is shown as soon as there is a directory at %s again; or `dsfs umount %s`",
                                a->source, why_text(mountpoint));
        else
                text = text_new("the source is deleted: `dsfs umount %s`, and when there is one again `dsfs mount %s %s`",
                                why_text(mountpoint), why_text(source), why_text(mountpoint));
        add_warning(warnings, why_text(text));
}

static void add_full(json_t *warnings, const char *path, const char *what)
{
        CLEANUP_FREE char *fix = NULL, *text = path ? disk_complaint(path, what, true, &fix) : NULL;
        CLEANUP_FREE char *both = text ? text_new("%s; %s", text, why_text(fix)) : NULL;

        if (text)
                add_warning(warnings, why_text(both));
}

/* What is worth knowing though all is well. */
static void add_notes(json_t *warnings, const struct seat *s, const struct fs_stats *fs, const struct engine_stats *es)
{
        CLEANUP_FREE char *state = path_state(s->agent->id);
        CLEANUP_FREE char *text = NULL;

        /* One that isn't local may not answer. */
        if (!es->strict_because)
                add_full(warnings, s->agent->source, "the source");
        add_full(warnings, state, "where artifacts, memories and logs are kept");

        if (!fs->uring && s->options.transport != FS_TRANSPORT_DEV)
                add_warning(warnings,
                            "requests go through /dev/fuse, for io_uring is not offered here; `dsfs doctor` says how to enable it");
        if (fs->profile_note) {
                text = text_new("the profile is source, not data: %s", fs->profile_note);
                add_warning(warnings, why_text(text));
                free(steal_ptr(&text));
        }
        if (fs->not_passed) {
                text = text_new("%llu opens could not be passed through and went through the page cache, which is slower",
                                (unsigned long long)fs->not_passed);
                add_warning(warnings, why_text(text));
                free(steal_ptr(&text));
        }
        if (es->strict_because) {
                text = text_new("nothing is kept in the kernel's caches, which is slower: %s", es->strict_because);
                add_warning(warnings, why_text(text));
        }
}

static json_t *told_json(const struct fs_stats *fs)
{
        return json_pack("{s:I, s:I, s:I, s:I}", "entries", (json_int_t)fs->told_entries, "content", (json_int_t)fs->told_content,
                         "attributes", (json_int_t)fs->told_attrs, "all", (json_int_t)fs->told_all);
}

static void add_view(json_t *m, const struct mount_options *o)
{
        if (o->view_uid != FS_VIEW_AS_IS)
                json_object_set_new(m, "view_uid", json_integer(o->view_uid));
        if (o->view_gid != FS_VIEW_AS_IS)
                json_object_set_new(m, "view_gid", json_integer(o->view_gid));
}

static json_t *staleness_json(const struct latency_stats *l)
{
        return json_pack("{s:o, s:o, s:o, s:I, s:f}", "last", l->count ? json_real((double)l->last_ns / NS_PER_MS) : json_null(), "p50",
                         l->count ? json_real((double)l->p50_ns / NS_PER_MS) : json_null(), "p99",
                         l->count ? json_real((double)l->p99_ns / NS_PER_MS) : json_null(), "samples", (json_int_t)l->count, "sum",
                         (double)l->sum_ns / NS_PER_MS);
}

/* How it does, and what is to be said about it. */
static const char *verdict_of(const struct seat *s, json_t *warnings, struct fs_stats *fs, struct engine_stats *es)
{
        const struct agent *a = s->agent;
        enum source_state source = SOURCE_THERE;
        bool degraded, unhashed, broken, blind;

        fs_mount_stats(s->mount, fs);
        engine_stats(a->engine, es);
        if (!es->watching || es->watch.degraded)
                source = comeback_state(a->comeback);
        broken = source == SOURCE_DELETED || source == SOURCE_REPLACED;
        /* Where nothing is seen what was read once may be old. */
        blind = source == SOURCE_THERE && es->watching && es->watch.degraded;
        if (broken)
                add_source(warnings, s, source);
        else
                engine_warnings(a->engine, add_warning, warnings);
        reload_warnings(a->reload, add_warning, warnings);
        if (atomic_load(&a->shadows_own))
                add_warning(warnings, "the source has a " FS_OWN_NAME
                                      " of its own, which can't be seen in its mounts: they show theirs there; rename it, if it is needed");
        degraded = json_array_size(warnings) > 0 || es->watch.degraded;
        hashing_warnings(a->hashing, add_warning, warnings, &unhashed);
        degraded = degraded || unhashed;
        add_notes(warnings, s, fs, es);
        add_deaths(warnings, a);
        return fs->ended || broken || blind ? "broken" : degraded ? "degraded" : "ok";
}

static json_t *clock_json(const struct agent *a)
{
        char clock[CLOCK_TEXT];

        journal_clock(a->journal, clock);
        return json_string(clock);
}

static void take_change(void *arg, const struct journal_record *r)
{
        static const char *const kinds[] = {
                [CHANGE_CREATED] = "created", [CHANGE_MODIFIED] = "modified", [CHANGE_DELETED] = "deleted", [CHANGE_TOUCHED] = "touched"};
        static const char *const origins[] = {[ORIGIN_HOST] = "host", [ORIGIN_CONTAINER] = "container", [ORIGIN_UNKNOWN] = "unknown"};
        json_t **ret = arg;
        struct timespec now;
        double ago;

        if (r->is_settled)
                return;
        clock_gettime(CLOCK_REALTIME, &now);
        ago = (double)(now.tv_sec - r->time_ns / 1000000000) + (double)(now.tv_nsec - r->time_ns % 1000000000) / NS_PER_S;
        *ret = json_pack("{s:s, s:o, s:s, s:f}", "kind", kinds[r->change.kind], "path", text_json(r->change.path), "origin",
                         origins[r->change.origin], "seconds_ago", ago > 0 ? ago : 0.0);
}

/* The newest change that is confirmed: not far before the clock, behind the batches that nothing but git was in. */
static json_t *last_change_json(const struct agent *a)
{
        char clock[CLOCK_TEXT];
        uint64_t seq = 0;
        json_t *found = NULL;

        journal_clock(a->journal, clock);
        if (journal_clock_parse(a->journal, clock, &seq))
                return json_null();
        for (unsigned i = 0; i < LOOK_BACK && seq > 0 && !found; i++, seq--) {
                if (journal_next(a->journal, seq - 1, take_change, &found))
                        break;
        }
        return found ? found : json_null();
}

/* What was touched elsewhere waits to be sorted out, too: that is nothing to speak of. */
static json_int_t waiting(const struct hashing_stats *h)
{
        return !h->pending || h->off ? 0 : h->waiting ? (json_int_t)h->waiting : 1;
}

static void add_events(json_t *m, const struct seat *s, uint64_t own)
{
        const struct agent *a = s->agent;
        struct journal_stats j;
        struct stream_stats stream;
        struct hashing_stats h;

        hashing_stats(a->hashing, &h);
        events_stats(a->events, &stream);
        journal_stats(a->journal, &j);
        json_object_set_new(m, "clock", clock_json(a));
        json_object_set_new(m, "last_change", last_change_json(a));
        json_object_set_new(m, "watch_own", json_integer((json_int_t)own));
        json_object_set_new(m, "pending", json_integer(waiting(&h)));
        json_object_set_new(m, "events",
                            json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s?}", "subscribers", (json_int_t)stream.subscribers,
                                      "records", (json_int_t)j.records, "batches", (json_int_t)j.batches, "forgotten",
                                      (json_int_t)j.forgotten, "sent", (json_int_t)stream.sent, "replayed", (json_int_t)stream.replayed,
                                      "cut", (json_int_t)stream.cut, "refused", (json_int_t)stream.refused, "not_in_mount", s->no_socket));
}

json_t *report_public(struct seat *s)
{
        const struct agent *a = s->agent;
        json_t *warnings = json_array();
        const char *name = strrchr(a->source, '/');
        struct hashing_stats h;
        struct engine_stats es;
        struct fs_stats fs;
        const char *verdict = verdict_of(s, warnings, &fs, &es);
        char root[CONTENT_TEXT];
        json_t *m;

        hashing_stats(a->hashing, &h);
        content_to_text(&h.root, root);
        m = json_pack("{s:i, s:s, s:o, s:o, s:s, s:s, s:s, s:b, s:b, s:o, s:I, s:o, s:I}", "version", PUBLIC_VERSION, "verdict", verdict,
                      "name", text_json(s->name), "source", text_json(name && name[1] ? name + 1 : "/"), "profile",
                      fs.profile == FS_PROFILE_DATA ? "data" : "source", "transport", fs.uring ? "io_uring" : "/dev/fuse", "coherence",
                      engine_coherence(a->engine) == FS_COHERENCE_STRICT ? "strict" : "events", "readonly", (int)s->options.readonly,
                      "replay", (int)fs.replays, "clock", clock_json(a), "pending", waiting(&h), "root_hash",
                      h.has_root ? json_string(root) : json_null(), "warnings", (json_int_t)json_array_size(warnings));
        json_decref(warnings);
        return m;
}

json_t *report_seat(struct seat *s)
{
        struct agent *a = s->agent;
        struct engine_stats es;
        struct fs_stats fs;
        json_t *warnings = json_array();
        const char *verdict = verdict_of(s, warnings, &fs, &es);
        json_t *m;

        m = json_pack("{s:s, s:o, s:o, s:o, s:i, s:s, s:s, s:s, s:s, s:b, s:f}", "verdict", verdict, "name", text_json(s->name), "source",
                      text_json(a->source), "mountpoint", text_json(s->mountpoint), "pid", (int)getpid(), "profile",
                      fs.profile == FS_PROFILE_DATA ? "data" : "source", "transport", fs.uring ? "io_uring" : "/dev/fuse", "coherence",
                      engine_coherence(a->engine) == FS_COHERENCE_STRICT ? "strict" : "events", "watch", backend_name(&es), "readonly",
                      (int)s->options.readonly, "seconds", (double)(clock_now_ns() - s->began_ns) / NS_PER_S);
        if (holding_pid(a->holding))
                json_object_set_new(m, "holder_pid", json_integer(holding_pid(a->holding)));
        json_object_set_new(m, "restarts", json_integer(a->heritage->deaths));
        json_object_set_new(m, "watches", json_integer((json_int_t)es.watch.watches));
        json_object_set_new(m, "watch_events", json_integer((json_int_t)es.watch.events));
        json_object_set_new(m, "watch_coalesced", json_integer((json_int_t)es.watch.coalesced));
        json_object_set_new(m, "staleness_ms", staleness_json(&es.latency));
        json_object_set_new(m, "overflows", json_integer((json_int_t)es.watch.overflows));
        json_object_set_new(m, "nodes", json_integer((json_int_t)fs.nodes));
        json_object_set_new(m, "names", json_integer((json_int_t)fs.names));
        json_object_set_new(m, "node_bytes", json_integer((json_int_t)fs.table_bytes));
        json_object_set_new(m, "fds", json_integer((json_int_t)fs.fds));
        json_object_set_new(m, "fds_max", json_integer((json_int_t)fs.fds_max));
        json_object_set_new(m, "fds_pinned", json_integer((json_int_t)fs.pinned));
        json_object_set_new(m, "files_passed", json_integer((json_int_t)fs.passed));
        json_object_set_new(m, "chowns_ignored", json_integer((json_int_t)fs.chowns_ignored));
        add_view(m, &s->options);
        json_object_set_new(m, "told", told_json(&fs));
        json_object_set_new(m, "replay", json_boolean(fs.replays));
        json_object_set_new(m, "replayed", json_integer((json_int_t)fs.replayed));
        json_object_set_new(m, "requests_total", json_integer((json_int_t)fs.requests));
        json_object_set_new(m, "requests", requests_json(s));
        json_object_set_new(m, "rss", json_integer(resident_bytes()));
        json_object_set_new(m, "prewarm", prewarm_json(s));
        json_object_set_new(m, "artifacts", figures_json(a));
        add_hash(m, a, &es);
        add_events(m, s, es.watch.own);
        json_object_set_new(m, "warnings", warnings);
        return m;
}
