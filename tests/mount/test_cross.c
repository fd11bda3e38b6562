/*
 * Names that concern both layers: renames from one to the other, and of the source's directories that have artifacts.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/overlay.h"

#define LARGE ((size_t)3 << 20)

static bool is_passed(const struct fixture *f)
{
        return f->variant.profile == PROFILE_DATA;
}

static void must_rename(struct fixture *f, const char *from, const char *to)
{
        must(rename(at(f->mnt, "%s", from), at(f->mnt, "%s", to)) == 0, "rename %s to %s", from, to);
}

static void must_not_rename(struct fixture *f, const char *from, const char *to, unsigned flags, int error)
{
        int rc = renameat2(AT_FDCWD, at(f->mnt, "%s", from), AT_FDCWD, at(f->mnt, "%s", to), flags);

        must(rc < 0 && errno == error, "rename %s to %s: %d", from, to, rc);
        errno = 0;
}

OVERLAY_CASE(cross, files_and_symlinks_move)
{
        struct timespec times[] = {{.tv_sec = 1000, .tv_nsec = 5}, {.tv_sec = 2000, .tv_nsec = 7}};
        char value[8] = "";
        struct stat st;

        mount_with_rules(f);
        put_text(at(f->mnt, "pkg/a"), "content");
        must(setxattr(at(f->mnt, "pkg/a"), "user.test", "value", 5, 0) == 0, "setxattr");
        must(chmod(at(f->mnt, "pkg/a"), 0640) == 0 && utimensat(AT_FDCWD, at(f->mnt, "pkg/a"), times, 0) == 0, "attributes");
        must_rename(f, "pkg/a", "a.art");
        must_be_absent(at(f->mnt, "pkg/a"));
        must_be_absent(at(f->src, "pkg/a"));
        must_be(at(f->mnt, "a.art"), "content");
        must_be(in_overlay(f, "tree/a.art"), "content");
        must(stat(at(f->mnt, "a.art"), &st) == 0, "stat");
        errno = 0;
        must((st.st_mode & 07777) == 0640 && st.st_uid == OVERLAY_OWNER && st.st_mtim.tv_sec == 2000 && st.st_mtim.tv_nsec == 7,
             "mode %o, owner %u, time %ld.%ld", st.st_mode, st.st_uid, (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
        must(getxattr(at(f->mnt, "a.art"), "user.test", value, sizeof(value)) == 5 && strcmp(value, "value") == 0, "xattr: %s", value);
        must_rename(f, "a.art", "pkg/b");
        must_be(at(f->src, "pkg/b"), "content");
        must_be_absent(in_overlay(f, "tree/a.art"));
        must(symlink("pkg/b", at(f->mnt, "l")) == 0, "symlink");
        must_rename(f, "l", "l.art");
        must_be(at(f->mnt, "l.art"), "content");
        must_be_absent(at(f->src, "l"));
        must_rename(f, "l.art", "l");
        must_be(at(f->src, "l"), "content");
}

OVERLAY_CASE(cross, what_is_there_is_replaced_or_not)
{
        CLEANUP_FD int old = -1;
        char text[16] = "";

        mount_with_rules(f);
        put_text(at(f->mnt, "a"), "new");
        put_text(at(f->mnt, "a.art"), "old");
        must_not_rename(f, "a", "a.art", RENAME_NOREPLACE, EEXIST);
        must_be(at(f->mnt, "a.art"), "old");
        old = open(at(f->mnt, "a.art"), O_RDONLY | O_CLOEXEC);
        must_rename(f, "a", "a.art");
        must_be(at(f->mnt, "a.art"), "new");
        must_be_absent(at(f->mnt, "a"));
        must(pread(old, text, sizeof(text), 0) == 3 && memcmp(text, "old", 3) == 0, "the replaced file says %s", text);
        put_text(at(f->mnt, "b"), "b");
        must_rename(f, "a.art", "b");
        must_be(at(f->src, "b"), "new");
        put_text(at(f->mnt, "c.art"), "c");
        if (f->variant.backing == ON_EXT4) {
                must(renameat2(AT_FDCWD, at(f->mnt, "b"), AT_FDCWD, at(f->mnt, "c.art"), RENAME_EXCHANGE) == 0, "exchange");
                must_be(at(f->mnt, "b"), "c");
                must_be(in_overlay(f, "tree/c.art"), "new");
        } else {
                must_not_rename(f, "b", "c.art", RENAME_EXCHANGE, EXDEV);
                must_be(at(f->mnt, "b"), "new");
                must_be(at(f->mnt, "c.art"), "c");
        }
}

OVERLAY_CASE(cross, open_files_are_followed)
{
        CLEANUP_FD int fd = -1;
        char text[32] = "";
        char *map;

        mount_with_rules(f);
        put_text(at(f->mnt, "a"), "12345678");
        fd = open(at(f->mnt, "a"), O_RDWR | O_CLOEXEC);
        must(fd >= 0, "open");
        if (is_passed(f) && f->variant.backing != ON_EXT4) {
                must_not_rename(f, "a", "a.art", 0, EXDEV);
                return;
        }
        map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        must(map != MAP_FAILED, "mmap");
        map[0] = 'M';
        must_rename(f, "a", "a.art");
        must(pwrite(fd, "W", 1, 1) == 1, "write");
        map[2] = 'm';
        must(msync(map, 4096, MS_SYNC) == 0 && fsync(fd) == 0, "msync");
        must_be(in_overlay(f, "tree/a.art"), "MWm45678");
        must_rename(f, "a.art", "b");
        map[3] = 'n';
        must(msync(map, 4096, MS_SYNC) == 0 && pwrite(fd, "X", 1, 4) == 1, "msync");
        must_be(at(f->src, "b"), "MWmnX678");
        must(pread(fd, text, sizeof(text), 0) == 8 && memcmp(text, "MWmnX678", 8) == 0, "it reads %s", text);
        must(unlink(at(f->mnt, "b")) == 0 && pread(fd, text, sizeof(text), 0) == 8 && munmap(map, 4096) == 0, "after unlink");
}

OVERLAY_CASE(cross, large_and_sparse_files_move)
{
        CLEANUP_FREE char *bytes = malloc(LARGE);
        CLEANUP_FREE char *have = malloc(LARGE);
        CLEANUP_FD int fd = -1;
        struct stat before, after;

        mount_with_rules(f);
        for (size_t i = 0; i < LARGE; i++)
                bytes[i] = (char)(i * 2654435761U >> 13);
        fd = open(at(f->mnt, "a"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        must(pwrite(fd, bytes, LARGE, 0) == (ssize_t)LARGE && pwrite(fd, "end", 3, 64 << 20) == 3 && fsync(fd) == 0, "write");
        fd_close(&fd);
        must(stat(at(f->src, "a"), &before) == 0, "stat");
        must_rename(f, "a", "a.art");
        must(stat(in_overlay(f, "tree/a.art"), &after) == 0, "stat");
        errno = 0;
        must(after.st_size == before.st_size && after.st_blocks < before.st_blocks * 2, "%ld bytes in %ld blocks", (long)after.st_size,
             (long)after.st_blocks);
        fd = open(at(f->mnt, "a.art"), O_RDONLY | O_CLOEXEC);
        must(pread(fd, have, LARGE, 0) == (ssize_t)LARGE && memcmp(bytes, have, LARGE) == 0, "content");
}

OVERLAY_CASE(cross, trees_move)
{
        CLEANUP_FD int fd = -1;
        struct stat st;

        mount_with_rules(f);
        must(mkdir(at(f->mnt, "node_modules"), 0755) == 0 && mkdir(at(f->mnt, "node_modules/p"), 0710) == 0, "mkdir");
        put_text(at(f->mnt, "node_modules/p/f"), "f");
        must(symlink("f", at(f->mnt, "node_modules/p/l")) == 0, "symlink");
        fd = is_passed(f) ? -1 : open(at(f->mnt, "node_modules/p/f"), O_RDWR | O_CLOEXEC);
        must_rename(f, "node_modules", "plain");
        must_be(at(f->src, "plain/p/l"), "f");
        must_be_absent(in_overlay(f, "tree/node_modules"));
        must_be_absent(at(f->mnt, "node_modules"));
        must(stat(at(f->src, "plain/p"), &st) == 0 && (st.st_mode & 07777) == 0710 && st.st_uid == OVERLAY_OWNER, "the directory");
        must(fd < 0 || pwrite(fd, "g", 1, 0) == 1, "write");
        if (fd >= 0)
                must_be(at(f->src, "plain/p/f"), "g");
        put_text(at(f->mnt, "plain/p/new"), "new");
        must_rename(f, "plain", "node_modules");
        must_be(in_overlay(f, "tree/node_modules/p/new"), "new");
        must_be_absent(at(f->src, "plain"));
        put_text(at(f->mnt, "node_modules/p/newer"), "newer");
        must_be(in_overlay(f, "tree/node_modules/p/newer"), "newer");
}

OVERLAY_CASE(cross, trees_that_would_look_different_are_copied)
{
        mount_with_rules(f);
        must(mkdir(at(f->mnt, "node_modules"), 0755) == 0, "mkdir");
        put_text(at(f->mnt, "node_modules/x.art"), "in an artifact");
        must_not_rename(f, "node_modules", "plain", 0, EXDEV);
        must_be(at(f->mnt, "node_modules/x.art"), "in an artifact");
        put_text(at(f->mnt, "pkg/x.art"), "beside");
        must_not_rename(f, "pkg", "build", 0, EXDEV);
        must_be(at(f->mnt, "pkg/x.art"), "beside");
        must(child_exec((const char *const[]){"mv", at(f->mnt, "node_modules"), keep(at(f->mnt, "plain")), NULL}, NULL, NULL, NULL, 0) == 0,
             "mv");
        must_be(at(f->mnt, "plain/x.art"), "in an artifact");
        must_be(in_overlay(f, "tree/plain/x.art"), "in an artifact");
}

OVERLAY_CASE(cross, several_links_are_left_to_the_caller)
{
        mount_with_rules(f);
        put_text(at(f->mnt, "a"), "a");
        must(link(at(f->mnt, "a"), at(f->mnt, "b")) == 0, "link");
        must(link(at(f->mnt, "a"), at(f->mnt, "c.art")) < 0 && errno == EXDEV, "link into the other layer");
        errno = 0;
        if (f->variant.backing == ON_EXT4)
                must_rename(f, "a", "a.art");
        else
                must_not_rename(f, "a", "a.art", 0, EXDEV);
        must_be(at(f->mnt, "b"), "a");
}

OVERLAY_CASE(cross, unnamed_files_get_a_name_in_their_layer)
{
        CLEANUP_FD int fd = -1;
        char path[64];
        int rc;

        mount_with_rules(f);
        fd = open(at(f->mnt, "pkg"), O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);
        must(fd >= 0 && write(fd, "text", 4) == 4, "O_TMPFILE");
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        rc = linkat(AT_FDCWD, path, AT_FDCWD, at(f->mnt, "pkg/t.art"), AT_SYMLINK_FOLLOW);
        if (f->variant.backing == ON_EXT4) {
                must(rc == 0, "link into the other layer");
                must_be(in_overlay(f, "tree/pkg/t.art"), "text");
        } else {
                must(rc < 0 && errno == EXDEV, "link into the other layer: %d", rc);
                must(linkat(AT_FDCWD, path, AT_FDCWD, at(f->mnt, "pkg/t"), AT_SYMLINK_FOLLOW) == 0, "link");
                must_be(at(f->src, "pkg/t"), "text");
        }
}

/*
 * The source's directories
 */

