#include "sync/agent/agent.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "cache/base/log.h"
#include "cache/base/thread.h"
#include "sync/agent/board.h"
#include "sync/agent/comeback.h"
#include "sync/agent/config.h"
#include "sync/agent/daemon.h"
#include "sync/agent/events.h"
#include "sync/agent/holder.h"
#include "sync/agent/holding.h"
#include "sync/agent/record.h"
#include "sync/agent/reload.h"
#include "sync/agent/state.h"
#include "sync/journal.h"
#include "sync/serve/why.h"

void agent_ring_locked(struct agent *a)
{
        if (!a->ended)
                (void)uv_async_send(&a->news);
}

int agent_record(struct agent *a)
{
        struct record_mount mounts[ENGINE_MOUNTS_MAX];
        size_t count = 0;
        int rc = 0;

        mutex_lock(&a->recording);
        mutex_lock(&a->lock);
        for (size_t i = 0; i < ENGINE_MOUNTS_MAX; i++) {
                const struct seat *s = a->seats[i];

                /* A place is another's only when we are through with it. */
                if (s && (s->state == SEAT_MAKING || s->state == SEAT_SERVING || (s->state == SEAT_ENDING && s->mount)))
                        mounts[count++] = (struct record_mount){text_new("%s", s->name), text_new("%s", s->mountpoint), s->own_place};
        }
        mutex_unlock(&a->lock);
        for (size_t i = 0; i < count; i++)
                rc = mounts[i].name && mounts[i].mountpoint ? rc : -ENOMEM;
        if (rc == 0)
                rc = record_write(a->run, a->id, a->claim, holding_pid(a->holding), a->source, mounts, count);
        if (rc == 0)
                holding_park(a->holding, HOLD_CLAIM, *a->claim);
        mutex_unlock(&a->recording);
        for (size_t i = 0; i < count; i++) {
                free((char *)mounts[i].name);
                free((char *)mounts[i].mountpoint);
        }
        return rc;
}

/* Whether it is, or soon will be, unmounted. */
static bool stop_seat(struct seat *s)
{
        int rc = seat_unmount(s, false);

        if (rc == -EBUSY) {
                log_warn("%s is in use: it is detached, and those who use it lose it", s->mountpoint);
                rc = seat_unmount(s, true);
        }
        if (rc == 0 || rc == -EALREADY)
                return true;
        log_error("%s can't be unmounted: %s; `dsfs umount --lazy %s`", s->mountpoint, strerror(-rc), s->mountpoint);
        return false;
}

/* Worker thread. */
static void stop_for_signal(uv_work_t *w)
{
        struct agent *a = w->data;
        bool all = true;

        for (size_t i = 0; i < ENGINE_MOUNTS_MAX; i++) {
                struct seat *s = seat_hold(a, i);

                all = (!s || stop_seat(s)) && all;
                seat_let_go(s);
        }
        mutex_lock(&a->lock);
        a->closing = all;
        mutex_unlock(&a->lock);
}

static void stop_for_signal_done(uv_work_t *w, int status)
{
        struct agent *a = w->data;

        (void)status;
        a->stop_queued = false;
}

static void stop_soon(struct agent *a)
{
        if (a->stop_queued)
                return;
        a->stop_queued = true;
        /* At once: a mount that is asked for from now on is another agent's. */
        mutex_lock(&a->lock);
        a->closing = true;
        mutex_unlock(&a->lock);
        a->stop_work.data = a;
        /* Fails only without a callback. */
        (void)uv_queue_work(&a->loop, &a->stop_work, stop_for_signal, stop_for_signal_done);
}

static void say_stopping(const struct agent *a)
{
        daemon_stopping(a->daemon);
        holding_say(a->holding, HOLD_STOPPING, 0);
}

static void signal_came(uv_signal_t *s, int number)
{
        struct agent *a = s->data;

        log_info("%s: unmounting", strsignal(number));
        say_stopping(a);
        stop_soon(a);
}

static void close_all(struct agent *a)
{
        control_close(a->control);
        events_close(a->events);
        comeback_close(a->comeback);
        holding_say(a->holding, HOLD_LISTENER, 0);
        if (a->overlay)
                artifacts_cancel(a->overlay);
        seats_close(a);
        uv_close((uv_handle_t *)&a->terminate, NULL);
        uv_close((uv_handle_t *)&a->interrupt, NULL);
        uv_close((uv_handle_t *)&a->news, NULL);
        if (a->holding && !uv_is_closing((uv_handle_t *)&a->holder))
                uv_close((uv_handle_t *)&a->holder, NULL);
}

