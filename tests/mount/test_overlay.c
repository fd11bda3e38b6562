/*
 * What the rules call an artifact lives in the overlay; all else is as in the source.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/overlay.h"

#define MANY 3000

OVERLAY_CASE(overlay, artifacts_live_beside)
{
        struct stat st, up;

        mount_with_rules(f);
        must(mkdir(at(f->mnt, "node_modules"), 0755) == 0 && mkdir(at(f->mnt, "node_modules/p"), 0755) == 0, "mkdir");
        put_text(at(f->mnt, "node_modules/p/index.js"), "1");
        put_text(at(f->mnt, "pkg/inner/x.art"), "2");
        must_be_absent(at(f->src, "node_modules"));
        must_be_absent(at(f->src, "pkg/inner/x.art"));
        must_be(in_overlay(f, "tree/node_modules/p/index.js"), "1");
        must_be(in_overlay(f, "tree/pkg/inner/x.art"), "2");
        must_be(at(f->mnt, "pkg/inner/x.art"), "2");
        must(stat(in_overlay(f, "tree/pkg/inner"), &st) == 0, "stat");
        errno = 0;
        must((st.st_mode & 07777) == 0750 && st.st_uid == OVERLAY_OWNER, "the parent has mode %o of %u", st.st_mode, st.st_uid);
        must(stat(in_overlay(f, "tree/pkg/inner/x.art"), &st) == 0 && st.st_uid == OVERLAY_OWNER, "it belongs to %u", st.st_uid);
        must(stat(in_overlay(f, ""), &up) == 0 && (up.st_mode & 07777) == 0700, "the overlay is open to others: %o", up.st_mode);
        put_text(at(f->mnt, "pkg/plain"), "3");
        must_be(at(f->src, "pkg/plain"), "3");
}

OVERLAY_CASE(overlay, rules_look_at_the_kind)
{
        mount_with_rules(f);
        /* "node_modules/" is about directories. */
        put_text(at(f->mnt, "pkg/node_modules"), "a file");
        must_be(at(f->src, "pkg/node_modules"), "a file");
        must(mkdir(at(f->mnt, "pkg/node_modules"), 0755) < 0 && errno == EEXIST, "mkdir over the file");
        must(unlink(at(f->mnt, "pkg/node_modules")) == 0 && mkdir(at(f->mnt, "pkg/node_modules"), 0755) == 0, "mkdir");
        must_be_absent(at(f->src, "pkg/node_modules"));
        errno = 0;
        must(open(at(f->mnt, "pkg/node_modules"), O_WRONLY | O_CREAT | O_EXCL, 0644) < 0 && errno == EEXIST, "create over the directory");
        must(is_there(in_overlay(f, "tree/pkg/node_modules")), "the directory");
        /* "/build/" is about the root's. */
        must(mkdir(at(f->mnt, "pkg/build"), 0755) == 0 && is_there(at(f->src, "pkg/build")), "another build");
        must(mkdir(at(f->mnt, "build"), 0755) == 0 && !is_there(at(f->src, "build")), "the build");
}

/* Each would come to a name that is the other layer's for it. */
OVERLAY_CASE(overlay, a_file_and_a_directory_exchange_names_that_mean_the_same_for_both)
{
        const char *file = keep(at(f->mnt, "pkg/node_modules")), *dir = keep(at(f->mnt, "node_modules"));
        const char *plain = keep(at(f->mnt, "pkg/plain")), *sub = keep(at(f->mnt, "pkg/sub"));

        mount_with_rules(f);
        put_text(file, "a file");
        put_text(plain, "another");
        must(mkdir(dir, 0755) == 0 && mkdir(sub, 0755) == 0, "mkdir");
        must(renameat2(AT_FDCWD, file, AT_FDCWD, dir, RENAME_EXCHANGE) < 0 && errno == EXDEV, "exchanged");
        must(renameat2(AT_FDCWD, dir, AT_FDCWD, plain, RENAME_EXCHANGE) < 0 && errno == EXDEV, "exchanged");
        must_be(file, "a file");
        must(is_there(in_overlay(f, "tree/node_modules")) && !is_there(at(f->src, "node_modules")), "the directory");
        must(renameat2(AT_FDCWD, plain, AT_FDCWD, sub, RENAME_EXCHANGE) == 0, "exchange");
        must_be(sub, "another");
        must_be(at(f->src, "pkg/sub"), "another");
}

