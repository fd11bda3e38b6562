#include "sync/agent/seat_self.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "sync/agent/board.h"
#include "sync/agent/holding.h"
#include "sync/agent/mountinfo.h"
#include "sync/agent/place.h"
#include "sync/agent/prewarm.h"
#include "sync/serve/why.h"

/* A mount that nobody has any more ends within milliseconds. */
#define ABROAD_NS 1000000000ULL
#define GONE_NS 50000000000ULL /* less than who asks for it is ready to wait */

void seat_free(struct seat *s)
{
        if (!s)
                return;
        fd_close(&s->listener);
        free(s->mountpoint);
        free(s->name);
        free(s->no_socket);
        free(s);
}

static struct seat *seat_new(struct agent *a, const struct seat_wish *wish)
{
        struct seat *s = calloc(1, sizeof(*s));

        if (!s)
                return NULL;
        s->agent = a;
        s->listener = -1;
        s->options = *wish->options;
        s->options.name = NULL;
        s->mountpoint = strdup(wish->mountpoint);
        s->name = strdup(wish->name);
        s->own_place = wish->own_place;
        if (!s->mountpoint || !s->name) {
                seat_free(s);
                return NULL;
        }
        return s;
}

struct seat *seat_in_sight_locked(struct agent *a, unsigned long serial, bool *others)
{
        struct seat *found = NULL;

        *others = false;
        for (size_t i = 0; i < ENGINE_MOUNTS_MAX; i++) {
                struct seat *s = a->seats[i];

                if (!s || s->state == SEAT_DETACHED || s->state == SEAT_GONE)
                        continue;
                if (s->serial == serial)
                        found = s;
                else
                        *others = true;
        }
        return found;
}

bool seat_is_abroad_locked(const struct agent *a, unsigned long serial)
{
        for (size_t i = 0; i < ENGINE_MOUNTS_MAX; i++) {
                const struct seat *s = a->seats[i];

                if (s && s->abroad && s->state != SEAT_GONE && (serial == ANY_SERIAL || s->serial == serial))
                        return true;
        }
        return false;
}

void seat_set_state_locked(struct agent *a, struct seat *s, enum seat_state state)
{
        bool others;

        s->state = state;
        /* The agent ends with the last one, and who was told so must not wait in vain: from here on nobody takes a seat. */
        if (!seat_in_sight_locked(a, s->serial, &others) && !others && !seat_is_abroad_locked(a, ANY_SERIAL))
                a->closing = true;
        cond_broadcast(&a->changed);
        agent_ring_locked(a);
}

/*
 * Making
 */

/* Take a free place among the seats. 0 or -errno and *why. */
static int take_place_locked(struct agent *a, struct seat *s, char **why) REQUIRES(a->lock)
{
        struct seat **free_place = NULL;

        if (a->closing || a->ended)
                return why_set(why, -ESHUTDOWN, "%s is being unmounted", a->source);
        for (size_t i = 0; i < ENGINE_MOUNTS_MAX; i++) {
                const struct seat *other = a->seats[i];

                if (!other) {
                        free_place = free_place ? free_place : &a->seats[i];
                        continue;
                }
                if (other->state == SEAT_DETACHED || strcmp(other->mountpoint, s->mountpoint) != 0)
                        continue;
                if (other->ended || other->state == SEAT_ENDING || other->state == SEAT_GONE)
                        return why_set(why, -EAGAIN, "%s is just being unmounted; try again", s->mountpoint);
                return why_set(why, -EBUSY, "%s is already mounted at %s; `dsfs umount %s` first, or name another mount point", a->source,
                               s->mountpoint, s->mountpoint);
        }
        if (!free_place)
                return why_set(why, -ENOSPC, "%s has %d mounts already, which is as many as can be; `dsfs umount` one of them first",
                               a->source, ENGINE_MOUNTS_MAX);
        s->serial = ++a->serials;
        *free_place = s;
        return 0;
}

/* A thread of the mount. */
static void mount_ended(void *arg)
{
        struct seat *s = arg;
        struct agent *a = s->agent;

        mutex_lock(&a->lock);
        s->ended = true;
        agent_ring_locked(a);
        mutex_unlock(&a->lock);
}

