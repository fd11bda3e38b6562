/*
 *                    changed                     changed (restart)
 *     ┌──────► IDLE ─────────► RUNNING ──────────────────────────► STOPPING ──── patience over ───► KILLING
 *     │         ▲                │ exited                          ▲     │                             │
 *     │         │ gone           ▼              changed            │     │ gone                        │ gone
 *     │         └──────────── REMAINS ─────────────────────────────┘     ▼                             ▼
 *     │ caught up                │ gone (ignore)                  IDLE, or DONE if we are to end ◄─────┘
 *     └───── CATCHING_UP ◄───────┘
 *
 * REMAINS: the command has ended, and other processes of its group have not. Whoever asks us to end, or ends what we follow, leads from
 * IDLE and CATCHING_UP to DONE, from the others to STOPPING with `ending` set. In all states but RUNNING a change that was seen waits
 * (`wanted`) for IDLE or REMAINS.
 */
#include "sync/run/decide.h"

#include <assert.h>
#include <signal.h>
#include <string.h>

#define SIGNAL_CODE 128
#define NEVER (-1)

void decide_init(struct decide *d, const struct decide_rules *rules)
{
        *d = (struct decide){.rules = *rules, .state = STATE_IDLE, .due = NEVER, .patience = NEVER};
        d->rules.postpone |= rules->once;
}

static void add(struct decide *d, enum decide_do what, int arg)
{
        assert(d->count < DECIDE_ACTIONS);
        d->actions[d->count++] = (struct decide_action){what, arg};
}

bool decide_take(struct decide *d, struct decide_action *ret)
{
        if (d->taken == d->count) {
                d->taken = d->count = 0;
                return false;
        }
        *ret = d->actions[d->taken++];
        return true;
}

/*
 * Runs that follow each other too fast
 */

static int64_t last_begun(const struct decide *d)
{
        return d->runs ? d->begun[(d->runs - 1) % DECIDE_BRAKE_RUNS] : 0;
}

static bool too_many(const struct decide *d, int64_t now)
{
        return d->runs >= DECIDE_BRAKE_RUNS && now - d->begun[d->runs % DECIDE_BRAKE_RUNS] < DECIDE_BRAKE_WINDOW_MS;
}

/* When the run that is wanted now may begin. */
static int64_t after_brake(struct decide *d, int64_t now)
{
        int64_t at;

        /* A person's changes don't follow each run. */
        if (d->brake_ms && now - last_begun(d) > d->brake_ms + DECIDE_BRAKE_WINDOW_MS)
                d->brake_ms = 0;
        if (d->brake_ms == 0 && !too_many(d, now))
                return now;
        d->brake_ms = d->brake_ms ? 2 * d->brake_ms : DECIDE_BRAKE_MIN_MS;
        if (d->brake_ms > DECIDE_BRAKE_MAX_MS)
                d->brake_ms = DECIDE_BRAKE_MAX_MS;
        at = last_begun(d) + d->brake_ms;
        if (at <= now)
                return now;
        add(d, DO_SAY_SLOW, (int)(at - now));
        return at;
}

/*
 * What is done. Each returns the state that follows.
 */

static enum decide_state done(struct decide *d)
{
        add(d, DO_END, d->end_code);
        return STATE_DONE;
}

static enum decide_state start(struct decide *d, bool by_change, int64_t now)
{
        d->wanted = false;
        d->due = NEVER;
        d->by_change = by_change;
        if (by_change)
                d->begun[d->runs++ % DECIDE_BRAKE_RUNS] = now;
        add(d, DO_START, 0);
        return STATE_RUNNING;
}

static enum decide_state begin(struct decide *d, int arg, int64_t now)
{
        (void)arg;
        return d->rules.postpone ? STATE_IDLE : start(d, false, now);
}

static enum decide_state run_again(struct decide *d, int arg, int64_t now)
{
        (void)arg;
        return start(d, true, now);
}

static enum decide_state note_change(struct decide *d, int arg, int64_t now)
{
        int64_t at;

        (void)arg;
        if (d->wanted || d->due >= 0 || d->ending)
                return d->state;
        at = after_brake(d, now);
        d->due = at > now + d->rules.debounce_ms ? at : now + d->rules.debounce_ms;
        return d->state;
}

