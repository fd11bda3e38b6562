/*
 * dsfs artifacts save and restore, with an agent and without, and what they refuse.
 */
#include "tests/mount/artifacts.h"

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
