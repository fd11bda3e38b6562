/*
 * The configuration on the command line: what a mount makes of it, `config check` and `config show`.
 */
#include "tests/mount/cli.h"

static void start_with_config(void)
{
        char dir[128];

        start();
        set_directory("XDG_CONFIG_HOME", "config", dir, sizeof(dir));
        unsetenv("DSFS_CFG_PATH");
}

TestSuite(cli_config, .init = start_with_config, .fini = stop, .timeout = 600);

static void put_users(const char *text)
{
        (void)mkdir(at(box.base, "config/dsfs"), 0700);
        put(at(box.base, "config/dsfs"), "config.yaml", text);
}

static bool exists(const char *dir, const char *name)
{
        return faccessat(AT_FDCWD, at(dir, "%s", name), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

Test(cli_config, a_mount_goes_by_the_checkouts_rules)
{
        put(box.src, "dsfs.yaml", "version: 1\nartifacts:\n  - path: made/\n  - path: secret\n    route: hidden\n");
        put(box.src, "secret", "x");
        expect_exit(0, "mount", box.src, box.mnt);
        cr_assert_not(exists(box.mnt, "secret"));
        cr_assert_eq(mkdir(at(box.mnt, "made"), 0755), 0);
        cr_assert_eq(mkdir(at(box.mnt, "plain"), 0755), 0);
        cr_assert_not(exists(box.src, "made"), "an artifact is in the source");
        cr_assert(exists(box.src, "plain"));
        expect_exit(0, "umount", box.mnt);
        expect_exit(0, "mount", box.src, box.mnt);
        cr_assert(exists(box.mnt, "made"), "an artifact is lost");
        expect_exit(0, "umount", box.mnt);
}

Test(cli_config, settings_are_the_users_unless_o_says_otherwise)
{
        json_t *m;

        put_users("version: 1\ntransport: dev\nprewarm: off\nreadonly: on\n");
        expect_exit(0, "mount", box.src, box.mnt, "-o", "readonly=off");
        m = status_mount(0);
        cr_assert_str_eq(json_string_value(json_object_get(m, "transport")), "/dev/fuse");
        cr_assert(json_is_false(json_object_get(m, "readonly")));
        json_decref(m);
        /* The agent that there is goes by it too. */
        cr_assert_eq(mkdir(at(box.base, "second"), 0755), 0);
        expect_exit(0, "mount", box.src, at(box.base, "second"));
        cr_assert_eq(open(at(box.base, "second/x"), O_CREAT | O_WRONLY | O_CLOEXEC, 0644), -1);
        cr_assert_eq(errno, EROFS);
        expect_exit(0, "umount", "--all");
}

Test(cli_config, a_broken_file_is_refused_with_its_place)
{
        put(box.src, "dsfs.yaml", "version: 1\nprofile: data\n");
        expect_exit(2, "mount", box.src, box.mnt);
        expect_said(box.r.err, at(box.src, "dsfs.yaml:2:1: profile is not a checkout's"));
        expect_nothing_left();
        put(box.src, "dsfs.yaml", "version: 1\n");
        put_users("version: 1\nowner: nobody\n");
        expect_exit(2, "mount", box.src, box.mnt);
        expect_said(box.r.err, "config.yaml:2:8: owner is \"nobody\"; expected is squash, keep");
        expect_nothing_left();
}

Test(cli_config, what_git_ignores_can_be_the_mounts_own)
{
        const char *const init[] = {"git", "-C", box.src, "init", "-q", NULL};

        cr_assert_eq(child_exec(init, NULL, NULL, NULL, 0), 0);
        put(box.src, ".gitignore", "/dist\n*.o\n.env\n");
        put(box.src, "hosts.o", "");
        put(box.src, ".env", "");
        put(box.src, "dsfs.yaml", "version: 1\ngitignored: on\n");
        expect_exit(0, "mount", box.src, box.mnt);
        expect_said(box.r.err, "hosts.o ");
        expect_said(box.r.err, "keep: ['/hosts.o']");
        cr_assert_str_eq(strchr(box.r.out, '\n'), "\n", "more than the place on standard output: %s", box.r.out);
        cr_assert(exists(box.mnt, ".env") && !exists(box.mnt, "hosts.o"));
        put(box.mnt, "dist", "x");
        put(box.mnt, "made.o", "x");
        cr_assert(!exists(box.src, "dist") && !exists(box.src, "made.o"));
        expect_exit(0, "umount", box.mnt);
        expect_exit(0, "mount", box.src, box.mnt, "-o", "gitignored=off");
        cr_assert(exists(box.mnt, "hosts.o"));
        expect_exit(0, "umount", box.mnt);
}
