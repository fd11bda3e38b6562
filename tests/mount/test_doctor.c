/*
 * `dsfs doctor`: every row of its table is provoked, for real, in a mount namespace of the test's own; then the remedy is applied, where a
 * test may do that, and it has to be content. Dead mounts and their leavings are in test_cli_dead.c.
 */
#include <sys/sysmacros.h>

#include "tests/mount/cli.h"

#define URING_SWITCH "/sys/module/fuse/parameters/enable_uring"
#define WATCHES "/proc/sys/fs/inotify/max_user_watches"
#define TEST_UID 12345
#define REMEDY_TEXT 512

static void start_doctor(void)
{
        char home[128];

        start();
        set_directory("HOME", "home", home, sizeof(home));
        setenv("TMPDIR", box.base, 1);
        (void)unsetenv("XDG_CONFIG_HOME");
}

TestSuite(doctor, .init = start_doctor, .fini = stop, .timeout = 300);

/* Go through the table, about the source too; its exit is this. */
static json_t *examine(int code)
{
        json_t *root;

        expect_exit(code, "doctor", "--json", "--no-proof", box.src);
        root = json_loads(box.r.out, 0, NULL);
        cr_assert(root, "not JSON: %s", box.r.out);
        return root;
}

/* What it found: "ok" only, or this level, said so, with this in the remedy, which goes to `ret` unless NULL. */
static void expect_found(int code, const char *check, const char *level, const char *said, const char *remedy, char *ret)
{
        json_t *root = examine(code);
        bool seen = false;
        size_t i;
        json_t *f;

        json_array_foreach(json_object_get(root, "findings"), i, f)
        {
                const char *text = json_string_value(json_object_get(f, "text"));
                const char *fix = json_string_value(json_object_get(f, "fix"));

                if (strcmp(json_string_value(json_object_get(f, "check")), check) != 0 ||
                    strcmp(json_string_value(json_object_get(f, "level")), level) != 0 || (said && !strstr(text, said)))
                        continue;
                seen = true;
                cr_assert(!remedy || (fix && strstr(fix, remedy)), "the remedy is %s, not %s", fix ? fix : "none", remedy);
                if (ret)
                        snprintf(ret, REMEDY_TEXT, "%s", fix ? fix : "");
        }
        cr_assert(seen, "%s is not %s (%s): %s", check, level, said ? said : "", box.r.out);
        json_decref(root);
}

static void expect_fine(int code, const char *check)
{
        expect_found(code, check, "ok", NULL, NULL, NULL);
}

/* Up to its remark in brackets, as a person would type it. */
static void apply(char *remedy)
{
        struct proc_result r;

        if (strstr(remedy, " ("))
                *strstr(remedy, " (") = '\0';
        proc_run((const char *const[]){"sh", "-ec", remedy, NULL}, 0, &r);
        cr_assert_eq(r.status, 0, "%s: %s", remedy, r.err);
}

static void git(const char *const args[])
{
        const char *argv[16] = {"git", "-C", box.src};
        struct proc_result r;

        for (int i = 0; args[i]; i++)
                argv[i + 3] = args[i];
        proc_run(argv, 0, &r);
        cr_assert_eq(r.status, 0, "git %s: %s", args[0], r.err);
}
#define GIT(...) git((const char *const[]){__VA_ARGS__, NULL})

static void cover(const char *path, const char *text)
{
        CLEANUP_FREE char *file = NULL;

        cr_assert_gt(asprintf(&file, "%s/cover", box.base), 0);
        put(box.base, "cover", text);
        cr_assert_eq(mount(file, path, NULL, MS_BIND, NULL), 0, "%s: %s", path, strerror(errno));
}

Test(doctor, a_sound_machine_is_proved)
{
        expect_exit(0, "doctor");
        expect_said(box.r.out, "a watcher there heard of an edit on the host after");
        expect_exit(0, "doctor", "--list");
        expect_said(box.r.out, "propagation");
        expect_exit(2, "doctor", "--nonesuch");
        expect_exit(2, "doctor", "/nonesuch");
        expect_said(box.r.err, "does not exist");
        cr_assert_null(strstr(box.r.err, "probe"));
        expect_exit(4, "status");
}

