/*
 * Attributes: mode, times, statx, extended attributes, ACLs.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"

static void say_times(struct script *s, const char *path)
{
        struct stat st;

        lstat(path, &st);
        SAY(s, "%s: atime %lld.%09ld mtime %lld.%09ld\n", path, (long long)st.st_atim.tv_sec, st.st_atim.tv_nsec,
            (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

SCRIPT(attrs, chmod_and_chown)
{
        int fd;

        put_text("f", "x");
        DO(s, mkdir("d", 0755));
        DO(s, symlink("f", "l"));
        DO(s, chmod("f", 0751));
        say_stat(s, "f");
        DO(s, chmod("d", 02770));
        say_stat(s, "d");
        DO(s, chmod("l", 0600));
        say_stat(s, "f");
        DO(s, chmod("missing", 0600));
        fd = DO_FD(s, open("f", O_RDONLY));
        DO(s, fchmod(fd, 0444));
        say_fstat(s, fd);
        DO(s, chown("f", 0, 0));
        DO(s, lchown("l", 0, 0));
        DO(s, chown("f", (uid_t)-1, (gid_t)-1));
        say_stat(s, "f");
        close(fd);
}

SCRIPT(attrs, times_to_the_nanosecond)
{
        int fd;

        put_text("f", "x");
        DO(s, mkdir("d", 0755));
        DO(s, symlink("f", "l"));
        DO(s, utimensat(AT_FDCWD, "f", (struct timespec[]){{1000000000, 123456789}, {1100000000, 987654321}}, 0));
        say_times(s, "f");
        DO(s, utimensat(AT_FDCWD, "f", (struct timespec[]){{0, UTIME_OMIT}, {1200000000, 1}}, 0));
        say_times(s, "f");
        DO(s, utimensat(AT_FDCWD, "f", (struct timespec[]){{1300000000, 999999999}, {0, UTIME_OMIT}}, 0));
        say_times(s, "f");
        DO(s, utimensat(AT_FDCWD, "l", (struct timespec[]){{5, 6}, {7, 8}}, AT_SYMLINK_NOFOLLOW));
        DO(s, utimensat(AT_FDCWD, "d", (struct timespec[]){{9, 10}, {11, 12}}, 0));
        say_times(s, "d");
        fd = DO_FD(s, open("f", O_RDWR));
        DO(s, futimens(fd, (struct timespec[]){{-5, 3}, {4000000000, 2}}));
        say_times(s, "f");
        DO(s, futimens(fd, (struct timespec[]){{1, 1}, {2000000000, 5}}));
        DO(s, write(fd, "y", 1));
        close(fd);
        DO(s, utimensat(AT_FDCWD, "missing", NULL, 0));
        DO(s, utimensat(AT_FDCWD, "f", (struct timespec[]){{0, 1000000000}, {0, 0}}, 0));
}

CASE(attrs, now_is_now)
{
        struct timespec before, after;
        struct stat st;

        put_text(at(f->mnt, "f"), "x");
        must(utimensat(AT_FDCWD, at(f->mnt, "f"), (struct timespec[]){{1, 0}, {1, 0}}, 0) == 0, "utimensat");
        clock_gettime(CLOCK_REALTIME_COARSE, &before);
        must(utimensat(AT_FDCWD, at(f->mnt, "f"), (struct timespec[]){{0, UTIME_OMIT}, {0, UTIME_NOW}}, 0) == 0, "utimensat");
        clock_gettime(CLOCK_REALTIME, &after);
        must(stat(at(f->mnt, "f"), &st) == 0, "stat");
        must(st.st_mtim.tv_sec >= before.tv_sec && st.st_mtim.tv_sec <= after.tv_sec, "mtime %lld", (long long)st.st_mtim.tv_sec);
        must(st.st_atim.tv_sec == 1, "atime wasn't omitted: %lld", (long long)st.st_atim.tv_sec);
        must_mirror(f);
}

static void compare_statx(struct fixture *f, const char *name)
{
        struct statx want, have;

        must(statx(AT_FDCWD, at(f->src, "%s", name), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &want) == 0, "statx");
        must(statx(AT_FDCWD, at(f->mnt, "%s", name), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &have) == 0, "statx");
        errno = 0;
        must(want.stx_mask & STATX_BTIME, "the filesystem has no birth time");
        must(have.stx_mask & STATX_BTIME, "%s: no birth time", name);
        must(have.stx_btime.tv_sec == want.stx_btime.tv_sec && have.stx_btime.tv_nsec == want.stx_btime.tv_nsec, "%s: birth time", name);
        must(have.stx_ino == want.stx_ino && have.stx_mode == want.stx_mode && have.stx_size == want.stx_size, "%s: ino, mode, size", name);
        must(have.stx_blocks == want.stx_blocks, "%s: blocks %llu for %llu", name, (unsigned long long)have.stx_blocks,
             (unsigned long long)want.stx_blocks);
        must(have.stx_mtime.tv_sec == want.stx_mtime.tv_sec && have.stx_mtime.tv_nsec == want.stx_mtime.tv_nsec, "%s: mtime", name);
        must(have.stx_ctime.tv_sec == want.stx_ctime.tv_sec && have.stx_ctime.tv_nsec == want.stx_ctime.tv_nsec, "%s: ctime", name);
}

CASE(attrs, statx_has_the_birth_time)
{
        put_text(at(f->src, "host"), "made on the host");
        put_text(at(f->mnt, "mount"), "made in the mount");
        must(mkdir(at(f->mnt, "dir"), 0755) == 0 && symlink("x", at(f->mnt, "link")) == 0, "mkdir, symlink");
        fixture_wait(f);
        compare_statx(f, "host");
        compare_statx(f, "mount");
        compare_statx(f, "dir");
        compare_statx(f, "link");
        put_text(at(f->mnt, "mount"), "changed in the mount");
        compare_statx(f, "mount");
}

/* Reading in the mount doesn't invent an access time, nor change what git compares. */
CASE(attrs, reading_changes_no_status)
{
        struct stat before, after;
        char buf[16];
        CLEANUP_FD int fd = -1;

        put_text(at(f->src, "f"), "content");
        must(stat(at(f->src, "f"), &before) == 0, "stat");
        for (int i = 0; i < 3; i++) {
                fd_close(&fd);
                fd = open(at(f->mnt, "f"), O_RDONLY);
                must(read(fd, buf, sizeof(buf)) == 7, "read");
        }
        must(stat(at(f->src, "f"), &after) == 0, "stat");
        must(before.st_ctim.tv_nsec == after.st_ctim.tv_nsec && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec, "times changed");
        must_mirror(f);
}

