/*
 * `dsfs run` and the static dsfs-client on real mounts: edits and git on the host, changes through the mount, an agent that is killed, a
 * mount that ends; and the client in a root directory that holds nothing but itself, a shell and the mount.
 */
#include "tests/mount/cli.h"

#define EMPTY_MNT "/mnt"

TestSuite(cli_run, .init = start, .fini = stop, .timeout = 300);

static struct {
        pid_t pid;
        char log[128], err[128];
} running;

struct says {
        const char *file, *text;
};

static bool file_says(void *arg)
{
        const struct says *s = arg;
        CLEANUP_FREE char *text = NULL;

        return fd_read_file(AT_FDCWD, s->file, 1 << 20, &text) >= 0 && strstr(text, s->text);
}

static const char *text_of(const char *file)
{
        static char buffer[8192];
        CLEANUP_FREE char *text = NULL;

        snprintf(buffer, sizeof(buffer), "%s", fd_read_file(AT_FDCWD, file, 1 << 20, &text) >= 0 ? text : "(nothing)");
        return buffer;
}

#define await_text(file_, text_)                                                                                                           \
        cr_assert(proc_until(file_says, &(struct says){file_, text_}), "%s doesn't say \"%s\", but: %s\nsaid: %s", file_, text_,           \
                  strdup(text_of(file_)), text_of(running.err))

static void begin(void)
{
        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(0, "wait", "--hashed", box.mnt);
        snprintf(running.log, sizeof(running.log), "%s/log", box.base);
        snprintf(running.err, sizeof(running.err), "%s/err", box.base);
        cr_assert_eq(setenv("LOG", running.log, 1), 0);
}

static void run_argv(const char *const argv[])
{
        running.pid = proc_start(argv, 0, running.err);
        cr_assert_gt(running.pid, 0);
}

static bool has_no_child(void *arg)
{
        pid_t pid = *(pid_t *)arg;
        char path[64];
        CLEANUP_FREE char *text = NULL;

        snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
        return fd_read_file(AT_FDCWD, path, 4096, &text) == 0;
}

/* Run SCRIPT in `dir`, with the options. It has begun when the log says so, unless it is postponed. */
static void run_in(const char *dir, const char *script, const char *const options[])
{
        const char *argv[24] = {getenv("DSFS_BIN") ? getenv("DSFS_BIN") : "build/dsfs", "run"};
        int n = 2;

        cr_assert_eq(chdir(dir), 0);
        for (int i = 0; options[i]; i++)
                argv[n++] = options[i];
        argv[n++] = "--";
        argv[n++] = "sh";
        argv[n++] = "-c";
        argv[n++] = script;
        run_argv(argv);
        cr_assert_eq(chdir("/"), 0);
}
#define RUN_IN(dir, script, ...) run_in(dir, script, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static int end_with(int signal)
{
        int status;

        if (signal)
                cr_assert_eq(kill(running.pid, signal), 0);
        status = proc_wait(running.pid);
        cr_assert_neq(status, PROC_HUNG);
        return status;
}

/* Ends when asked, which the log says, too. */
#define SERVER "echo run $DSFS_WHY $DSFS_CHANGED >>$LOG; exec tail -f /dev/null"

static void git(const char *args)
{
        CLEANUP_FREE char *command = NULL;
        const char *argv[] = {"sh", "-c", NULL, NULL};
        static struct proc_result r;

        cr_assert_gt(asprintf(&command, "cd '%s' && git -c user.name=t -c user.email=t@example.org %s", box.src, args), 0);
        argv[2] = command;
        proc_run(argv, 0, &r);
        cr_assert_eq(r.status, 0, "git %s: %s", args, r.err);
}

/* Of what matters a run each, of what doesn't none; in the source and in the mount alike. */
Test(cli_run, restarts_on_an_edit_of_the_host)
{
        begin();
        RUN_IN(box.src, SERVER " # $DSFS_ROOT", "--on", "*.py", "--ignore", "gen/");
        await_text(running.log, "run start\n");
        put(box.src, "notes", "x");
        cr_assert_eq(mkdir("gen", 0755) < 0 && errno != EEXIST, 0);
        put(box.src, "a.py", "1");
        await_text(running.log, "run change a.py\n");
        put(box.src, "a.py", "2");
        await_text(running.log, "run change a.py\nrun change a.py\n");
        cr_assert_eq(end_with(SIGTERM), 128 + SIGTERM);
        cr_assert_str_eq(text_of(running.log), "run start\nrun change a.py\nrun change a.py\n");
}

