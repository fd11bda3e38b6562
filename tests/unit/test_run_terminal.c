/*
 * `dsfs run` on a terminal: who has the keyboard, what Ctrl-C and Ctrl-Z do, alone on it and below a shell with job control.
 */
#include <pty.h>
#include <sys/ioctl.h>

#include "tests/unit/run_case.h"

#define CTRL_C "\003"
#define CTRL_Z "\032"

static struct {
        int fd;      /* the keyboard */
        pid_t drain; /* who reads the screen */
} tty;

static void begin_terminal(void)
{
        run_begin();
        tty.fd = -1;
}

static void finish_terminal(void)
{
        if (tty.drain > 0) {
                (void)kill(tty.drain, SIGKILL);
                (void)proc_wait(tty.drain);
        }
        fd_close(&tty.fd);
        run_finish();
}

TestSuite(run_terminal, .init = begin_terminal, .fini = finish_terminal, .timeout = 240);

static int drain(void *arg)
{
        char bytes[4096];

        (void)arg;
        for (;;) {
                CLEANUP_FD int screen = open("screen", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
                ssize_t n = read(tty.fd, bytes, sizeof(bytes));

                if (n <= 0)
                        return 0;
                (void)fd_write_full(screen, bytes, (size_t)n);
        }
}

static void start_on_terminal(const char *const argv[])
{
        runs.pid = forkpty(&tty.fd, NULL, NULL, NULL);
        if (runs.pid == 0) {
                execvp(argv[0], (char *const *)argv);
                _exit(127);
        }
        cr_assert_gt(runs.pid, 0);
        tty.drain = child_start(NULL, drain, NULL);
}

static const char *dsfs_path(void)
{
        return getenv("DSFS_BIN") ? getenv("DSFS_BIN") : "build/dsfs";
}

/* As the only thing on its terminal, as in `docker run -t`. */
static void run_alone(const char *script)
{
        start_on_terminal((const char *const[]){dsfs_path(), "run", "--socket", runs.events.path, "--", "sh", "-c", script, NULL});
        events_fake_accept(&runs.events, true);
}

static void type(const char *keys)
{
        cr_assert_eq(write(tty.fd, keys, strlen(keys)), (ssize_t)strlen(keys));
}

Test(run_terminal, the_command_has_the_keyboard)
{
        run_alone("echo ready >>log; read line; echo \"got $line\" >>log");
        await_text("log", "ready\n");
        type("hello\n");
        await_text("log", "got hello\n");
        await_text("screen", "ended with 0");
        events_fake_edit(&runs.events, "a");
        await_text("log", "got hello\nready\n");
        type("again\n");
        await_text("log", "got again\n");
}

Test(run_terminal, ctrl_c_ends_it_with_the_command)
{
        run_alone("trap 'exit 7' INT; echo ready >>log; while :; do sleep 0.01; done");
        await_text("log", "ready\n");
        type(CTRL_C);
        cr_assert_eq(run_end(), 7);
}

Test(run_terminal, who_dies_of_ctrl_c_ends_it_with_its_code)
{
        run_alone("echo ready >>log; exec tail -f /dev/null");
        await_text("log", "ready\n");
        type(CTRL_C);
        cr_assert_eq(run_end(), 128 + SIGINT);
}

Test(run_terminal, who_lives_on_after_ctrl_c_is_followed_further)
{
        run_alone("trap 'echo int >>log' INT; echo ready >>log; while :; do sleep 0.01; done");
        await_text("log", "ready\n");
        type(CTRL_C);
        await_text("log", "int\n");
        events_fake_edit(&runs.events, "a");
        await_text("log", "int\nready\n");
}

Test(run_terminal, ctrl_c_while_nothing_runs_ends_it)
{
        run_alone("true");
        await_text("screen", "ended with 0");
        type(CTRL_C);
        cr_assert_eq(run_end(), 128 + SIGINT);
}

Test(run_terminal, its_size_reaches_the_command)
{
        struct winsize size = {.ws_row = 33, .ws_col = 111};

        run_alone("trap 'stty size >>log' WINCH; echo ready >>log; while :; do sleep 0.01; done");
        await_text("log", "ready\n");
        cr_assert_eq(ioctl(tty.fd, TIOCSWINSZ, &size), 0);
        await_text("log", "33 111\n");
}

Test(run_terminal, modes_are_put_back_after_a_command_that_was_killed)
{
        run_alone("stty raw -echo; echo ready >>log; kill -KILL $$");
        await_text("log", "ready\n");
        await_text("screen", "ended with 137");
        {
                struct termios t;

                cr_assert_eq(tcgetattr(tty.fd, &t), 0);
                cr_assert(t.c_lflag & ICANON);
                cr_assert(t.c_lflag & ECHO);
        }
}

/* Nobody is there who could say fg. (The loop starts no program: dash is deaf to Ctrl-Z while it does, by vfork.) */
Test(run_terminal, ctrl_z_without_a_shell_above_stops_nothing)
{
        run_alone("trap 'echo cont >>log' CONT; echo ready >>log; while :; do :; done");
        await_text("log", "ready\n");
        type(CTRL_Z);
        await_text("log", "cont\n");
        events_fake_edit(&runs.events, "a");
        await_text("log", "cont\nready\n");
}

/* bash: Ctrl-Z stops both, the shell has its terminal, fg gives it to the command again. */
Test(run_terminal, job_control_is_as_with_any_program)
{
        CLEANUP_FREE char *line = NULL;

        put_text("script", "echo ready >>log; while read line; do echo \"got $line\" >>log; [ \"$line\" != end ] || exit 5; done");
        start_on_terminal((const char *const[]){"bash", "--norc", "--noprofile", "-i", NULL});
        cr_assert_gt(asprintf(&line, "%s run --socket %s -- sh script; echo code $? >>log\n", dsfs_path(), runs.events.path), 0);
        type(line);
        events_fake_accept(&runs.events, true);
        await_text("log", "ready\n");
        type("one\n");
        await_text("log", "got one\n");
        type(CTRL_Z);
        await_text("screen", "Stopped");
        type("jobs >jobs; echo shell >>log\n");
        await_text("log", "shell\n");
        await_text("jobs", "Stopped");
        type("fg\n");
        type("two\n");
        await_text("log", "got two\n");
        events_fake_edit(&runs.events, "a");
        await_text("log", "got two\nready\n");
        type("three\n");
        await_text("log", "got three\n");
        type(CTRL_Z);
        await_text("log", "code 148\n");
        type("bg; echo in background >>log\n");
        await_text("log", "in background\n");
        /* In the background it restarts its command without taking the terminal. */
        events_fake_edit(&runs.events, "a");
        type("echo shell has it >>log\n");
        await_text("log", "shell has it\n");
        type("fg\n");
        type("exit\n");
        (void)kill(runs.pid, SIGHUP);
}