OVERLAY_CASE(cross, artifacts_go_with_their_directory)
{
        CLEANUP_FD int fd = -1;

        mount_with_rules(f);
        put_text(at(f->mnt, "pkg/x.art"), "x");
        must(mkdir(at(f->mnt, "pkg/inner/node_modules"), 0755) == 0, "mkdir");
        put_text(at(f->mnt, "pkg/inner/node_modules/y"), "y");
        fd = open(at(f->mnt, "pkg/x.art"), O_RDWR | O_CLOEXEC);
        must_rename(f, "pkg", "moved");
        must_be(at(f->mnt, "moved/x.art"), "x");
        must_be(at(f->mnt, "moved/inner/node_modules/y"), "y");
        must_be(in_overlay(f, "tree/moved/inner/node_modules/y"), "y");
        must_be_absent(in_overlay(f, "tree/pkg"));
        must(pwrite(fd, "z", 1, 0) == 1, "write");
        must_be(at(f->mnt, "moved/x.art"), "z");
        must(mkdir(at(f->mnt, "pkg"), 0755) == 0, "mkdir");
        must_be_absent(at(f->mnt, "pkg/x.art"));
        must(mkdir(at(f->mnt, "deep"), 0755) == 0, "mkdir");
        must_rename(f, "moved", "deep/er");
        must_be(at(f->mnt, "deep/er/x.art"), "z");
}

