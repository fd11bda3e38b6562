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

static void expect_in_step(void)
{
        expect_exit(0, "wait", "app", "--timeout", "60");
}

Test(cli_config, rules_change_while_mounted)
{
        put(box.src, "dsfs.yaml", "version: 1\nartifacts: [{path: a}]\n");
        put(box.src, "b", "source's");
        expect_exit(0, "mount", box.src, box.mnt);
        cr_assert(exists(box.mnt, "b") && !exists(box.mnt, "a"));
        put(box.src, "dsfs.yaml", "version: 1\nartifacts: [{path: a}, {path: b}]\n");
        expect_in_step();
        cr_assert_not(exists(box.mnt, "b"), "the new rule has no effect");
        put(box.mnt, "b", "mount's");
        expect_content(box.src, "b", "source's");
        put(box.src, "dsfs.yaml", "version: 1\n");
        expect_in_step();
        expect_content(box.mnt, "b", "source's");
        expect_exit(0, "umount", box.mnt);
}

Test(cli_config, a_broken_file_leaves_the_rules_and_is_a_warning)
{
        json_t *m;

        put(box.src, "dsfs.yaml", "version: 1\nartifacts: [{path: a}]\n");
        put(box.src, "a", "source's");
        expect_exit(0, "mount", box.src, box.mnt);
        put(box.src, "dsfs.yaml", "version: 1\nartifacts: [{pth: a}]\n");
        expect_in_step();
        cr_assert_not(exists(box.mnt, "a"));
        m = status_mount(3);
        cr_assert_str_eq(json_string_value(json_object_get(m, "verdict")), "degraded");
        json_decref(m);
        expect_said(box.r.out, "dsfs.yaml:2:14: there is no key pth");
        expect_said(box.r.out, "the rules of before are kept");
        put(box.src, "dsfs.yaml", "version: 1\nartifacts: [{path: b}]\n");
        expect_in_step();
        expect_content(box.mnt, "a", "source's");
        json_decref(status_mount(0));
        expect_exit(0, "umount", box.mnt);
}

Test(cli_config, first_rules_take_another_mount)
{
        expect_exit(0, "mount", box.src, box.mnt);
        put(box.src, "dsfs.yaml", "version: 1\nartifacts: [{path: a}]\n");
        expect_in_step();
        json_decref(status_mount(3));
        expect_said(box.r.out, "unmount it and mount it again");
        expect_exit(0, "umount", box.mnt);
}

static bool hides_it(void *arg)
{
        return !exists(box.mnt, arg);
}

Test(cli_config, the_users_file_is_followed_too)
{
        put(box.src, "dsfs.yaml", "version: 1\nartifacts: [{path: a}]\n");
        put(box.src, "b", "");
        expect_exit(0, "mount", box.src, box.mnt);
        cr_assert(exists(box.mnt, "b"));
        /* Not even its directory is there yet. */
        put_users("version: 1\nartifacts: [{path: b}]\n");
        cr_assert(proc_until(hides_it, "b"), "the user's rules have no effect");
        expect_exit(0, "umount", box.mnt);
}

static void follow_lists(const char *watch)
{
        const char *const init[] = {"git", "-C", box.src, "init", "-q", NULL};
        const char *const track[] = {"git", "-C", box.src, "add", "-f", "x.o", NULL};
        const char *old, *new;

        cr_assert_eq(child_exec(init, NULL, NULL, NULL, 0), 0);
        put(box.src, "dsfs.yaml", "version: 1\ngitignored: on\n");
        put(box.src, "x.o", "");
        cr_assert_eq(mkdir(at(box.src, "web"), 0755), 0);
        put(at(box.src, "web"), "y.js", "");
        expect_exit(0, "mount", box.src, box.mnt, "-o", watch);
        cr_assert(exists(box.mnt, "x.o") && exists(box.mnt, "web/y.js"));
        put(box.src, ".gitignore", "*.o\n");
        put(at(box.mnt, "web"), ".gitignore", "/y.js\n");
        expect_in_step();
        cr_assert(!exists(box.mnt, "x.o") && !exists(box.mnt, "web/y.js"));
        /* What git tracks is the source's from then on. */
        cr_assert_eq(child_exec(track, NULL, NULL, NULL, 0), 0);
        expect_in_step();
        cr_assert(exists(box.mnt, "x.o"));
        /* A list goes with its directory. */
        old = keep(at(box.src, "web"));
        new = keep(at(box.src, "site"));
        cr_assert_eq(rename(old, new), 0);
        cr_assert(proc_until(hides_it, "site/y.js"), "a list that has moved is not followed");
        expect_exit(0, "umount", box.mnt);
}

Test(cli_config, gits_lists_are_followed)
{
        follow_lists("watch=fanotify");
}

Test(cli_config, gits_lists_are_followed_with_inotify)
{
        follow_lists("watch=inotify");
}

Test(cli_config, what_mounts_share_is_the_first_ones)
{
        cr_assert_eq(mkdir(at(box.base, "second"), 0755), 0);
        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(1, "mount", box.src, at(box.base, "second"), "-o", "gitignored=on");
        expect_said(box.r.err, "-o gitignored: all mounts of");
        expect_exit(0, "mount", box.src, at(box.base, "second"), "-o", "gitignored=off");
        expect_exit(0, "umount", "--all");
}