/* Should we be killed from here on, the holder knows what to do. */
static int hold_seat(struct agent *a, const struct seat *s, const char *text)
{
        struct hold_mount *m = calloc(1, sizeof(*m));
        int rc = m ? 0 : -ENOMEM;

        if (rc == 0 &&
            (strlen(s->name) >= sizeof(m->name) || strlen(s->mountpoint) >= sizeof(m->mountpoint) || strlen(text) >= sizeof(m->options)))
                rc = -E2BIG;
        if (rc == 0) {
                m->own_place = s->own_place;
                strcpy(m->name, s->name);
                strcpy(m->mountpoint, s->mountpoint);
                strcpy(m->options, text);
                rc = holding_mount(a->holding, fs_mount_connection(s->mount), m);
        }
        free(m);
        return rc;
}

/* `s` is MAKING, so nobody else looks at its mount. */
static int start_mount(struct agent *a, struct seat *s, const char *text, char **why)
{
        const struct mount_options *o = &s->options;
        struct fs_options options = {
                .source = a->source,
                .mountpoint = s->mountpoint,
                .name = s->name,
                .profile = o->profile,
                .transport = o->transport,
                .coherence = engine_coherence(a->engine),
                .readonly = o->readonly,
                .allow_other = o->allow_other,
                .xattr = o->xattr,
                .squash = o->squash,
                .view_uid = o->view_uid,
                .view_gid = o->view_gid,
                .overlay = a->overlay,
                .replay = o->replay && engine_sees_how(a->engine) && holding_can_abort(a->holding),
                .max_fds = o->max_fds,
        };
        int rc = fs_mount_new(&options, &s->mount, why);

        if (rc)
                return rc;
        s->began_ns = clock_now_ns();
        rc = hold_seat(a, s, text);
        if (rc)
                log_warn("%s is not mounted again should dsfs die: %s", s->mountpoint, strerror(-rc));
        if (rc)
                fs_host_quiet(s->mount); /* a killed process could hang in it */
        fs_mount_on_end(s->mount, mount_ended, s);
        /* There are as many places in the engine as there are seats. */
        (void)engine_add_mount(a->engine, s->mount);
        board_write(s);
        s->listener = fs_own_listen(s->mount, &s->no_socket);
        if (s->listener < 0)
                log_info("%s has no " FS_OWN_NAME "/events.sock: %s", s->mountpoint, why_text(s->no_socket));
        return 0;
}

int seat_make(struct agent *a, const struct seat_wish *wish, char **why)
{
        struct seat *s = seat_new(a, wish);
        bool closing;
        int rc;

        if (!s)
                return why_set(why, -ENOMEM, "out of memory");
        mutex_lock(&a->lock);
        rc = take_place_locked(a, s, why);
        mutex_unlock(&a->lock);
        if (rc) {
                seat_free(s);
                return rc;
        }
        /* First: should we be killed from here on, others know where to look. */
        rc = agent_record(a);
        if (rc)
                why_set(why, rc, "%s can't be written to: %s", a->run, strerror(-rc));
        else
                rc = start_mount(a, s, wish->text, why);
        mutex_lock(&a->lock);
        s->fresh = rc == 0 && s->options.prewarm;
        closing = a->closing;
        seat_set_state_locked(a, s, s->mount ? SEAT_SERVING : SEAT_GONE);
        mutex_unlock(&a->lock);
        if (rc) {
                (void)agent_record(a);
                return rc;
        }
        log_info("%s is mounted at %s", a->source, wish->mountpoint);
        if (!wish->options->prewarm)
                hashing_go(a->hashing);
        if (closing) {
                struct seat *held = seat_hold_at(a, wish->mountpoint);

                (void)(held && seat_unmount(held, true));
                seat_let_go(held);
                return why_set(why, -ESHUTDOWN, "%s is being unmounted", a->source);
        }
        return 0;
}

/*
 * Holding
 */

struct seat *seat_hold(struct agent *a, size_t place)
{
        struct seat *found = NULL;

        mutex_lock(&a->lock);
        if (a->seats[place] && a->seats[place]->state == SEAT_SERVING) {
                found = a->seats[place];
                found->holders++;
        }
        mutex_unlock(&a->lock);
        return found;
}

