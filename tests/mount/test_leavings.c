/*
 * What containers leave in a checkout, whoever they run as: nothing that isn't its owner's. Nor in artifacts, but for what was given away.
 */
#include <fcntl.h>
#include <glob.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"

#define OWNER 4242
#define ANOTHER 1000
#define SECOND_VIEWER 6006
#define SECOND_VIEW "view_uid=6006,view_gid=6006"
#define DATABASE 27
#define DATABASE_GROUP 28
#define NAMESPACE_ROOT 100000
#define NAMESPACE_IDS "0 100000 65536"

static const struct variant everywhere[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .owner = OWNER},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .owner = OWNER},
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_FANOTIFY, .profile = PROFILE_DATA, .owner = OWNER},
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .unprivileged = true, .options = "allow_other"},
};

static const struct variant privileged[] = {
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .owner = OWNER},
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .owner = OWNER},
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_FANOTIFY, .profile = PROFILE_DATA, .owner = OWNER},
};

static const char work[] = "set -eu; umask 022; cd \"$1\"; export HOME=$PWD/home; mkdir home\n"
                           "mkdir -p work/a/b; cd work; echo one >f; touch g; mkdir -p d/e/f; mkfifo p\n"
                           "cp -a /etc/alternatives /usr/share/common-licenses .; cp -a f f.copy\n"
                           "tar cf t.tar --owner=12345 --group=12345 f g; tar xpf t.tar -C d; tar cf - -C / etc/pam.d | tar xf - -C a\n"
                           "ln f hard; ln -s f soft; sed -i s/one/two/ f; chmod 600 g; chmod -R u+w,g+w d; chmod u+s,g+s g || true\n"
                           "install -m 755 f installed; install -d -m 700 private; mv installed private\n"
                           "[ \"$(id -u)\" != 0 ] || install -o root -g root -m 644 f rooted\n"
                           "[ \"$(id -u)\" != 0 ] || { chown -R 0:0 .; chown 7:7 f; chown -h 8:8 soft; chgrp -R 9 d; }\n"
                           "git init -q repo; cd repo; git config user.name A; git config user.email a@example; git config gc.auto 0\n"
                           "for i in 1 2 3; do echo $i >file$i; done; git add .; git commit -qm one; git checkout -q -b side\n"
                           "echo more >>file1; git stash -q; git stash pop -q; git commit -qam two; git checkout -q -; git merge -q side\n"
                           "git rm -q file2; git commit -qm three; git gc -q; git worktree add -q ../tree side; git status --porcelain\n"
                           "cd ..; mkdir -p node_modules/.staging; cd node_modules\n"
                           "for i in 1 2 3; do mkdir -p .staging/p$i/lib; echo $i >.staging/p$i/lib/index.js; mv .staging/p$i p$i; done\n"
                           "rmdir .staging; mkdir .bin; ln -s ../p1/lib/index.js .bin/p1; cp -a p1 p4; touch p4/.hidden; rm -rf p3\n"
                           "cd ..; mv node_modules/p4 moved; mv f node_modules/f; mv node_modules/f f; cp -a node_modules copied\n"
                           "echo x >a/s.pyc; mv a/s.pyc a/s.txt; mkdir -p __pycache__; echo y >__pycache__/m.pyc\n";

static const char give_away[] = "set -eu; cd \"$1\"; mkdir -p .dev/db; echo x >.dev/db/table; mkdir .dev/db/log; echo y >.dev/db/log/1\n"
                                "chown -R 27:28 .dev/db; echo z >.dev/db/log/2\n"
                                "mv .dev/db/table .; mv .dev/db/log logs; mkdir .dev/db/more; cp -a .dev/db copied-db\n";

static void put_rules(struct fixture *f)
{
        put_text(at(f->src, "dsfs.yaml"), "version: 1\nartifacts:\n  - path: node_modules/\n  - path: \"*.pyc\"\n  - path: .dev/\n");
        must(chown(at(f->src, "dsfs.yaml"), f->variant.unprivileged ? FIXTURE_UID : OWNER, f->variant.unprivileged ? FIXTURE_UID : OWNER) ==
                     0,
             "chown");
}

/* As /etc/fuse.conf has to say for an unprivileged agent. */
static void allow_others(struct fixture *f)
{
        const char *conf = keep(at(f->base, "fuse.conf"));

        if (!f->variant.unprivileged)
                return;
        put_text(conf, "user_allow_other\n");
        must(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "a mount namespace");
        must(mount(conf, "/etc/fuse.conf", NULL, MS_BIND, NULL) == 0, "fuse.conf");
}

static void mount_for(struct fixture *f, uid_t viewer)
{
        size_t len = strlen(f->variant.options);

        if (viewer)
                snprintf(f->variant.options + len, sizeof(f->variant.options) - len, "%sview_uid=%u,view_gid=%u", len ? "," : "", viewer,
                         viewer);
        allow_others(f);
        put_rules(f);
        fixture_mount(f);
}