/* It has never anything to say: it has died. We serve on, without what a killed process could hang in. */
static void holder_died(uv_poll_t *p, int status, int events)
{
        struct agent *a = p->data;

        (void)status;
        (void)events;
        log_warn("the holder (process %d) has died: should dsfs die too, its mounts are dead until `dsfs mount`",
                 (int)holding_pid(a->holding));
        holding_lost(a->holding);
        uv_close((uv_handle_t *)p, NULL);
        for (size_t i = 0; i < ENGINE_MOUNTS_MAX; i++) {
                struct seat *s = seat_hold(a, i);

                if (s)
                        fs_host_quiet(s->mount);
                seat_let_go(s);
        }
        (void)agent_record(a);
}

static void news_came(uv_async_t *async)
{
        struct agent *a = async->data;

        if (uv_is_closing((uv_handle_t *)async) || !seats_look(a))
                return;
        say_stopping(a);
        engine_shutdown(a->engine);
        reload_shutdown(a->reload);
        hashing_shutdown(a->hashing);
        close_all(a);
}

static int loop_start(struct agent *a)
{
        int rc = uv_loop_init(&a->loop);

        if (rc)
                return rc;
        a->terminate.data = a->interrupt.data = a->news.data = a->holder.data = a;
        rc = uv_async_init(&a->loop, &a->news, news_came);
        if (rc == 0)
                rc = uv_signal_init(&a->loop, &a->terminate);
        if (rc == 0)
                rc = uv_signal_start(&a->terminate, signal_came, SIGTERM);
        if (rc == 0)
                rc = uv_signal_init(&a->loop, &a->interrupt);
        if (rc == 0)
                rc = uv_signal_start(&a->interrupt, signal_came, SIGINT);
        if (rc == 0 && a->holding)
                rc = uv_poll_init(&a->loop, &a->holder, holding_channel(a->holding));
        if (rc == 0 && a->holding)
                rc = uv_poll_start(&a->holder, UV_READABLE | UV_DISCONNECT, holder_died);
        return rc;
}

/* Descriptors are what a large tree needs: take what the hard limit gives. */
static void raise_limit(void)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
                limit.rlim_cur = limit.rlim_max;
                (void)setrlimit(RLIMIT_NOFILE, &limit);
        }
}

static int control_start(struct agent *a, char **why)
{
        struct registry verbs = agent_verbs(a);
        char socket[SOURCE_ID_TEXT + 5];
        int rc;

        record_socket_name(a->id, socket);
        if (a->heritage->listener >= 0)
                rc = control_inherit(&a->loop, a->run, socket, &verbs, a->heritage->listener, &a->control);
        else
                rc = control_new(&a->loop, a->run, socket, &verbs, &a->control);
        if (rc)
                return why_set(why, rc, "the control socket %s/%s can't be made: %s", a->run, socket, strerror(-rc));
        holding_park(a->holding, HOLD_LISTENER, control_listener(a->control));
        return 0;
}

/* That nothing can be remembered is no reason not to mount. */
static int hashing_start(struct agent *a, char **why)
{
        CLEANUP_FREE char *refused = NULL;
        CLEANUP_FREE char *dir = state_cache(a->source);
        int rc = dir ? hashing_new(a->source, dir, &a->hashing) : -ENOMEM;

        if (rc == 0)
                rc = journal_new(0, &a->journal);
        if (rc)
                return why_set(why, rc, "%s can't be hashed: %s", a->source, strerror(-rc));
        hashing_tell(a->hashing, a->journal);
        if (state_make(a->source, &refused))
                hashing_turn_off(a->hashing, why_text(refused));
        return 0;
}

/* To whoever waits for the mount, and into the log. */
static void say_line(void *arg, const char *line)
{
        const struct agent *a = arg;

        log_info("%s", line);
        if (!a->daemon->foreground)
                fprintf(stderr, "dsfs: %s\n", line);
}

/* What is an artifact in the mounts is no business of those who follow changes, even if the source has something there. */
static bool is_shadowed(void *arg, const char *path, bool is_directory)
{
        return artifacts_shadow(arg, path, is_directory);
}

/* Without rules nothing is an artifact, and needs no place. */
static int overlay_start(struct agent *a, char **why)
{
        CLEANUP_FREE char *state = path_state(a->id);
        CLEANUP_FREE char *dir = state ? text_new("%s/overlay", state) : NULL;
        struct overlay_options options = {.dir = dir, .source = a->source, .budget = a->config->options.overlay_budget};
        int rc;

        if (!dir)
                return why_set(why, -ENOMEM, "out of memory");
        options.rules = reload_take_rules(a->reload);
        if (!options.rules)
                return 0;
        rc = overlay_open(&options, &a->overlay, why);
        if (rc) {
                rules_free(options.rules);
                return rc;
        }
        engine_use_overlay(a->engine, a->overlay);
        hashing_leave_out(a->hashing, is_shadowed, a->overlay);
        return 0;
}

