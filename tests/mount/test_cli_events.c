/*
 * dsfs events: what a user, and a program, is told of what changes, from the beginning of a mount to whatever ends it.
 */
#include <dirent.h>

#include "sync/serve/subscriber.h"
#include "tests/mount/cli.h"

#define PATIENCE_MS 60000

TestSuite(cli_events, .init = start, .fini = stop, .timeout = 600);

/*
 * Subscribers of our own
 */

/* The host's socket of the only agent. */
static const char *host_socket(void)
{
        static char path[512];
        char run[256];
        struct dirent *e;
        DIR *d;

        snprintf(run, sizeof(run), "%s/run/dsfs", box.base);
        d = opendir(run);
        cr_assert(d);
        path[0] = '\0';
        while ((e = readdir(d))) {
                const char *dot = strrchr(e->d_name, '.');

                if (dot && strcmp(dot, ".events") == 0)
                        snprintf(path, sizeof(path), "%s/%s", run, e->d_name);
        }
        closedir(d);
        cr_assert(*path, "there is no socket in %s", run);
        return path;
}

static const char *mount_socket(const char *mnt)
{
        static char path[256];

        snprintf(path, sizeof(path), "%s/" EVENTS_IN_MOUNT, mnt);
        return path;
}

static const struct event *next(struct subscriber *s)
{
        CLEANUP_FREE char *why = NULL;
        const struct event *e = NULL;
        int rc = subscriber_next(s, PATIENCE_MS, &e, &why);

        cr_assert_eq(rc, 0, "%s: %s", strerror(-rc), why ? why : "?");
        return e;
}

static struct subscriber *subscribe(const char *path)
{
        CLEANUP_FREE char *why = NULL;
        struct subscriber *s = NULL;

        cr_assert_eq(subscriber_new(path, &(struct subscriber_wish){0}, &s, &why), 0, "%s", why ? why : "?");
        cr_assert_eq(next(s)->kind, EVENT_HELLO);
        return s;
}

/* The next that is about this path. */
static const struct event *next_of(struct subscriber *s, const char *path)
{
        const struct event *e;

        do
                e = next(s);
        while (!event_is_change(e) || strcmp(e->path, path) != 0);
        return e;
}

static void expect_end(struct subscriber *s)
{
        const struct event *e;

        do
                e = next(s);
        while (e->kind != EVENT_END);
        cr_assert_str_eq(e->why, "unmounted");
        subscriber_free(s);
}

/*
 * The command, in the background
 */

struct told {
        char path[192];
        pid_t pid;
        const char *want;
        unsigned times;
};

static void tell(struct told *t, const char *args)
{
        CLEANUP_FREE char *script = NULL;

        snprintf(t->path, sizeof(t->path), "%s/told", box.base);
        (void)unlink(t->path);
        cr_assert_gt(asprintf(&script, "exec '%s' events %s >'%s'", getenv("DSFS_BIN") ? getenv("DSFS_BIN") : "build/dsfs", args, t->path),
                     0);
        t->pid = proc_start((const char *const[]){"sh", "-c", script, NULL}, 0, NULL);
}

static bool has_told(void *arg)
{
        const struct told *t = arg;
        CLEANUP_FREE char *text = NULL;
        unsigned times = 0;

        if (fd_read_file(AT_FDCWD, t->path, 1 << 20, &text) < 0)
                return false;
        for (const char *at = text; (at = strstr(at, t->want)); at++)
                times++;
        return times >= t->times;
}

static void expect_told(struct told *t, unsigned times, const char *want)
{
        CLEANUP_FREE char *text = NULL;

        t->want = want;
        t->times = times;
        if (proc_until(has_told, t))
                return;
        (void)fd_read_file(AT_FDCWD, t->path, 1 << 20, &text);
        cr_assert_fail("%s is not told: %s", want, text ? text : "(nothing)");
}

static void expect_told_end(struct told *t)
{
        int status = proc_wait(t->pid);

        cr_assert_eq(status, 0, "it ends with %d", status);
}

/* In a checkout. */
static void git(const char *script)
{
        CLEANUP_FREE char *text = NULL;

        cr_assert_gt(asprintf(&text,
                              "cd '%s' && export GIT_CONFIG_NOSYSTEM=1 HOME=/nonexistent GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x "
                              "GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x && %s",
                              box.src, script),
                     0);
        proc_run((const char *const[]){"sh", "-ec", text, NULL}, 0, &box.r);
        cr_assert_eq(box.r.status, 0, "%s: %s%s", script, box.r.out, box.r.err);
}