/* While it runs. */
static enum decide_state change_busy(struct decide *d, int arg, int64_t now)
{
        if (d->rules.busy != BUSY_IGNORE)
                return note_change(d, arg, now);
        add(d, DO_FORGET, 0);
        return d->state;
}

static enum decide_state stop_with(struct decide *d, int signal, int64_t now)
{
        add(d, DO_SIGNAL, signal);
        d->stopped_by = signal;
        d->patience = now + d->rules.grace_ms;
        return STATE_STOPPING;
}

/* What asks it to stop: --signal may mean something else to it. */
static int stop_signal(const struct decide *d)
{
        return d->rules.busy == BUSY_SIGNAL ? SIGTERM : d->rules.signal;
}

static enum decide_state stop(struct decide *d, int arg, int64_t now)
{
        (void)arg;
        return stop_with(d, stop_signal(d), now);
}

static enum decide_state want_busy(struct decide *d, int arg, int64_t now)
{
        switch (d->rules.busy) {
        case BUSY_RESTART:
                return stop(d, arg, now);
        case BUSY_QUEUE:
                return d->state;
        case BUSY_SIGNAL:
                add(d, DO_SIGNAL, d->rules.signal);
                break;
        case BUSY_IGNORE:
                break;
        }
        d->wanted = false;
        add(d, DO_FORGET, 0);
        return d->state;
}

static enum decide_state exited(struct decide *d, int arg, int64_t now)
{
        (void)now;
        if (d->own_code)
                d->end_code = arg;
        /* What a shell puts into the background is deaf to INT. */
        if (d->state == STATE_STOPPING && d->stopped_by != stop_signal(d)) {
                d->stopped_by = stop_signal(d);
                add(d, DO_SIGNAL, d->stopped_by);
        }
        if (d->rules.once && d->by_change && d->state == STATE_RUNNING && !d->ending) {
                d->ending = true;
                d->end_code = arg;
        }
        return d->state == STATE_RUNNING ? STATE_REMAINS : d->state;
}

static enum decide_state typed_out(struct decide *d, int arg, int64_t now)
{
        if (!d->ending) {
                d->ending = true;
                d->end_code = arg;
        }
        return exited(d, arg, now);
}

/* The first run, or the only one, is what the user looks at; later a program may be missing for a moment, while it is being built. */
static enum decide_state refused(struct decide *d, int arg, int64_t now)
{
        (void)now;
        if (d->ending)
                return done(d);
        if (d->by_change && !d->rules.once)
                return STATE_IDLE;
        d->end_code = arg;
        return done(d);
}

static enum decide_state gone(struct decide *d, int arg, int64_t now)
{
        bool by_itself = d->state == STATE_REMAINS;

        (void)arg;
        (void)now;
        d->patience = NEVER;
        if (d->ending)
                return done(d);
        if (!by_itself || d->rules.busy != BUSY_IGNORE)
                return STATE_IDLE;
        add(d, DO_CATCH_UP, 0);
        return STATE_CATCHING_UP;
}

static enum decide_state caught_up(struct decide *d, int arg, int64_t now)
{
        (void)d;
        (void)arg;
        (void)now;
        return STATE_IDLE;
}

static enum decide_state kill_it(struct decide *d, int arg, int64_t now)
{
        (void)arg;
        (void)now;
        d->patience = NEVER;
        add(d, DO_KILL, 0);
        return STATE_KILLING;
}

static enum decide_state asked_idle(struct decide *d, int arg, int64_t now)
{
        (void)now;
        d->end_code = SIGNAL_CODE + arg;
        return done(d);
}

static void end_with(struct decide *d, int code, bool own)
{
        if (d->ending)
                return;
        d->ending = true;
        d->end_code = code;
        d->own_code = own;
}

static enum decide_state asked_busy(struct decide *d, int arg, int64_t now)
{
        end_with(d, SIGNAL_CODE + arg, d->state == STATE_RUNNING);
        return stop_with(d, arg, now);
}

