/*
 * `dsfs status` as a person meets it: on a terminal, without one, with nothing mounted, with many mounts, and as it follows.
 */
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include "cache/base/thread.h"
#include "tests/mount/cli.h"

#define SCREEN_MAX (1 << 20)
#define MANY_MOUNTS 10
#define MANY_FILES 10000
#define TRIES 20
/* What it must take is a fifth of this; the machine may be busy. */
#define BOUND_MS 50.0
#define BOUND_SANITIZED_MS 2000.0
#define NS_PER_MS 1e6

static void start_status(void)
{
        start();
        (void)unsetenv("NO_COLOR");
        setenv("TERM", "xterm", 1);
        setenv("LC_ALL", "C.UTF-8", 1);
}

TestSuite(cli_status, .init = start_status, .fini = stop, .timeout = 300);

Test(cli_status, the_verdict_comes_first_and_says_what_it_means)
{
        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(0, "status");
        cr_assert_eq(strncmp(box.r.out, "ok: app\n", 8), 0, "%s", box.r.out);
        expect_said(box.r.out, "what is read there is what is on disk");
        cr_assert_null(strchr(box.r.out, '\033'), "colours in a pipe: %s", box.r.out);
        kill_agent();
        expect_exit(1, "status");
        cr_assert_eq(strncmp(box.r.out, "broken: app\n", 12), 0, "%s", box.r.out);
        expect_said(box.r.out, "dsfs mount");
}

Test(cli_status, colours_are_had_when_asked_for)
{
        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(0, "status", "--color=always");
        expect_said(box.r.out, "\033[32mok\033[0m");
        expect_exit(0, "status", "--color=never");
        cr_assert_null(strchr(box.r.out, '\033'));
        expect_exit(2, "status", "--color=blue");
        expect_said(box.r.err, "auto, always or never");
        expect_exit(2, "status", "--watch");
        expect_said(box.r.err, "terminal");
}

Test(cli_status, with_nothing_mounted_it_shows_what_is_remembered)
{
        const char *violation;
        json_t *root;
        json_t *m;
        json_t *r;

        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(0, "wait", "--hashed");
        m = status_mount(0);
        expect_exit(0, "umount", "app");
        expect_exit(4, "status", "--json");
        root = json_loads(box.r.out, 0, NULL);
        violation = schema_violation("status", root);
        cr_assert_null(violation, "%s", violation);
        cr_assert(json_is_null(json_object_get(root, "verdict")));
        r = json_array_get(json_object_get(root, "remembered"), 0);
        cr_assert_str_eq(json_string_value(json_object_get(r, "source")), box.src);
        cr_assert(json_equal(json_object_get(r, "root_hash"), json_object_get(m, "root_hash")), "%s", box.r.out);
        cr_assert_gt(json_integer_value(json_object_get(r, "entries")), 1);
        expect_exit(4, "status");
        expect_said(box.r.out, "nothing is mounted");
        expect_said(box.r.out, json_string_value(json_object_get(m, "root_hash")));
        json_decref(root);
        json_decref(m);
}

Test(cli_status, staleness_is_measured)
{
        json_t *m;
        const json_t *s;

        expect_exit(0, "mount", box.src, box.mnt, "-o", "prewarm=off");
        /* What changes while all is looked at for the first time is in no journal. */
        expect_exit(0, "wait", "--hashed");
        for (int i = 0; i < 50; i++) {
                char text[32];

                snprintf(text, sizeof(text), "number %d\n", i);
                expect_content(box.mnt, "greeting", i ? box.r.out : "hello\n");
                put(box.src, "greeting", text);
                expect_exit(0, "wait");
                snprintf(box.r.out, sizeof(box.r.out), "%s", text);
        }
        m = status_mount(0);
        s = json_object_get(m, "staleness_ms");
        cr_assert_geq(json_integer_value(json_object_get(s, "samples")), 50);
        cr_assert_gt(json_real_value(json_object_get(s, "p50")), 0);
        cr_assert_leq(json_real_value(json_object_get(s, "p50")), json_real_value(json_object_get(s, "p99")));
        cr_assert_lt(json_real_value(json_object_get(s, "p50")), 1000);
        json_decref(m);
        expect_exit(0, "wait", "--hashed");
        m = status_mount(0);
        s = json_object_get(m, "last_change");
        cr_assert_str_eq(json_string_value(json_object_get(s, "path")), "greeting");
        cr_assert_str_eq(json_string_value(json_object_get(s, "kind")), "modified");
        cr_assert_str_eq(json_string_value(json_object_get(s, "origin")), "host");
        json_decref(m);
        expect_exit(0, "status");
        expect_said(box.r.out, "greeting modified by the host");
}

static void expect_schema(const char *name, const char *text)
{
        json_t *value = json_loads(text, 0, NULL);
        const char *violation;

        cr_assert(value, "not JSON: %s", text);
        violation = schema_violation(name, value);
        cr_assert_null(violation, "%s in %s", violation, text);
        json_decref(value);
}

