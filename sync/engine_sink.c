/*
 * What the watch sees, told to every mount but the one that did it, to the hashes and to whoever else follows. The watch's thread.
 */
#include <stdlib.h>

#include "cache/base/err.h"
#include "cache/base/log.h"
#include "sync/engine_self.h"
#include "sync/hashing.h"
#include "sync/serve/why.h"

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

        e->written_past = false;
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

        e->written_past = false;
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

        e->written_past = false;
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
        struct engine *e = arg;

        e->written_past = false;
        tell_object(e, origin, object, at, how);
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

static void warn(struct engine *e, enum watch_loss loss, const char *detail)
{
        char *text = text_new("%s", detail);

        log_warn("%s", detail);
        if (!text)
                return;
        mutex_lock(&e->lock);
        free(e->warnings[loss]);
        e->warnings[loss] = text;
        mutex_unlock(&e->lock);
}

static void sink_lost(void *arg, enum watch_loss loss, const char *detail)
{
        struct engine *e = arg;
        struct overlay *o = atomic_load(&e->overlay);

        warn(e, loss, detail);
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
}

/* Mounts tell the kernel by themselves what they have put off. */
static void sink_idle(void *arg)
{
        struct engine *e = arg;

        FOR_EACH_MOUNT(e, m) fs_host_rest(m);
}

const struct watch_sink engine_sink = {
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
