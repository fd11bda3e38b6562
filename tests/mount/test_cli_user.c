/*
 * Without root; and who else may get in the way.
 */
#include "tests/mount/cli.h"

#define TEST_UID 12345

#define WATCH_LIMIT_FILE "/proc/sys/fs/inotify/max_user_watches"
#define DIRECTORIES 40

static char *limit_before; /* what the machine had */

static void write_limit(const char *text)
{
        CLEANUP_FD int fd = open(WATCH_LIMIT_FILE, O_WRONLY | O_CLOEXEC);

        cr_assert(fd >= 0 && fd_write_full(fd, text, strlen(text)) == 0, WATCH_LIMIT_FILE);
}

static void stop_user(void)
{
        if (limit_before)
                write_limit(limit_before);
        stop();
}

TestSuite(cli_user, .init = start, .fini = stop_user, .timeout = 600);

/* fusermount3 wants its user to have a name. */
static void name_user(void)
{
        CLEANUP_FREE char *passwd = NULL;
        CLEANUP_FREE char *text = NULL;
        CLEANUP_FREE char *more = NULL;

        cr_assert_gt(fd_read_file(AT_FDCWD, "/etc/passwd", 1 << 20, &text), 0);
        cr_assert_gt(asprintf(&more, "%sdsfs-test:x:%d:%d::/:/bin/sh\n", text, TEST_UID, TEST_UID), 0);
        cr_assert_gt(asprintf(&passwd, "%s/passwd", box.base), 0);
        put(box.base, "passwd", more);
        cr_assert_eq(mount(passwd, "/etc/passwd", NULL, MS_BIND, NULL), 0);
}

static void become_unprivileged(void)
{
        CLEANUP_FREE char *fuse = NULL;
        const char *const own[] = {"run", "state", "app", "mnt", "app/greeting"};
        struct stat st;

        /* The device as every distribution has it. */
        cr_assert_eq(stat("/dev/fuse", &st), 0);
        cr_assert_gt(asprintf(&fuse, "%s/fuse", box.base), 0);
        cr_assert_eq(mknod(fuse, S_IFCHR | 0666, st.st_rdev), 0);
        cr_assert(chmod(fuse, 0666) == 0 && mount(fuse, "/dev/fuse", NULL, MS_BIND, NULL) == 0);
        for (size_t i = 0; i < ARRAY_LEN(own); i++) {
                char path[192];

                snprintf(path, sizeof(path), "%s/%s", box.base, own[i]);
                cr_assert_eq(chown(path, TEST_UID, TEST_UID), 0);
        }
        name_user();
        box.uid = TEST_UID;
}

static void user_conf(const char *text)
{
        CLEANUP_FREE char *path = NULL;

        put(box.base, "fuse.conf", text);
        cr_assert_gt(asprintf(&path, "%s/fuse.conf", box.base), 0);
        cr_assert_eq(mount(path, "/etc/fuse.conf", NULL, MS_BIND, NULL), 0);
}

static void expect_readable_by(uid_t uid)
{
        const char *argv[] = {"cat", box.mnt, NULL};
        char path[160];

        snprintf(path, sizeof(path), "%s/greeting", box.mnt);
        argv[1] = path;
        proc_run(argv, uid, &box.r);
        cr_assert_eq(box.r.status, 0, "%s", box.r.err);
        cr_assert_str_eq(box.r.out, "hello\n");
}

Test(cli_user, a_user_mounts_and_unmounts)
{
        json_t *m;

        become_unprivileged();
        expect_exit(0, "mount", box.src, box.mnt);
        m = status_mount(0);
        cr_assert_str_eq(json_string_value(json_object_get(m, "watch")), "inotify");
        json_decref(m);
        expect_readable_by(TEST_UID);
        expect_exit(0, "wait", box.mnt);
        expect_exit(0, "umount", box.mnt);
        expect_nothing_left();
}

/* Bound by way of a user namespace: where none is to be had, that is said. */
Test(cli_user, a_users_mount_tells_its_events_too)
{
        char path[192];
        const json_t *why_not;
        struct stat st;
        json_t *m;

        become_unprivileged();
        expect_exit(0, "mount", box.src, box.mnt);
        m = status_mount(0);
        why_not = json_object_get(json_object_get(m, "events"), "not_in_mount");
        snprintf(path, sizeof(path), "%s/.dsfs/events.sock", box.mnt);
        if (json_is_string(why_not)) {
                cr_assert(strstr(json_string_value(why_not), "user namespace"), "%s", json_string_value(why_not));
        } else {
                box.uid = TEST_UID;
                expect_exit(0, "wait", "--hashed");
                expect_exit(0, "events", "--socket", path, "--no-follow", "--json");
                expect_said(box.r.out, "\"hello\"");
                cr_assert(stat(path, &st) < 0 && errno == EACCES, "others may enter");
        }
        json_decref(m);
        expect_exit(0, "umount", box.mnt);
        expect_nothing_left();
}

Test(cli_user, a_user_recovers_from_a_killed_agent)
{
        become_unprivileged();
        expect_exit(0, "mount", box.src, box.mnt);
        kill_agent();
        (void)DSFS("status");
        expect_exit(0, "mount", box.src, box.mnt);
        expect_readable_by(TEST_UID);
        kill_agent();
        expect_exit(0, "umount", box.mnt);
        expect_nothing_left();
}

