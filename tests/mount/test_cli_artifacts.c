/*
 * dsfs artifacts: each verb with an agent and without, what it refuses, what a full disk and a killed command leave behind.
 */
#include <dirent.h>
#include <limits.h>
#include <sys/file.h>

#include "tests/lib/child.h"
#include "tests/lib/tar.h"
#include "tests/mount/cli.h"

#define KILLS_MAX 400

static char state[160]; /* the overlay's directory, once there is one */

static void fail(const char *message)
{
        cr_assert_fail("%s", message);
}

static void start_artifacts(void)
{
        start();
        test_on_fail(fail);
        put(box.src, "dsfs.yaml",
            "version: 1\nartifacts:\n  - path: node_modules/\n    key: [package-lock.json]\n  - path: \"*.pyc\"\n  - path: .dev/\n");
        put(box.src, "package-lock.json", "{}\n");
        cr_assert_eq(chdir(box.src), 0);
}

static void stop_artifacts(void)
{
        (void)chdir("/");
        stop();
}

TestSuite(cli_artifacts, .init = start_artifacts, .fini = stop_artifacts, .timeout = 300);

/* With an agent, and without. */
struct how {
        bool mounted;
};

static struct how ways[] = {{true}, {false}};

#define BOTH(name)                                                                                                                         \
        static void name##_body(const struct how *how);                                                                                    \
        ParameterizedTestParameters(cli_artifacts, name)                                                                                   \
        {                                                                                                                                  \
                return cr_make_param_array(struct how, ways, ARRAY_LEN(ways));                                                             \
        }                                                                                                                                  \
        ParameterizedTest(struct how *how, cli_artifacts, name)                                                                            \
        {                                                                                                                                  \
                name##_body(how);                                                                                                          \
        }                                                                                                                                  \
        static void name##_body(const struct how *how)

/* Run a script in the source; $1 is the mount, $2 the base. Its output. */
static const char *sh(const char *script)
{
        static char out[65536];

        errno = 0;
        must(child_exec((const char *const[]){"bash", "-euc", script, "test", box.mnt, box.base, NULL}, NULL, NULL, out, sizeof(out)) == 0,
             "%s: %s", script, out);
        return out;
}

static void expect_sh(const char *script, const char *want)
{
        cr_assert_str_eq(sh(script), want);
}

static void mount_it(void)
{
        expect_exit(0, "mount", box.src, box.mnt);
}

static void umount_it(void)
{
        expect_exit(0, "umount", box.mnt);
}

/* The overlay has been made by a mount, through which `script` was run; and is served or not. */
static void begin(const struct how *how, const char *script)
{
        mount_it();
        sh(script);
        if (!how->mounted)
                umount_it();
        snprintf(state, sizeof(state), "%s", sh("echo -n $2/state/dsfs/*/overlay"));
}

static void see_by_mount(const struct how *how)
{
        if (!how->mounted)
                mount_it();
}

/* No stage is left in moving/ (of an agent's, it may still be about to remove what was replaced). */
static bool moving_is_empty(void *arg)
{
        (void)arg;
        return strcmp(sh("ls $2/state/dsfs/*/overlay/moving"), "") == 0;
}

static void expect_nothing_moving(void)
{
        cr_assert(proc_until(moving_is_empty, NULL), "%s", sh("ls -R $2/state/dsfs/*/overlay/moving"));
}

static json_t *json_said(void)
{
        json_t *root = json_loads(box.r.out, 0, NULL);

        cr_assert(root, "not JSON: %s", box.r.out);
        cr_assert_eq(json_integer_value(json_object_get(root, "version")), 1);
        return root;
}

static json_t *root_in(json_t *list, const char *path)
{
        json_t *r;
        size_t i;

        json_array_foreach(json_object_get(list, "roots"), i, r)
        {
                if (strcmp(json_string_value(json_object_get(r, "path")), path) == 0)
                        return r;
        }
        test_fail(__FILE__, __LINE__, "no %s in %s", path, box.r.out);
}

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
 * adopt
 */

static const char host_modules[] =
        "mkdir -p node_modules/left/bin; echo 'module.exports = 7' >node_modules/left/index.js; chmod 755 node_modules/left/bin;"
        "ln -s ../left node_modules/left/bin/link; ln node_modules/left/index.js node_modules/hard;"
        "touch -d @1400000000 node_modules/left/index.js";