Test(cli_run, a_checkout_is_one_run_that_knows_all_paths)
{
        char name[32];

        begin();
        git("init -q && git add . && git commit -qm 0 && git checkout -qb other");
        for (int i = 0; i < 200; i++) {
                snprintf(name, sizeof(name), "f%03d.py", i);
                put(box.src, name, "x\n");
        }
        git("add . && git commit -qm 1 && git checkout -q -");
        expect_exit(0, "wait", "--hashed", box.mnt);
        RUN_IN(box.mnt, "echo run $DSFS_WHY $(tr '\\0' '\\n' <$DSFS_CHANGED_FILE | wc -l) $DSFS_ROOT >>$LOG; exec tail -f /dev/null",
               "--on", "*.py");
        await_text(running.log, "run start");
        git("checkout -q other");
        await_text(running.log, "run change 200 ");
        expect_exit(0, "wait", "--hashed", box.mnt);
        put(box.src, "last.py", "x");
        await_text(running.log, "run change 1 ");
        {
                CLEANUP_FREE char *want = NULL;

                cr_assert_gt(asprintf(&want, "run start 0 %s\nrun change 200 %s\nrun change 1 %s\n", box.mnt, box.mnt, box.mnt), 0);
                cr_assert_str_eq(text_of(running.log), want, "%s", text_of(running.log));
        }
        (void)end_with(SIGTERM);
}

/* What the command writes in the mount is no reason to run it again; in the source it is, unless it is said that it isn't. */
Test(cli_run, a_command_that_writes_in_the_mount_does_not_run_itself)
{
        begin();
        RUN_IN(box.mnt, "date +%N$$ >own.py; echo run $DSFS_CHANGED >>$LOG", "--on", "*.py");
        await_text(running.err, "own.py was changed through the mount");
        put(box.src, "a.py", "1");
        await_text(running.log, "run\nrun a.py\n");
        expect_exit(0, "wait", "--hashed", box.mnt);
        put(box.src, "b.py", "1");
        await_text(running.log, "run\nrun a.py\nrun b.py\n");
        (void)end_with(SIGTERM);
}

Test(cli_run, changes_through_the_mount_count_if_asked_for)
{
        begin();
        RUN_IN(box.src, SERVER, "--on", "*.py", "--origin", "any");
        await_text(running.log, "run start\n");
        put(box.mnt, "a.py", "1");
        await_text(running.log, "run change a.py\n");
        (void)end_with(SIGTERM);
}

/* A command that makes what it is run for: it isn't run 1000 times. */
Test(cli_run, a_loop_is_slowed_down)
{
        begin();
        RUN_IN(box.src, "echo $$ >own.py; echo run >>$LOG", "--on", "*.py", "-q");
        await_text(running.err, "was run 8 times");
        (void)end_with(SIGINT);
}

/* The agent is killed and another takes its place: the command goes on meanwhile, and is run once for what nobody saw. */
Test(cli_run, survives_the_agent)
{
        begin();
        RUN_IN(box.src, SERVER, "--on", "*.py");
        await_text(running.log, "run start\n");
        kill_agent();
        await_text(running.err, "goes on");
        expect_exit(0, "mount", box.src, box.mnt);
        await_text(running.log, "run start\nrun anything\n");
        expect_exit(0, "wait", "--hashed", box.mnt);
        put(box.src, "a.py", "1");
        await_text(running.log, "run anything\nrun change a.py\n");
        (void)end_with(SIGTERM);
}

Test(cli_run, ends_with_the_mount)
{
        begin();
        RUN_IN(box.src, "trap 'echo stopped >>$LOG; exit' TERM; echo run >>$LOG; while :; do sleep 0.01; done", "app", "--on", "*.py");
        await_text(running.log, "run\n");
        expect_exit(0, "umount", box.mnt);
        cr_assert_eq(end_with(0), 4);
        await_text(running.log, "run\nstopped\n");
}

Test(cli_run, finds_its_mount)
{
        expect_exit(4, "run", "--", "true");
        expect_said(box.r.err, "nothing is mounted");
        begin();
        expect_exit(4, "run", "nonsense", "--", "true");
        expect_said(box.r.err, "no mount called nonsense");
        cr_assert_eq(chdir("/"), 0);
        RUN_IN("/", SERVER, "-q");
        await_text(running.log, "run start\n");
        put(box.src, "a", "1");
        await_text(running.log, "run change a\n");
        (void)end_with(SIGTERM);
}