/* `safe`: git would not touch what is shown as somebody else's. */
static int run_script(const char *script, const char *dir, bool safe)
{
        execlp("env", "env", "GIT_CONFIG_NOSYSTEM=1", safe ? "GIT_CONFIG_COUNT=1" : "GIT_CONFIG_COUNT=0", "GIT_CONFIG_KEY_0=safe.directory",
               "GIT_CONFIG_VALUE_0=*", "sh", "-c", script, "sh", dir, (char *)NULL);
        return 127;
}

static int do_work(void *arg)
{
        return run_script(work, arg, false);
}

static int do_work_as_stranger(void *arg)
{
        return run_script(work, arg, true);
}

static int do_give_away(void *arg)
{
        return run_script(give_away, arg, true);
}

/* What is below `dir` and isn't the owner's, nor in `but`. */
static void must_be_all(const struct fixture *f, const char *dir, const char *but)
{
        static char out[65536];
        uid_t owner = f->variant.unprivileged ? FIXTURE_UID : OWNER;
        char id[16];
        int rc;

        snprintf(id, sizeof(id), "%u", owner);
        rc = child_exec((const char *const[]){"find", dir, "-path", but, "-prune", "-o",    "(",    "!", "-uid", id,
                                              "-o",   "!", "-gid",  id,  "-o",     "-perm", "/u+s", ")", "-ls",  NULL},
                        NULL, NULL, out, sizeof(out));
        errno = 0;
        must(rc == 0 && !*out, "not the owner's:\n%s", out);
}

/* Where the artifacts are. */
static const char *tree(const struct fixture *f)
{
        static char found[PATH_MAX];
        glob_t g;

        must(glob(at(f->base, "state/dsfs/*/overlay/tree"), 0, NULL, &g) == 0 && g.gl_pathc == 1, "no artifacts");
        snprintf(found, sizeof(found), "%s", g.gl_pathv[0]);
        globfree(&g);
        return found;
}

static void must_be_owners(struct fixture *f)
{
        struct stat st;

        fixture_wait(f);
        must(stat(at(f->src, "work/repo/.git/HEAD"), &st) == 0 && stat(at(f->src, "work/moved/lib/index.js"), &st) == 0, "the work");
        must(stat(at(f->src, "work/node_modules"), &st) < 0, "an artifact is in the source");
        must(stat(at(tree(f), "work/node_modules/p1/lib/index.js"), &st) == 0, "no artifact");
        must_be_all(f, f->src, "");
        must_be_all(f, tree(f), "");
}

CASE_UNMOUNTED(leavings, of_root, everywhere)
{
        if (f->bind)
                return;
        mount_for(f, 0);
        must(child_run(NULL, do_work_as_stranger, f->mnt) == 0, "the work");
        must_be_owners(f);
}

CASE_UNMOUNTED(leavings, of_the_owner, everywhere)
{
        struct who owner = {.uid = f->variant.unprivileged ? FIXTURE_UID : OWNER, .gid = f->variant.unprivileged ? FIXTURE_UID : OWNER};

        if (f->bind)
                return;
        mount_for(f, 0);
        must(child_run(&owner, do_work, f->mnt) == 0, "the work");
        must_be_owners(f);
}

CASE_UNMOUNTED(leavings, of_another_user_in_his_view, everywhere)
{
        struct who another = {.uid = ANOTHER, .gid = ANOTHER};

        if (f->bind)
                return;
        mount_for(f, ANOTHER);
        must(child_run(&another, do_work, f->mnt) == 0, "the work");
        must_be_owners(f);
}

/* Root in a user namespace of its own, as in a rootless container. */
static int in_namespace(void *arg)
{
        struct gate **gates = arg;

        must(unshare(CLONE_NEWUSER) == 0, "unshare");
        gate_pass(gates[0]);
        gate_pass(gates[1]);
        must(setresgid(0, 0, 0) == 0 && setresuid(0, 0, 0) == 0, "setresuid");
        return do_work((void *)gates[2]);
}

static void map_ids(pid_t pid, const char *what)
{
        char path[64];
        CLEANUP_FD int fd = -1;

        snprintf(path, sizeof(path), "/proc/%d/%s", pid, what);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        must(fd >= 0 && write(fd, NAMESPACE_IDS, strlen(NAMESPACE_IDS)) > 0, "%s", path);
}

CASE_UNMOUNTED(leavings, of_root_in_a_user_namespace, everywhere)
{
        struct gate *gates[3] = {gate_new(2), gate_new(2), (struct gate *)f->mnt};
        pid_t pid;

        if (f->bind)
                return;
        mount_for(f, NAMESPACE_ROOT);
        pid = child_start(NULL, in_namespace, gates);
        gate_pass(gates[0]);
        map_ids(pid, "uid_map");
        map_ids(pid, "gid_map");
        gate_pass(gates[1]);
        must(child_wait(pid) == 0, "the work");
        must_be_owners(f);
}