/*
 * What is told
 */

Test(cli_events, edits_on_both_sides_are_told_on_both_sides)
{
        struct subscriber *on_host, *in_mount;
        const struct event *e;

        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(0, "wait", "--hashed");
        on_host = subscribe(host_socket());
        in_mount = subscribe(mount_socket(box.mnt));
        put(box.src, "greeting", "from the host\n");
        e = next_of(on_host, "greeting");
        cr_assert_eq(e->kind, EVENT_MODIFIED);
        cr_assert_str_eq(e->origin, "host");
        cr_assert(e->old_hash && e->new_hash && strcmp(e->old_hash, e->new_hash) != 0);
        cr_assert_str_eq(next_of(in_mount, "greeting")->origin, "host");
        do
                e = next(on_host);
        while (e->kind != EVENT_SETTLED);
        put(box.mnt, "made", "in a container\n");
        e = next_of(on_host, "made");
        cr_assert_eq(e->kind, EVENT_CREATED);
        cr_assert_str_eq(e->origin, "container");
        cr_assert_str_eq(next_of(in_mount, "made")->origin, "container");
        subscriber_free(on_host);
        subscriber_free(in_mount);
        expect_exit(0, "umount", box.mnt);
}

Test(cli_events, prints_lines_until_it_is_unmounted)
{
        struct told json = {0};

        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(0, "wait", "--hashed");
        tell(&json, "--json app");
        expect_told(&json, 1, "\"hello\"");
        put(box.src, "new", "text\n");
        expect_told(&json, 1, "\"path\":\"new\"");
        expect_told(&json, 1, "\"settled\"");
        expect_exit(0, "umount", "app");
        expect_told_end(&json);
        expect_told(&json, 1, "{\"kind\":\"end\",\"why\":\"unmounted\"}");
}

Test(cli_events, prints_for_people_what_git_did_as_one)
{
        struct told t = {0};

        git("git init -q -b main && git add . && git commit -qm one && git checkout -q -b topic && "
            "for i in 1 2 3 4 5 6 7 8 9; do echo $i >file$i; done && mkdir d && echo 1 >d/$(printf 'a\\033b') && git add . && git commit "
            "-qm two");
        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(0, "wait", "--hashed");
        tell(&t, box.src);
        (void)proc_wait(t.pid); /* it is no mount's name */
        tell(&t, box.mnt);
        do
                expect_exit(0, "status", "--json");
        while (!strstr(box.r.out, "\"subscribers\": 1"));
        git("git checkout -q main");
        expect_told(&t, 1, "host      deleted  file1\n");
        expect_told(&t, 1, "host      deleted  d/\n");
        expect_told(&t, 1, "10 changes, git checkout topic → main\n");
        git("git checkout -q topic");
        expect_told(&t, 1, "host      created  d/a\\x1bb\n");
        expect_told(&t, 1, ", git checkout main → topic\n");
        expect_told(&t, 2, " changes, git ");
        cr_assert_eq(kill(t.pid, SIGINT), 0);
        cr_assert_eq(proc_wait(t.pid), 128 + SIGINT);
        expect_exit(0, "umount", box.mnt);
}

Test(cli_events, goes_on_after_a_clock)
{
        char clock[64];
        json_t *m;

        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(0, "wait", "--hashed");
        m = status_mount(0);
        snprintf(clock, sizeof(clock), "%s", json_string_value(json_object_get(m, "clock")));
        json_decref(m);
        put(box.src, "since", "text\n");
        expect_exit(0, "wait", "--hashed");
        expect_exit(0, "events", "--since", clock, "--no-follow", "--json");
        expect_said(box.r.out, "\"fresh\":false");
        expect_said(box.r.out, "\"path\":\"since\"");
        expect_said(box.r.out, "{\"kind\":\"end\",\"why\":\"all\"}");
        expect_exit(0, "events", "--since", "c:0123456789abcdef:1", "--no-follow", "--json");
        expect_said(box.r.out, "\"fresh\":true");
        cr_assert_not(strstr(box.r.out, "\"path\""), "%s", box.r.out);
        expect_exit(1, "events", "--since", "yesterday", "--no-follow");
        expect_said(box.r.err, "\"since\" is a clock");
        expect_exit(0, "umount", box.mnt);
        expect_exit(4, "events", "app");
        expect_exit(4, "events", "--no-follow");
        expect_exit(2, "events", "a", "b");
}