Test(doctor, an_old_kernel)
{
        const char *bin = getenv("DSFS_BIN") ? getenv("DSFS_BIN") : "build/dsfs";
        struct proc_result r;

        /* The kernel says that it is 2.6. */
        proc_run((const char *const[]){"setarch", "--uname-2.6", bin, "doctor", "--no-proof", NULL}, 0, &r);
        cr_assert_eq(r.status, 3, "%s%s", r.out, r.err);
        cr_assert(strstr(r.out, "the kernel is 2.6; dsfs is made for 6.0 and newer"), "%s", r.out);
        cr_assert(strstr(r.out, "install a newer kernel"), "%s", r.out);
}

Test(doctor, no_fuse_device)
{
        cr_assert_eq(mount("none", "/dev", "tmpfs", 0, NULL), 0, "%s", strerror(errno));
        cr_assert_eq(mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3)), 0);
        expect_found(3, "device", "degraded", "/dev/fuse is not there", "modprobe fuse", NULL);
        expect_exit(3, "doctor");
        expect_said(box.r.out, "the proof failed");
        cr_assert_eq(umount("/dev"), 0);
        expect_fine(0, "device");
}

Test(doctor, io_uring_is_off)
{
        char remedy[REMEDY_TEXT];

        cover(URING_SWITCH, "N\n");
        expect_found(0, "io_uring", "note", "is off", "echo Y > " URING_SWITCH, remedy);
        apply(remedy);
        expect_fine(0, "io_uring");
        put(box.base, "cover", "N\n");
        expect_exit(0, "doctor", "--fix", "--no-proof");
        expect_said(box.r.out, "it is enabled now");
        expect_fine(0, "io_uring");
        cr_assert_eq(umount(URING_SWITCH), 0);
}

Test(doctor, no_fusermount3)
{
        char path[] = "/usr/bin/fusermount3", remedy[REMEDY_TEXT], none[128], mine[128];
        struct stat st;

        cr_assert_eq(stat(path, &st), 0, "%s: %s", path, strerror(errno));
        expect_fine(0, "fusermount3");
        cover(path, "#!/bin/sh\n");
        cr_assert_eq(chmod(path, 0755), 0);
        expect_found(0, "fusermount3", "note", "does not run as root", "chmod u+s /usr/bin/fusermount3", remedy);
        apply(remedy);
        expect_fine(0, "fusermount3");
        cr_assert_eq(umount(path), 0);
        snprintf(none, sizeof(none), "%s/none", box.base);
        setenv("PATH", none, 1);
        expect_found(0, "fusermount3", "note", "fusermount3 is not there", "apt-get install fuse3", NULL);
        /* To a user that is more than a note. */
        set_directory("XDG_RUNTIME_DIR", "mine", mine, sizeof(mine));
        setenv("XDG_STATE_HOME", mine, 1);
        cr_assert(chown(mine, TEST_UID, TEST_UID) == 0 && chown(box.src, TEST_UID, TEST_UID) == 0);
        cr_assert_eq(chmod(box.base, 0755), 0);
        box.uid = TEST_UID;
        expect_found(3, "fusermount3", "degraded", "only root can mount", "apt-get install fuse3", NULL);
        box.uid = 0;
}

Test(doctor, no_allow_other)
{
        char remedy[REMEDY_TEXT];

        cover("/etc/fuse.conf", "# nothing\n");
        expect_found(0, "allow_other", "note", "only root use allow_other", "user_allow_other >> /etc/fuse.conf", remedy);
        apply(remedy);
        expect_fine(0, "allow_other");
        cr_assert_eq(umount("/etc/fuse.conf"), 0);
}

Test(doctor, few_watches)
{
        cover(WATCHES, "100\n");
        expect_fine(0, "watches"); /* root needs none */
        expect_exit(0, "mount", box.src, box.mnt, "-o", "watch=inotify");
        expect_found(0, "watches", "note", "may watch 100 directories", "sysctl fs.inotify.max_user_watches=", NULL);
        cr_assert_eq(umount(WATCHES), 0);
}

Test(doctor, few_files)
{
        const char *bin = getenv("DSFS_BIN") ? getenv("DSFS_BIN") : "build/dsfs";
        struct proc_result r;

        proc_run((const char *const[]){"sh", "-c", "ulimit -n 500; exec \"$0\" doctor --no-proof", bin, NULL}, 0, &r);
        cr_assert_eq(r.status, 0, "%s", r.out);
        cr_assert(strstr(r.out, "may open 500 files at most") && strstr(r.out, "ulimit -Hn"), "%s", r.out);
}