Test(cli_status, what_programs_are_told_is_of_its_schema)
{
        static const char *const kinds[] = {"hello", "created", "modified", "deleted", "settled", "end"};
        char clock[64], inside[160], kind[64];
        CLEANUP_FREE char *text = NULL;
        CLEANUP_FREE char *said = NULL;
        json_t *m;

        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(0, "wait", "--hashed");
        m = status_mount(0);
        snprintf(clock, sizeof(clock), "%s", json_string_value(json_object_get(m, "clock")));
        json_decref(m);
        put(box.src, "new", "new\n");
        expect_exit(0, "wait", "--hashed");
        put(box.src, "greeting", "changed\n");
        cr_assert_eq(unlinkat(AT_FDCWD, at(box.src, "new"), 0), 0);
        expect_exit(0, "wait", "--hashed");
        expect_exit(0, "events", "app", "--since", clock, "--no-follow", "--json");
        said = strdup(box.r.out);
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
                snprintf(kind, sizeof(kind), "\"%s\"", kinds[i]);
                cr_assert(strstr(said, kind), "no %s in %s", kind, said);
        }
        for (char *line = strtok(said, "\n"); line; line = strtok(NULL, "\n"))
                expect_schema("events", line);
        snprintf(inside, sizeof(inside), "%s/.dsfs/status.json", box.mnt);
        cr_assert_gt(fd_read_file(AT_FDCWD, inside, 1 << 16, &text), 0);
        expect_schema("mount-status", text);
}

/* Stands for a container: it sees mounts of its own, ours among them. */
static int live_apart(void *arg)
{
        struct gate *ready = arg;

        if (unshare(CLONE_NEWNS) < 0)
                return 1;
        gate_pass(ready);
        for (;;)
                pause();
}

Test(cli_status, says_who_else_has_the_mount)
{
        struct gate *ready = gate_new(2);
        bool seen = false;
        json_t *m;
        json_t *u;
        pid_t pid;
        size_t i;

        expect_exit(0, "mount", box.src, box.mnt);
        pid = child_start(NULL, live_apart, ready);
        gate_pass(ready);
        m = status_mount(0);
        json_array_foreach(json_object_get(m, "used_by"), i, u)
        {
                seen = seen || json_integer_value(json_object_get(u, "pid")) == pid;
        }
        cr_assert(seen, "%s", box.r.out);
        json_decref(m);
        expect_exit(0, "status");
        expect_said(box.r.out, "used by");
        kill(pid, SIGKILL);
        (void)child_wait(pid);
        m = status_mount(0);
        cr_assert_eq(json_array_size(json_object_get(m, "used_by")), 0);
        json_decref(m);
}

static int by_value(const void *a, const void *b)
{
        double x = *(const double *)a;
        double y = *(const double *)b;

        return (x > y) - (x < y);
}

/* The locks of what it counts (100,000 nodes) are not taken: fs/node.c reads its counters without. */
Test(cli_status, ten_mounts_of_many_files_are_told_of_at_once)
{
        const char *variant = getenv("VARIANT");
        double took[TRIES];

        for (int i = 0; i < MANY_FILES; i++) {
                char name[32];

                snprintf(name, sizeof(name), "file%d", i);
                put(box.src, name, "");
        }
        for (int i = 0; i < MANY_MOUNTS; i++)
                expect_exit(0, "mount", box.src);
        for (bool done = false; !done;) {
                json_t *root;
                json_t *m;
                size_t i;
                json_int_t nodes = 0;

                expect_exit(0, "status", "--json");
                root = json_loads(box.r.out, 0, NULL);
                json_array_foreach(json_object_get(root, "mounts"), i, m)
                {
                        nodes += json_integer_value(json_object_get(m, "nodes"));
                        done = strcmp(json_string_value(json_object_get(json_object_get(m, "prewarm"), "state")), "done") == 0;
                }
                done = done && nodes >= (json_int_t)MANY_MOUNTS * MANY_FILES;
                json_decref(root);
        }
        for (int i = 0; i < TRIES; i++) {
                unsigned long long began = clock_now_ns();

                expect_exit(0, "status");
                took[i] = (double)(clock_now_ns() - began) / NS_PER_MS;
        }
        qsort(took, TRIES, sizeof(took[0]), by_value);
        fprintf(stderr, "status of %d mounts: %.1f ms\n", MANY_MOUNTS, took[TRIES / 2]);
        cr_assert_lt(took[TRIES / 2], variant && strcmp(variant, "release") ? BOUND_SANITIZED_MS : BOUND_MS);
}

/*
 * On a terminal
 */

static struct screen {
        int fd;
        pid_t pid;
        size_t len;
        char text[SCREEN_MAX];
} screen;

static void open_screen(unsigned short columns, const char *option)
{
        struct winsize size = {.ws_row = 40, .ws_col = columns};
        const char *program = getenv("DSFS_BIN") ? getenv("DSFS_BIN") : "build/dsfs";

        screen.len = 0;
        screen.pid = forkpty(&screen.fd, NULL, NULL, &size);
        cr_assert_geq(screen.pid, 0);
        if (screen.pid == 0) {
                execl(program, program, "status", option, (char *)NULL);
                _exit(127);
        }
}