Test(cli_events, goes_on_with_the_next_agent)
{
        struct told t = {0};

        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(0, "wait", "--hashed");
        tell(&t, "--json app");
        expect_told(&t, 1, "\"hello\"");
        kill_agent();
        expect_exit(0, "mount", box.src, box.mnt);
        expect_told(&t, 2, "\"hello\"");
        expect_told(&t, 2, "\"fresh\":true");
        expect_exit(0, "wait", "--hashed");
        put(box.src, "again", "text\n");
        expect_told(&t, 1, "\"path\":\"again\"");
        expect_exit(0, "umount", box.mnt);
        expect_told_end(&t);
}

static bool can_be_followed(void *arg)
{
        CLEANUP_FREE char *why = NULL;
        struct subscriber *s = NULL;
        const struct event *e;
        bool good;

        if (subscriber_new(arg, &(struct subscriber_wish){0}, &s, &why))
                return false;
        good = subscriber_next(s, PATIENCE_MS, &e, &why) == 0 && e->kind == EVENT_HELLO;
        subscriber_free(s);
        return good;
}

/* Whoever holds the mounts starts the next agent, which mounts over: there is another socket then. */
Test(cli_events, goes_on_after_a_kill)
{
        struct told t = {0};
        struct subscriber *in_mount;
        const struct event *e;
        CLEANUP_FREE char *why = NULL;
        pid_t pid;

        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(0, "wait", "--hashed");
        tell(&t, "--json app");
        expect_told(&t, 1, "\"hello\"");
        in_mount = subscribe(mount_socket(box.mnt));
        pid = agent_pid();
        cr_assert_eq(kill(pid, SIGKILL), 0);
        cr_assert_eq(subscriber_next(in_mount, PATIENCE_MS, &e, &why), -EPIPE);
        subscriber_free(in_mount);
        expect_told(&t, 2, "\"hello\"");
        cr_assert(proc_until(can_be_followed, (void *)mount_socket(box.mnt)));
        expect_exit(0, "wait", "--hashed");
        in_mount = subscribe(mount_socket(box.mnt));
        put(box.src, "again", "text\n");
        expect_told(&t, 1, "\"path\":\"again\"");
        (void)next_of(in_mount, "again");
        expect_exit(0, "umount", box.mnt);
        expect_end(in_mount);
        expect_told_end(&t);
}

Test(cli_events, says_why_there_are_none)
{
        expect_exit(0, "mount", box.src, box.mnt, "-o", "coherence=strict");
        expect_exit(1, "events", "app");
        expect_said(box.r.err, "strict");
        expect_exit(0, "umount", box.mnt);
}

Test(cli_events, finds_the_mount_that_it_is_in)
{
        CLEANUP_FREE char *script = NULL;

        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(0, "wait", "--hashed");
        cr_assert_gt(asprintf(&script, "cd '%s' && mkdir -p d && cd d && XDG_RUNTIME_DIR='%s/nowhere' exec '%s' events --no-follow --json",
                              box.mnt, box.base, getenv("DSFS_BIN") ? getenv("DSFS_BIN") : "build/dsfs"),
                     0);
        proc_run((const char *const[]){"sh", "-c", script, NULL}, 0, &box.r);
        cr_assert_eq(box.r.status, 0, "%s", box.r.err);
        expect_said(box.r.out, "\"name\":\"app\"");
        cr_assert_not(strstr(box.r.out, box.src), "it is told where the source is: %s", box.r.out);
        expect_exit(0, "umount", box.mnt);
}

/*
 * Ends
 */

static bool nothing_is_served(void *arg)
{
        (void)arg;
        return DSFS("status") == 4;
}

enum ending { BY_UMOUNT, BY_DSFS, BY_LAZY_DSFS, BY_LAZY_UMOUNT, BY_SIGNAL };

ParameterizedTestParameters(cli_events, an_end_is_told_and_held_up_by_nobody)
{
        static enum ending endings[] = {BY_UMOUNT, BY_DSFS, BY_LAZY_DSFS, BY_LAZY_UMOUNT, BY_SIGNAL};

        return cr_make_param_array(enum ending, endings, ARRAY_LEN(endings));
}