/* A FUSE mount is such a source; whose doesn't matter. */
Test(doctor, a_source_without_events)
{
        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(0, "doctor", "--no-proof", box.mnt);
        expect_said(box.r.out, "network filesystem or the like (fuse)");
        expect_said(box.r.out, "-o coherence=events");
}

Test(doctor, a_wrong_configuration)
{
        put(box.src, "dsfs.yaml", "version: 1\nartifacts:\n  - pat: x\n");
        expect_found(3, "configuration", "degraded", "dsfs.yaml:3:", "dsfs config check", NULL);
        put(box.src, "dsfs.yaml", "version: 1\nartifacts:\n  - path: x\n");
        expect_fine(0, "configuration");
}

Test(doctor, git_does_not_trust_the_source)
{
        CLEANUP_FREE char *dir = NULL;
        char remedy[REMEDY_TEXT];

        GIT("init", "-q");
        expect_fine(0, "git");
        cr_assert_gt(asprintf(&dir, "%s/.git", box.src), 0);
        cr_assert_eq(chown(dir, 1234, 1234), 0);
        expect_found(0, "git", "note", "does not trust", "safe.directory", remedy);
        apply(remedy);
        expect_fine(0, "git");
}

Test(doctor, fsmonitor_is_on)
{
        char remedy[REMEDY_TEXT];

        GIT("init", "-q");
        GIT("config", "core.fsmonitor", "true");
        expect_found(0, "fsmonitor", "note", "core.fsmonitor is on", "core.fsmonitor false", remedy);
        apply(remedy);
        expect_fine(0, "fsmonitor");
}

/* What is to be copied into a shell is meant for one. */
Test(doctor, paths_that_a_shell_would_split)
{
        CLEANUP_FREE char *path = NULL;
        char remedy[REMEDY_TEXT];
        char bin[PATH_MAX];

        set_directory(NULL, "it's my app", box.src, sizeof(box.src));
        set_directory(NULL, "my mnt", box.mnt, sizeof(box.mnt));
        put(box.src, "greeting", "hello\n");
        GIT("init", "-q");
        GIT("config", "core.fsmonitor", "true");
        expect_found(0, "fsmonitor", "note", "core.fsmonitor is on", "core.fsmonitor false", remedy);
        apply(remedy);
        expect_fine(0, "fsmonitor");

        expect_exit(0, "mount", box.src, box.mnt);
        kill_agent();
        expect_found(3, "dead mount", "degraded", "whose agent has died", "dsfs mount", remedy);
        cr_assert(realpath(getenv("DSFS_BIN") ? getenv("DSFS_BIN") : "build/dsfs", bin));
        *strrchr(bin, '/') = '\0';
        cr_assert_gt(asprintf(&path, "%s:%s", bin, getenv("PATH")), 0);
        setenv("PATH", path, 1);
        apply(remedy);
        expect_content(box.mnt, "greeting", "hello\n");
        expect_exit(0, "umount", box.mnt);
}

Test(doctor, a_disk_is_nearly_full)
{
        CLEANUP_FREE char *filler = NULL;

        cr_assert_eq(mount("none", box.src, "tmpfs", 0, "size=4m"), 0, "%s", strerror(errno));
        expect_fine(0, "disk");
        cr_assert_gt(asprintf(&filler, "head -c 4000000 /dev/zero >%s/filler", box.src), 0);
        apply(filler);
        expect_found(3, "disk", "degraded", "is nearly full", "df -h", NULL);
        cr_assert_eq(umount(box.src), 0);
        cr_assert_eq(mount("none", box.src, "tmpfs", 0, "size=4m,nr_inodes=200"), 0, "%s", strerror(errno));
        for (int i = 0; i < 199; i++) {
                char name[16];

                snprintf(name, sizeof(name), "f%d", i);
                put(box.src, name, "");
        }
        expect_found(3, "disk", "degraded", "hardly room for more files", "df -i", NULL);
        cr_assert_eq(umount(box.src), 0);
}

