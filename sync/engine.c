#include "sync/engine.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include "cache/base/log.h"
#include "cache/base/thread.h"
#include "sync/hashing.h"
#include "sync/serve/why.h"

/* How long a barrier stays deaf to engine_shutdown(). */
#define BARRIER_STEP_MS 200
#define WATCH_BEGINS_MS 10000
#define NS_PER_MS 1000000ULL

#define LOSSES (WATCH_ROOT + 1)

/* The watch's thread reads these with no lock, and none is held while a mount is told: who uses the mount counts himself first, then looks
 * whether it is still there. Who removes it clears it first, then waits for the count. */
struct place {
        struct fs_mount *_Atomic mount;
        atomic_uint users;
};

struct engine {
        /* Set at init, read anywhere. */
        enum fs_coherence coherence;
        const char *strict_because;
        struct watch *watch; /* NULL under strict coherence */
        struct place places[ENGINE_MOUNTS_MAX];
        atomic_uint removing; /* how many wait for a place to be unused */
        atomic_bool shut;
        struct hashing *hashing;         /* borrowed; or NULL */
        struct overlay *_Atomic overlay; /* borrowed; NULL: there are no artifacts */
        struct mutex lock;               /* innermost */
        struct cond unused;
        char *warnings[LOSSES] GUARDED_BY(lock); /* the latest of each kind, owned */

        unsigned long long taken_ns; /* when the watch read what it tells now; its thread only, as the next */
        uint64_t told_sum;
        struct latency latency;
        /* Whose thread it was, perhaps: what is told now may be of its number's last owner. The watch's thread only. */
        const struct fs_mount *perhaps;
        bool written_past; /* what is told now may have been done in a mount that wasn't asked; the watch's thread only */

        struct mutex touch_lock; /* held while `touch` is called */
        struct engine_touch touch GUARDED_BY(touch_lock);
        void (*gone)(void *arg) GUARDED_BY(touch_lock);
        void *gone_arg GUARDED_BY(touch_lock);
};

static const struct {
        uint32_t magic;
        const char *name;
} silent[] = {
        {0x6969, "nfs"},          {0xff534d42, "cifs"}, {0xfe534d42, "smb"},    {0x517b, "smb"},      {0x01021997, "9p"},
        {0x65735546, "fuse"},     {0x5346414f, "afs"},  {0x6b414653, "afs"},    {0x00c36400, "ceph"}, {0x786f4256, "vboxsf"},
        {0xbacbacbc, "vmhgfs"},   {0x73757245, "coda"}, {0x0bd00bd0, "lustre"}, {0x01161970, "gfs2"}, {0x7461636f, "ocfs2"},
        {0x19830326, "orangefs"}, {0x61636673, "acfs"}, {0x47504653, "gpfs"},   {0x564c, "ncpfs"},
};

const char *engine_silent_filesystem(uint32_t magic)
{
        for (size_t i = 0; i < ARRAY_LEN(silent); i++) {
                if (silent[i].magic == magic)
                        return silent[i].name;
        }
        return NULL;
}

static void place_leave(struct engine *e, struct place *p)
{
        if (atomic_fetch_sub(&p->users, 1) != 1 || !atomic_load(&e->removing))
                return;
        mutex_lock(&e->lock);
        cond_broadcast(&e->unused);
        mutex_unlock(&e->lock);
}

/* The mount of a place, to be given back; NULL when there is none. */
static struct fs_mount *place_use(struct engine *e, struct place *p)
{
        struct fs_mount *m;

        if (!atomic_load(&p->mount))
                return NULL;
        atomic_fetch_add(&p->users, 1);
        m = atomic_load(&p->mount);
        if (!m)
                place_leave(e, p);
        return m;
}

#define FOR_EACH_MOUNT(e, m)                                                                                                               \
        for (struct place *at_ = (e)->places; at_ < (e)->places + ENGINE_MOUNTS_MAX; at_++)                                                \
                for (struct fs_mount *m = place_use(e, at_); m; place_leave(e, at_), m = NULL)