BOTH(adopt_copies_what_the_source_has)
{
        sh(host_modules);
        begin(how, "ls $1; ! test -e $1/node_modules");
        expect_exit(0, "artifacts", "adopt", "--dry-run", "node_modules");
        expect_said(box.r.out, "would copy node_modules");
        expect_exit(0, "artifacts", "adopt", "node_modules");
        expect_said(box.r.out, "copied node_modules");
        see_by_mount(how);
        expect_sh("node -e 'console.log(require(\"'$1'/node_modules/left\"))'", "7\n");
        expect_sh("cd $1/node_modules; readlink left/bin/link; stat -c '%Y %h' left/index.js", "../left\n1400000000 2\n");
        sh("test -e node_modules/left/index.js");
        expect_exit(1, "artifacts", "adopt", "node_modules");
        expect_said(box.r.err, "--replace");
        expect_exit(1, "artifacts", "adopt", ".dev");
        expect_said(box.r.err, "nothing at .dev");
        expect_exit(2, "artifacts", "adopt", "greeting");
        expect_exit(4, "artifacts", "adopt", "../elsewhere");
        sh("echo 'module.exports = 8' >node_modules/left/index.js");
        expect_exit(0, "artifacts", "adopt", "--replace", "node_modules");
        expect_sh("cat $1/node_modules/left/index.js", "module.exports = 8\n");
        expect_nothing_moving();
}

BOTH(adopt_moves_out_of_the_source)
{
        sh(host_modules);
        begin(how, "true");
        expect_exit(0, "artifacts", "adopt", "--move", "node_modules");
        see_by_mount(how);
        sh("! test -e node_modules; test -e $1/node_modules/left/index.js");
        sh("mkdir -p node_modules/right");
        expect_exit(1, "artifacts", "adopt", "--move", "node_modules");
        expect_exit(0, "artifacts", "adopt", "--move", "--replace", "node_modules");
        sh("! test -e node_modules; ! test -e $1/node_modules/left; test -e $1/node_modules/right");
        expect_nothing_moving();
}

/* Who looked there before finds it. */
Test(cli_artifacts, adopt_shows_in_all_mounts_at_once)
{
        char second[160];

        sh(host_modules);
        mount_it();
        set_directory(NULL, "second", second, sizeof(second));
        expect_exit(0, "mount", box.src, second);
        sh("! test -e $1/node_modules; ! test -e $2/second/node_modules; ls -a $1 $2/second");
        expect_exit(0, "artifacts", "adopt", "node_modules");
        sh("test -e $1/node_modules/left; test -e $2/second/node_modules/left; ls -a $2/second | grep -q node_modules");
        sh("echo other >node_modules/left/index.js");
        expect_exit(0, "artifacts", "adopt", "--replace", "node_modules");
        expect_sh("cat $1/node_modules/left/index.js $2/second/node_modules/left/index.js", "other\nother\n");
        expect_exit(0, "umount", second);
}

BOTH(adopt_from_directories_and_archives)
{
        static const char *const archives[] = {"top.tar", "plain.tar", "top.tar.gz", "top.tar.xz", "top.tar.zst", "top.tar.bz2"};

        sh(host_modules);
        sh("mv node_modules $2/node_modules; cd $2; tar cf top.tar node_modules; tar -C node_modules -cf plain.tar .;"
           "for p in gzip xz zstd bzip2; do $p -qk top.tar; done; chown -R 12345 node_modules");
        begin(how, "true");
        for (size_t i = 0; i < ARRAY_LEN(archives); i++) {
                expect_exit(0, "artifacts", "adopt", "--replace", "--from", at(box.base, "%s", archives[i]), "node_modules");
                sh("cd $2/state/dsfs/*/overlay/tree/node_modules; test -e left/index.js; test -L left/bin/link; test left/index.js -ef "
                   "hard");
        }
        expect_exit(1, "artifacts", "adopt", "--from", at(box.base, "top.tar"), "node_modules");
        expect_said(box.r.err, "--replace");
        expect_exit(0, "artifacts", "adopt", "--replace", "--from", at(box.base, "node_modules"), "node_modules");
        see_by_mount(how);
        expect_sh("stat -c %u $1/node_modules/left/index.js", "0\n");
        expect_sh("node -e 'console.log(require(\"'$1'/node_modules/left\"))'", "7\n");
        expect_nothing_moving();
}