OVERLAY_CASE(cross, exchanged_directories_exchange_artifacts)
{
        mount_with_rules(f);
        must(mkdir(at(f->mnt, "other"), 0755) == 0, "mkdir");
        put_text(at(f->mnt, "pkg/x.art"), "pkg");
        must(renameat2(AT_FDCWD, at(f->mnt, "pkg"), AT_FDCWD, at(f->mnt, "other"), RENAME_EXCHANGE) == 0, "exchange");
        must_be(at(f->mnt, "other/x.art"), "pkg");
        must_be_absent(at(f->mnt, "pkg/x.art"));
        put_text(at(f->mnt, "pkg/x.art"), "other");
        must(renameat2(AT_FDCWD, at(f->mnt, "pkg"), AT_FDCWD, at(f->mnt, "other"), RENAME_EXCHANGE) == 0, "exchange");
        must_be(at(f->mnt, "other/x.art"), "other");
        must_be(at(f->mnt, "pkg/x.art"), "pkg");
}

OVERLAY_CASE(cross, directories_with_artifacts_are_not_empty)
{
        mount_with_rules(f);
        must(mkdir(at(f->mnt, "d"), 0755) == 0 && mkdir(at(f->mnt, "e"), 0755) == 0, "mkdir");
        put_text(at(f->mnt, "d/x.art"), "x");
        must(rmdir(at(f->mnt, "d")) < 0 && errno == ENOTEMPTY, "rmdir");
        must_not_rename(f, "e", "d", 0, ENOTEMPTY);
        must(mkdir(at(f->mnt, "node_modules"), 0755) == 0, "mkdir");
        must_not_rename(f, "node_modules", "d", 0, ENOTEMPTY);
        must(unlink(at(f->mnt, "d/x.art")) == 0 && is_there(in_overlay(f, "tree/d")), "unlink");
        must_rename(f, "e", "d");
        put_text(at(f->mnt, "d/x.art"), "x");
        must(unlink(at(f->mnt, "d/x.art")) == 0 && rmdir(at(f->mnt, "d")) == 0, "rmdir");
        must_be_absent(at(f->src, "d"));
        must_be_absent(in_overlay(f, "tree/d"));
}