/* Both say it alike. */
static unsigned host_of(unsigned how)
{
        _Static_assert((int)WATCH_CREATED == (int)FS_HOST_CREATED && (int)WATCH_DELETED == (int)FS_HOST_DELETED &&
                               (int)WATCH_MODIFIED == (int)FS_HOST_MODIFIED && (int)WATCH_CLOSED == (int)FS_HOST_CLOSED &&
                               (int)WATCH_ATTRIB == (int)FS_HOST_ATTRIB && (int)WATCH_DIRECTORY == (int)FS_HOST_DIRECTORY,
                       "one is handed on as the other");
        return how;
}

static void sink_taken(void *arg, unsigned long long ns)
{
        struct engine *e = arg;

        e->taken_ns = ns;
}

/* Every mount has been told of one change; only those count that it was any business of. */
static void told(struct engine *e)
{
        uint64_t sum = 0;

        FOR_EACH_MOUNT(e, m) sum += fs_told(m);
        if (e->taken_ns && sum != e->told_sum)
                latency_add(&e->latency, clock_now_ns() - e->taken_ns);
        e->told_sum = sum;
}

static void sink_entry(void *arg, const void *origin, const struct watch_name *at, const struct ident *object, unsigned how)
{
        struct engine *e = arg;

        FOR_EACH_MOUNT(e, m)
        {
                if (m != origin)
                        fs_host_entry(m, at->dir, at->name, at->len, object, m == e->perhaps ? 0 : host_of(how));
        }
        told(e);
}

static void sink_moved(void *arg, const void *origin, const struct watch_name *from, const struct watch_name *to,
                       const struct ident *object, unsigned how)
{
        struct engine *e = arg;
        struct overlay *o = origin ? NULL : atomic_load(&e->overlay);
        bool with_artifacts = o && overlay_host_moved(o, from->dir, from->name, from->len, to->dir, to->name, to->len);

        FOR_EACH_MOUNT(e, m)
        {
                if (m != origin)
                        m == e->perhaps
                                ? fs_tell_moved(m, from->dir, from->name, from->len, to->dir, to->name, to->len)
                                : fs_host_moved(m, from->dir, from->name, from->len, to->dir, to->name, to->len, object, host_of(how));
                /* Somebody may have looked where they weren't yet. */
                if (with_artifacts)
                        fs_tell_all(m);
        }
        told(e);
}

static void tell_object(struct engine *e, const void *origin, const struct ident *object, const struct watch_name *at, unsigned how)
{
        static const struct watch_name nowhere;

        at = at ? at : &nowhere;
        FOR_EACH_MOUNT(e, m)
        {
                if (m != origin)
                        fs_host_object(m, object, at->dir, at->name, at->len, m == e->perhaps ? 0 : host_of(how));
        }
        told(e);
}

static void sink_content(void *arg, const void *origin, const struct ident *file, const struct watch_name *at, unsigned how)
{
        struct engine *e = arg;

        FOR_EACH_MOUNT(e, m)
        {
                e->written_past = e->written_past || fs_is_written_past(m, file);
        }
        if (how) {
                tell_object(e, origin, file, at, how);
                return;
        }
        FOR_EACH_MOUNT(e, m)
        {
                if (m != origin)
                        fs_tell_content(m, file);
        }
        told(e);
}

static void sink_attr(void *arg, const void *origin, const struct ident *object, const struct watch_name *at, unsigned how)
{
        tell_object(arg, origin, object, at, how);
}

/*
 * What is told by the mounts about artifacts
 */

static void artifact_changed(void *arg, const struct fs_mount *origin, const struct ident *dir, const char *name, size_t len)
{
        struct engine *e = arg;

        FOR_EACH_MOUNT(e, m)
        {
                if (m != origin)
                        fs_soon_entry(m, dir, name, len);
        }
}