/* Nobody looks at the names in it again. */
OVERLAY_CASE(overlay, what_became_an_artifact_with_its_directory_is_told_to_other_mounts)
{
        const char *here = keep(at(f->mnt, "node_modules/file")), *there = keep(at(f->second, "node_modules/file"));
        CLEANUP_FD int fd = -1;
        struct stat st;

        mount_with_rules(f);
        fixture_mount_second(f, "");
        must(mkdir(at(f->mnt, "pkg/made"), 0755) == 0, "mkdir");
        put_text(at(f->second, "pkg/made/file"), "text");
        must(rename(at(f->second, "pkg/made"), at(f->second, "node_modules")) == 0, "rename");
        fixture_wait(f);
        must(stat(here, &st) == 0 && st.st_size == 4, "stat");
        fd = open(there, O_WRONLY | O_APPEND | O_CLOEXEC);
        must(fd >= 0 && write(fd, " and more", 9) == 9 && close(fd_steal(&fd)) == 0, "append");
        /* Written past the agent it is told once the kernel says that it was closed, which comes by itself. */
        for (int i = 0; i < 1000 && (i == 0 || f->variant.profile == PROFILE_DATA) && st.st_size != 13; i++) {
                fixture_wait(f);
                must(stat(here, &st) == 0, "stat");
        }
        must(st.st_size == 13, "the other mount says %lld bytes", (long long)st.st_size);
        must_be(here, "text and more");
}

OVERLAY_CASE(overlay, what_the_source_has_there_is_neither_shown_nor_touched)
{
        put_text(at(f->src, "own.art"), "the host's");
        must(mkdir(at(f->src, "node_modules"), 0755) == 0, "mkdir");
        put_text(at(f->src, "node_modules/host"), "the host's");
        mount_with_rules(f);
        must_be_absent(at(f->mnt, "own.art"));
        must_be_absent(at(f->mnt, "node_modules"));
        put_text(at(f->mnt, "own.art"), "ours");
        must(mkdir(at(f->mnt, "node_modules"), 0755) == 0, "mkdir");
        must_be_absent(at(f->mnt, "node_modules/host"));
        must(rmdir(at(f->mnt, "node_modules")) == 0, "rmdir");
        must_be(at(f->src, "own.art"), "the host's");
        must_be(at(f->mnt, "own.art"), "ours");
        must(unlink(at(f->mnt, "own.art")) == 0, "unlink");
        must_be_absent(at(f->mnt, "own.art"));
        must_be(at(f->src, "own.art"), "the host's");
        must_be(at(f->src, "node_modules/host"), "the host's");
}

OVERLAY_CASE(overlay, hidden_and_readonly)
{
        CLEANUP_FD int fd = -1;

        put_text(at(f->src, "a.secret"), "secret");
        mount_with_rules(f);
        put_text(at(f->src, "fixed/f"), "fixed");
        fixture_wait(f);
        must_be_absent(at(f->mnt, "a.secret"));
        errno = 0;
        must(open(at(f->mnt, "b.secret"), O_WRONLY | O_CREAT, 0644) < 0 && errno == EACCES, "made a hidden file");
        must_be(at(f->mnt, "fixed/f"), "fixed");
        fd = open(at(f->mnt, "fixed/f"), O_WRONLY | O_CLOEXEC);
        must(fd < 0 || write(fd, "x", 1) < 0, "wrote");
        must(open(at(f->mnt, "fixed/new"), O_WRONLY | O_CREAT, 0644) < 0 && errno == EROFS, "made a file");
        must(unlink(at(f->mnt, "fixed/f")) < 0 && errno == EROFS, "unlink");
        must_be(at(f->src, "fixed/f"), "fixed");
}

static size_t count_names(DIR *d, const char *prefix)
{
        const struct dirent *e;
        size_t count = 0;

        rewinddir(d);
        while ((e = readdir(d)))
                count += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
        return count;
}

OVERLAY_CASE(overlay, listings_have_each_name_once)
{
        CLEANUP_FREE char *seen = calloc(2, MANY);
        const struct dirent *e;
        long middle = 0;
        size_t n = 0;
        DIR *d;

        mount_with_rules(f);
        for (int i = 0; i < MANY; i++) {
                put_text(at(f->mnt, "pkg/n%d.art", i), "");
                put_text(at(f->mnt, "pkg/n%d.src", i), "");
        }
        d = opendir(at(f->mnt, "pkg"));
        must(d && count_names(d, "n") == (size_t)2 * MANY, "%zu names", d ? count_names(d, "n") : 0);
        rewinddir(d);
        while ((e = readdir(d))) {
                int number, length = 0;

                if (++n == MANY)
                        middle = telldir(d);
                if (sscanf(e->d_name, "n%d.%n", &number, &length) == 1 && length)
                        seen[number + (e->d_name[length] == 'a') * MANY]++;
        }
        errno = 0;
        for (size_t i = 0; i < (size_t)2 * MANY; i++)
                must(seen[i] == 1, "number %zu was there %d times", i, seen[i]);
        seekdir(d, middle);
        for (n = 0; readdir(d);)
                n++;
        /* ".", "..", "file", "inner" */
        must(n == (size_t)MANY + 4, "%zu entries after the middle", n);
        closedir(d);
}

