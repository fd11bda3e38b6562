#include "sync/engine_self.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include "cache/base/log.h"
#include "sync/hashing.h"
#include "sync/serve/why.h"

/* How long a barrier stays deaf to engine_shutdown(). */
#define BARRIER_STEP_MS 200
#define WATCH_BEGINS_MS 10000
#define NS_PER_MS 1000000ULL

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

void engine_place_leave(struct engine *e, struct engine_place *p)
{
        if (atomic_fetch_sub(&p->users, 1) != 1 || !atomic_load(&e->removing))
                return;
        mutex_lock(&e->lock);
        cond_broadcast(&e->unused);
        mutex_unlock(&e->lock);
}

struct fs_mount *engine_place_use(struct engine *e, struct engine_place *p)
{
        struct fs_mount *m;

        if (!atomic_load(&p->mount))
                return NULL;
        atomic_fetch_add(&p->users, 1);
        m = atomic_load(&p->mount);
        if (!m)
                engine_place_leave(e, p);
        return m;
}

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
        overlay_listen(o, &engine_artifacts, e);
        overlay_keys_watched(o, e->watch != NULL);
        overlay_watched(o, engine_sees_how(e) && overlay_beside_source(o));
        atomic_store(&e->overlay, o);
}

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

static void wait_in_step(void *arg);

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
                rc = watch_new(source, backend, &engine_sink, e, &e->watch, &refused);
                if (rc) {
                        engine_free(e);
                        return why_set(why, rc, "%s can't be watched: %s (%s); -o coherence=strict does without", source, refused,
                                       strerror(-rc));
                }
                choose_by_watch(e, coherence);
        }
        if (hashing && e->watch)
                hashing_in_step(hashing, wait_in_step, e);
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
        for (struct engine_place *p = e->places; p < e->places + ENGINE_MOUNTS_MAX; p++) {
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

/* Until the watch has told all that has happened by now. */
static int watch_has_told(struct engine *e, unsigned long long deadline)
{
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
        return rc;
}

static void settle_mounts(struct engine *e)
{
        FOR_EACH_MOUNT(e, m) fs_settle(m);
}

int engine_barrier(struct engine *e, int timeout_ms)
{
        unsigned long long deadline = clock_now_ns() + (unsigned long long)timeout_ms * NS_PER_MS;
        int rc = watch_has_told(e, deadline);

        if (rc == 0)
                rc = settle_generations(e, deadline);
        if (rc == 0 && atomic_load(&e->shut))
                rc = -ESHUTDOWN;
        if (rc == 0)
                settle_mounts(e);
        return rc;
}

/* The hashing's thread: nobody hears of what his mount doesn't show yet. */
static void wait_in_step(void *arg)
{
        struct engine *e = arg;

        if (watch_has_told(e, ~0ULL) == 0)
                settle_mounts(e);
}

void engine_shutdown(struct engine *e)
{
        atomic_store(&e->shut, true);
}

void engine_free(struct engine *e)
{
        if (!e)
                return;
        atomic_store(&e->shut, true);
        if (e->hashing)
                hashing_in_step(e->hashing, NULL, NULL);
        watch_free(e->watch);
        if (e->overlay)
                generations_quiesce(e->overlay);
        mutex_lock(&e->lock);
        for (size_t i = 0; i < ENGINE_LOSSES; i++)
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
        for (size_t i = 0; i < ENGINE_LOSSES; i++) {
                if (e->warnings[i])
                        visit(arg, e->warnings[i]);
        }
        mutex_unlock(&e->lock);
}