static void artifact_touched(void *arg, const struct fs_mount *origin, const struct ident *object)
{
        struct engine *e = arg;

        FOR_EACH_MOUNT(e, m)
        {
                if (m != origin)
                        fs_soon_content(m, object);
        }
}

static void artifact_switching(void *arg, const struct ident *object)
{
        struct engine *e = arg;

        FOR_EACH_MOUNT(e, m) fs_keep(m, object);
}

static void artifact_switched(void *arg, const struct ident *dir, const char *name, size_t len)
{
        struct engine *e = arg;

        FOR_EACH_MOUNT(e, m) fs_tell_entry(m, dir, name, len);
}

static void artifact_moved(void *arg, const struct fs_mount *origin, const struct ident *was, const struct ident *is, uint8_t what)
{
        struct engine *e = arg;

        FOR_EACH_MOUNT(e, m)
        {
                if (m != origin)
                        fs_moved(m, was, is, what);
        }
}

static bool artifact_is_passed(void *arg, const struct fs_mount *origin, const struct ident *object)
{
        struct engine *e = arg;
        bool passed = false;

        FOR_EACH_MOUNT(e, m)
        {
                passed |= m != origin && fs_is_passed(m, object);
        }
        return passed;
}

static const struct overlay_listener artifacts = {
        .changed = artifact_changed,
        .touched = artifact_touched,
        .switching = artifact_switching,
        .switched = artifact_switched,
        .moved = artifact_moved,
        .is_passed = artifact_is_passed,
};

bool engine_sees_how(const struct engine *e)
{
        struct watch_stats stats = {0};

        if (e->watch)
                watch_stats(e->watch, &stats);
        return stats.backend == WATCH_FANOTIFY;
}

/* One fanotify mark sees a whole filesystem. */
void engine_use_overlay(struct engine *e, struct overlay *o)
{
        overlay_listen(o, &artifacts, e);
        overlay_keys_watched(o, e->watch != NULL);
        overlay_watched(o, engine_sees_how(e) && overlay_beside_source(o));
        atomic_store(&e->overlay, o);
}

static void sink_touched(void *arg, enum watch_by by, const struct ident *dir, const char *path, const char *name, size_t len)
{
        struct engine *e = arg;
        struct overlay *o = atomic_load(&e->overlay);

        if (e->written_past && by == WATCH_BY_OTHERS)
                by = WATCH_BY_UNKNOWN;
        if (e->hashing)
                hashing_touch(e->hashing, by, dir, path, name, len);
        mutex_lock(&e->touch_lock);
        if (e->touch.touched)
                e->touch.touched(e->touch.arg, dir, name, len);
        mutex_unlock(&e->touch_lock);
        if (o)
                generations_touched(o, dir, path, name, len);
}

/* A mount knows what is done through it, unless others have to be told; one that is added is told all, after it can be seen here. */
static const void *sink_whose(void *arg, pid_t tid, unsigned long long before_ns, bool *alone, enum watch_by *by)
{
        struct engine *e = arg;
        unsigned long long since_ns = 0;
        const struct fs_mount *m = fs_thread_mount(tid, &since_ns);

        e->perhaps = m;
        e->written_past = false;
        if (!m)
                return NULL;
        *by = WATCH_BY_OURS;
        if (since_ns >= before_ns)
                return NULL;
        *alone = true;
        for (size_t i = 0; i < ENGINE_MOUNTS_MAX && *alone; i++) {
                const struct fs_mount *other = atomic_load(&e->places[i].mount);

                *alone = !other || other == m;
        }
        return m;
}

