/*
 * dsfs artifacts adopt; and of all verbs, what a full disk and a killed command leave behind.
 */
#include "tests/mount/artifacts.h"

#define KILLS_MAX 400

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
