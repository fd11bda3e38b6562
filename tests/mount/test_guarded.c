/*
 * What the rules hide or make read-only: root in the mount tries all there is.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"

#define OWNER 4242

static const struct variant guarded[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .owner = OWNER},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .owner = OWNER},
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .profile = PROFILE_DATA, .owner = OWNER},
        {.backing = ON_TMPFS, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .owner = OWNER, .options = "coherence=strict"},
};

static const char rules[] = "version: 1\n"
                            "artifacts:\n"
                            "  - path: made/\n"
                            "  - {path: \"*.secret\", route: hidden}\n"
                            "  - {path: \"!/public/*.secret\"}\n"
                            "  - {path: /conf/key, route: hidden}\n"
                            "  - {path: vendor/, route: readonly}\n"
                            "  - {path: \"*.lock\", route: readonly}\n"
                            "  - {path: /deep/lib/, route: readonly}\n";

static const char *const files[] = {"vendor/file",  "vendor/sub/file", "npm.lock", "conf/key",     "conf/open",
                                    "mixed/a.lock", "mixed/b.secret",  "free",     "deep/lib/file"};

static void fill(struct fixture *f)
{
        static const char *const dirs[] = {"vendor", "vendor/sub", "conf", "mixed", "deep", "deep/lib", "plain"};

        for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
                must(mkdir(at(f->src, "%s", dirs[i]), 0755) == 0, "%s", dirs[i]);
        for (size_t i = 0; i < ARRAY_LEN(files); i++)
                put_text(at(f->src, "%s", files[i]), "the text");
        put_text(at(f->src, "dsfs.yaml"), rules);
        fixture_mount(f);
}

static void must_be_unchanged(struct fixture *f, const char *name, const struct stat *before)
{
        CLEANUP_FREE char *text = NULL;
        struct stat st;

        must(fd_read_file(AT_FDCWD, at(f->src, "%s", name), 64, &text) == 8 && strcmp(text, "the text") == 0, "%s says %s", name, text);
        must(stat(at(f->src, "%s", name), &st) == 0, "stat %s", name);
        errno = 0;
        must(st.st_ino == before->st_ino && st.st_mode == before->st_mode && st.st_nlink == before->st_nlink, "%s is another", name);
        must(st.st_mtim.tv_sec == before->st_mtim.tv_sec && st.st_mtim.tv_nsec == before->st_mtim.tv_nsec, "%s was modified", name);
        must(st.st_ctim.tv_sec == before->st_ctim.tv_sec && st.st_ctim.tv_nsec == before->st_ctim.tv_nsec, "%s was changed", name);
        must(getxattr(at(f->src, "%s", name), "user.x", NULL, 0) < 0, "%s has an attribute", name);
}

static void must_say_its_text(const char *path)
{
        char text[16] = "";
        CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

        must(fd >= 0 && read(fd, text, sizeof(text)) == 8, "read %s", path);
        errno = 0;
        must(memcmp(text, "the text", 8) == 0, "%s says %.8s in the mount", path, text);
}

/* The call must fail, with that. */
#define refused(call, error)                                                                                                               \
        do {                                                                                                                               \
                errno = 0;                                                                                                                 \
                must((call) < 0 && errno == (error), "%s", #call);                                                                         \
        } while (0)

static void write_in_all_ways(const char *path, const char *free_path)
{
        CLEANUP_FD int fd = open(path, O_RDWR | O_CLOEXEC);
        CLEANUP_FD int from = open(free_path, O_RDONLY | O_CLOEXEC);
        char *map;

        /* Root may open it where the kernel asks nobody, but that is all. */
        must(fd >= 0 || errno == EROFS, "open %s", path);
        if (fd < 0)
                return;
        refused(pwrite(fd, "XXXX", 4, 0), EROFS);
        refused(ftruncate(fd, 2), EROFS);
        refused(fallocate(fd, 0, 0, 4096), EROFS);
        refused(fchmod(fd, 0600), EROFS);
        refused(fsetxattr(fd, "user.x", "y", 1, 0), EROFS);
        must(copy_file_range(from, NULL, fd, NULL, 4, 0) < 0, "copy_file_range");
        map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map != MAP_FAILED) {
                memcpy(map, "XXXX", 4);
                must(msync(map, 4096, MS_SYNC) < 0, "msync of %s", path);
                munmap(map, 4096);
        }
}