OVERLAY_CASE(overlay, deleting_while_reading_leaves_nothing)
{
        const struct dirent *e;
        DIR *d;

        mount_with_rules(f);
        for (int i = 0; i < MANY; i++) {
                put_text(at(f->mnt, "pkg/n%d.art", i), "");
                put_text(at(f->mnt, "pkg/n%d.src", i), "");
        }
        d = opendir(at(f->mnt, "pkg"));
        must(d, "opendir");
        while ((e = readdir(d)))
                must(*e->d_name != 'n' || unlink(at(f->mnt, "pkg/%s", e->d_name)) == 0, "unlink %s", e->d_name);
        must(count_names(d, "n") == 0, "%zu are left", count_names(d, "n"));
        closedir(d);
}

OVERLAY_CASE(overlay, tiny_buffers_show_all)
{
        _Alignas(struct dirent64) char buf[64];
        CLEANUP_FD int fd = -1;
        size_t count = 0;
        ssize_t n;

        mount_with_rules(f);
        for (int i = 0; i < 200; i++)
                put_text(at(f->mnt, i % 2 ? "pkg/n%d.art" : "pkg/n%d.src", i), "");
        fd = open(at(f->mnt, "pkg"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        while ((n = getdents64(fd, buf, sizeof(buf))) > 0) {
                for (ssize_t off = 0; off < n; count++) {
                        unsigned short len;

                        memcpy(&len, buf + off + offsetof(struct dirent64, d_reclen), sizeof(len));
                        off += len;
                }
        }
        errno = 0;
        must(count == 204, "%zu entries", count);
}

OVERLAY_CASE(overlay, inode_numbers_differ)
{
        struct stat a, b;

        mount_with_rules(f);
        put_text(at(f->mnt, "x.art"), "");
        put_text(at(f->mnt, "x.src"), "");
        must(stat(at(f->mnt, "x.art"), &a) == 0 && stat(in_overlay(f, "tree/x.art"), &b) == 0, "stat");
        errno = 0;
        if (f->variant.backing == ON_EXT4)
                must(a.st_ino == b.st_ino, "on one filesystem it is the backing's");
        else
                must(a.st_ino == (b.st_ino ^ (ino_t)1 << 62), "on another it is apart: %lx", (long)a.st_ino);
        must(stat(at(f->mnt, "x.src"), &a) == 0 && stat(at(f->src, "x.src"), &b) == 0 && a.st_ino == b.st_ino, "the source's");
}

OVERLAY_CASE(overlay, the_next_agent_has_it_all)
{
        mount_with_rules(f);
        must(mkdir(at(f->mnt, "node_modules"), 0755) == 0, "mkdir");
        put_text(at(f->mnt, "node_modules/x"), "kept");
        put_text(at(f->mnt, "pkg/x.art"), "kept too");
        fixture_umount(f);
        fixture_mount(f);
        must_be(at(f->mnt, "node_modules/x"), "kept");
        must_be(at(f->mnt, "pkg/x.art"), "kept too");
}

OVERLAY_CASE(overlay, the_other_mount_sees_it)
{
        CLEANUP_FD int fd = -1;
        char text[8] = "";

        mount_with_rules(f);
        fixture_mount_second(f, f->variant.transport == BY_DEV ? "transport=uring" : "transport=dev");
        must_be_absent(at(f->second, "pkg/x.art"));
        must_be_absent(at(f->second, "node_modules"));
        put_text(at(f->mnt, "pkg/x.art"), "one");
        must(mkdir(at(f->mnt, "node_modules"), 0755) == 0 && mkdir(at(f->mnt, "node_modules/p"), 0755) == 0, "mkdir");
        fixture_wait(f);
        must_be(at(f->second, "pkg/x.art"), "one");
        fd = open(at(f->second, "pkg/x.art"), O_RDONLY | O_CLOEXEC);
        put_text(at(f->mnt, "pkg/x.art"), "two");
        put_text(at(f->mnt, "node_modules/p/f"), "three");
        fixture_wait(f);
        must(pread(fd, text, sizeof(text) - 1, 0) == 3 && strcmp(text, "two") == 0, "the other reads %s", text);
        must_be(at(f->second, "node_modules/p/f"), "three");
        must(unlink(at(f->second, "pkg/x.art")) == 0, "unlink");
        fixture_wait(f);
        must_be_absent(at(f->mnt, "pkg/x.art"));
}
