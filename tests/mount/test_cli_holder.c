/*
 * An agent that is killed, or fails, is started again by its holder; and who tells, ends and outlives whom.
 */
#include "tests/mount/notices.h"
#include "tests/mount/several.h"

TestSuite(cli_holder, .init = start, .fini = stop_several, .timeout = 600);

static json_int_t number_at(const char *mountpoint, const char *key)
{
        json_t *m = status_at(mountpoint);
        json_int_t n = json_integer_value(json_object_get(m, key));

        cr_assert(m, "status does not list %s: %s", mountpoint, box.r.out);
        json_decref(m);
        return n;
}

struct awaited {
        const char *mountpoint;
        json_int_t restarts;
};

static bool has_restarted(void *arg)
{
        const struct awaited *w = arg;
        json_t *m = status_at(w->mountpoint);
        bool yes = m && json_integer_value(json_object_get(m, "restarts")) == w->restarts;

        json_decref(m);
        return yes;
}

static void expect_restarts(const char *mountpoint, json_int_t restarts)
{
        struct awaited w = {mountpoint, restarts};

        cr_assert(proc_until(has_restarted, &w), "%s: not %lld restarts: %s", mountpoint, (long long)restarts, box.r.out);
}

static void kill_only_agent(const char *mountpoint, int number)
{
        pid_t pid = (pid_t)number_at(mountpoint, "pid");

        cr_assert_gt(pid, 1);
        cr_assert_eq(kill(pid, number), 0);
        cr_assert(proc_until(is_gone, &pid), "%d outlives signal %d", pid, number);
}

static unsigned layers_at(const char *path)
{
        FILE *f = fopen("/proc/self/mountinfo", "re");
        CLEANUP_FREE char *line = NULL;
        size_t size = 0;
        unsigned n = 0;

        cr_assert(f);
        while (getline(&line, &size, f) > 0) {
                char where[PATH_MAX];

                n += sscanf(line, "%*d %*d %*s %*s %4095s", where) == 1 && strcmp(where, path) == 0;
        }
        fclose(f);
        return n;
}

Test(cli_holder, a_killed_agents_mounts_are_served_again)
{
        pid_t holder;
        json_t *m;

        expect_exit(0, "mount", box.src, place(1), "-o", "transport=dev");
        expect_exit(0, "mount", box.src, place(2), "-o", "readonly,name=other");
        holder = (pid_t)number_at(place(1), "holder_pid");
        cr_assert_gt(holder, 1);
        for (int i = 1; i <= 3; i++) {
                kill_only_agent(place(1), SIGKILL);
                /* Nobody is told that there is nothing: whoever asks waits. */
                expect_exit(0, "wait");
                expect_restarts(place(1), i);
                expect_content(place(1), "greeting", "hello\n");
                expect_content(place(2), "greeting", "hello\n");
                cr_assert_eq(number_at(place(2), "holder_pid"), holder);
        }
        m = status_at(place(1));
        cr_assert_str_eq(json_string_value(json_object_get(m, "transport")), "/dev/fuse");
        cr_assert_str_eq(json_string_value(json_object_get(m, "verdict")), "ok");
        json_decref(m);
        expect_exit(0, "status");
        expect_said(box.r.out, "the agent was killed (signal 9");
        expect_said(box.r.out, "for the 3rd time; files that were open answered ENOTCONN");
        m = status_at(place(2));
        cr_assert(json_is_true(json_object_get(m, "readonly")));
        cr_assert_str_eq(json_string_value(json_object_get(m, "name")), "other");
        json_decref(m);
        put(place(1), "made", "after\n");
        expect_content(box.src, "made", "after\n");
        put(box.src, "greeting", "changed\n");
        expect_exit(0, "wait");
        expect_content(place(2), "greeting", "changed\n");
        expect_exit(0, "umount", "other");
        kill_only_agent(place(1), SIGKILL);
        expect_restarts(place(1), 4);
        cr_assert_eq(layers_at(place(2)), 0, "what was unmounted came back");
        expect_exit(0, "umount", place(1));
        cr_assert_eq(layers_at(place(1)), 0, "a dead layer is left");
        cr_assert(is_gone(&holder), "the holder outlives its last mount");
        expect_nothing_left();
}