/* Whoever asks twice means it. */
static enum decide_state asked_stopping(struct decide *d, int arg, int64_t now)
{
        if (d->ending)
                return kill_it(d, arg, now);
        end_with(d, SIGNAL_CODE + arg, true);
        add(d, DO_SIGNAL, arg);
        d->stopped_by = arg;
        return d->state;
}

static enum decide_state asked_killing(struct decide *d, int arg, int64_t now)
{
        (void)now;
        end_with(d, SIGNAL_CODE + arg, true);
        return d->state;
}

static enum decide_state over_idle(struct decide *d, int arg, int64_t now)
{
        (void)now;
        d->end_code = arg;
        return done(d);
}

static enum decide_state over_busy(struct decide *d, int arg, int64_t now)
{
        end_with(d, arg, false);
        return stop(d, arg, now);
}

static enum decide_state over_stopping(struct decide *d, int arg, int64_t now)
{
        (void)now;
        end_with(d, arg, false);
        return d->state;
}

/* What isn't here changes nothing. */
static enum decide_state (*const moves[STATE_COUNT][TOLD_COUNT])(struct decide *d, int arg, int64_t now) =
        {
                [STATE_IDLE] =
                        {
                                [TOLD_BEGIN] = begin,
                                [TOLD_CHANGED] = note_change,
                                [TOLD_WANTED] = run_again,
                                [TOLD_ASKED] = asked_idle,
                                [TOLD_OVER] = over_idle,
                        },
                [STATE_RUNNING] =
                        {
                                [TOLD_CHANGED] = change_busy,
                                [TOLD_WANTED] = want_busy,
                                [TOLD_EXITED] = exited,
                                [TOLD_TYPED_OUT] = typed_out,
                                [TOLD_REFUSED] = refused,
                                [TOLD_ASKED] = asked_busy,
                                [TOLD_OVER] = over_busy,
                        },
                [STATE_REMAINS] =
                        {
                                [TOLD_CHANGED] = change_busy,
                                [TOLD_WANTED] = stop,
                                [TOLD_GONE] = gone,
                                [TOLD_ASKED] = asked_busy,
                                [TOLD_OVER] = over_busy,
                        },
                [STATE_STOPPING] =
                        {
                                [TOLD_CHANGED] = note_change,
                                [TOLD_EXITED] = exited,
                                [TOLD_TYPED_OUT] = typed_out,
                                [TOLD_REFUSED] = refused,
                                [TOLD_GONE] = gone,
                                [TOLD_PATIENCE_OVER] = kill_it,
                                [TOLD_ASKED] = asked_stopping,
                                [TOLD_OVER] = over_stopping,
                        },
                [STATE_KILLING] =
                        {
                                [TOLD_CHANGED] = note_change,
                                [TOLD_EXITED] = exited,
                                [TOLD_TYPED_OUT] = typed_out,
                                [TOLD_REFUSED] = refused,
                                [TOLD_GONE] = gone,
                                [TOLD_ASKED] = asked_killing,
                                [TOLD_OVER] = over_stopping,
                        },
                [STATE_CATCHING_UP] =
                        {
                                [TOLD_CHANGED] = change_busy,
                                [TOLD_CAUGHT_UP] = caught_up,
                                [TOLD_ASKED] = asked_idle,
                                [TOLD_OVER] = over_idle,
                        },
};

static void step(struct decide *d, enum decide_event event, int arg, int64_t now)
{
        if (moves[d->state][event])
                d->state = moves[d->state][event](d, arg, now);
}

void decide_tell(struct decide *d, enum decide_event event, int arg, int64_t now)
{
        step(d, event, arg, now);
        if (d->patience >= 0 && d->patience <= now)
                step(d, TOLD_PATIENCE_OVER, 0, now);
        if (d->due >= 0 && d->due <= now) {
                d->due = NEVER;
                d->wanted = true;
        }
        /* The command's end, when it was to be the last: what it left goes, too. */
        if (d->ending && d->state == STATE_REMAINS)
                d->state = stop(d, 0, now);
        if (d->wanted && !d->ending)
                step(d, TOLD_WANTED, 0, now);
}

int64_t decide_deadline(const struct decide *d)
{
        if (d->due >= 0 && (d->patience < 0 || d->due < d->patience))
                return d->due;
        return d->patience;
}