static void sink_lost(void *arg, enum watch_loss loss, const char *detail)
{
        struct engine *e = arg;
        struct overlay *o = atomic_load(&e->overlay);
        char *text = text_new("%s", detail);

        FOR_EACH_MOUNT(e, m) fs_tell_all(m);
        if (e->hashing)
                hashing_touch_all(e->hashing);
        mutex_lock(&e->touch_lock);
        if (e->touch.lost)
                e->touch.lost(e->touch.arg);
        if (loss == WATCH_ROOT && e->gone)
                e->gone(e->gone_arg);
        mutex_unlock(&e->touch_lock);
        if (o)
                generations_touched_all(o);
        log_warn("%s", detail);
        mutex_lock(&e->lock);
        if (text) {
                free(e->warnings[loss]);
                e->warnings[loss] = text;
        }
        mutex_unlock(&e->lock);
}

/* Mounts tell the kernel by themselves what they have put off. */
static void sink_idle(void *arg)
{
        struct engine *e = arg;

        FOR_EACH_MOUNT(e, m) fs_host_rest(m);
}

static const struct watch_sink sink = {
        .taken = sink_taken,
        .entry = sink_entry,
        .moved = sink_moved,
        .content = sink_content,
        .attr = sink_attr,
        .lost = sink_lost,
        .idle = sink_idle,
        .whose = sink_whose,
        .touched = sink_touched,
};

/* With what can't be seen from the start (inotify's limit), events are not trusted unless that was asked for. */
static void choose_by_watch(struct engine *e, enum engine_coherence coherence)
{
        struct watch_stats stats;

        if (coherence == ENGINE_COHERENCE_EVENTS)
                return;
        /* The watch says what it can't see on its own thread. */
        (void)watch_barrier(e->watch, WATCH_BEGINS_MS);
        watch_stats(e->watch, &stats);
        if (!stats.degraded)
                return;
        watch_free(e->watch);
        e->watch = NULL;
        e->coherence = FS_COHERENCE_STRICT;
        e->strict_because = "not every directory of the source can be watched";
}

int engine_new(const char *source, enum engine_coherence coherence, enum watch_backend backend, struct hashing *hashing,
               struct engine **ret, char **why)
{
        struct engine *e;
        struct statfs fs;
        const char *refused = "";
        int rc;

        if (statfs(source, &fs) < 0) {
                rc = -errno;
                return why_set(why, rc, "%s can't be read: %s", source, strerror(-rc));
        }
        e = calloc(1, sizeof(*e));
        if (!e)
                return why_set(why, -ENOMEM, "out of memory");
        mutex_init(&e->lock);
        mutex_init(&e->touch_lock);
        cond_init(&e->unused);
        e->hashing = hashing;
        e->coherence = coherence == ENGINE_COHERENCE_STRICT ? FS_COHERENCE_STRICT : FS_COHERENCE_EVENTS;
        if (coherence == ENGINE_COHERENCE_AUTO && engine_silent_filesystem((uint32_t)fs.f_type)) {
                e->coherence = FS_COHERENCE_STRICT;
                e->strict_because = engine_silent_filesystem((uint32_t)fs.f_type);
        }
        if (e->coherence == FS_COHERENCE_EVENTS) {
                rc = watch_new(source, backend, &sink, e, &e->watch, &refused);
                if (rc) {
                        engine_free(e);
                        return why_set(why, rc, "%s can't be watched: %s (%s); -o coherence=strict does without", source, refused,
                                       strerror(-rc));
                }
                choose_by_watch(e, coherence);
        }
        *ret = e;
        return 0;
}

void engine_on_touch(struct engine *e, const struct engine_touch *touch)
{
        mutex_lock(&e->touch_lock);
        e->touch = touch ? *touch : (struct engine_touch){0};
        mutex_unlock(&e->touch_lock);
}

void engine_on_gone(struct engine *e, void (*gone)(void *arg), void *arg)
{
        mutex_lock(&e->touch_lock);
        e->gone = gone;
        e->gone_arg = arg;
        mutex_unlock(&e->touch_lock);
}

