/*
 * `dsfs run`: what becomes of the command and of its children, by signals, at the end, and when dsfs run itself is killed.
 */
#include "tests/unit/run_case.h"

TestSuite(run, .init = run_begin, .fini = run_finish, .timeout = 240);

/* Waits for ever, in the foreground of its group, and ends by the first signal that it doesn't ignore. */
#define FOREVER "exec tail -f /dev/null"

Test(run, restarts_when_what_matters_has_settled)
{
        RUN("echo run $DSFS_WHY >>log; " FOREVER, "--on", "*.py", "--ignore", "gen/");
        await_text("log", "run start\n");
        events_fake_edit(&runs.events, "a.js");
        events_fake_edit(&runs.events, "gen/a.py");
        events_fake_change(&runs.events, "a.py", "host");
        events_fake_change(&runs.events, "b.py", "host");
        events_fake_settle(&runs.events);
        await_text("log", "run change\n");
        expect_text("log", "run start\nrun change\n");
        await_text("err", "a.py and 1 more changed");
}

Test(run, the_command_is_told_what_has_changed)
{
        RUN("cp \"$DSFS_CHANGED_FILE\" names; printf '%s|%s' \"$DSFS_WHY\" \"$DSFS_CHANGED\" >first; echo done >>log", "--postpone");
        events_fake_change(&runs.events, "b", "host");
        events_fake_change(&runs.events, "a\\nb", "host");
        events_fake_change(&runs.events, "a\\\\xffz", "host");
        events_fake_change(&runs.events, "b", "host");
        events_fake_settle(&runs.events);
        await_text("log", "done");
        expect_text("first", "change|a\nb");
        {
                CLEANUP_FREE char *names = NULL;
                ssize_t n = fd_read_file(AT_FDCWD, "names", 4096, &names);

                cr_assert_eq(n, 10, "%zd bytes", n);
                cr_assert_eq(memcmp(names, "a\nb\0a\xffz\0b\0", 10), 0);
        }
}

Test(run, the_file_with_the_names_goes_in_the_end)
{
        RUN("echo \"$DSFS_CHANGED_FILE\" >name; " FOREVER, "-q");
        await_text("name", "dsfs-changed");
        run_text("name")[strcspn(run_text("name"), "\n")] = '\0';
        cr_assert_eq(kill(runs.pid, SIGTERM), 0);
        cr_assert_eq(run_end(), 128 + SIGTERM);
        {
                char *name = run_text("name");

                name[strcspn(name, "\n")] = '\0';
                cr_assert_eq(access(name, F_OK), -1, "%s is left", name);
        }
}

Test(run, children_of_children_end_with_it)
{
        RUN("echo run >>log; sh -c 'echo $$ >grandchild; " FOREVER "' & echo $$ >child; wait");
        await_text("grandchild", "\n");
        await_text("child", "\n");
        cr_assert_eq(rename("grandchild", "old"), 0);
        cr_assert_eq(rename("child", "old-child"), 0);
        events_fake_edit(&runs.events, "a");
        await_text("log", "run\nrun\n");
        await_death_of("old");
        await_death_of("old-child");
        await_text("grandchild", "\n");
        cr_assert_eq(kill(runs.pid, SIGINT), 0);
        (void)run_end();
        await_death_of("grandchild");
}

/* A command that ends and leaves something in its group: it is gone before the next run, and at the end. */
Test(run, what_the_command_leaves_is_stopped_before_the_next)
{
        RUN("[ ! -e left ] || { kill -0 $(cat left) && echo lives >>log; }; sh -c 'echo $$ >left; " FOREVER
            "' & while [ ! -s left ]; do :; done;"
            "echo run >>log; exit 3");
        await_text("err", "ended with 3");
        cr_assert_eq(rename("left", "was"), 0);
        events_fake_edit(&runs.events, "a");
        await_text("err", "a changed: sh\ndsfs run: sh ended with 3");
        await_death_of("was");
        cr_assert_eq(kill(runs.pid, SIGTERM), 0);
        cr_assert_eq(run_end(), 128 + SIGTERM);
        await_death_of("left");
        expect_text("log", "run\nrun\n");
}

/* Two that run at the same time would meet in the lock. */
Test(run, one_at_a_time)
{
        RUN("mkdir lock || echo BOTH >>log; trap 'sleep 0.05; rmdir lock; exit' TERM; echo run >>log; while :; do sleep 0.01; done");
        for (int i = 0; i < 6; i++) {
                char want[64] = "";

                for (int k = 0; k <= i; k++)
                        strcat(want, "run\n");
                await_text("log", want);
                events_fake_edit(&runs.events, "a");
        }
        await_text("log", "run\nrun\nrun\nrun\nrun\nrun\nrun\n");
        cr_assert_not(strstr(run_text("log"), "BOTH"));
}