BOTH(adopt_from_what_is_no_good_changes_nothing)
{
        struct tar_out t;

        begin(how, "mkdir $1/node_modules; echo old >$1/node_modules/x");
        tar_open(&t, at(box.base, "evil.tar"));
        tar_add(&t, '0', "fine", NULL, "fine");
        tar_add(&t, '2', "out", box.base, NULL);
        tar_add(&t, '0', "out/evil", NULL, "evil");
        tar_close(&t);
        put(box.base, "noise", "this is no archive");
        sh("head -c 700 $2/evil.tar | gzip >$2/cut.tgz; gzip <$2/evil.tar | head -c 60 >$2/broken.tgz; tar cf $2/empty.tar -T /dev/null");
        expect_exit(1, "artifacts", "adopt", "--replace", "--from", at(box.base, "evil.tar"), "node_modules");
        expect_said(box.r.err, "out/evil");
        expect_exit(1, "artifacts", "adopt", "--replace", "--from", at(box.base, "noise"), "node_modules");
        expect_said(box.r.err, "neither");
        expect_exit(1, "artifacts", "adopt", "--replace", "--from", at(box.base, "cut.tgz"), "node_modules");
        expect_exit(1, "artifacts", "adopt", "--replace", "--from", at(box.base, "broken.tgz"), "node_modules");
        expect_exit(1, "artifacts", "adopt", "--replace", "--from", at(box.base, "empty.tar"), "node_modules");
        expect_said(box.r.err, "holds nothing");
        expect_exit(1, "artifacts", "adopt", "--replace", "--from", at(box.base, "missing"), "node_modules");
        expect_exit(1, "artifacts", "adopt", "--replace", "--from", "image:nonsense", "node_modules");
        expect_said(box.r.err, "REFERENCE");
        expect_exit(2, "artifacts", "adopt", "--from", box.base, "greeting");
        expect_exit(2, "artifacts", "adopt", "--move", "--from", box.base, "node_modules");
        expect_exit(1, "artifacts", "adopt", "--from", box.base, "no/such/node_modules");
        expect_said(box.r.err, "is not there");
        sh("! test -e $2/evil");
        see_by_mount(how);
        expect_sh("cat $1/node_modules/x", "old\n");
        expect_nothing_moving();
}

/*
 * save, restore
 */

static const char make_database[] =
        "cd $1; mkdir -p .dev/db; echo one >.dev/db/data; chmod 640 .dev/db/data; chown 12:34 .dev/db/data;"
        "setfattr -n user.note -v kept .dev/db/data; ln .dev/db/data .dev/db/hard; ln -s data .dev/db/link;"
        "truncate -s 8M .dev/db/sparse; mkfifo .dev/db/pipe; mkdir -m 2750 .dev/db/dir; touch -d @1400000000 .dev/db/link -h;"
        "setfacl -m u:77:r .dev/db/dir";
static const char describe_database[] =
        "cd $1/.dev; find . -printf '%P %y %m %U:%G %n %s %l\\n' | LC_ALL=C sort; getfattr -d -m - -R . 2>&1; getfacl -R . 2>&1;"
        "find . -type f | LC_ALL=C sort | xargs cat | cksum; test $(stat -c %b db/sparse) -lt 100; stat -c %Y db/link";

BOTH(save_and_restore_keep_everything)
{
        const char *was;

        begin(&ways[0], make_database);
        was = strdup(sh(describe_database));
        if (!how->mounted)
                umount_it();
        expect_exit(0, "artifacts", "save", "good", ".dev");
        expect_said(box.r.out, "saved good");
        expect_exit(1, "artifacts", "save", "good", ".dev");
        expect_said(box.r.err, "--replace");
        expect_exit(0, "artifacts", "save", "--replace", "good");
        see_by_mount(how);
        sh("cd $1/.dev; rm -r db/hard db/dir; echo two >db/data; echo more >more");
        if (!how->mounted)
                umount_it();
        expect_exit(0, "artifacts", "list");
        expect_said(box.r.out, "snapshot good");
        expect_exit(0, "artifacts", "restore", "good");
        expect_said(box.r.out, "before-restore");
        see_by_mount(how);
        cr_assert_str_eq(sh(describe_database), was);
        if (!how->mounted)
                umount_it();
        expect_exit(0, "artifacts", "restore", "before-restore");
        see_by_mount(how);
        expect_sh("cd $1/.dev; cat db/data more; test ! -e db/hard", "two\nmore\n");
        expect_nothing_moving();
        free((char *)was);
}