static int rules_start(struct agent *a, char **why)
{
        int rc = reload_new(a->source, a->config->command, a->engine, &a->reload, why);

        if (rc)
                return rc;
        reload_tell(a->reload, say_line, a);
        rc = overlay_start(a, why);
        if (rc)
                return rc;
        rc = reload_start(a->reload, a->overlay);
        return rc ? why_set(why, rc, "the configuration can't be followed: %s", strerror(-rc)) : 0;
}

/* To tell what changes, and how the mounts do. */
static int events_start(struct agent *a, char **why)
{
        int rc = board_new(a, &a->board);

        if (rc)
                return why_set(why, rc, "the agent can't start: %s", strerror(-rc));
        return events_new(a, &a->events, why);
}

static void source_gone(void *arg)
{
        comeback_look(arg);
}

static int comeback_start(struct agent *a, char **why)
{
        int rc = comeback_new(a, &a->comeback);

        if (rc)
                return why_set(why, rc, "%s can't be kept open: %s", a->source, strerror(-rc));
        engine_on_gone(a->engine, source_gone, a->comeback);
        return 0;
}

/* As many as can be: one is enough to live for. */
static int make_seats(struct agent *a, const struct seat_wish *wishes, size_t count, char **why)
{
        size_t made = 0;
        int rc = 0;

        for (size_t i = 0; i < count; i++) {
                /* That the one before could not be made was no end: nobody was let in yet. */
                mutex_lock(&a->lock);
                a->closing = false;
                mutex_unlock(&a->lock);
                free(steal_ptr(why));
                rc = seat_make(a, &wishes[i], why);
                made += rc == 0;
                if (rc && count > 1)
                        log_error("%s can't be served again: %s", wishes[i].mountpoint, why_text(*why));
        }
        if (made)
                free(steal_ptr(why));
        return made ? 0 : rc;
}

static int start(struct agent *a, const struct mount_options *o, const struct seat_wish *wishes, size_t count, char **why)
{
        int rc = control_start(a, why);

        if (rc == 0)
                rc = hashing_start(a, why);
        if (rc == 0)
                rc = engine_new(a->source, o->coherence, o->watch, a->hashing, &a->engine, why);
        if (rc == 0)
                rc = comeback_start(a, why);
        if (rc == 0)
                rc = rules_start(a, why);
        if (rc == 0)
                rc = events_start(a, why);
        if (rc == 0)
                rc = make_seats(a, wishes, count, why);
        return rc;
}

/* 0, or -EPIPE when whoever asked for the mount has gone. */
static int say_ready(struct agent *a, struct daemon *d, const char *word)
{
        int rc = a->heritage->deaths ? 0 : daemon_ready(d, word);

        holding_say(a->holding, HOLD_READY, 0);
        return rc;
}

int agent_serve(struct agent *a, struct daemon *d, const struct mount_options *shared, const struct seat_wish *wishes, size_t count,
                char **why)
{
        int rc = 0;

        a->daemon = d;
        mutex_init(&a->lock);
        mutex_init(&a->recording);
        cond_init(&a->changed);
        figures_init(&a->figures);
        raise_limit();
        (void)signal(SIGPIPE, SIG_IGN);
        if (a->heritage->channel >= 0)
                rc = holding_new(a->heritage->holder, a->heritage->channel, a->heritage->life, &a->holding);
        if (rc == 0)
                rc = loop_start(a);
        if (rc)
                return why_set(why, rc, "the agent can't start: %s", strerror(-rc));
        rc = start(a, shared, wishes, count, why);
        if (rc == 0 && say_ready(a, d, wishes[0].mountpoint))
                stop_soon(a); /* whoever asked for the mount has gone */
        if (rc) {
                /* Nobody was let in yet, and there is no seat that lives. */
                (void)seats_look(a);
                close_all(a);
        }
        if (rc == 0)
                figures_look(a);
        (void)uv_run(&a->loop, UV_RUN_DEFAULT);
        board_free(a->board);
        reload_free(a->reload);
        engine_free(a->engine);
        hashing_free(a->hashing);
        events_free(a->events);
        journal_free(a->journal);
        overlay_free(a->overlay);
        comeback_free(a->comeback);
        (void)uv_loop_close(&a->loop);
        holding_free(a->holding);
        return rc;
}