ParameterizedTest(enum ending *by, cli_events, an_end_is_told_and_held_up_by_nobody, .init = start, .fini = stop, .timeout = 600)
{
        struct subscriber *on_host, *in_mount, *deaf;
        pid_t pid;
        char name[64];

        expect_exit(0, "mount", box.src, box.mnt, "-o", "prewarm=off");
        expect_exit(0, "wait", "--hashed");
        pid = agent_pid();
        on_host = subscribe(host_socket());
        in_mount = subscribe(mount_socket(box.mnt));
        deaf = subscribe(mount_socket(box.mnt));
        for (int i = 0; i < 1500; i++) {
                snprintf(name, sizeof(name), "a-name-that-is-not-exactly-short-%d", i);
                put(box.src, name, "");
        }
        expect_exit(0, "wait", "--hashed");
        (void)next_of(on_host, name);
        (void)next_of(in_mount, name);
        switch (*by) {
        case BY_UMOUNT:
                cr_assert_eq(umount2(box.mnt, 0), 0, "%s", strerror(errno));
                break;
        case BY_DSFS:
                expect_exit(0, "umount", box.mnt);
                break;
        case BY_LAZY_DSFS:
                expect_exit(0, "umount", "--lazy", box.mnt);
                break;
        case BY_LAZY_UMOUNT:
                cr_assert_eq(umount2(box.mnt, MNT_DETACH), 0, "%s", strerror(errno));
                break;
        case BY_SIGNAL:
                cr_assert_eq(kill(pid, SIGTERM), 0);
                break;
        }
        expect_end(in_mount);
        expect_end(on_host);
        cr_assert(proc_until(is_gone, &pid));
        cr_assert(proc_until(nothing_is_served, NULL));
        cr_assert_not(is_mounted(box.mnt));
        subscriber_free(deaf);
}

Test(cli_events, mounts_have_a_socket_each)
{
        struct subscriber *first, *second, *on_host;
        char other[160];

        snprintf(other, sizeof(other), "%s/other", box.base);
        cr_assert_eq(mkdir(other, 0755), 0);
        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(0, "mount", box.src, other, "-o", "prewarm=off");
        expect_exit(0, "wait", "--hashed");
        first = subscribe(mount_socket(box.mnt));
        second = subscribe(mount_socket(other));
        on_host = subscribe(host_socket());
        put(box.src, "one", "text\n");
        (void)next_of(first, "one");
        (void)next_of(second, "one");
        cr_assert_eq(umount2(other, 0), 0);
        expect_end(second);
        put(box.src, "two", "text\n");
        (void)next_of(first, "two");
        (void)next_of(on_host, "two");
        expect_exit(0, "umount", box.mnt);
        expect_end(first);
        expect_end(on_host);
        expect_nothing_left();
}

/* It is the connection that counts, not the place. */
Test(cli_events, a_mount_that_moves_keeps_its_socket)
{
        struct subscriber *s;
        char other[160];

        snprintf(other, sizeof(other), "%s/other", box.base);
        cr_assert_eq(mkdir(other, 0755), 0);
        expect_exit(0, "mount", box.src, box.mnt, "-o", "prewarm=off");
        expect_exit(0, "wait", "--hashed");
        s = subscribe(mount_socket(box.mnt));
        cr_assert_eq(mount(box.mnt, other, NULL, MS_BIND, NULL), 0);
        cr_assert_eq(umount2(box.mnt, 0), 0);
        put(box.src, "one", "text\n");
        (void)next_of(s, "one");
        cr_assert_eq(umount2(other, 0), 0);
        expect_end(s);
        cr_assert(proc_until(nothing_is_served, NULL));
}

Test(cli_events, status_says_who_is_told)
{
        struct subscriber *s;
        const json_t *e;
        json_t *m;

        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(0, "wait", "--hashed");
        s = subscribe(host_socket());
        put(box.src, "one", "text\n");
        (void)next_of(s, "one");
        m = status_mount(0);
        e = json_object_get(m, "events");
        cr_assert_eq(json_integer_value(json_object_get(e, "subscribers")), 1);
        cr_assert_geq(json_integer_value(json_object_get(e, "records")), 1);
        cr_assert_geq(json_integer_value(json_object_get(e, "sent")), 1);
        cr_assert(json_is_null(json_object_get(e, "not_in_mount")));
        json_decref(m);
        expect_exit(0, "status");
        expect_said(box.r.out, "1 subscribers");
        subscriber_free(s);
        expect_exit(0, "umount", box.mnt);
}
