/*
 * `dsfs logs`: the log of an agent in the background, found by what a user would name, and followed over its rotation.
 */
#include "tests/mount/cli.h"

TestSuite(cli_logs, .init = start, .fini = stop, .timeout = 300);

Test(cli_logs, shows_what_the_agent_said)
{
        expect_exit(4, "logs");
        expect_said(box.r.err, "nothing is mounted");
        expect_exit(4, "logs", "nonesuch");
        expect_exit(4, "logs", box.src);
        expect_said(box.r.err, "there is no log");
        expect_exit(2, "logs", "-n", "many");
        expect_exit(0, "mount", box.src, box.mnt);
        put(box.src, "dsfs.yaml", "version: 1\nnonesuch: 1\n");
        expect_exit(0, "wait");
        expect_exit(0, "logs");
        expect_said(box.r.out, "dsfs.yaml:2");
        expect_exit(0, "logs", "app", "-n", "1");
        cr_assert(strchr(box.r.out, '\n') && !strchr(box.r.out, '\n')[1], "one line: %s", box.r.out);
        expect_exit(0, "logs", box.mnt, "-n", "0");
        cr_assert_str_empty(box.r.out);
        expect_exit(0, "umount", "app");
        /* It outlives the agent. */
        expect_exit(0, "logs", box.src);
        expect_said(box.r.out, "dsfs.yaml:2");
}

Test(cli_logs, several_agents_have_to_be_told_apart)
{
        CLEANUP_FREE char *other = NULL;

        cr_assert_gt(asprintf(&other, "%s/other", box.base), 0);
        cr_assert_eq(mkdir(other, 0755), 0);
        expect_exit(0, "mount", box.src);
        expect_exit(0, "mount", other);
        expect_exit(2, "logs");
        expect_said(box.r.err, "several agents");
        cr_assert_eq(chdir(other), 0);
        expect_exit(0, "logs");
        cr_assert_eq(chdir("/"), 0);
}

static bool said_all(void *arg)
{
        CLEANUP_FREE char *text = NULL;

        return fd_read_file(AT_FDCWD, arg, 1 << 20, &text) > 0 && strstr(text, "before") && strstr(text, "put aside") &&
               strstr(text, "after");
}

static void append(const char *name, const char *text)
{
        CLEANUP_FD int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

        cr_assert_eq(fd_write_full(fd, text, strlen(text)), 0, "%s: %s", name, strerror(errno));
}

Test(cli_logs, follow_goes_on_over_a_rotation)
{
        const char *bin = getenv("DSFS_BIN") ? getenv("DSFS_BIN") : "build/dsfs";
        CLEANUP_FREE char *command = NULL;
        CLEANUP_FREE char *out = NULL;
        struct proc_result r;
        char log[PATH_MAX], old[PATH_MAX + 2];
        pid_t pid;

        expect_exit(0, "mount", box.src, box.mnt);
        cr_assert_gt(asprintf(&out, "%s/out", box.base), 0);
        cr_assert_gt(asprintf(&command, "echo %s/state/dsfs/*/agent.log", box.base), 0);
        proc_run((const char *const[]){"sh", "-c", command, NULL}, 0, &r);
        snprintf(log, sizeof(log), "%.*s", PATH_MAX - 1, r.out);
        trim(log);
        snprintf(old, sizeof(old), "%s.1", log);
        append(log, "before\n");
        free(steal_ptr(&command));
        cr_assert_gt(asprintf(&command, "exec %s logs -f app >%s", bin, out), 0);
        pid = proc_start((const char *const[]){"sh", "-c", command, NULL}, 0, NULL);
        append(log, "put aside\n");
        cr_assert_eq(rename(log, old), 0);
        append(log, "after\n");
        cr_assert(proc_until(said_all, out));
        kill(pid, SIGINT);
        cr_assert_eq(proc_wait(pid), 128 + SIGINT);
}