Test(cli_user, a_user_may_let_others_in_when_fuse_conf_permits)
{
        become_unprivileged();
        user_conf("# nothing\n");
        expect_exit(1, "mount", box.src, box.mnt, "-o", "allow_other");
        expect_said(box.r.err, "user_allow_other");
        expect_said(box.r.err, "/etc/fuse.conf");
        expect_nothing_left();
        cr_assert_eq(umount("/etc/fuse.conf"), 0);
        user_conf("user_allow_other\n");
        cr_assert_eq(chmod(box.src, 0755), 0);
        expect_exit(0, "mount", box.src, box.mnt, "-o", "allow_other");
        expect_readable_by(TEST_UID + 1);
        expect_exit(0, "umount", box.mnt);
}

Test(cli_user, what_a_user_serves_lazily_ends_too)
{
        CLEANUP_FD int held = -1;
        pid_t pid;

        become_unprivileged();
        user_conf("user_allow_other\n");
        expect_exit(0, "mount", box.src, box.mnt, "-o", "allow_other");
        pid = agent_pid();
        held = open(box.mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        cr_assert_geq(held, 0);
        expect_exit(1, "umount", box.mnt);
        expect_exit(0, "umount", "--lazy", box.mnt);
        cr_assert(is_gone(&pid));
        expect_nothing_left();
}

Test(cli_user, a_user_mounts_a_source_twice)
{
        char other[160];

        become_unprivileged();
        snprintf(other, sizeof(other), "%s/other", box.base);
        cr_assert(mkdir(other, 0755) == 0 && chown(other, TEST_UID, TEST_UID) == 0);
        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(0, "mount", box.src, other);
        expect_readable_by(TEST_UID);
        expect_exit(0, "wait", "app.2");
        expect_exit(0, "umount", other);
        cr_assert_not(is_mounted(other));
        expect_readable_by(TEST_UID);
        expect_exit(0, "mount", box.src, other);
        kill_agent();
        expect_exit(0, "mount", box.src, other);
        expect_exit(0, "mount", box.src, box.mnt);
        expect_readable_by(TEST_UID);
        expect_exit(0, "umount", "--all");
        cr_assert_not(is_mounted(other));
        expect_nothing_left();
}

Test(cli_user, a_runtime_directory_that_others_enter_is_refused)
{
        char dir[160];

        snprintf(dir, sizeof(dir), "%s/run/dsfs", box.base);
        cr_assert(mkdir(dir, 0755) == 0 && chmod(dir, 0755) == 0);
        expect_exit(1, "mount", box.src, box.mnt);
        expect_said(box.r.err, dir);
        expect_said(box.r.err, "chmod 700");
}

static void put_in_all(const char *name, const char *text)
{
        char dir[192];

        for (unsigned i = 0; i < DIRECTORIES; i++) {
                snprintf(dir, sizeof(dir), "%s/d%u", box.src, i);
                cr_assert(mkdir(dir, 0755) == 0 || errno == EEXIST);
                put(dir, name, text);
        }
}

static void expect_in_all(const char *name, const char *text)
{
        char dir[192];

        for (unsigned i = 0; i < DIRECTORIES; i++) {
                snprintf(dir, sizeof(dir), "%s/d%u", box.mnt, i);
                expect_content(dir, name, text);
        }
}

static bool is_broken(void *arg)
{
        (void)arg;
        return DSFS("status") == 1;
}

/* From the start: nothing is kept then, and nothing old is read. From later on: that is said. */
Test(cli_user, more_directories_than_may_be_watched)
{
        become_unprivileged();
        user_conf("user_allow_other\n");
        cr_assert_gt(fd_read_file(AT_FDCWD, WATCH_LIMIT_FILE, 32, &limit_before), 0);
        put_in_all("f", "one\n");
        write_limit("20\n");
        expect_exit(0, "mount", box.src, box.mnt, "-o", "allow_other");
        expect_in_all("f", "one\n");
        put_in_all("f", "another\n");
        put_in_all("new", "new\n");
        expect_in_all("f", "another\n");
        expect_in_all("new", "new\n");
        expect_exit(3, "status");
        expect_said(box.r.out, "not every directory of the source can be watched");
        expect_exit(0, "umount", box.mnt);
        write_limit("500\n"); /* the last mount's may not have been given back yet */
        expect_exit(0, "mount", box.src, box.mnt, "-o", "allow_other");
        expect_exit(0, "status");
        write_limit("20\n");
        for (unsigned i = 0; i < DIRECTORIES; i++) {
                char dir[192];

                snprintf(dir, sizeof(dir), "%s/more%u", box.src, i);
                cr_assert_eq(mkdir(dir, 0755), 0);
        }
        cr_assert(proc_until(is_broken, NULL), "it isn't said: %s", box.r.out);
        expect_said(box.r.out, "not all directories can be watched: raise fs.inotify.max_user_watches");
        expect_exit(0, "umount", box.mnt);
        expect_exit(0, "mount", box.src, box.mnt, "-o", "allow_other");
        expect_exit(3, "status");
        expect_exit(0, "umount", box.mnt);
}
