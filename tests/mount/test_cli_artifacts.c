/*
 * dsfs artifacts list, show and prune, with an agent and without; generations; what status says of them, and who waits for whom.
 */
#include "tests/mount/artifacts.h"

/*
 * list, show
 */

Test(cli_artifacts, list_without_artifacts_says_where_rules_are_written)
{
        expect_exit(4, "artifacts", "list");
        expect_said(box.r.err, "dsfs.yaml");
        expect_exit(4, "artifacts", "list", "no-such-mount");
        expect_exit(2, "artifacts");
        expect_exit(2, "artifacts", "lists");
        expect_exit(2, "artifacts", "list", "--keep", "1");
        expect_exit(2, "artifacts", "prune", "--older-than", "soon");
        expect_exit(0, "artifacts", "prune", "--help");
        expect_said(box.r.out, "--older-than");
}

BOTH(list_shows_roots_sizes_orphans_and_what_is_shadowed)
{
        json_t *list, *dev;

        sh("mkdir -p lib gone node_modules/host; touch node_modules/host/x");
        begin(how, "mkdir $1/.dev; head -c 100000 /dev/zero >$1/.dev/db; ln $1/.dev/db $1/.dev/again; touch $1/lib/a.pyc;"
                   "echo x >$1/gone/b.pyc; sync -f $1/.dev/db; mv gone $2/elsewhere");
        expect_exit(0, "artifacts", "list", "--json");
        list = json_said();
        dev = root_in(list, ".dev");
        cr_assert_str_eq(json_string_value(json_object_get(json_object_get(dev, "rule"), "pattern")), ".dev/");
        cr_assert_str_eq(json_string_value(json_object_get(json_object_get(dev, "rule"), "origin")), "dsfs.yaml:6");
        cr_assert_eq(json_integer_value(json_object_get(dev, "files")), 1, "two names of one file count once");
        cr_assert_geq(json_integer_value(json_object_get(dev, "bytes")), 100000);
        cr_assert_lt(json_integer_value(json_object_get(dev, "bytes")), 200000);
        cr_assert(json_is_false(json_object_get(root_in(list, "lib/a.pyc"), "orphan")));
        cr_assert(json_is_true(json_object_get(root_in(list, "gone/b.pyc"), "orphan")));
        cr_assert_eq(json_array_size(json_object_get(list, "shadowed")), 1);
        cr_assert_str_eq(json_string_value(json_array_get(json_object_get(list, "shadowed"), 0)), "node_modules");
        json_decref(list);
        expect_exit(0, "artifacts", "list");
        expect_said(box.r.out, ".dev  [.dev/, dsfs.yaml:6]");
        expect_said(box.r.out, "gone/b.pyc  (orphan");
        expect_said(box.r.out, "shadowed  node_modules");
}

BOTH(list_folds_the_many_places_of_one_rule)
{
        sh("mkdir d{1..20}");
        begin(how, "for d in $1/d?*/; do echo x >$d/x.pyc; done");
        expect_exit(0, "artifacts", "list");
        expect_said(box.r.out, "*.pyc  (20 places)");
        cr_assert(!strstr(box.r.out, "d3/x.pyc"));
}

BOTH(show_tells_the_rule_and_its_key_files)
{
        json_t *m, *key;

        begin(how, "mkdir $1/node_modules; touch $1/node_modules/x");
        expect_exit(0, "artifacts", "show", "node_modules", "--json");
        m = json_said();
        key = json_array_get(json_object_get(m, "key_files"), 0);
        cr_assert_str_eq(json_string_value(json_object_get(key, "path")), "package-lock.json");
        expect_exit(0, "hash", "package-lock.json");
        cr_assert(strncmp(box.r.out, json_string_value(json_object_get(key, "hash")), 32) == 0, "%s", box.r.out);
        json_decref(m);
        expect_exit(0, "artifacts", "show", "node_modules/");
        expect_said(box.r.out, "dsfs.yaml:3");
        expect_exit(2, "artifacts", "show", "greeting");
        expect_said(box.r.err, "no artifact");
        expect_exit(2, "artifacts", "show", "node_modules/x");
        expect_said(box.r.err, "name that");
        expect_exit(1, "artifacts", "show", ".dev");
        expect_said(box.r.err, "nothing at");
        /* By whatever name: through the mount, and from elsewhere. */
        if (how->mounted) {
                cr_assert_eq(chdir(box.mnt), 0);
                expect_exit(0, "artifacts", "show", "node_modules");
        }
        cr_assert_eq(chdir("/"), 0);
        expect_exit(0, "artifacts", "show", "--of", box.src, "node_modules");
        expect_exit(4, "artifacts", "show", "node_modules");
}

