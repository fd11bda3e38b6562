/*
 * Commands about one source at the same time: whoever comes while the agent is starting, working or ending gets what he asked for.
 */
#include "tests/mount/notices.h"
#include "tests/mount/several.h"

TestSuite(cli_together, .init = start, .fini = stop_several, .timeout = 600);

static pid_t start_mount(unsigned n)
{
        const char *argv[] = {getenv("DSFS_BIN"), "mount", box.src, place(n), "-o", "prewarm=off", NULL};

        return proc_start(argv, 0, NULL);
}

Test(cli_together, mounts_at_once_all_work)
{
        for (int round = 0; round < 5; round++) {
                pid_t pids[6];

                for (unsigned n = 0; n < ARRAY_LEN(pids); n++)
                        pids[n] = start_mount(n);
                for (unsigned n = 0; n < ARRAY_LEN(pids); n++)
                        cr_assert_eq(proc_wait(pids[n]), 0);
                cr_assert_eq(mounts_listed(), ARRAY_LEN(pids));
                for (unsigned n = 0; n < ARRAY_LEN(pids); n++) {
                        expect_content(place(n), "greeting", "hello\n");
                        cr_assert_eq(pid_at(place(n)), pid_at(place(0)));
                }
                expect_exit(0, "umount", "--all");
                expect_nothing_left();
        }
}

Test(cli_together, mounts_without_a_place_at_once_all_work)
{
        const char *argv[] = {getenv("DSFS_BIN"), "mount", box.src, NULL};
        pid_t pids[6];

        for (size_t i = 0; i < ARRAY_LEN(pids); i++)
                pids[i] = proc_start(argv, 0, NULL);
        for (size_t i = 0; i < ARRAY_LEN(pids); i++)
                cr_assert_eq(proc_wait(pids[i]), 0);
        cr_assert_eq(mounts_listed(), ARRAY_LEN(pids));
        expect_exit(0, "umount", "--all");
        expect_nothing_left();
}

Test(cli_together, one_of_those_who_want_the_same_place_gets_it)
{
        pid_t pids[4];
        int ok = 0;

        for (size_t i = 0; i < ARRAY_LEN(pids); i++)
                pids[i] = start_mount(1);
        for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
                int code = proc_wait(pids[i]);

                cr_assert(code == 0 || code == 1, "exit %d", code);
                ok += code == 0;
        }
        cr_assert_eq(ok, 1, "%d of them mounted", ok);
        expect_content(place(1), "greeting", "hello\n");
        expect_exit(0, "umount", "app");
        expect_nothing_left();
}

/* The agent ends with its last mount just when another is asked of it. */
Test(cli_together, a_mount_while_the_last_one_goes_works)
{
        const char *umount_argv[] = {getenv("DSFS_BIN"), "umount", NULL, NULL};

        expect_exit(0, "mount", box.src, place(0), "-o", "prewarm=off");
        for (unsigned i = 0; i < 40; i++) {
                pid_t going, coming;

                umount_argv[2] = place(i % 2);
                going = proc_start(umount_argv, 0, NULL);
                coming = start_mount((i + 1) % 2);
                cr_assert_eq(proc_wait(coming), 0, "round %u", i);
                cr_assert_eq(proc_wait(going), 0, "round %u", i);
                expect_content(place((i + 1) % 2), "greeting", "hello\n");
                cr_assert_not(is_mounted(place(i % 2)), "round %u", i);
        }
        expect_exit(0, "umount", place(0));
        expect_nothing_left();
}

Test(cli_together, a_mount_while_the_agent_is_told_to_end_works)
{
        for (unsigned i = 0; i < 10; i++) {
                pid_t coming;
                pid_t old;

                expect_exit(0, "mount", box.src, place(0), "-o", "prewarm=off");
                old = pid_at(place(0));
                cr_assert_eq(kill(old, SIGTERM), 0);
                coming = start_mount(1);
                cr_assert_eq(proc_wait(coming), 0, "round %u", i);
                expect_content(place(1), "greeting", "hello\n");
                expect_exit(0, "umount", "--all");
                cr_assert(proc_until(is_gone, &old));
                expect_nothing_left();
        }
}

Test(cli_together, the_foreground_of_a_second_mount_is_about_that_mount)
{
        char path[128];
        CLEANUP_FD int notices = notify_socket(path, sizeof(path));
        CLEANUP_FD int held = -1;
        json_t *m;
        pid_t pid;

        expect_exit(0, "mount", box.src, place(1));
        pid = start_foreground(place(2), path);
        expect_notice(notices, "READY=1");
        expect_content(place(2), "greeting", "hello\n");
        held = open(place(2), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        cr_assert_eq(kill(pid, SIGTERM), 0);
        expect_notice(notices, "STOPPING=1");
        cr_assert_eq(proc_wait(pid), 0);
        cr_assert_not(is_mounted(place(2)));
        expect_content(place(1), "greeting", "hello\n");

        pid = start_foreground(place(3), path);
        expect_notice(notices, "READY=1");
        expect_exit(0, "umount", place(3));
        cr_assert_eq(proc_wait(pid), 0, "it ends with its mount");
        expect_notice(notices, "STOPPING=1");

        pid = start_foreground(place(4), path);
        expect_notice(notices, "READY=1");
        m = status_at(place(1));
        cr_assert(m);
        kill_for_good(m);
        json_decref(m);
        cr_assert_eq(proc_wait(pid), 1, "its agent was killed");
        expect_exit(0, "umount", "--all");
        expect_nothing_left();
}