void engine_tell_all(struct engine *e)
{
        FOR_EACH_MOUNT(e, m) fs_tell_all(m);
}

enum fs_coherence engine_coherence(const struct engine *e)
{
        return e->coherence;
}

int engine_add_mount(struct engine *e, struct fs_mount *m)
{
        for (size_t i = 0; i < ENGINE_MOUNTS_MAX; i++) {
                struct fs_mount *none = NULL;

                if (!atomic_compare_exchange_strong(&e->places[i].mount, &none, m))
                        continue;
                /* What changed since it began to serve was told to the others only. */
                fs_tell_all(m);
                return 0;
        }
        return -ENOSPC;
}

void engine_remove_mount(struct engine *e, struct fs_mount *m)
{
        for (struct place *p = e->places; p < e->places + ENGINE_MOUNTS_MAX; p++) {
                if (atomic_load(&p->mount) != m)
                        continue;
                mutex_lock(&e->lock);
                atomic_fetch_add(&e->removing, 1);
                atomic_store(&p->mount, NULL);
                while (atomic_load(&p->users))
                        cond_wait(&e->unused, &e->lock);
                atomic_fetch_sub(&e->removing, 1);
                mutex_unlock(&e->lock);
        }
}

/* What the watch has told of may have changed keys. */
static int settle_generations(struct engine *e, unsigned long long deadline)
{
        struct overlay *o = atomic_load(&e->overlay);
        unsigned long long now = clock_now_ns();

        return o ? generations_settle(o, now < deadline ? (int)((deadline - now) / NS_PER_MS) : 0) : 0;
}

int engine_barrier(struct engine *e, int timeout_ms)
{
        unsigned long long deadline = clock_now_ns() + (unsigned long long)timeout_ms * NS_PER_MS;
        uint64_t asked = e->watch ? watch_ask(e->watch) : 0;
        int rc = e->watch ? -ETIMEDOUT : 0;

        while (rc == -ETIMEDOUT) {
                unsigned long long now = clock_now_ns();
                unsigned long long left = now < deadline ? (deadline - now) / NS_PER_MS : 0;

                if (atomic_load(&e->shut))
                        return -ESHUTDOWN;
                rc = watch_await(e->watch, asked, left < BARRIER_STEP_MS ? (int)left : BARRIER_STEP_MS);
                if (rc == -ETIMEDOUT && left == 0)
                        return rc;
        }
        if (rc == 0)
                rc = settle_generations(e, deadline);
        if (rc == 0 && atomic_load(&e->shut))
                rc = -ESHUTDOWN;
        if (rc == 0) {
                FOR_EACH_MOUNT(e, m) fs_settle(m);
        }
        return rc;
}

void engine_shutdown(struct engine *e)
{
        atomic_store(&e->shut, true);
}

void engine_free(struct engine *e)
{
        if (!e)
                return;
        watch_free(e->watch);
        if (e->overlay)
                generations_quiesce(e->overlay);
        mutex_lock(&e->lock);
        for (size_t i = 0; i < LOSSES; i++)
                free(e->warnings[i]);
        mutex_unlock(&e->lock);
        mutex_release(&e->touch_lock);
        cond_release(&e->unused);
        mutex_release(&e->lock);
        free(e);
}

void engine_stats(struct engine *e, struct engine_stats *ret)
{
        memset(ret, 0, sizeof(*ret));
        ret->watching = e->watch != NULL;
        ret->strict_because = e->strict_because;
        if (e->watch)
                watch_stats(e->watch, &ret->watch);
        latency_stats(&e->latency, &ret->latency);
}

void engine_warnings(struct engine *e, void (*visit)(void *arg, const char *sentence), void *arg)
{
        mutex_lock(&e->lock);
        for (size_t i = 0; i < LOSSES; i++) {
                if (e->warnings[i])
                        visit(arg, e->warnings[i]);
        }
        mutex_unlock(&e->lock);
}