/* A snapshot of a root that is gone since, and one that was not there then. */
BOTH(restore_brings_back_and_takes_away)
{
        begin(how, "mkdir $1/.dev; echo one >$1/.dev/db");
        expect_exit(0, "artifacts", "save", "one");
        see_by_mount(how);
        sh("rm -r $1/.dev");
        if (!how->mounted)
                umount_it();
        expect_exit(0, "artifacts", "restore", "one");
        see_by_mount(how);
        expect_sh("cat $1/.dev/db", "one\n");
        if (!how->mounted)
                umount_it();
        expect_exit(0, "artifacts", "restore", "before-restore");
        see_by_mount(how);
        sh("! test -e $1/.dev; ! ls -a $1 | grep -x .dev");
}

BOTH(save_and_restore_refuse_nonsense)
{
        begin(how, "mkdir $1/.dev $1/node_modules; echo one >$1/.dev/db");
        expect_exit(2, "artifacts", "save", "a/b", ".dev");
        expect_exit(2, "artifacts", "save", ".hidden", ".dev");
        expect_exit(2, "artifacts", "save", "x", "greeting");
        expect_exit(1, "artifacts", "save", "x", "lib.pyc");
        expect_exit(1, "artifacts", "restore", "nothing");
        expect_said(box.r.err, "no snapshot called nothing");
        expect_exit(1, "artifacts", "restore", "../kept");
        sh("test -z \"$(ls $2/state/dsfs/*/overlay/saved)\"");
        /* What has a key can be made again: only when it is named. */
        expect_exit(0, "artifacts", "save", "all");
        cr_assert(!strstr(box.r.out, "node_modules"), "%s", box.r.out);
        /* A rule that is gone. */
        put(box.src, "dsfs.yaml", "version: 1\nartifacts:\n  - path: node_modules/\n");
        if (how->mounted) {
                umount_it();
                mount_it();
        }
        expect_exit(2, "artifacts", "restore", "all");
        expect_said(box.r.err, ".dev is no artifact");
        expect_nothing_moving();
}

static bool is_refused(void *arg)
{
        return DSFS("artifacts", "restore", (const char *)arg) == 1;
}

/* Who writes is found, in whatever mount namespace; and with a mapping, when the descriptor is closed. */
Test(cli_artifacts, writers_are_not_surprised)
{
        static const char writer[] = "import mmap, os, sys\n"
                                     "fd = os.open(sys.argv[1], os.O_RDWR)\n"
                                     "m = mmap.mmap(fd, 4)\n"
                                     "os.close(fd) if sys.argv[2] == 'map' else None\n"
                                     "os.write(1, b'x')\n"
                                     "os.read(0, 1)\n";
        static const char *const kinds[] = {"open", "map"};

        mount_it();
        sh("mkdir $1/.dev $1/node_modules; echo one >$1/.dev/db; echo js >$1/node_modules/x");
        expect_exit(0, "artifacts", "save", "one", ".dev");
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
                int in[2], out[2];
                pid_t pid;
                char byte;

                cr_assert_eq(pipe2(in, O_CLOEXEC), 0);
                cr_assert_eq(pipe2(out, O_CLOEXEC), 0);
                pid = fork();
                if (pid == 0) {
                        dup2(in[0], 0);
                        dup2(out[1], 1);
                        execlp("unshare", "unshare", "--mount", "--propagation", "slave", "python3", "-c", writer, at(box.mnt, ".dev/db"),
                               kinds[i], NULL);
                        _exit(127);
                }
                cr_assert_eq(read(out[0], &byte, 1), 1);
                cr_assert(is_refused("one"), "%s" SAID_IN(0), kinds[i], box.r.out, box.r.err);
                expect_said(box.r.err, "python3 (process");
                expect_said(box.r.err, "has .dev/db open for writing");
                expect_exit(1, "artifacts", "save", "two");
                expect_exit(0, "artifacts", "save", "--replace", "three", "node_modules");
                expect_exit(0, "artifacts", "save", "--replace", "--force", "two");
                expect_said(box.r.err, "open for writing");
                cr_assert_eq(write(in[1], "x", 1), 1);
                cr_assert_eq(proc_wait(pid), 0);
                close(in[0]);
                close(in[1]);
                close(out[0]);
                close(out[1]);
        }
        expect_exit(0, "artifacts", "restore", "one");
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
 * What goes wrong
 */

