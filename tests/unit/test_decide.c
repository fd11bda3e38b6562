/*
 * When `dsfs run` runs its command: every case is a script of what happens, at a clock of the test's own, and what is done about it.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cache/base/err.h"
#include "sync/run/decide.h"

#define GRACE 5000

static struct {
        struct decide d;
        int64_t now;
        char done[512]; /* what came out of the last event */
} play;

static struct decide_rules plain(void)
{
        return (struct decide_rules){.signal = SIGTERM, .grace_ms = GRACE};
}

static void take_all(void)
{
        static const char *const names[] = {
                [DO_START] = "start",       [DO_SIGNAL] = "signal",     [DO_KILL] = "kill", [DO_FORGET] = "forget",
                [DO_CATCH_UP] = "catch up", [DO_SAY_SLOW] = "say slow", [DO_END] = "end",
        };
        struct decide_action a;

        while (decide_take(&play.d, &a)) {
                size_t n = strlen(play.done);
                bool has_arg = a.what == DO_SIGNAL || a.what == DO_END || a.what == DO_SAY_SLOW;

                snprintf(play.done + n, sizeof(play.done) - n, has_arg ? "%s%s %d" : "%s%s", n ? ", " : "", names[a.what], a.arg);
        }
}

static void begin(struct decide_rules rules)
{
        play.now = 1000000;
        decide_init(&play.d, &rules);
}