Test(cli_holder, an_agent_that_fails_is_started_again)
{
        expect_exit(0, "mount", box.src, place(1));
        kill_only_agent(place(1), SIGQUIT); /* not SIGSEGV: a sanitizer would speak */
        expect_restarts(place(1), 1);
        expect_exit(0, "status");
        expect_said(box.r.out, "the agent was killed (signal 3");
        kill_only_agent(place(1), SIGABRT);
        expect_restarts(place(1), 2);
        expect_content(place(1), "greeting", "hello\n");
        expect_exit(0, "umount", "--all");
        expect_nothing_left();
}

Test(cli_holder, what_somebody_unmounted_does_not_come_back)
{
        pid_t holder, agent;

        expect_exit(0, "mount", box.src, place(1), "-o", "prewarm=off");
        holder = (pid_t)number_at(place(1), "holder_pid");
        agent = (pid_t)number_at(place(1), "pid");
        /* Nobody sees that it is unmounted while nobody runs. */
        cr_assert_eq(kill(holder, SIGSTOP), 0);
        cr_assert_eq(kill(agent, SIGKILL), 0);
        cr_assert_eq(umount2(place(1), MNT_DETACH), 0);
        cr_assert_eq(kill(holder, SIGCONT), 0);
        cr_assert(proc_until(is_gone, &holder), "the holder stays");
        cr_assert_eq(layers_at(place(1)), 0);
        expect_nothing_left();
}

Test(cli_holder, an_agent_that_cannot_start_is_given_up)
{
        CLEANUP_FREE char *moved = NULL;
        pid_t holder;

        cr_assert_gt(asprintf(&moved, "%s/moved", box.base), 0);
        expect_exit(0, "mount", box.src, place(1));
        holder = (pid_t)number_at(place(1), "holder_pid");
        cr_assert_eq(rename(box.src, moved), 0);
        kill_only_agent(place(1), SIGKILL);
        cr_assert(proc_until(is_gone, &holder), "the holder tries for ever");
        expect_exit(1, "status");
        expect_said(box.r.out, "has died");
        cr_assert_eq(rename(moved, box.src), 0);
        expect_exit(0, "mount", box.src, place(1));
        expect_content(place(1), "greeting", "hello\n");
        expect_exit(0, "umount", place(1));
        cr_assert_eq(layers_at(place(1)), 0);
        expect_nothing_left();
}

Test(cli_holder, sigterm_to_the_holder_ends_both)
{
        pid_t holder, agent;

        expect_exit(0, "mount", box.src, place(1));
        holder = (pid_t)number_at(place(1), "holder_pid");
        agent = (pid_t)number_at(place(1), "pid");
        cr_assert_eq(kill(holder, SIGTERM), 0);
        cr_assert(proc_until(is_gone, &holder), "the holder stays");
        cr_assert(is_gone(&agent), "the agent stays");
        cr_assert_eq(layers_at(place(1)), 0);
        expect_nothing_left();
}

Test(cli_holder, without_its_holder_the_agent_serves_on)
{
        pid_t holder;
        json_t *m;

        expect_exit(0, "mount", box.src, place(1));
        m = status_at(place(1));
        cr_assert(json_is_true(json_object_get(m, "replay")));
        json_decref(m);
        holder = (pid_t)number_at(place(1), "holder_pid");
        cr_assert_eq(kill(holder, SIGKILL), 0);
        cr_assert(proc_until(is_gone, &holder));
        put(box.src, "greeting", "again\n");
        expect_exit(0, "wait");
        expect_content(place(1), "greeting", "again\n");
        expect_exit(0, "status");
        expect_said(box.r.out, "the holder, which would start dsfs again, has died");
        expect_said(box.r.out, "do not hear of the host's edits");
        cr_assert_eq(number_at(place(1), "holder_pid"), 0);
        expect_exit(0, "umount", place(1));
        expect_nothing_left();
}

Test(cli_holder, none_is_had_when_none_is_wanted)
{
        json_t *m;

        expect_exit(0, "mount", box.src, place(1), "--no-holder", "-o", "replay=on");
        m = status_at(place(1));
        cr_assert_null(json_object_get(m, "holder_pid"));
        cr_assert(json_is_false(json_object_get(m, "replay")), "a killed agent could hang in a replay");
        json_decref(m);
        kill_only_agent(place(1), SIGKILL);
        expect_exit(1, "status");
        expect_exit(0, "mount", box.src, place(1), "--no-holder");
        expect_exit(0, "umount", place(1));
        expect_nothing_left();
}