/* Take what is drawn until `text` stands in what came since `from`; at the end of the program, or NULL, take all. */
static bool drawn(size_t from, const char *text)
{
        for (;;) {
                struct pollfd p = {.fd = screen.fd, .events = POLLIN};
                ssize_t n;

                screen.text[screen.len] = '\0';
                if (text && strstr(screen.text + from, text))
                        return true;
                cr_assert_lt(screen.len, SCREEN_MAX - 1);
                cr_assert_gt(poll(&p, 1, PROC_PATIENCE_S * 1000), 0, "nothing is drawn; until now: %s", screen.text);
                n = read(screen.fd, screen.text + screen.len, SCREEN_MAX - 1 - screen.len);
                if (n <= 0)
                        return !text;
                screen.len += (size_t)n;
        }
}

static void close_screen(void)
{
        cr_assert_eq(write(screen.fd, "\003", 1), 1);
        cr_assert(drawn(screen.len, NULL));
        cr_assert_eq(proc_wait(screen.pid), 0);
        cr_assert_geq(screen.len, 14);
        cr_assert_str_eq(screen.text + screen.len - 14, "\033[?25h\033[?1049l", "the terminal is left as it was");
        close(screen.fd);
}

Test(cli_status, long_lines_are_broken_where_the_terminal_ends)
{
        int status;

        expect_exit(0, "mount", box.src, box.mnt);
        open_screen(60, "--color=never");
        cr_assert(drawn(0, NULL));
        status = proc_wait(screen.pid);
        cr_assert_eq(status, 0);
        cr_assert(strstr(screen.text, "  coherence    events, watch "), "%s", screen.text);
        for (char *line = screen.text, *end; (end = strchr(line, '\n')); line = end + 1) {
                size_t width = 0;

                for (const char *p = line; p < end; p++)
                        width += ((unsigned char)*p & 0xc0) != 0x80 && *p != '\r';
                cr_assert_leq(width, 60, "%.*s", (int)(end - line), line);
        }
        cr_assert(strstr(screen.text, "\n               "), "what goes on is indented: %s", screen.text);
}

Test(cli_status, watch_follows_in_place)
{
        size_t before;

        expect_exit(0, "mount", box.src, box.mnt);
        expect_content(box.mnt, "greeting", "hello\n");
        open_screen(100, "--watch");
        cr_assert(drawn(0, "\033[32mok\033[0m: "));
        cr_assert(drawn(0, "changes/s"));
        before = screen.len;
        cr_assert(drawn(before, "changes/s"), "a second turn");
        cr_assert_null(strstr(screen.text + before, box.mnt), "what is as it was is not drawn again: %s", screen.text + before);
        kill_agent();
        cr_assert(drawn(before, "broken"));
        close_screen();
}

/* No line is wider than the terminal, whatever its size was. */
Test(cli_status, watch_follows_the_size_of_the_terminal)
{
        struct winsize small = {.ws_row = 10, .ws_col = 30};
        size_t before;

        expect_exit(0, "mount", box.src, box.mnt);
        open_screen(200, "--watch");
        cr_assert(drawn(0, "pre-warming"));
        before = screen.len;
        cr_assert_eq(ioctl(screen.fd, TIOCSWINSZ, &small), 0);
        cr_assert(drawn(before, "\033[2J"));
        before = screen.len;
        cr_assert(drawn(before, "\033[K"));
        cr_assert(drawn(0, "\033[2J"));
        close_screen();
        for (char *line = strstr(screen.text + before, "\033[1;1H"), *end; line && (end = strstr(line, "\033[K"));
             line = strstr(end, "H")) {
                size_t width = 0;

                line = strchr(line, 'H') ? strchr(line, 'H') + 1 : line;
                for (const char *p = line; p < end; p++) {
                        if (*p == '\033')
                                p = strchr(p, 'm');
                        else if (((unsigned char)*p & 0xc0) != 0x80)
                                width++;
                }
                cr_assert_leq(width, 30, "%.*s", (int)(end - line), line);
                end += 3;
                if (!*end)
                        break;
        }
        cr_assert_null(strstr(screen.text + before, "\033[11;1H"), "it draws below the screen");
}

Test(cli_status, watch_takes_hardly_any_time)
{
        struct rusage used;
        unsigned long long began = clock_now_ns();
        int status;
        double share;

        expect_exit(0, "mount", box.src, box.mnt);
        open_screen(100, "--watch");
        for (int i = 0; i < 4; i++)
                cr_assert(drawn(screen.len, "served by"));
        kill(screen.pid, SIGTERM);
        cr_assert(drawn(screen.len, NULL));
        cr_assert_eq(wait4(screen.pid, &status, 0, &used), screen.pid);
        share = ((double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6) /
                ((double)(clock_now_ns() - began) / 1e9);
        fprintf(stderr, "status --watch: %.2f %% of a processor\n", share * 100);
        cr_assert_lt(share, 0.05);
        close(screen.fd);
}