struct seat *seat_hold_at(struct agent *a, const char *mountpoint)
{
        for (size_t i = 0; i < ENGINE_MOUNTS_MAX; i++) {
                struct seat *s = seat_hold(a, i);

                if (s && strcmp(s->mountpoint, mountpoint) == 0)
                        return s;
                seat_let_go(s);
        }
        return NULL;
}

void seat_let_go(struct seat *s)
{
        struct agent *a = s ? s->agent : NULL;

        if (!s)
                return;
        mutex_lock(&a->lock);
        s->holders--;
        cond_broadcast(&a->changed);
        mutex_unlock(&a->lock);
}

/*
 * Unmounting
 */

/* The mount has been detached from its place, by us or by someone before: whoever still uses it holds the connection open, so it is ended.
 * All that was written has reached the source already. */
static int end_detached(struct seat *s)
{
        struct agent *a = s->agent;
        int rc = mount_abort(fs_mount_connection(s->mount));

        if (rc == 0)
                return 0;
        log_warn("the users of the detached mount can't be told (%s): they are left with it as it is", strerror(-rc));
        if (s->own_place)
                (void)rmdir(s->mountpoint);
        mutex_lock(&a->lock);
        s->own_place = false;
        if (s->state == SEAT_SERVING)
                seat_set_state_locked(a, s, SEAT_DETACHED);
        mutex_unlock(&a->lock);
        (void)agent_record(a);
        return 0;
}

int seat_unmount(struct seat *s, bool lazy)
{
        struct agent *a = s->agent;
        struct prewarm *prewarm;
        bool already;
        int rc;

        mutex_lock(&a->lock);
        already = s->stopping;
        s->stopping = true;
        prewarm = s->prewarm;
        mutex_unlock(&a->lock);
        if (already)
                return -EALREADY;
        prewarm_quit(prewarm);
        holding_say(a->holding, HOLD_LEAVE, fs_mount_connection(s->mount));
        rc = fs_mount_stop(s->mount, false);
        if (rc == -EBUSY && lazy)
                rc = fs_mount_stop(s->mount, true) == 0 ? end_detached(s) : rc;
        else if (rc == -EINVAL)
                rc = end_detached(s);
        if (rc) {
                holding_say(a->holding, HOLD_STAY, fs_mount_connection(s->mount));
                mutex_lock(&a->lock);
                s->stopping = false;
                cond_broadcast(&a->changed);
                mutex_unlock(&a->lock);
        }
        return rc;
}

/* Is it, though unmounted here, mounted elsewhere? Then the kernel goes on asking, and its end is not ours to wait for. */
static bool has_gone_abroad(const struct seat *s)
{
        const struct mount_entry *m;
        struct mount_list mounts;
        bool here;

        if (mount_list_read(&mounts))
                return false;
        m = mount_at(&mounts, s->mountpoint);
        here = m && m->dev == fs_mount_connection(s->mount);
        mount_list_release(&mounts);
        return !here;
}

static void send_abroad_locked(struct agent *a, struct seat *s) REQUIRES(a->lock)
{
        if (s->own_place)
                (void)rmdir(s->mountpoint);
        s->own_place = false;
        s->abroad = true;
        seat_set_state_locked(a, s, SEAT_DETACHED);
}

int seat_wait_gone(struct agent *a, unsigned long serial, struct seat_end *ret)
{
        unsigned long long now = clock_now_ns(), deadline = now + GONE_NS, look = now + ABROAD_NS;
        struct seat *s;
        bool others;
        int rc = 0;

        *ret = (struct seat_end){0};
        mutex_lock(&a->lock);
        while ((s = seat_in_sight_locked(a, serial, &others)) && rc == 0) {
                bool serving = s->state == SEAT_SERVING && !s->ended;

                if (serving && !s->stopping)
                        rc = -EBUSY;
                else if (cond_wait_until(&a->changed, &a->lock, look) != -ETIMEDOUT)
                        continue;
                else if (clock_now_ns() >= deadline)
                        rc = -ETIMEDOUT;
                else if (serving && has_gone_abroad(s))
                        send_abroad_locked(a, s);
                look = clock_now_ns() + ABROAD_NS;
        }
        ret->abroad = seat_is_abroad_locked(a, serial);
        ret->last = !others && !seat_is_abroad_locked(a, ANY_SERIAL);
        mutex_unlock(&a->lock);
        if (ret->abroad)
                (void)agent_record(a);
        return s ? rc : 0;
}