BOTH(names_are_bytes)
{
        begin(how, "touch $1/$'a\\n\\xff b.pyc'");
        expect_exit(0, "artifacts", "list");
        expect_said(box.r.out, "a\\n");
        expect_exit(0, "artifacts", "save", "bytes", "a\n\xff b.pyc");
        sh("test -e $2/state/dsfs/*/overlay/saved/bytes/0/object");
}

/*
 * prune
 */

BOTH(prune_takes_what_nobody_uses)
{
        sh("mkdir gone");
        begin(how, "mkdir $1/.dev; echo one >$1/.dev/db; echo x >$1/gone/b.pyc; mv gone $2/elsewhere");
        expect_exit(0, "artifacts", "save", "one");
        expect_exit(0, "artifacts", "prune");
        expect_said(box.r.out, "removed 0 things");
        expect_exit(0, "artifacts", "prune", "--orphans", "--dry-run");
        expect_said(box.r.out, "would remove orphan gone/b.pyc");
        sh("test -e $2/state/dsfs/*/overlay/tree/gone/b.pyc");
        expect_exit(0, "artifacts", "prune", "--orphans", "--older-than", "1h");
        expect_said(box.r.out, "removed 0 things");
        expect_exit(0, "artifacts", "prune", "--orphans");
        expect_said(box.r.out, "removed orphan gone/b.pyc");
        sh("! test -e $2/state/dsfs/*/overlay/tree/gone");
        expect_exit(0, "artifacts", "prune", "--snapshots", "--keep", "1");
        expect_said(box.r.out, "removed 0 things");
        expect_exit(0, "artifacts", "prune", "--all");
        expect_said(box.r.out, "removed snapshot one");
        see_by_mount(how);
        expect_sh("cat $1/.dev/db", "one\n");
        expect_nothing_moving();
}

/* What no rule is about any more, beside artifacts, in a directory that the source still has. Without an agent there may be rules that are
 * not known: of a mount's options. */
BOTH(prune_leaves_shadows_of_living_directories)
{
        sh("mkdir lib");
        begin(how, "echo a >$1/lib/a.pyc; mkdir $1/.dev; echo x >$1/.dev/db");
        if (how->mounted)
                umount_it();
        put(box.src, "dsfs.yaml", "version: 1\nartifacts:\n  - path: \"*.pyo\"\n");
        if (!how->mounted) {
                expect_exit(0, "artifacts", "list");
                expect_said(box.r.out, ".dev  (orphan");
                expect_exit(0, "artifacts", "prune", "--orphans");
                expect_said(box.r.out, "removed 0 things");
        }
        mount_it();
        expect_exit(0, "artifacts", "prune", "--orphans");
        expect_said(box.r.out, "orphan .dev");
        expect_said(box.r.out, "orphan lib");
        sh("cd $2/state/dsfs/*/overlay/tree; test -d lib; ! test -e lib/a.pyc; ! test -e .dev");
}

/*
 * Generations
 */

static void lock_is(const char *text)
{
        put(box.src, "package-lock.json", text);
        expect_exit(0, "wait");
}

static size_t generations_listed(void)
{
        json_t *list, *r;
        size_t count, current = 0, i;
        json_t *g;

        expect_exit(0, "artifacts", "list", "--json");
        list = json_said();
        r = root_in(list, "node_modules");
        count = json_array_size(json_object_get(r, "generations"));
        json_array_foreach(json_object_get(r, "generations"), i, g)
        {
                current += json_is_true(json_object_get(g, "current"));
        }
        cr_assert_eq(current, 1, "%s", box.r.out);
        json_decref(list);
        return count;
}

/* Three, of which the one of the lockfile "c" was adopted. */
static void make_generations(const struct how *how)
{
        mount_it();
        lock_is("a");
        sh("mkdir $1/node_modules; echo a >$1/node_modules/x");
        lock_is("b");
        sh("! test -e $1/node_modules; mkdir $1/node_modules; echo b >$1/node_modules/x; mkdir $2/built; echo built >$2/built/x");
        lock_is("c");
        expect_exit(0, "artifacts", "adopt", "--from", at(box.base, "built"), "node_modules");
        expect_sh("cat $1/node_modules/x", "built\n");
        if (!how->mounted)
                umount_it();
}

