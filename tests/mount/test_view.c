/*
 * Mounts that show everything as one user's: he may do what the source's owner may, and on disk all stays the owner's.
 */
#include <fcntl.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"

#define OWNER 4242
#define VIEWER 5005
#define VIEWER_GROUP 5006
#define SECOND_VIEWER 6006
#define STRANGER 7777

#define AS_VIEWER "view_uid=5005,view_gid=5006"
#define AS_SECOND "view_uid=6006,view_gid=6006"

static const struct variant views[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .owner = OWNER, .options = AS_VIEWER},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .owner = OWNER, .options = AS_VIEWER},
        {.backing = ON_EXT4,
         .transport = BY_DEV,
         .watch = WATCH_BY_FANOTIFY,
         .profile = PROFILE_DATA,
         .owner = OWNER,
         .options = AS_VIEWER},
        {.backing = ON_TMPFS, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .owner = OWNER, .options = AS_VIEWER ",coherence=strict"},
};

static const struct variant keepers[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .owner = OWNER, .options = AS_VIEWER ",owner=keep"},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .owner = OWNER, .options = AS_VIEWER ",owner=keep"},
};

static const struct who viewer = {.uid = VIEWER, .gid = VIEWER_GROUP};
static const struct who second_viewer = {.uid = SECOND_VIEWER, .gid = SECOND_VIEWER};
static const struct who stranger = {.uid = STRANGER, .gid = STRANGER};

static void must_belong(const char *path, uid_t uid, gid_t gid)
{
        struct stat st;

        must(lstat(path, &st) == 0, "%s", path);
        errno = 0;
        must(st.st_uid == uid && st.st_gid == gid, "%s belongs to %u:%u, not %u:%u", path, st.st_uid, st.st_gid, uid, gid);
}

static void must_show(const struct fixture *f, const char *name)
{
        must_belong(at(f->mnt, "%s", name), VIEWER, VIEWER_GROUP);
}

static void must_be_owners(const struct fixture *f, const char *name)
{
        must_belong(at(f->src, "%s", name), OWNER, OWNER);
}

static void put_owned(const struct fixture *f, const char *name, uid_t uid, mode_t mode)
{
        const char *path = at(f->src, "%s", name);

        put_text(path, "text");
        must(chown(path, uid, uid) == 0 && chmod(path, mode) == 0, "chown %s", name);
}

CASE_WITH(view, everything_is_shown_as_the_views, views)
{
        CLEANUP_FD int made = -1;
        struct statx stx;
        int64_t id;
        struct stat st;

        if (f->bind)
                return;
        put_owned(f, "owners", OWNER, 0600);
        put_owned(f, "roots", 0, 0644);
        must(symlink("x", at(f->src, "link")) == 0 && mkdir(at(f->src, "dir"), 0755) == 0, "symlink, mkdir");
        fixture_wait(f);
        must_show(f, ".");
        must_show(f, "owners");
        must_show(f, "roots");
        must_show(f, "link");
        must_show(f, "dir");
        must(fixture_status(f, "view_uid", &id) && id == VIEWER && fixture_status(f, "view_gid", &id) && id == VIEWER_GROUP, "status");
        must(statx(AT_FDCWD, at(f->mnt, "owners"), AT_STATX_FORCE_SYNC, STATX_BASIC_STATS | STATX_BTIME, &stx) == 0, "statx");
        errno = 0;
        must(stx.stx_uid == VIEWER && stx.stx_gid == VIEWER_GROUP, "statx says %u:%u", stx.stx_uid, stx.stx_gid);
        must(chmod(at(f->mnt, "owners"), 0640) == 0, "chmod");
        must_show(f, "owners");
        made = open(at(f->mnt, "made"), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        must(made >= 0 && fstat(made, &st) == 0, "open");
        errno = 0;
        must(st.st_uid == VIEWER && st.st_gid == VIEWER_GROUP, "the new file is %u:%u's", st.st_uid, st.st_gid);
        must_be_owners(f, "made");
}

static int work(void *arg)
{
        const char *mnt = keep(arg);
        struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_sec = 1}};
        CLEANUP_FD int fd = -1;

        must(chdir(mnt) == 0, "chdir");
        fd = open("private", O_RDWR | O_APPEND);
        must(fd >= 0 && write(fd, "more", 4) == 4, "private");
        must(chmod("private", 0640) == 0 && utimensat(AT_FDCWD, "private", times, 0) == 0, "chmod, utimes");
        must(truncate("private", 6) == 0, "truncate");
        must(mkdir("work", 0700) == 0 && rename("private", "work/private") == 0, "mkdir, rename");
        put_text("work/new", "text");
        must(link("work/new", "work/hard") == 0 && symlink("new", "work/soft") == 0, "link, symlink");
        must(unlink("work/hard") == 0 && rename("work/private", "private") == 0, "unlink, rename");
        return 0;
}