static void say_list(struct script *s, const char *path)
{
        char list[1024];
        size_t sum = 0;
        ssize_t n = llistxattr(path, list, sizeof(list));

        for (ssize_t i = 0; i < n; i++)
                sum += (unsigned char)list[i];
        SAY(s, "%s: list %zd, sum %zu, probe %zd\n", path, n, sum, llistxattr(path, NULL, 0));
        DO(s, llistxattr(path, list, 1));
}

SCRIPT(attrs, xattrs)
{
        static char big[3000], back[4000];
        int fd;

        memset(big, 'b', sizeof(big));
        put_text("f", "x");
        DO(s, mkdir("d", 0755));
        DO(s, symlink("f", "l"));
        say_list(s, "f");
        DO(s, getxattr("f", "user.none", back, sizeof(back)));
        DO(s, setxattr("f", "user.a", "value", 5, 0));
        DO(s, setxattr("f", "user.a", "value", 5, XATTR_CREATE));
        DO(s, setxattr("f", "user.b", "value", 5, XATTR_REPLACE));
        DO(s, setxattr("f", "user.a", "other", 5, XATTR_REPLACE));
        DO(s, setxattr("f", "user.empty", "", 0, 0));
        DO(s, setxattr("f", "user.big", big, sizeof(big), 0));
        DO(s, setxattr("f", "trusted.t", "t\0t", 3, 0));
        DO(s, getxattr("f", "user.a", NULL, 0));
        DO(s, getxattr("f", "user.a", back, 2));
        DO(s, getxattr("f", "user.a", back, sizeof(back)));
        DO(s, memcmp(back, "other", 5));
        DO(s, getxattr("f", "user.big", back, sizeof(back)));
        DO(s, getxattr("f", "user.empty", back, sizeof(back)));
        DO(s, getxattr("f", "trusted.t", back, sizeof(back)));
        say_list(s, "f");
        DO(s, removexattr("f", "user.a"));
        DO(s, removexattr("f", "user.a"));
        DO(s, setxattr("d", "user.d", "dir", 3, 0));
        say_list(s, "d");
        DO(s, lsetxattr("l", "user.l", "x", 1, 0));
        DO(s, lsetxattr("l", "trusted.l", "x", 1, 0));
        say_list(s, "l");
        DO(s, setxattr("f", "bogus.name", "x", 1, 0));
        DO(s, setxattr("f", "user.", "x", 1, 0));
        DO(s, setxattr("missing", "user.x", "x", 1, 0));
        fd = DO_FD(s, open("f", O_RDWR));
        DO(s, fsetxattr(fd, "user.fd", "x", 1, 0));
        DO(s, unlink("f"));
        DO(s, fgetxattr(fd, "user.fd", back, sizeof(back)));
        DO(s, fsetxattr(fd, "user.gone", "x", 1, 0));
        close(fd);
}