Test(cli_artifacts, a_full_disk_leaves_all_as_it_was)
{
        struct how alone = {false};
        CLEANUP_FREE char *dir = NULL;

        cr_assert_gt(asprintf(&dir, "%s/state", box.base), 0);
        cr_assert_eq(mount("tmpfs", dir, "tmpfs", 0, "size=24m,mode=700"), 0, "%s", strerror(errno));
        begin(&alone, "mkdir $1/.dev; head -c 9M /dev/urandom >$1/.dev/db; echo one >$1/.dev/mark");
        sh("rm -rf $2/state/dsfs/*/cache; mkdir node_modules; head -c 20M /dev/urandom >node_modules/big; tar cf $2/big.tar node_modules");
        expect_exit(0, "artifacts", "save", "one", ".dev");
        sh("cksum <$2/state/dsfs/*/overlay/tree/.dev/db >$2/sum");
        expect_exit(1, "artifacts", "save", "two", ".dev");
        expect_said(box.r.err, "No space left");
        expect_said(box.r.err, ".dev");
        expect_exit(1, "artifacts", "restore", "one");
        expect_said(box.r.err, "No space left");
        expect_exit(1, "artifacts", "adopt", "node_modules");
        expect_said(box.r.err, "node_modules/big: No space left");
        expect_exit(1, "artifacts", "adopt", "--from", at(box.base, "big.tar"), "node_modules");
        expect_said(box.r.err, "No space left");
        sh("cd $2/state/dsfs/*/overlay; cksum <tree/.dev/db | cmp - $2/sum; cksum <saved/one/0/object/db | cmp - $2/sum;"
           "! test -e tree/node_modules; ! test -e saved/two; ! test -e saved/before-restore");
        expect_nothing_moving();
        /* There is room again: nothing of all that was left behind. */
        expect_exit(0, "artifacts", "prune", "--snapshots");
        expect_exit(0, "artifacts", "save", "two", ".dev");
        umount2(dir, MNT_DETACH);
}

/* Run the command under strace, which kills it at the n-th call of that kind. Whether it was. */
static bool killed_at(const char *call, unsigned n, const char *const command[])
{
        char trace[64], inject[96], asan[512];
        const char *argv[26] = {"strace", "-f", "-qq", "-o", "/dev/null", "-E", asan, "-e"};
        struct proc_result *r = malloc(sizeof(*r));
        size_t i = 8;
        int status;

        /* What is traced can't be searched for leaks. */
        snprintf(asan, sizeof(asan), "ASAN_OPTIONS=%s:detect_leaks=0", getenv("ASAN_OPTIONS") ? getenv("ASAN_OPTIONS") : "");
        snprintf(trace, sizeof(trace), "trace=%s", call);
        snprintf(inject, sizeof(inject), "inject=%s:signal=KILL:when=%u", call, n);
        argv[i++] = trace;
        argv[i++] = "-e";
        argv[i++] = inject;
        argv[i++] = getenv("DSFS_BIN") ? getenv("DSFS_BIN") : "build/dsfs";
        argv[i++] = "artifacts";
        for (size_t j = 0; command[j]; j++)
                argv[i++] = command[j];
        argv[i] = NULL;
        proc_run(argv, 0, r);
        status = r->status;
        cr_assert(status == 0 || status == 128 + SIGKILL, "%s %u: %d, %s", call, n, status, r->err);
        free(r);
        return status != 0;
}

struct killing {
        char call[24];
        unsigned step;
};

ParameterizedTestParameters(cli_artifacts, a_killed_command_leaves_one_state_or_the_other)
{
        static struct killing calls[] = {{"renameat2", 1}, {"mkdirat", 1}, {"unlinkat", 2}, {"fsync", 1},
                                         {"ioctl", 3},     {"syncfs", 1},  {"openat2", 3}};

        return cr_make_param_array(struct killing, calls, ARRAY_LEN(calls));
}

static void expect_both_or_none(const char *call, unsigned n)
{
        const char *now;

        expect_exit(0, "artifacts", "list");
        now = sh("cd $2/state/dsfs/*/overlay; cat tree/.dev/db tree/.dev/more/x tree/a.pyc 2>&1 | tr '\\n' ' '");
        cr_assert(strcmp(now, "new new new ") == 0 || strcmp(now, "old old old ") == 0, "%s %u: %s", call, n, now);
        if (*now == 'o')
                expect_sh("cd $2/state/dsfs/*/overlay/saved/before-restore; cat */object/db */object/more/x 2>&1; cat */object 2>/dev/null "
                          "|| true",
                          "new\nnew\nnew\n");
        expect_sh("cd $2/state/dsfs/*/overlay/saved/old; cat */object/db */object/more/x; cat */object 2>/dev/null || true",
                  "old\nold\nold\n");
        expect_sh("ls $2/state/dsfs/*/overlay/moving", "");
}