BOTH(what_is_adopted_is_the_generation_of_the_current_key)
{
        make_generations(how);
        cr_assert_eq(generations_listed(), 3);
        expect_exit(0, "artifacts", "adopt", "--replace", "--from", at(box.base, "built"), "node_modules");
        cr_assert_eq(generations_listed(), 3);
        see_by_mount(how);
        lock_is("a");
        expect_sh("cat $1/node_modules/x", "a\n");
        lock_is("c");
        expect_sh("cat $1/node_modules/x", "built\n");
}

BOTH(prune_takes_generations_but_the_current_one)
{
        make_generations(how);
        expect_exit(0, "artifacts", "prune", "--dry-run");
        expect_said(box.r.out, "would remove 2 things");
        expect_exit(0, "artifacts", "prune", "--older-than", "1d");
        expect_said(box.r.out, "removed 0 things");
        expect_exit(0, "artifacts", "prune", "--keep", "1");
        expect_said(box.r.out, "removed generation node_modules ");
        cr_assert_eq(generations_listed(), 2);
        expect_exit(0, "artifacts", "prune", "--orphans", "--snapshots");
        cr_assert_eq(generations_listed(), 2);
        expect_exit(0, "artifacts", "prune");
        cr_assert_eq(generations_listed(), 1);
        see_by_mount(how);
        expect_sh("cat $1/node_modules/x", "built\n");
}

/* A snapshot goes where its path is, whatever the key is by then; the other generations stay. */
BOTH(a_restored_generation_is_the_current_one)
{
        make_generations(how);
        expect_exit(0, "artifacts", "save", "built", "node_modules");
        if (!how->mounted)
                mount_it();
        lock_is("a");
        if (!how->mounted)
                umount_it();
        expect_exit(0, "artifacts", "restore", "built");
        see_by_mount(how);
        expect_sh("cat $1/node_modules/x", "built\n");
        lock_is("b");
        expect_sh("cat $1/node_modules/x", "b\n");
        lock_is("a");
        expect_sh("cat $1/node_modules/x", "built\n");
}

/*
 * Who else is there
 */

/* An agent that starts while a command is at work waits for it; a command finds the agent and asks it. */
Test(cli_artifacts, a_command_and_an_agent_wait_for_each_other)
{
        struct how alone = {false};
        CLEANUP_FD int lock = -1;
        pid_t pid;

        begin(&alone, "mkdir $1/.dev; echo one >$1/.dev/db");
        lock = open(sh("echo -n $2/state/dsfs/*/overlay"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        cr_assert_geq(lock, 0, "%s", strerror(errno));
        cr_assert_eq(flock(lock, LOCK_EX), 0);
        expect_exit(1, "artifacts", "list");
        expect_said(box.r.err, "another dsfs command");
        expect_exit(1, "mount", box.src, box.mnt);
        expect_said(box.r.err, "another dsfs command");
        pid = proc_start((const char *const[]){getenv("DSFS_BIN"), "artifacts", "save", "late", NULL}, 0, NULL);
        fd_close(&lock);
        cr_assert_eq(proc_wait(pid), 0);
        sh("test -e $2/state/dsfs/*/overlay/saved/late");
        mount_it();
        expect_exit(0, "artifacts", "restore", "late");
}

static json_t *artifacts_in_status(void)
{
        json_t *m = status_mount(0);
        json_t *a = json_incref(json_object_get(m, "artifacts"));

        json_decref(m);
        return a;
}

static bool is_counted(void *arg)
{
        json_t *a = artifacts_in_status();
        bool counted = json_integer_value(json_object_get(a, "snapshots")) == *(int *)arg;

        json_decref(a);
        return counted;
}

Test(cli_artifacts, status_has_their_figures)
{
        int snapshots = 1;
        json_t *a;

        sh("mkdir node_modules");
        mount_it();
        sh("mkdir $1/.dev; head -c 100000 /dev/zero >$1/.dev/db");
        expect_exit(0, "artifacts", "save", "one");
        cr_assert(proc_until(is_counted, &snapshots));
        a = artifacts_in_status();
        cr_assert_eq(json_integer_value(json_object_get(a, "rules")), 3);
        cr_assert_eq(json_integer_value(json_object_get(a, "roots")), 1);
        cr_assert_eq(json_integer_value(json_object_get(a, "shadowed")), 1);
        cr_assert_eq(json_integer_value(json_object_get(a, "orphans")), 0);
        cr_assert_geq(json_integer_value(json_object_get(a, "bytes")), 200000);
        json_decref(a);
        expect_exit(0, "status");
        expect_said(box.r.out, "1 paths of the source shadowed");
}