#define expect(event, arg, want)                                                                                                           \
        do {                                                                                                                               \
                *play.done = '\0';                                                                                                         \
                decide_tell(&play.d, event, arg, play.now);                                                                                \
                take_all();                                                                                                                \
                cr_assert_str_eq(play.done, want, "%s: \"%s\", not \"%s\"", #event, play.done, want);                                      \
        } while (0)

static void after(int64_t ms)
{
        play.now += ms;
}

Test(decide, starts_at_once_and_again_when_something_changes)
{
        begin(plain());
        expect(TOLD_BEGIN, 0, "start");
        expect(TOLD_CHANGED, 0, "signal 15");
        expect(TOLD_EXITED, 143, "");
        expect(TOLD_GONE, 0, "start");
        cr_assert_lt(decide_deadline(&play.d), 0, "it waits for a time");
}

Test(decide, what_has_ended_is_run_again)
{
        begin(plain());
        expect(TOLD_BEGIN, 0, "start");
        expect(TOLD_EXITED, 1, "");
        expect(TOLD_GONE, 0, "");
        expect(TOLD_CHANGED, 0, "start");
}

Test(decide, what_it_left_is_stopped_first)
{
        begin(plain());
        expect(TOLD_BEGIN, 0, "start");
        expect(TOLD_EXITED, 0, "");
        expect(TOLD_CHANGED, 0, "signal 15");
        after(GRACE);
        expect(TOLD_TICK, 0, "kill");
        expect(TOLD_GONE, 0, "start");
}

Test(decide, postponed_until_something_changes)
{
        struct decide_rules r = plain();

        r.postpone = true;
        begin(r);
        expect(TOLD_BEGIN, 0, "");
        expect(TOLD_CHANGED, 0, "start");
}

Test(decide, who_does_not_stop_is_killed_after_the_grace)
{
        begin(plain());
        expect(TOLD_BEGIN, 0, "start");
        expect(TOLD_CHANGED, 0, "signal 15");
        cr_assert_eq(decide_deadline(&play.d), play.now + GRACE);
        after(GRACE - 1);
        expect(TOLD_TICK, 0, "");
        after(1);
        expect(TOLD_TICK, 0, "kill");
        expect(TOLD_EXITED, 137, "");
        expect(TOLD_GONE, 0, "start");
}

Test(decide, changes_while_it_stops_are_one_run)
{
        begin(plain());
        expect(TOLD_BEGIN, 0, "start");
        expect(TOLD_CHANGED, 0, "signal 15");
        expect(TOLD_CHANGED, 0, "");
        expect(TOLD_CHANGED, 0, "");
        expect(TOLD_EXITED, 143, "");
        expect(TOLD_GONE, 0, "start");
        expect(TOLD_TICK, 0, "");
}

Test(decide, several_changes_within_the_debounce_are_one)
{
        struct decide_rules r = plain();

        r.debounce_ms = 100;
        begin(r);
        expect(TOLD_BEGIN, 0, "start");
        expect(TOLD_CHANGED, 0, "");
        after(60);
        expect(TOLD_CHANGED, 0, "");
        cr_assert_eq(decide_deadline(&play.d), play.now + 40, "from the first change on");
        after(40);
        expect(TOLD_TICK, 0, "signal 15");
        expect(TOLD_EXITED, 143, "");
        expect(TOLD_GONE, 0, "start");
        expect(TOLD_CHANGED, 0, "");
}

Test(decide, a_queue_runs_once_more_after_the_end)
{
        struct decide_rules r = plain();

        r.busy = BUSY_QUEUE;
        begin(r);
        expect(TOLD_BEGIN, 0, "start");
        expect(TOLD_CHANGED, 0, "");
        expect(TOLD_CHANGED, 0, "");
        cr_assert_lt(decide_deadline(&play.d), 0, "it would wake for nothing");
        expect(TOLD_EXITED, 0, "signal 15");
        expect(TOLD_GONE, 0, "start");
        expect(TOLD_EXITED, 0, "");
        expect(TOLD_GONE, 0, "");
}

Test(decide, what_changes_while_it_runs_can_be_ignored)
{
        struct decide_rules r = plain();

        r.busy = BUSY_IGNORE;
        begin(r);
        expect(TOLD_BEGIN, 0, "start");
        expect(TOLD_CHANGED, 0, "forget");
        expect(TOLD_EXITED, 0, "");
        expect(TOLD_CHANGED, 0, "forget");
        expect(TOLD_GONE, 0, "catch up");
        expect(TOLD_CHANGED, 0, "forget");
        expect(TOLD_CAUGHT_UP, 0, "");
        expect(TOLD_CHANGED, 0, "start");
}

Test(decide, a_signal_may_be_all_that_it_gets)
{
        struct decide_rules r = plain();

        r.busy = BUSY_SIGNAL;
        r.signal = SIGHUP;
        begin(r);
        expect(TOLD_BEGIN, 0, "start");
        expect(TOLD_CHANGED, 0, "signal 1, forget");
        expect(TOLD_CHANGED, 0, "signal 1, forget");
        expect(TOLD_EXITED, 0, "");
        expect(TOLD_GONE, 0, "");
        expect(TOLD_CHANGED, 0, "start");
        /* What stops it is TERM all the same. */
        expect(TOLD_OVER, 4, "signal 15");
}

Test(decide, once_ends_with_the_commands_code)
{
        struct decide_rules r = plain();

        r.once = true;
        begin(r);
        expect(TOLD_BEGIN, 0, "");
        expect(TOLD_CHANGED, 0, "start");
        expect(TOLD_EXITED, 7, "signal 15");
        expect(TOLD_GONE, 0, "end 7");
        cr_assert_eq(play.d.state, STATE_DONE);
        expect(TOLD_CHANGED, 0, "");
}

Test(decide, once_is_over_after_a_restart)
{
        struct decide_rules r = plain();

        r.once = true;
        begin(r);
        expect(TOLD_BEGIN, 0, "");
        expect(TOLD_CHANGED, 0, "start");
        expect(TOLD_CHANGED, 0, "signal 15");
        expect(TOLD_EXITED, 143, "");
        expect(TOLD_GONE, 0, "start");
        expect(TOLD_EXITED, 3, "signal 15");
        expect(TOLD_GONE, 0, "end 3");
}

Test(decide, a_signal_is_passed_on_and_ends_us_with_the_commands_code)
{
        begin(plain());
        expect(TOLD_BEGIN, 0, "start");
        expect(TOLD_ASKED, SIGINT, "signal 2");
        expect(TOLD_CHANGED, 0, "");
        expect(TOLD_EXITED, 5, "signal 15");
        expect(TOLD_GONE, 0, "end 5");
}

Test(decide, a_signal_ends_what_waits)
{
        begin(plain());
        expect(TOLD_BEGIN, 0, "start");
        expect(TOLD_EXITED, 0, "");
        expect(TOLD_GONE, 0, "");
        expect(TOLD_ASKED, SIGTERM, "end 143");
}

Test(decide, a_second_signal_kills)
{
        begin(plain());
        expect(TOLD_BEGIN, 0, "start");
        expect(TOLD_ASKED, SIGTERM, "signal 15");
        expect(TOLD_ASKED, SIGTERM, "kill");
        expect(TOLD_EXITED, 137, "");
        expect(TOLD_GONE, 0, "end 137");
}

Test(decide, a_signal_while_it_stops_ends_us_instead_of_running_again)
{
        begin(plain());
        expect(TOLD_BEGIN, 0, "start");
        expect(TOLD_CHANGED, 0, "signal 15");
        expect(TOLD_ASKED, SIGINT, "signal 2");
        expect(TOLD_EXITED, 130, "signal 15");
        expect(TOLD_GONE, 0, "end 130");
}

Test(decide, what_the_keys_end_ends_us)
{
        begin(plain());
        expect(TOLD_BEGIN, 0, "start");
        expect(TOLD_TYPED_OUT, 130, "signal 15");
        expect(TOLD_GONE, 0, "end 130");
}

Test(decide, the_mounts_end_stops_the_command)
{
        begin(plain());
        expect(TOLD_BEGIN, 0, "start");
        expect(TOLD_OVER, 4, "signal 15");
        expect(TOLD_EXITED, 0, "");
        expect(TOLD_GONE, 0, "end 4");
}

Test(decide, the_first_run_has_to_work)
{
        begin(plain());
        expect(TOLD_BEGIN, 0, "start");
        expect(TOLD_REFUSED, 127, "end 127");
}

Test(decide, a_later_run_may_fail_to_begin)
{
        begin(plain());
        expect(TOLD_BEGIN, 0, "start");
        expect(TOLD_EXITED, 0, "");
        expect(TOLD_GONE, 0, "");
        expect(TOLD_CHANGED, 0, "start");
        expect(TOLD_REFUSED, 127, "");
        expect(TOLD_CHANGED, 0, "start");
}

Test(decide, what_runs_itself_is_slowed_down)
{
        char want[64];

        begin(plain());
        expect(TOLD_BEGIN, 0, "start");
        for (unsigned i = 0; i < DECIDE_BRAKE_RUNS; i++) {
                expect(TOLD_EXITED, 0, "");
                expect(TOLD_GONE, 0, "");
                after(10);
                expect(TOLD_CHANGED, 0, "start");
        }
        for (int64_t wait = DECIDE_BRAKE_MIN_MS; wait <= DECIDE_BRAKE_MAX_MS; wait *= 2) {
                expect(TOLD_EXITED, 0, "");
                expect(TOLD_GONE, 0, "");
                after(10);
                snprintf(want, sizeof(want), "say slow %d", (int)wait - 10);
                expect(TOLD_CHANGED, 0, want);
                after(wait - 11);
                expect(TOLD_TICK, 0, "");
                after(1);
                expect(TOLD_TICK, 0, "start");
        }
        /* A pause, and all is as before. */
        expect(TOLD_EXITED, 0, "");
        expect(TOLD_GONE, 0, "");
        after(2 * DECIDE_BRAKE_MAX_MS + DECIDE_BRAKE_WINDOW_MS);
        expect(TOLD_CHANGED, 0, "start");
}

/* Whatever comes in whatever order: it never asserts, ends at most once, and starts nothing while something runs. */
Test(decide, any_order_of_events_is_survived)
{
        unsigned seed = 1;

        for (int round = 0; round < 2000; round++) {
                struct decide_rules r = plain();
                bool runs = false, ended = false;

                r.busy = (enum busy)(round % 4);
                r.once = round % 5 == 0;
                r.debounce_ms = round % 3 * 50;
                begin(r);
                for (int i = 0; i < 60; i++) {
                        struct decide_action a;
                        enum decide_event e;

                        seed = seed * 1103515245 + 12345;
                        e = i ? (enum decide_event)((seed >> 16) % TOLD_WANTED) : TOLD_BEGIN;
                        /* What a process that isn't there can't tell. */
                        if (!runs && (e == TOLD_EXITED || e == TOLD_TYPED_OUT || e == TOLD_REFUSED || e == TOLD_GONE))
                                continue;
                        runs = runs && e != TOLD_GONE && e != TOLD_REFUSED;
                        after((seed >> 20) % 4000);
                        decide_tell(&play.d, e, e == TOLD_ASKED ? SIGINT : 1, play.now);
                        while (decide_take(&play.d, &a)) {
                                cr_assert_not(ended, "something is to be done after the end");
                                cr_assert_not(a.what == DO_START && runs, "two at once");
                                runs |= a.what == DO_START;
                                ended |= a.what == DO_END;
                                cr_assert_not(ended && runs, "the end with the command at work");
                        }
                }
        }
}