static void change_file(struct fixture *f, const char *name)
{
        const char *mnt = keep(f->mnt);
        const char *path = keep(at(mnt, "%s", name));
        struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};

        write_in_all_ways(path, at(mnt, "free"));
        fixture_wait(f); /* what was taken back is told */
        must_say_its_text(path);
        refused(open(path, O_WRONLY | O_TRUNC | O_CLOEXEC), EROFS);
        refused(truncate(path, 0), EROFS);
        refused(chmod(path, 0777), EROFS);
        refused(chown(path, 0, 0), EROFS);
        refused(utimensat(AT_FDCWD, path, times, 0), EROFS);
        refused(setxattr(path, "user.x", "y", 1, 0), EROFS);
        refused(removexattr(path, "user.x"), EROFS);
        refused(unlink(path), EROFS);
        refused(rename(path, at(mnt, "plain/taken")), EROFS);
        refused(rename(path, at(mnt, "made/taken")), EROFS);
        refused(rename(at(mnt, "free"), path), EROFS);
        refused(renameat2(AT_FDCWD, at(mnt, "free"), AT_FDCWD, path, RENAME_EXCHANGE), EROFS);
        refused(link(path, at(mnt, "plain/linked")), EXDEV);
        refused(link(path, at(mnt, "made/linked")), EXDEV);
}