/* What it wrote itself is known to be its own when it has ended, however late it is told. */
Test(cli_run, its_own_work_can_be_ignored)
{
        begin();
        RUN_IN(box.src, "echo run $DSFS_CHANGED >>$LOG; for i in 1 2 3; do echo $$ >own$i.py; done", "--on", "*.py", "--busy", "ignore",
               "-q");
        await_text(running.log, "run\n");
        for (int i = 0; i < 3; i++) {
                char name[16], want[32];

                /* It is asked to end by nobody: that it waits for changes again is seen by its having no child. */
                cr_assert(proc_until(has_no_child, &running.pid));
                expect_exit(0, "wait", "--hashed", box.mnt);
                snprintf(name, sizeof(name), "a%d.py", i);
                snprintf(want, sizeof(want), "run %s\n", name);
                cr_assert_not(strstr(text_of(running.log), "own"), "%s", text_of(running.log));
                put(box.src, name, "1");
                await_text(running.log, want);
        }
        (void)end_with(SIGTERM);
}

/*
 * dsfs-client, static, in a root directory with nothing else of a system
 */

static char *empty_root(void)
{
        const char *bin = getenv("DSFS_BIN") ? getenv("DSFS_BIN") : "build/dsfs";
        CLEANUP_FREE char *client = NULL;
        CLEANUP_FREE char *script = NULL;
        const char *argv[] = {"sh", "-c", NULL, NULL};
        static struct proc_result r;
        char *root = NULL;

        cr_assert_gt(asprintf(&root, "%s/root", box.base), 0);
        cr_assert_gt(asprintf(&client, "%s-client", bin), 0);
        /* A mount of its own, that can be bound through: the agent's socket is reached in it as well. */
        cr_assert_gt(asprintf(&script,
                              "mkdir -p %s/mnt && cp \"$(ls -d %s $(dirname %s)/../dsfs-client 2>/dev/null | head -n 1)\" %s/client && "
                              "cp \"$(command -v busybox)\" %s/busybox && mount --bind %s %s/mnt",
                              root, client, bin, root, root, box.mnt, root),
                     0);
        argv[2] = script;
        proc_run(argv, 0, &r);
        cr_assert_eq(r.status, 0, "%s", r.err);
        return root;
}

static void leave_empty_root(const char *root)
{
        CLEANUP_FREE char *mnt = NULL;

        cr_assert_gt(asprintf(&mnt, "%s/mnt", root), 0);
        (void)umount2(mnt, MNT_DETACH);
}

Test(cli_run, the_client_works_where_there_is_nothing_else)
{
        CLEANUP_FREE char *root = NULL;
        CLEANUP_FREE char *deep = NULL;
        static struct proc_result r;

        begin();
        root = empty_root();
        cr_assert_gt(asprintf(&deep, "%s/deep", box.src), 0);
        cr_assert_eq(mkdir(deep, 0755), 0);
        snprintf(running.log, sizeof(running.log), "%s/log", root);
        /* As somebody who is nobody here: sockets are for all who are in the mount. */
        run_argv((const char *const[]){
                "unshare", "-R", root, "-w", EMPTY_MNT "/deep", "/client", "run", "--on", "*.py", "--", "/busybox", "sh", "-c",
                "echo run $DSFS_WHY $(/busybox tr '\\0' + <$DSFS_CHANGED_FILE) $DSFS_ROOT >>/log; exec /busybox tail -f /client", NULL});
        await_text(running.log, "run start /mnt\n");
        put(box.src, "a.py", "1");
        await_text(running.log, "run change a.py+ /mnt\n");
        proc_run((const char *const[]){"unshare", "-R", root, "-w", EMPTY_MNT, "/client", "status", NULL}, 0, &r);
        cr_assert_eq(r.status, 0, "%s", r.err);
        cr_assert(strstr(r.out, "app: ok"), "%s", r.out);
        proc_run((const char *const[]){"unshare", "-R", root, "-w", EMPTY_MNT, "/client", "events", "--no-follow", NULL}, 0, &r);
        cr_assert_eq(r.status, 0, "%s", r.err);
        cr_assert(strstr(r.out, "\"kind\":\"hello\"") || strstr(r.out, "\"kind\": \"hello\""), "%s", r.out);
        put(box.src, "b.py", "1");
        proc_run((const char *const[]){"unshare", "-R", root, "-w", EMPTY_MNT, "/client", "wait", NULL}, 0, &r);
        cr_assert_eq(r.status, 0, "%s", r.err);
        proc_run((const char *const[]){"unshare", "-R", root, "-w", "/", "/client", "run", "--", "/client", NULL}, 0, &r);
        cr_assert_eq(r.status, 4, "%s", r.err);
        cr_assert_eq(end_with(SIGTERM), 128 + SIGTERM);
        leave_empty_root(root);
}