Test(cli_config, a_named_file_may_be_relative)
{
        put(box.base, "mine.yaml", "version: 1\nartifacts: [{path: a}]\n");
        cr_assert_eq(chdir(box.base), 0);
        setenv("DSFS_CFG_PATH", "mine.yaml", 1);
        put(box.src, "a", "");
        expect_exit(0, "mount", box.src, box.mnt);
        cr_assert_not(exists(box.mnt, "a"));
        put(box.base, "mine.yaml", "version: 1\nartifacts: [{path: b}]\n");
        put(box.src, "b", "");
        cr_assert(proc_until(hides_it, "b"));
        expect_exit(0, "umount", box.mnt);
}

Test(cli_config, check_says_what_is_wrong_where)
{
        const char *file = keep(at(box.src, "dsfs.yaml")), *mine = keep(at(box.base, "mine.yaml"));

        put(box.src, "dsfs.yaml", "version: 1\nartifacts: [{preset: node}]\n");
        expect_exit(0, "config", "check", box.src);
        expect_said(box.r.out, at("ok: ", "%s", file + 1));
        put(box.base, "mine.yaml", "version: 1\nprofile: data\n");
        expect_exit(0, "config", "check", mine);
        expect_exit(0, "config", "check", file);
        put(box.src, "dsfs.yaml", "version: 1\nprofile: data\n");
        expect_exit(2, "config", "check", file);
        expect_said(box.r.err, "dsfs.yaml:2:1: profile is not a checkout's");
        expect_exit(2, "config", "check", box.src);
        expect_exit(2, "config", "show", box.src);
        cr_assert_eq(chdir(box.src), 0);
        expect_exit(2, "config", "check");
        put(box.src, "dsfs.yaml", "version: 1\n");
        put_users("version: 1\nprofile: fast\n");
        expect_exit(2, "config", "check");
        expect_said(box.r.err, "config/dsfs/config.yaml:2:10: profile is \"fast\"; expected is source, data");
        expect_exit(1, "config", "check", at(box.base, "none"));
        expect_exit(2, "config");
        expect_exit(2, "config", "verify");
        expect_exit(2, "config", "check", box.src, box.src);
}

Test(cli_config, show_says_what_is_in_effect_and_why)
{
        const char *const init[] = {"git", "-C", box.src, "init", "-q", NULL};

        cr_assert_eq(child_exec(init, NULL, NULL, NULL, 0), 0);
        put(box.src, ".gitignore", "\n*.o\n");
        put(box.src, "dsfs.yaml", "version: 1\ngitignored: on\nartifacts:\n  - {path: x, key: [y], salt: z}\n");
        put_users("version: 1\ncoherence: events\nartifacts: [{path: \"it's\", route: hidden}]\n");
        expect_exit(0, "config", "show", box.src, "-o", "profile=data");
        expect_said(box.r.out, "gitignored: on                               # dsfs.yaml:2\n");
        expect_said(box.r.out, at("config/dsfs", "%s", "config.yaml:2\n"));
        expect_said(box.r.out, "profile: data                                # -o\n");
        expect_said(box.r.out, "owner: squash                                # default\n");
        expect_said(box.r.out, "  - {path: 'x', key: ['y'], salt: 'z'} # dsfs.yaml:4\n");
        expect_said(box.r.out, "  - {path: 'it''s', route: hidden} # ");
        expect_said(box.r.out, "#   '*.o'                                    '.gitignore:2'\n");
        expect_said(box.r.out, "#   '!.env*'                                 'keep, default'\n");
        /* It says the same when it is read. */
        put_users(box.r.out);
        put(box.src, "dsfs.yaml", "version: 1\n");
        expect_exit(0, "config", "check", box.src);
        expect_exit(0, "config", "show", box.src);
        expect_said(box.r.out, "  - {path: 'it''s', route: hidden} # ");
        expect_said(box.r.out, "profile: data ");
}

/* Tests run at the top of the tree. */
Test(cli_config, the_sample_and_the_manual_are_what_the_program_says)
{
        CLEANUP_FREE char *sample = NULL;
        CLEANUP_FREE char *manual = NULL;

        cr_assert_gt(fd_read_file(AT_FDCWD, "packaging/dsfs.yaml", 65536, &sample), 0);
        cr_assert_gt(fd_read_file(AT_FDCWD, "packaging/manual/configuration.md", 65536, &manual), 0);
        expect_exit(0, "config", "show", "--defaults");
        cr_assert_str_eq(box.r.out, sample, "packaging/dsfs.yaml is not what `dsfs config show --defaults` prints: make docs");
        cr_assert(strstr(manual, sample), "packaging/manual/configuration.md has another sample than packaging/dsfs.yaml: make docs");
        expect_exit(0, "config", "check", "packaging/dsfs.yaml");
}

static bool has_file(void *arg)
{
        return exists(box.mnt, arg);
}

Test(cli_config, a_rule_can_get_a_key_while_mounted)
{
        put(box.src, "dsfs.yaml", "version: 1\nartifacts: [{path: made/}]\n");
        put(box.src, "lock", "one");
        expect_exit(0, "mount", box.src, box.mnt);
        cr_assert_eq(mkdir(at(box.mnt, "made"), 0755), 0);
        put(at(box.mnt, "made"), "x", "of one");
        put(box.src, "dsfs.yaml", "version: 1\nartifacts: [{path: made/, key: [lock]}]\n");
        expect_in_step();
        expect_content(box.mnt, "made/x", "of one");
        put(box.src, "lock", "two");
        expect_in_step();
        cr_assert(proc_until(hides_it, "made/x"), "another key shows the same generation");
        put(box.src, "lock", "one");
        expect_in_step();
        cr_assert(proc_until(has_file, "made/x"), "the first key's generation is lost");
        expect_exit(0, "umount", box.mnt);
}