Test(run, who_ignores_the_signal_is_killed_after_the_grace)
{
        RUN("trap '' TERM; echo $$ >pid; echo run >>log; while :; do sleep 1; done", "--grace", "0.1");
        await_text("log", "run\n");
        cr_assert_eq(rename("pid", "was"), 0);
        events_fake_edit(&runs.events, "a");
        await_text("log", "run\nrun\n");
        await_death_of("was");
}

Test(run, another_signal_can_ask_it_to_stop)
{
        RUN("trap 'echo usr1 >>log; exit' USR1; trap '' TERM; echo run >>log; while :; do sleep 0.01; done", "--signal", "USR1", "--grace",
            "0.1");
        await_text("log", "run\n");
        events_fake_edit(&runs.events, "a");
        await_text("log", "run\nusr1\nrun\n");
}

Test(run, a_queue_lets_it_end)
{
        cr_assert_eq(mkfifo("gate", 0600), 0);
        RUN("echo begin >>log; cat gate >/dev/null; echo end >>log", "--busy", "queue");
        for (int i = 0; i < 2; i++) {
                CLEANUP_FD int gate = -1;

                await_text("log", i ? "end\nbegin\n" : "begin\n");
                gate = open("gate", O_WRONLY | O_CLOEXEC);
                cr_assert_geq(gate, 0);
                if (i == 0) {
                        events_fake_edit(&runs.events, "a");
                        events_fake_edit(&runs.events, "b");
                        events_fake_heard(&runs.events);
                }
        }
        await_text("log", "begin\nend\nbegin\nend\n");
        await_text("err", "ended with 0; changes are waited for\n");
        expect_text("log", "begin\nend\nbegin\nend\n");
}

Test(run, a_signal_may_be_all_that_it_gets)
{
        RUN("trap 'echo again >>log' HUP; echo run >>log; while :; do sleep 0.01; done", "--busy", "signal", "--signal", "HUP");
        await_text("log", "run\n");
        events_fake_edit(&runs.events, "a");
        await_text("log", "run\nagain\n");
        events_fake_edit(&runs.events, "a");
        await_text("log", "run\nagain\nagain\n");
}

Test(run, once_exits_as_the_command_does)
{
        RUN("echo run >>log; exit 42", "--once");
        events_fake_edit(&runs.events, "a");
        cr_assert_eq(run_end(), 42);
        expect_text("log", "run\n");
}

Test(run, a_signal_that_ends_the_command_is_in_the_code)
{
        RUN("kill -SEGV $$", "--once");
        events_fake_edit(&runs.events, "a");
        cr_assert_eq(run_end(), 128 + SIGSEGV);
}

Test(run, signals_are_passed_on_and_the_code_is_the_commands)
{
        static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

        for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
                RUN("for s in INT TERM HUP QUIT; do trap \"echo $s; exit 9\" $s; done >>log; echo ready >>log; while :; do sleep 0.01; "
                    "done");
                await_text("log", "ready\n");
                cr_assert_eq(kill(runs.pid, numbers[i]), 0);
                {
                        int code = run_end();

                        cr_assert_eq(code, 9, "signal %d: %d", numbers[i], code);
                }
                events_fake_hang_up(&runs.events);
                cr_assert_eq(unlink("log"), 0);
        }
}

Test(run, other_signals_are_only_passed_on)
{
        RUN("for s in USR1 USR2 WINCH; do trap \"echo $s >>log\" $s; done; echo ready >>log; while :; do sleep 0.01; done");
        await_text("log", "ready\n");
        cr_assert_eq(kill(runs.pid, SIGUSR1), 0);
        await_text("log", "USR1\n");
        cr_assert_eq(kill(runs.pid, SIGUSR2), 0);
        await_text("log", "USR2\n");
        cr_assert_eq(kill(runs.pid, SIGWINCH), 0);
        await_text("log", "WINCH\n");
}

Test(run, who_ignores_the_end_is_killed_after_the_grace_or_a_second_signal)
{
        RUN("trap '' INT TERM; echo ready >>log; while :; do sleep 1; done", "--grace", "600");
        await_text("log", "ready\n");
        cr_assert_eq(kill(runs.pid, SIGINT), 0);
        cr_assert_eq(kill(runs.pid, SIGTERM), 0);
        cr_assert_eq(run_end(), 128 + SIGKILL);
}

Test(run, a_signal_while_nothing_runs_ends_it)
{
        RUN("true", "--postpone");
        cr_assert_eq(kill(runs.pid, SIGINT), 0);
        cr_assert_eq(run_end(), 128 + SIGINT);
}