static void change_directory(const char *mnt)
{
        CLEANUP_FD int tmp = open(mnt, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
        char proc[64];

        refused(open(at(mnt, "vendor/new"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), EROFS);
        refused(open(at(mnt, "vendor"), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600), EROFS);
        refused(mkdir(at(mnt, "vendor/new"), 0700), EROFS);
        refused(symlink("x", at(mnt, "vendor/new")), EROFS);
        refused(mknod(at(mnt, "vendor/new"), S_IFIFO | 0600, 0), EROFS);
        refused(link(at(mnt, "free"), at(mnt, "vendor/new")), EROFS);
        refused(rmdir(at(mnt, "vendor/sub")), EROFS);
        refused(rename(at(mnt, "vendor/sub"), at(mnt, "plain/sub")), EROFS);
        refused(rename(at(mnt, "vendor"), at(mnt, "other")), EROFS);
        refused(chmod(at(mnt, "vendor"), 0777), EROFS);
        refused(open(at(mnt, "new.lock"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), EROFS);
        snprintf(proc, sizeof(proc), "/proc/self/fd/%d", tmp);
        must(tmp >= 0, "O_TMPFILE");
        refused(linkat(AT_FDCWD, proc, AT_FDCWD, at(mnt, "vendor/new"), AT_SYMLINK_FOLLOW), EROFS);
        refused(linkat(AT_FDCWD, proc, AT_FDCWD, at(mnt, "new.lock"), AT_SYMLINK_FOLLOW), EROFS);
        refused(linkat(AT_FDCWD, proc, AT_FDCWD, at(mnt, "new.secret"), AT_SYMLINK_FOLLOW), EACCES);
}

CASE_UNMOUNTED(guarded, read_only_is_not_changed, guarded)
{
        static const char *const kept[] = {"vendor/file", "vendor/sub/file", "npm.lock", "mixed/a.lock", "deep/lib/file"};
        struct stat before[ARRAY_LEN(kept)];

        if (f->bind)
                return;
        fill(f);
        for (size_t i = 0; i < ARRAY_LEN(kept); i++)
                must(stat(at(f->src, "%s", kept[i]), &before[i]) == 0, "stat");
        must(mkdir(at(f->mnt, "made"), 0755) == 0, "mkdir");
        for (size_t i = 0; i < ARRAY_LEN(kept); i++)
                change_file(f, kept[i]);
        change_directory(keep(f->mnt));
        fixture_wait(f);
        for (size_t i = 0; i < ARRAY_LEN(kept); i++)
                must_be_unchanged(f, kept[i], &before[i]);
        must(access(at(f->src, "vendor/new"), F_OK) < 0, "vendor/new is there");
}

/* By whatever name it is opened. */
CASE_UNMOUNTED(guarded, another_name_of_a_read_only_file_is_no_way_round, guarded)
{
        CLEANUP_FD int fd = -1;
        struct stat before, st;

        if (f->bind)
                return;
        fill(f);
        must(link(at(f->src, "vendor/file"), at(f->src, "plain/alias")) == 0, "link");
        fixture_wait(f);
        must(stat(at(f->src, "vendor/file"), &before) == 0, "stat");
        for (int i = 0; i < 3; i++) {
                must(stat(at(f->mnt, "vendor/file"), &st) == 0 && stat(at(f->mnt, "plain/alias"), &st) == 0, "stat");
                fd_close(&fd);
                fd = open(at(f->mnt, i == 1 ? "vendor/file" : "plain/alias"), O_RDWR | O_CLOEXEC);
                must(fd < 0 || pwrite(fd, "XXXX", 4, 0) < 0, "written");
                must(syscall(SYS_fchmodat, AT_FDCWD, at(f->mnt, "plain/alias"), 0777) < 0, "chmod");
        }
        must(rename(at(f->mnt, "plain/alias"), at(f->mnt, "plain/renamed")) == 0, "rename");
        refused(truncate(at(f->mnt, "plain/renamed"), 1), EROFS);
        must(stat(at(f->src, "vendor/file"), &before) == 0, "stat");
        refused(truncate(at(f->mnt, "vendor/file"), 1), EROFS);
        must_be_unchanged(f, "vendor/file", &before);
}

/* Renaming what is above would take it to where no rule is for it. */
CASE_UNMOUNTED(guarded, what_is_above_does_not_take_it_along, guarded)
{
        if (f->bind)
                return;
        fill(f);
        must(mkdir(at(f->mnt, "made"), 0755) == 0, "mkdir");
        refused(rename(at(f->mnt, "deep"), at(f->mnt, "shallow")), EACCES);
        refused(rename(at(f->mnt, "conf"), at(f->mnt, "plain/conf")), EACCES);
        refused(rename(at(f->mnt, "conf"), at(f->mnt, "made/conf")), EACCES);
        refused(rename(at(f->mnt, "mixed"), at(f->mnt, "made/mixed")), EACCES);
        refused(rename(at(f->mnt, "mixed"), at(f->mnt, "public")), EACCES);
        refused(renameat2(AT_FDCWD, at(f->mnt, "plain"), AT_FDCWD, at(f->mnt, "conf"), RENAME_EXCHANGE), EACCES);
        must(rename(at(f->mnt, "mixed"), at(f->mnt, "plain/mixed")) == 0, "where the same rules are for it");
        refused(access(at(f->mnt, "plain/mixed/b.secret"), F_OK), ENOENT);
        refused(truncate(at(f->mnt, "plain/mixed/a.lock"), 0), EROFS);
        must(mkdir(at(f->mnt, "empty"), 0755) == 0 && rename(at(f->mnt, "empty"), at(f->mnt, "public")) == 0, "with nothing in it");
}

CASE_UNMOUNTED(guarded, hidden_is_not_there, guarded)
{
        static const char *const hidden[] = {"conf/key", "mixed/b.secret"};
        struct stat before[ARRAY_LEN(hidden)];

        if (f->bind)
                return;
        fill(f);
        for (size_t i = 0; i < ARRAY_LEN(hidden); i++) {
                const char *path = keep(at(f->mnt, "%s", hidden[i]));
                char list[256];

                must(stat(at(f->src, "%s", hidden[i]), &before[i]) == 0, "stat");
                refused(access(path, F_OK), ENOENT);
                refused(open(path, O_RDONLY | O_CLOEXEC), ENOENT);
                refused(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), EACCES);
                refused(unlink(path), ENOENT);
                refused(mkdir(path, 0700), EACCES);
                refused(link(path, at(f->mnt, "plain/linked")), ENOENT);
                refused(link(at(f->mnt, "free"), path), EACCES);
                refused(rename(path, at(f->mnt, "plain/taken")), ENOENT);
                refused(rename(at(f->mnt, "free"), path), EACCES);
                refused(renameat2(AT_FDCWD, at(f->mnt, "free"), AT_FDCWD, path, RENAME_EXCHANGE), ENOENT);
                must(child_exec((const char *const[]){"ls", "-fR", at(f->mnt, "conf"), at(f->mnt, "mixed"), NULL}, NULL, NULL, list,
                                sizeof(list)) == 0,
                     "ls");
                must(!strstr(list, "key") && !strstr(list, "secret"), "it is listed: %s", list);
                must_be_unchanged(f, hidden[i], &before[i]);
        }
}