static void must_belong(const char *path, uid_t uid, gid_t gid)
{
        struct stat st;

        must(lstat(path, &st) == 0, "%s", path);
        errno = 0;
        must(st.st_uid == uid && st.st_gid == gid, "%s belongs to %u:%u, not %u:%u", path, st.st_uid, st.st_gid, uid, gid);
}

/* What was given away stays so until it comes back to the source. */
CASE_UNMOUNTED(leavings, of_what_was_given_away, everywhere)
{
        uid_t taker = f->variant.unprivileged ? FIXTURE_UID : DATABASE;
        gid_t group = f->variant.unprivileged ? FIXTURE_UID : DATABASE_GROUP;

        if (f->bind)
                return;
        mount_for(f, 0);
        must(child_run(NULL, do_give_away, f->mnt) == 0, "giving away");
        fixture_wait(f);
        must_be_all(f, f->src, "");
        must_be_all(f, tree(f), "*/.dev/db");
        must_belong(at(tree(f), ".dev/db"), taker, group);
        must_belong(at(tree(f), ".dev/db/more"), taker, group);
        must_belong(at(f->mnt, ".dev/db/more"), taker, group);
        must(access(at(f->src, "table"), F_OK) == 0 && access(at(f->src, "logs/2"), F_OK) == 0, "what was moved back");
}

static int work_in_it(void *arg)
{
        const char *db = keep(at(arg, ".dev/db"));
        struct stat st;

        umask(077);
        must(mkdir(at(db, "log"), 0700) == 0, "mkdir");
        put_text(at(db, "log/1"), "text");
        put_text(at(db, "log/1"), "again");
        must(symlink("log/1", at(db, "last")) == 0 && stat(at(db, "last"), &st) == 0, "symlink");
        errno = 0;
        must(st.st_uid == DATABASE && st.st_gid == DATABASE_GROUP, "his file is %u:%u's", st.st_uid, st.st_gid);
        must(open(at(arg, "stranger"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0 && errno == EACCES, "the source is not his");
        return 0;
}

/* Who was given a directory can work in it, also where the rest is shown as somebody else's. */
CASE_UNMOUNTED(leavings, of_whom_an_artifact_was_given_to, privileged)
{
        struct who database = {.uid = DATABASE, .gid = DATABASE_GROUP};
        CLEANUP_FD int fd = -1;
        char proc[64];

        if (f->bind)
                return;
        mount_for(f, ANOTHER);
        must(mkdir(at(f->mnt, ".dev"), 0755) == 0 && mkdir(at(f->mnt, ".dev/db"), 0700) == 0, "mkdir");
        must_belong(at(f->mnt, ".dev/db"), ANOTHER, ANOTHER);
        fixture_mount_second(f, SECOND_VIEW);
        must_belong(at(f->second, ".dev/db"), SECOND_VIEWER, SECOND_VIEWER);
        must(chown(at(f->mnt, ".dev/db"), DATABASE, DATABASE_GROUP) == 0, "chown");
        fixture_wait(f);
        must_belong(at(f->second, ".dev/db"), DATABASE, DATABASE_GROUP);
        must(child_run(&database, work_in_it, f->mnt) == 0, "his work");
        must_belong(at(tree(f), ".dev/db/log/1"), DATABASE, DATABASE_GROUP);
        must(chown(at(f->mnt, ".dev/db"), ANOTHER, ANOTHER) == 0, "chown back");
        fixture_wait(f);
        must_belong(at(f->second, ".dev/db"), SECOND_VIEWER, SECOND_VIEWER);
        must_belong(at(tree(f), ".dev/db"), OWNER, OWNER);
        must(rename(at(f->mnt, ".dev/db/log/1"), at(f->mnt, "one")) == 0, "into the source");
        must_belong(at(f->src, "one"), OWNER, OWNER);
        fd = open(at(f->mnt, ".dev/db/log"), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
        snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
        must(fd >= 0, "O_TMPFILE");
        if (f->variant.backing == ON_TMPFS) /* the overlay is on another filesystem */
                return;
        must(linkat(AT_FDCWD, proc, AT_FDCWD, at(f->mnt, "named"), AT_SYMLINK_FOLLOW) == 0, "named in the source");
        must_belong(at(f->src, "named"), OWNER, OWNER);
}

static const struct variant keeping[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .owner = OWNER, .options = "owner=keep"},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .owner = OWNER, .options = "owner=keep"},
};

CASE_UNMOUNTED(leavings, are_the_makers_if_that_is_wished_for, keeping)
{
        if (f->bind)
                return;
        mount_for(f, 0);
        must(child_run(NULL, do_work_as_stranger, f->mnt) == 0, "the work");
        must_belong(at(f->src, "work/g"), 0, 0);
        must_belong(at(f->src, "work/f"), 7, 7);
        must_belong(at(tree(f), "work/node_modules/p1"), 0, 0);
}