Test(run, killed_it_leaves_nothing)
{
        RUN("sh -c 'echo $$ >grandchild; " FOREVER "' & echo $$ >child; echo \"$DSFS_CHANGED_FILE\" >name; wait");
        await_text("grandchild", "\n");
        await_text("name", "\n");
        cr_assert_eq(kill(runs.pid, SIGKILL), 0);
        cr_assert_eq(run_end(), 128 + SIGKILL);
        await_death_of("child");
        await_death_of("grandchild");
}

Test(run, killed_it_has_who_ignores_the_signal_killed)
{
        RUN("trap '' TERM; sh -c 'echo $$ >grandchild; while :; do sleep 1; done' & echo $$ >child; while :; do sleep 1; done", "--grace",
            "0.1");
        await_text("grandchild", "\n");
        await_text("child", "\n");
        cr_assert_eq(kill(runs.pid, SIGKILL), 0);
        cr_assert_eq(run_end(), 128 + SIGKILL);
        await_death_of("child");
        await_death_of("grandchild");
}

/* The process that sees to all that is killed itself. */
Test(run, with_its_keeper_killed_nothing_is_left_and_it_goes_on)
{
        RUN("sh -c 'echo $$ >grandchild; " FOREVER "' & echo $PPID >keeper; echo run >>log; wait");
        await_text("grandchild", "\n");
        await_text("log", "run\n");
        cr_assert_eq(kill((pid_t)atoi(run_text("keeper")), SIGKILL), 0);
        await_death_of("grandchild");
        await_text("err", "ended with 137");
        events_fake_edit(&runs.events, "a");
        await_text("log", "run\nrun\n");
}

/* Zombies would be children of dsfs run, as its keeper is, which goes when nothing of the command is left. */
static bool has_no_children(void *arg)
{
        char path[64];
        CLEANUP_FREE char *text = NULL;

        (void)arg;
        snprintf(path, sizeof(path), "/proc/%d/task/%d/children", runs.pid, runs.pid);
        return fd_read_file(AT_FDCWD, path, 4096, &text) == 0;
}

Test(run, no_zombies)
{
        RUN("(sleep 0 & sleep 0 &) ; (setsid sleep 0 &); sleep 0; echo run >>log");
        await_text("err", "waited for\n");
        cr_assert(proc_until(has_no_children, NULL));
        events_fake_edit(&runs.events, "a");
        await_text("log", "run\nrun\n");
        cr_assert(proc_until(has_no_children, NULL));
}

Test(run, what_cannot_be_executed_is_said)
{
        RUN(NULL, "--", "./there-is-none");
        cr_assert_eq(run_end(), 127);
        await_text("err", "./there-is-none can't be executed: No such file");
        events_fake_hang_up(&runs.events);
        RUN(NULL, "--", "/etc/passwd");
        cr_assert_eq(run_end(), 126);
}

Test(run, a_command_that_is_being_built_may_be_missing_for_a_while)
{
        cr_assert_eq(symlink("/bin/true", "prog"), 0);
        RUN(NULL, "--", "./prog");
        await_text("err", "./prog ended with 0");
        cr_assert_eq(unlink("prog"), 0);
        events_fake_edit(&runs.events, "a");
        await_text("err", "can't be executed");
        cr_assert_eq(symlink("/bin/false", "prog"), 0);
        events_fake_edit(&runs.events, "a");
        await_text("err", "./prog ended with 1");
}

Test(run, what_the_mount_brings_counts_only_if_asked_for)
{
        RUN("echo run $DSFS_CHANGED >>log", "--postpone");
        events_fake_change(&runs.events, "mine", "container");
        events_fake_settle(&runs.events);
        events_fake_edit(&runs.events, "yours");
        await_text("log", "run yours\n");
        expect_text("log", "run yours\n");
        await_text("err", "mine was changed through the mount");
        cr_assert_eq(kill(runs.pid, SIGTERM), 0);
        (void)run_end();
        events_fake_hang_up(&runs.events);
        RUN("echo run $DSFS_CHANGED >>log", "--postpone", "--origin", "any");
        events_fake_change(&runs.events, "mine", "container");
        events_fake_settle(&runs.events);
        await_text("log", "run mine\n");
}

Test(run, goes_on_where_it_was_when_it_was_cut_off)
{
        RUN("echo run $DSFS_WHY $DSFS_CHANGED >>log", "--postpone");
        events_fake_edit(&runs.events, "a");
        await_text("log", "run change a\n");
        events_fake_say(&runs.events, "cut", ",\"error\":\"too slow\"");
        events_fake_hang_up(&runs.events);
        events_fake_accept(&runs.events, false);
        cr_assert(strstr(runs.events.request, "\"since\":\"c:00000000000000aa:3\""), "%s", runs.events.request);
        events_fake_edit(&runs.events, "b");
        await_text("log", "run change b\n");
}