ParameterizedTest(struct killing *k, cli_artifacts, a_killed_command_leaves_one_state_or_the_other, .timeout = 600)
{
        static const char *const restore[] = {"restore", "old", NULL};
        static const char *const save[] = {"save", "--replace", "copy", NULL};
        static const char fill[] = "cd $2/state/dsfs/*/overlay; rm -rf saved/before-restore; echo new >tree/.dev/db;"
                                   "mkdir -p tree/.dev/more; echo new >tree/.dev/more/x; echo new >tree/a.pyc";
        struct how alone = {false};
        bool killed = true;

        begin(&alone, "cd $1; mkdir -p .dev/more; echo old >.dev/db; echo old >.dev/more/x; echo old >a.pyc");
        expect_exit(0, "artifacts", "save", "old");
        for (unsigned n = 1; killed; n += k->step) {
                cr_assert_lt(n, KILLS_MAX);
                sh(fill);
                killed = killed_at(k->call, n, restore);
                expect_both_or_none(k->call, n);
        }
        killed = true;
        sh(fill);
        for (unsigned n = 1; killed; n += k->step) {
                cr_assert_lt(n, KILLS_MAX);
                killed = killed_at(k->call, n, save);
                expect_exit(0, "artifacts", "list");
                sh("cd $2/state/dsfs/*/overlay; test -z \"$(ls moving)\"; test ! -e saved/copy || cat saved/copy/*/object/db | grep -qx "
                   "new");
        }
        sh("cat $2/state/dsfs/*/overlay/saved/copy/*/object/more/x | grep -qx new");
}

Test(cli_artifacts, an_adoption_that_is_killed_leaves_nothing_or_all_of_it, .timeout = 600)
{
        static const char *const calls[] = {"renameat2", "mkdirat", "ioctl"};
        struct how alone = {false};

        sh(host_modules);
        sh("tar cf $2/nm.tar node_modules");
        begin(&alone, "true");
        for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
                for (int from = 0; from < 2; from++) {
                        const char *const copy[] = {"adopt", "node_modules", NULL};
                        const char *const tar[] = {"adopt", "--from", keep(at(box.base, "nm.tar")), "node_modules", NULL};
                        bool killed = true;

                        for (unsigned n = 1; killed; n++) {
                                cr_assert_lt(n, KILLS_MAX);
                                killed = killed_at(calls[i], n, from ? tar : copy);
                                expect_exit(0, "artifacts", "list");
                                sh("cd $2/state/dsfs/*/overlay; test -z \"$(ls moving)\"; test ! -e tree/node_modules || cat "
                                   "tree/node_modules/{hard,left/index.js,left/bin/../index.js}; test ! -e tree/node_modules || test -L "
                                   "tree/node_modules/left/bin/link");
                                sh("rm -rf $2/state/dsfs/*/overlay/tree/node_modules");
                        }
                }
        }
}

/* Directories that not even their owner may write to, as Go's module cache has them. */
Test(cli_artifacts, a_user_s_read_only_directories_are_no_hindrance)
{
        sh("mkdir -p .dev/ro/deep node_modules/ro; echo x >.dev/ro/deep/f; echo y >node_modules/ro/f; chmod -R a-w .dev/ro node_modules/ro;"
           "chown -R 65534:65534 $2");
        box.uid = FIXTURE_UID;
        expect_exit(0, "artifacts", "--help");
        for (int again = 0; again < 2; again++) {
                expect_exit(0, "artifacts", "adopt", "--of", box.src, "--replace", ".dev", "node_modules");
                expect_exit(0, "artifacts", "save", "--of", box.src, "--replace", "one");
                expect_exit(0, "artifacts", "restore", "--of", box.src, "one");
        }
        cr_assert_str_eq(box.r.err, "");
        expect_sh("cd $2/state/dsfs/*/overlay; stat -c '%a %u' tree/.dev/ro; cat tree/.dev/ro/deep/f tree/node_modules/ro/f",
                  "555 65534\nx\ny\n");
        expect_exit(0, "artifacts", "adopt", "--of", box.src, "--replace", "--move", ".dev", "node_modules");
        expect_exit(0, "artifacts", "prune", "--all", box.src);
        sh("! test -e .dev; ! test -e node_modules; test -z \"$(ls $2/state/dsfs/*/overlay/saved)\"");
        expect_nothing_moving();
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
        lock = open(state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        cr_assert_geq(lock, 0, "%s", state);
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