static int setfacl(const char *option, const char *entry, const char *path)
{
        return child_exec((const char *const[]){"setfacl", option, entry, path, NULL}, NULL, NULL, NULL, 0);
}

static void try_open(struct script *s)
{
        DO_FD(s, open("f", O_RDONLY));
        DO_FD(s, open("f", O_WRONLY));
        DO(s, mkdir("d/by user", 0777));
        DO_FD(s, open("d/inherited", O_RDWR));
}

static void say_acl(struct script *s, const char *path)
{
        char out[1024];

        DO(s, child_exec((const char *const[]){"getfacl", "-nc", path, NULL}, NULL, NULL, out, sizeof(out)));
        SAY(s, "%s\n", out);
}

SCRIPT(attrs, posix_acls)
{
        struct who user = {.uid = 4242, .gid = 4242}, other = {.uid = 4243, .gid = 4243};

        put_text("f", "secret");
        DO(s, chmod("f", 0600));
        DO(s, mkdir("d", 0700));
        DO(s, setfacl("-m", "u:4242:r", "f"));
        DO(s, setfacl("-m", "u:4242:rwx,d:u:4242:rw", "d"));
        say_acl(s, "f");
        say_acl(s, "d");
        close(DO_FD(s, open("d/inherited", O_RDWR | O_CREAT, 0666)));
        DO(s, mkdir("d/sub", 0777));
        say_acl(s, "d/inherited");
        say_acl(s, "d/sub");
        as_user(s, &other, try_open);
        DO(s, chmod("f", 0640));
        say_acl(s, "f");
        DO(s, setfacl("-x", "u:4242", "f"));
        say_acl(s, "f");
        DO(s, setfacl("-b", "d", "d"));
        say_acl(s, "d");
        as_user(s, &user, try_open);
}

/* Not within the oracle: whoever is let in by the list creates, and what he creates is squashed. */
CASE(attrs, acls_are_enforced)
{
        struct who user = {.uid = 4242, .gid = 4242};
        struct script s = {f->mnt, f->src, trace_new()};

        put_text(at(f->mnt, "f"), "secret");
        must(chmod(at(f->mnt, "f"), 0600) == 0 && setfacl("-m", "u:4242:r", at(f->mnt, "f")) == 0, "setfacl");
        must(chdir(f->mnt) == 0, "chdir");
        as_user(&s, &user, try_open);
        must(chdir("/") == 0, "chdir");
        must(strstr(s.out->bytes, "open(\"f\", 00) -> 0\n") || strstr(s.out->bytes, "open(\"f\", O_RDONLY) -> 0\n"), "%s", s.out->bytes);
        must(strstr(s.out->bytes, "-> -1 EACCES"), "%s", s.out->bytes);
        must_mirror(f);
}

static void list_attributes(struct script *s)
{
        char list[256] = "";

        DO(s, listxattr("f", NULL, 0));
        DO(s, listxattr("f", list, sizeof(list)));
        SAY(s, "the first is %s\n", list);
        DO(s, listxattr("f", list, strlen("user.a")));
        DO(s, getxattr("f", "trusted.a", list, sizeof(list)));
}

SCRIPT(attrs, names_of_trusted_attributes_are_not_for_everybody)
{
        static const struct who stranger = {.uid = 4242, .gid = 4242};

        put_text("f", "x");
        DO(s, setxattr("f", "trusted.a", "1", 1, 0));
        DO(s, setxattr("f", "trusted.b", "2", 1, 0));
        DO(s, setxattr("f", "user.a", "3", 1, 0));
        DO(s, listxattr("f", NULL, 0));
        as_user(s, &stranger, list_attributes);
        DO(s, removexattr("f", "user.a"));
        as_user(s, &stranger, list_attributes);
}