static int be_kept_out(void *arg)
{
        const char *mnt = keep(arg);

        must(open(at(mnt, "private"), O_RDONLY) < 0 && errno == EACCES, "private opens");
        must(open(at(mnt, "made"), O_WRONLY | O_CREAT, 0644) < 0 && errno == EACCES, "made is made");
        must(chmod(at(mnt, "private"), 0666) < 0 && errno == EPERM, "chmod");
        must(chown(at(mnt, "private"), STRANGER, STRANGER) < 0 && errno == EPERM, "chown");
        return 0;
}

CASE_WITH(view, its_user_may_what_the_owner_may_and_nobody_else, views)
{
        struct who owner = {.uid = OWNER, .gid = OWNER};

        if (f->bind)
                return;
        put_owned(f, "private", OWNER, 0600);
        fixture_wait(f);
        must(child_run(&viewer, work, f->mnt) == 0, "as the view's user");
        must(child_run(&stranger, be_kept_out, f->mnt) == 0, "as a stranger");
        must(child_run(&owner, be_kept_out, f->mnt) == 0, "as the owner, who is a stranger there");
        must_be_owners(f, "private");
        must_be_owners(f, "work");
        must_be_owners(f, "work/new");
        must_be_owners(f, "work/soft");
        must_show(f, "work/soft");
}

static int chown_to_himself(void *arg)
{
        const char *mnt = keep(arg);

        must(chown(at(mnt, "mine"), VIEWER, VIEWER_GROUP) == 0, "to whom it is shown to be");
        must(chown(at(mnt, "mine"), (uid_t)-1, VIEWER_GROUP) == 0, "chgrp");
        return 0;
}

CASE_WITH(view, chown_to_the_view_is_nothing_to_ignore, views)
{
        int64_t ignored = -1;

        if (f->bind)
                return;
        put_owned(f, "mine", OWNER, 0644);
        fixture_wait(f);
        must(child_run(&viewer, chown_to_himself, f->mnt) == 0, "as the view's user");
        must(fixture_status(f, "chowns_ignored", &ignored) && ignored == 0, "%ld were ignored", (long)ignored);
        must(chown(at(f->mnt, "mine"), 0, 0) == 0, "as root");
        must_show(f, "mine");
        must_be_owners(f, "mine");
        must(fixture_status(f, "chowns_ignored", &ignored) && ignored == 1, "%ld were ignored", (long)ignored);
}

static int append(void *arg)
{
        CLEANUP_FD int fd = open(at(arg, "shared"), O_WRONLY | O_APPEND);

        must(fd >= 0 && write(fd, "more", 4) == 4, "append");
        put_text(at(arg, "by-%u", geteuid()), "text");
        return 0;
}

CASE_WITH(view, mounts_of_one_source_have_their_own, views)
{
        struct stat st;

        if (f->bind)
                return;
        put_owned(f, "shared", OWNER, 0600);
        fixture_mount_second(f, AS_SECOND);
        fixture_wait(f);
        must_belong(at(f->mnt, "shared"), VIEWER, VIEWER_GROUP);
        must_belong(at(f->second, "shared"), SECOND_VIEWER, SECOND_VIEWER);
        must(child_run(&viewer, append, f->mnt) == 0, "in the first");
        must(child_run(&second_viewer, append, f->second) == 0, "in the second");
        must(child_run(&viewer, append, f->second) != 0, "the first's user in the second");
        fixture_wait(f);
        must(stat(at(f->mnt, "shared"), &st) == 0 && st.st_size == 12, "%ld bytes", (long)st.st_size);
        must_belong(at(f->mnt, "by-6006"), VIEWER, VIEWER_GROUP);
        must_belong(at(f->second, "by-5005"), SECOND_VIEWER, SECOND_VIEWER);
        must_be_owners(f, "by-5005");
        must_be_owners(f, "by-6006");
}

struct acl {
        struct posix_acl_xattr_header head;
        struct posix_acl_xattr_entry entries[6];
} __attribute__((packed));

static struct acl acl_with(uid_t a, gid_t b)
{
        return (struct acl){
                .head.a_version = POSIX_ACL_XATTR_VERSION,
                .entries =
                        {
                                {ACL_USER_OBJ, ACL_READ | ACL_WRITE, ACL_UNDEFINED_ID},
                                {ACL_USER, ACL_READ, a},
                                {ACL_GROUP_OBJ, 0, ACL_UNDEFINED_ID},
                                {ACL_GROUP, ACL_READ, b},
                                {ACL_MASK, ACL_READ, ACL_UNDEFINED_ID},
                                {ACL_OTHER, 0, ACL_UNDEFINED_ID},
                        },
        };
}