Test(doctor, files_from_the_future)
{
        char remedy[REMEDY_TEXT];
        struct timespec times[2] = {{.tv_sec = time(NULL) + 7200}, {.tv_sec = time(NULL) + 7200}};
        CLEANUP_FREE char *path = NULL;

        cr_assert_gt(asprintf(&path, "%s/greeting", box.src), 0);
        cr_assert_eq(utimensat(AT_FDCWD, path, times, 0), 0);
        expect_found(0, "clock", "note", "greeting was changed", "find ", remedy);
        /* The clock here is right. */
        apply(strstr(remedy, "find "));
        expect_fine(0, "clock");
}

Test(doctor, a_damaged_memory)
{
        CLEANUP_FREE char *scribble = NULL;
        char remedy[REMEDY_TEXT];

        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(0, "wait", "--hashed");
        expect_exit(0, "umount", "app");
        expect_fine(0, "memory");
        cr_assert_gt(asprintf(&scribble, "head -c 9000 /dev/zero | dd conv=notrunc of=$(echo %s/state/dsfs/*/cache/data.mdb)", box.base),
                     0);
        apply(scribble);
        expect_found(0, "memory", "note", "can't be used and will be made anew", "dsfs doctor --fix", remedy);
        expect_exit(0, "doctor", "--fix", "--no-proof");
        expect_said(box.r.out, "is removed");
        expect_fine(0, "memory");
        expect_exit(0, "mount", box.src, box.mnt);
        expect_content(box.mnt, "greeting", "hello\n");
}

/* An agent whose state directory has no room. */
Test(doctor, a_memory_that_was_given_up)
{
        CLEANUP_FREE char *state = NULL;

        cr_assert_gt(asprintf(&state, "%s/state", box.base), 0);
        cr_assert_eq(mount("none", state, "tmpfs", 0, "size=256k"), 0, "%s", strerror(errno));
        for (int i = 0; i < 3000; i++) {
                char name[160];

                snprintf(name, sizeof(name), "a-name-that-takes-some-room-in-the-memory-of-this-source-%0100d", i);
                put(box.src, name, "");
        }
        expect_exit(0, "mount", box.src, box.mnt);
        (void)DSFS("wait", "--hashed");
        expect_found(3, "memory", "degraded", "nothing is remembered", "mount it again", NULL);
        expect_found(3, "mount", "degraded", "app: ", NULL, NULL);
        expect_exit(0, "umount", "app");
        cr_assert_eq(umount2(state, MNT_DETACH), 0);
}

Test(doctor, a_private_mount_point)
{
        char remedy[REMEDY_TEXT];

        expect_exit(0, "mount", box.src, box.mnt);
        expect_found(0, "propagation", "note", "private", "mount --make-rshared", remedy);
        /* `dsfs` of the remedy is not in the PATH. */
        expect_exit(0, "umount", box.mnt);
        apply(strstr(remedy, "mount --bind"));
        expect_exit(0, "mount", box.src, box.mnt);
        expect_fine(0, "propagation");
        expect_exit(0, "umount", box.mnt);
        cr_assert_eq(umount2(box.base, MNT_DETACH), 0);
}

static bool are_counted(void *arg)
{
        json_t *m = status_mount(0);
        bool counted = json_integer_value(json_object_get(json_object_get(m, "artifacts"), arg)) > 0;

        json_decref(m);
        return counted;
}

Test(doctor, artifacts_hide_what_the_source_has)
{
        CLEANUP_FREE char *dir = NULL;

        cr_assert_gt(asprintf(&dir, "%s/node_modules", box.src), 0);
        cr_assert_eq(mkdir(dir, 0755), 0);
        put(dir, "x", "");
        put(box.src, "dsfs.yaml", "version: 1\nartifacts:\n  - path: node_modules/\n");
        expect_exit(0, "mount", box.src, box.mnt);
        cr_assert(proc_until(are_counted, (void *)"shadowed"));
        expect_found(0, "shadowed", "note", "are not seen in its mounts", "dsfs artifacts list", NULL);
}

Test(doctor, a_killed_agent)
{
        expect_exit(0, "mount", box.src, box.mnt);
        kill_agent();
        expect_found(3, "dead mount", "degraded", "whose agent has died", "dsfs umount", NULL);
        expect_found(3, "stale socket", "degraded", "left its socket and record", "dsfs doctor --fix", NULL);
        expect_exit(0, "doctor", "--fix", "--no-proof");
        expect_nothing_left();
        expect_fine(0, "dead mount");
}