OVERLAY_CASE(cross, orphans_in_the_way_are_kept_aside)
{
        mount_with_rules(f);
        must(mkdir(at(f->mnt, "d"), 0755) == 0, "mkdir");
        put_text(at(f->mnt, "d/x.art"), "the first d's");
        must(rmdir(at(f->src, "d")) == 0, "rmdir on the host");
        fixture_wait(f);
        must_be_absent(at(f->mnt, "d"));
        /* It comes back with the directory, as after a checkout of another branch and back. */
        must(mkdir(at(f->src, "d"), 0755) == 0, "mkdir on the host");
        fixture_wait(f);
        must_be(at(f->mnt, "d/x.art"), "the first d's");
        must(rmdir(at(f->src, "d")) == 0, "rmdir on the host");
        fixture_wait(f);
        put_text(at(f->mnt, "pkg/x.art"), "pkg's");
        must_rename(f, "pkg", "d");
        must_be(at(f->mnt, "d/x.art"), "pkg's");
        must(child_exec((const char *const[]){"sh", "-c", "grep -q 'the first' \"$0\"/d.orphan-*/x.art", in_overlay(f, "tree"), NULL}, NULL,
                        NULL, NULL, 0) == 0,
             "the orphan is lost");
}

OVERLAY_CASE(cross, the_hosts_renames_are_followed)
{
        const char *path = f->variant.watch == WATCH_BY_FANOTIFY ? "tree/deep/moved/x.art" : "tree/pkg/x.art";

        mount_with_rules(f);
        put_text(at(f->mnt, "pkg/x.art"), "x");
        must(mkdir(at(f->src, "deep"), 0755) == 0, "mkdir");
        must(child_exec((const char *const[]){"mv", at(f->src, "pkg"), keep(at(f->src, "deep/moved")), NULL}, NULL, NULL, NULL, 0) == 0,
             "mv on the host");
        fixture_wait(f);
        must_be(in_overlay(f, path), "x");
        must_be(at(f->mnt, "deep/moved/file"), "the source's");
        if (f->variant.watch == WATCH_BY_FANOTIFY)
                must_be(at(f->mnt, "deep/moved/x.art"), "x");
        else
                must_be_absent(at(f->mnt, "deep/moved/x.art"));
}

OVERLAY_CASE(cross, the_other_mount_follows)
{
        CLEANUP_FD int fd = -1;

        mount_with_rules(f);
        fixture_mount_second(f, "");
        put_text(at(f->mnt, "a"), "1234");
        put_text(at(f->mnt, "pkg/x.art"), "x");
        fixture_wait(f);
        fd = is_passed(f) ? -1 : open(at(f->second, "a"), O_RDWR | O_CLOEXEC);
        must_be(at(f->second, "pkg/x.art"), "x");
        must_rename(f, "a", "a.art");
        must_rename(f, "pkg", "moved");
        must(fd < 0 || pwrite(fd, "W", 1, 0) == 1, "write");
        fixture_wait(f);
        must_be_absent(at(f->second, "a"));
        must_be(at(f->second, "a.art"), fd < 0 ? "1234" : "W234");
        must_be(at(f->mnt, "a.art"), fd < 0 ? "1234" : "W234");
        must_be(at(f->second, "moved/x.art"), "x");
        must_be_absent(at(f->second, "pkg"));
}