static void must_have_acl(const char *path, uid_t a, gid_t b)
{
        struct acl want = acl_with(a, b);
        struct acl have = {0};

        must(getxattr(path, "system.posix_acl_access", &have, sizeof(have)) == sizeof(have), "getxattr %s", path);
        errno = 0;
        must(memcmp(&have, &want, sizeof(want)) == 0, "%s names %u and %u, not %u and %u", path, have.entries[1].e_id, have.entries[3].e_id,
             a, b);
}

CASE_WITH(view, acls_name_its_users, views)
{
        struct acl acl = acl_with(VIEWER, VIEWER_GROUP);

        if (f->bind)
                return;
        put_owned(f, "file", 0, 0600);
        fixture_wait(f);
        must(setxattr(at(f->mnt, "file"), "system.posix_acl_access", &acl, sizeof(acl), 0) == 0, "setxattr");
        must_have_acl(at(f->src, "file"), OWNER, OWNER);
        must_have_acl(at(f->mnt, "file"), VIEWER, VIEWER_GROUP);
        acl = acl_with(STRANGER, OWNER);
        must(setxattr(at(f->src, "file"), "system.posix_acl_access", &acl, sizeof(acl), 0) == 0, "setxattr");
        fixture_wait(f);
        must_have_acl(at(f->mnt, "file"), STRANGER, VIEWER_GROUP);
}

static int make_mine(void *arg)
{
        put_text(at(arg, "by-%u", geteuid()), "text");
        return 0;
}

CASE_WITH(view, keeping_owners_its_user_is_the_owner, keepers)
{
        if (f->bind)
                return;
        must(chmod(f->src, 0777) == 0, "chmod");
        fixture_wait(f);
        must(child_run(&viewer, make_mine, f->mnt) == 0, "as the view's user");
        must(child_run(&stranger, make_mine, f->mnt) == 0, "as a stranger");
        must_be_owners(f, "by-5005");
        must_belong(at(f->src, "by-7777"), STRANGER, STRANGER);
        must_show(f, "by-7777");
        must(chown(at(f->mnt, "by-7777"), VIEWER, VIEWER_GROUP) == 0, "chown");
        must_be_owners(f, "by-7777");
}

/* Run a shell script with git's identity set and no configuration but the repository's. What it says, in a static buffer. */
static const char *sh_as(const struct who *who, const char *dir, const char *script)
{
        static const char *const env[] = {"GIT_CONFIG_GLOBAL=/dev/null",
                                          "GIT_CONFIG_SYSTEM=/dev/null",
                                          "GIT_AUTHOR_NAME=A",
                                          "GIT_AUTHOR_EMAIL=a@example",
                                          "GIT_COMMITTER_NAME=A",
                                          "GIT_COMMITTER_EMAIL=a@example",
                                          NULL};
        static char out[4096];
        char whole[1024];
        int rc;

        snprintf(whole, sizeof(whole), "cd \"$1\"; %s", script);
        rc = child_exec((const char *const[]){"sh", "-euc", whole, "sh", dir, NULL}, env, who, out, sizeof(out));
        errno = 0;
        must(rc == 0, "in %s as %u: %s: %d: %s", dir, who->uid, script, rc, out);
        return out;
}

static void must_say(const char *have, const char *want)
{
        must(strcmp(have, want) == 0, "said: %s", have);
}

#define INDEX "git status --porcelain; stat -c %i,%y .git/index"

CASE_WITH(view, git_works_on_both_sides, views)
{
        struct who owner = {.uid = OWNER, .gid = OWNER};
        char *index;

        if (f->bind)
                return;
        sh_as(&owner, f->src,
              "git init -q; git config gc.auto 0; mkdir d; for i in 1 2 3 4 5; do echo $i >f$i; echo $i >d/f$i; done;"
              "touch -d 2001-01-01 f* d/*; git add .; git commit -qm one");
        fixture_wait(f);
        must_say(sh_as(&viewer, f->mnt, "git status --porcelain"), "");
        sh_as(&viewer, f->mnt,
              "echo more >>f1; git commit -qam two; git checkout -q -b side HEAD~; git stash list; git checkout -q -; git gc -q");
        fixture_wait(f);
        must_say(sh_as(&owner, f->src, "git status --porcelain; git fsck 2>&1; git log --format=%s"), "two\none\n");
        /* With owners left out of the comparison neither side has to write the index that the other wrote. */
        sh_as(&owner, f->src, "git config core.checkStat minimal; touch -d 2001-01-01 f1; git status");
        index = keep(sh_as(&owner, f->src, INDEX));
        fixture_wait(f);
        must_say(sh_as(&viewer, f->mnt, INDEX), index);
        must_say(sh_as(&owner, f->src, INDEX), index);
}