Test(run, follows_the_next_agent_and_runs_once_for_what_it_missed)
{
        RUN("echo run $DSFS_WHY $DSFS_CHANGED >>log; " FOREVER);
        await_text("log", "run start\n");
        events_fake_stop(&runs.events);
        await_text("err", "goes on");
        events_fake_start(&runs.events, runs.dir);
        events_fake_accept(&runs.events, true);
        await_text("log", "run start\nrun anything\n");
        events_fake_edit(&runs.events, "a");
        await_text("log", "run start\nrun anything\nrun change a\n");
}

Test(run, the_end_of_the_mount_stops_the_command)
{
        RUN("trap 'echo stopped >>log; exit' TERM; echo run >>log; while :; do sleep 0.01; done");
        await_text("log", "run\n");
        events_fake_say(&runs.events, "end", ",\"why\":\"unmounted\"");
        cr_assert_eq(run_end(), 4);
        expect_text("log", "run\nstopped\n");
        await_text("err", "unmounted");
}

Test(run, a_refusal_is_said)
{
        const char *const argv[] = {getenv("DSFS_BIN"), "run", "--socket", runs.events.path, "--postpone", "--", "true", NULL};

        runs.pid = proc_start(argv, 0, "err");
        events_fake_take(&runs.events);
        events_fake_say(&runs.events, "refused", ",\"error\":\"there is no journal with coherence=strict\"");
        cr_assert_eq(run_end(), 1);
        await_text("err", "no journal with coherence=strict");
}

/* Once followed, always followed: there may be no place just now. */
Test(run, a_refusal_later_is_not_the_end)
{
        RUN("echo run $DSFS_CHANGED >>log", "--postpone");
        events_fake_edit(&runs.events, "a");
        await_text("log", "run a\n");
        events_fake_hang_up(&runs.events);
        events_fake_take(&runs.events);
        events_fake_say(&runs.events, "refused", ",\"error\":\"there are 64 subscribers already\"");
        events_fake_hang_up(&runs.events);
        events_fake_accept(&runs.events, false);
        await_text("err", "64 subscribers already");
        events_fake_edit(&runs.events, "b");
        await_text("log", "run b\n");
}

Test(run, nobody_there_is_no_mount)
{
        const char *const argv[] = {getenv("DSFS_BIN"), "run", "--socket", "nothing.sock", "--", "true", NULL};
        static struct proc_result r;

        proc_run(argv, 0, &r);
        cr_assert_eq(r.status, 4, "%d: %s", r.status, r.err);
        cr_assert(strstr(r.err, "nobody offers events at "));
}

Test(run, wrong_usage)
{
        static const struct {
                const char *args[6];
                const char *said;
        } wrong[] = {
                {{"--on", "*.py"}, "comes after \"--\""},
                {{"--on", "*.py", "--"}, "comes after \"--\""},
                {{"--busy", "maybe", "--", "true"}, "restart, queue, ignore and signal"},
                {{"--origin", "me", "--", "true"}, "any and host"},
                {{"--signal", "NOPE", "--", "true"}, "a signal's name or number"},
                {{"--grace", "x", "--", "true"}, "0 to 86400"},
                {{"--nonsense", "--", "true"}, "--help"},
                {{"a", "b", "--", "true"}, "at most one mount"},
        };
        static struct proc_result r;

        for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
                const char *argv[12] = {getenv("DSFS_BIN"), "run"};

                memcpy(argv + 2, wrong[i].args, sizeof(wrong[i].args));
                proc_run(argv, 0, &r);
                cr_assert_eq(r.status, 2, "%zu: %d: %s", i, r.status, r.err);
                cr_assert(strstr(r.err, wrong[i].said), "%zu: %s", i, r.err);
        }
}

/* What is told only after the command has ended was its own doing, if the agent says that it happened before. */
Test(run, ignored_is_also_what_is_told_late)
{
        int stream;

        RUN("echo run $DSFS_CHANGED >>log", "--busy", "ignore", "--on", "*.o");
        await_text("log", "run\n");
        stream = runs.events.fd;
        /* It asks for the barrier on a connection of its own. */
        events_fake_accept(&runs.events, false);
        cr_assert(strstr(runs.events.request, "\"wait\":true"), "%s", runs.events.request);
        runs.events.seq = 20;
        events_fake_say(&runs.events, "visible", ",\"version\":1");
        events_fake_hang_up(&runs.events);
        runs.events.fd = stream;
        runs.events.seq = 19;
        events_fake_change(&runs.events, "own.o", "host");
        events_fake_change(&runs.events, "last.o", "host");
        events_fake_change(&runs.events, "yours.o", "host");
        events_fake_settle(&runs.events);
        await_text("log", "run\nrun yours.o\n");
}