Test(cli_holder, a_service_stays_while_its_agent_is_started_again)
{
        char path[128];
        CLEANUP_FD int notices = notify_socket(path, sizeof(path));
        pid_t first = start_foreground(place(1), path), second;

        expect_notice(notices, "READY=1");
        cr_assert_eq(number_at(place(1), "holder_pid"), first);
        /* And one that only follows a mount of the other's agent. */
        second = start_foreground(place(2), path);
        expect_notice(notices, "READY=1");
        for (int i = 1; i <= 2; i++) {
                kill_only_agent(place(1), SIGKILL);
                expect_notice(notices, "STATUS=the agent had died, and was started again");
                expect_content(place(1), "greeting", "hello\n");
                expect_content(place(2), "greeting", "hello\n");
        }
        cr_assert_not(is_gone(&second), "who follows a mount has lost it");
        cr_assert_eq(kill(second, SIGTERM), 0);
        expect_notice(notices, "STOPPING=1");
        cr_assert_eq(proc_wait(second), 0);
        cr_assert_eq(layers_at(place(2)), 0);
        cr_assert_eq(kill(first, SIGTERM), 0);
        expect_notice(notices, "STOPPING=1");
        cr_assert_eq(proc_wait(first), 0);
        cr_assert_eq(layers_at(place(1)), 0);
        expect_nothing_left();
}

static bool is_broken(void *arg)
{
        (void)arg;
        return DSFS("status") == 1;
}

struct shown {
        const char *dir, *text;
};

static bool has_content(void *arg)
{
        const struct shown *s = arg;
        CLEANUP_FREE char *path = NULL, *text = NULL;

        return asprintf(&path, "%s/greeting", s->dir) > 0 && fd_read_file(AT_FDCWD, path, 64, &text) >= 0 && strcmp(text, s->text) == 0;
}

static void expect_shown(const char *mountpoint, const char *text)
{
        struct shown s = {mountpoint, text};

        cr_assert(proc_until(has_content, &s), "%s does not show \"%s\"", mountpoint, text);
        expect_exit(0, "wait");
}

static void make_source(const char *text)
{
        cr_assert_eq(mkdir(box.src, 0755), 0);
        put(box.src, "greeting", text);
}

static void delete_and_make_again(const char *options)
{
        CLEANUP_FREE char *moved = NULL;

        cr_assert_gt(asprintf(&moved, "%s/moved", box.base), 0);
        expect_exit(0, "mount", box.src, place(1), "-o", options);
        expect_exit(0, "mount", box.src, place(2), "-o", "transport=dev");
        remove_tree(box.src);
        cr_assert(proc_until(is_broken, NULL), "a deleted source is none: %s", box.r.out);
        expect_said(box.r.out, "the source is deleted: it is shown as soon as there is a directory at");
        make_source("anew\n");
        expect_shown(place(1), "anew\n");
        expect_shown(place(2), "anew\n");
        expect_exit(0, "status");
        expect_said(box.r.out, "the agent saw the source come back and was started again");
        /* And one that was away; what is edited afterwards is seen. */
        cr_assert_eq(rename(box.src, moved), 0);
        make_source("another\n");
        expect_shown(place(1), "another\n");
        put(box.src, "greeting", "edited\n");
        expect_exit(0, "wait");
        expect_content(place(2), "greeting", "edited\n");
        expect_restarts(place(1), 2);
        expect_exit(0, "umount", "--all");
        remove_tree(moved);
        expect_nothing_left();
}

Test(cli_holder, a_source_that_is_made_again_is_shown)
{
        delete_and_make_again("watch=fanotify");
        delete_and_make_again("watch=inotify");
}

Test(cli_holder, without_a_holder_it_is_said_what_a_deleted_source_needs)
{
        expect_exit(0, "mount", box.src, place(1), "--no-holder");
        remove_tree(box.src);
        cr_assert(proc_until(is_broken, NULL), "a deleted source is none: %s", box.r.out);
        expect_said(box.r.out, "the source is deleted: `dsfs umount ");
        make_source("anew\n");
        cr_assert(proc_until(is_broken, NULL));
        expect_said(box.r.out, "another directory is at the source's path than the one that is shown: `dsfs umount ");
        expect_exit(0, "umount", place(1));
        expect_exit(0, "mount", box.src, place(1), "--no-holder");
        expect_content(place(1), "greeting", "anew\n");
        expect_exit(0, "umount", place(1));
        expect_nothing_left();
}
