/*
 * Every kind of edit, made in a playground whose names, attributes and contents the kernel has cached on the side where they have to show.
 */
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"

static inline void append_text(const char *path, const char *text)
{
        CLEANUP_FD int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);

        must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "append %s", path);
}

static inline void put_at(const char *path, const char *text, off_t offset)
{
        CLEANUP_FD int fd = open(path, O_WRONLY | O_CLOEXEC);

        must(fd >= 0 && pwrite(fd, text, strlen(text), offset) == (ssize_t)strlen(text), "write %s", path);
}

/*
 * The edits. Each is done in a directory of its own, which has: file, other, script (0755), link -> file, dir/inside, dir/deep/leaf,
 * full/x.
 */

static inline void edit_write_in_place(void)
{
        put_at("file", "CHANGED", 3);
}

static inline void edit_overwrite_longer(void)
{
        put_text("file", "a text which is longer than the one that stood there before it, by far");
}

static inline void edit_overwrite_shorter(void)
{
        put_text("file", "s");
}

static inline void edit_append(void)
{
        append_text("file", " and more");
}

static inline void edit_truncate(void)
{
        must(truncate("file", 4) == 0, "truncate");
}

static inline void edit_extend(void)
{
        must(truncate("file", 20000) == 0, "truncate");
}

static inline void edit_write_far(void)
{
        put_at("file", "far away", 1 << 20);
}

static inline void edit_atomic_save(void)
{
        put_text(".file.tmp", "saved by an editor");
        must(rename(".file.tmp", "file") == 0, "rename");
}

static inline void edit_backup_save(void)
{
        must(rename("file", "file~") == 0, "rename");
        put_text("file", "saved with a backup");
}

static inline void edit_create(void)
{
        put_text("new", "newly created");
}

static inline void edit_create_deep(void)
{
        must(mkdir("new", 0755) == 0 && mkdir("new/new", 0755) == 0, "mkdir");
        put_text("new/new/new", "as deep as that");
}

static inline void edit_delete(void)
{
        must(unlink("file") == 0 && unlink("dir/inside") == 0, "unlink");
}

static inline void edit_recreate(void)
{
        must(unlink("file") == 0, "unlink");
        put_text("file", "another of that name");
}

static inline void edit_delete_tree(void)
{
        remove_tree("dir");
}

static inline void edit_mkdir(void)
{
        must(mkdir("new", 0700) == 0, "mkdir");
}

static inline void edit_file_becomes_directory(void)
{
        must(unlink("file") == 0 && mkdir("file", 0755) == 0, "mkdir");
        put_text("file/new", "inside");
        remove_tree("dir");
        put_text("dir", "no directory any more");
}

static inline void edit_rename_file(void)
{
        must(rename("file", "new") == 0 && rename("other", "dir/other") == 0, "rename");
}

static inline void edit_rename_over(void)
{
        must(rename("other", "file") == 0, "rename");
}

static inline void edit_rename_directory(void)
{
        must(rename("dir", "new") == 0, "rename");
}

static inline void edit_rename_directory_deeper(void)
{
        must(rename("dir", "full/new") == 0, "rename");
        put_text("full/new/deep/leaf", "changed after it moved");
        put_text("full/new/deep/later", "created after it moved");
}

static inline void edit_exchange(void)
{
        must(renameat2(AT_FDCWD, "file", AT_FDCWD, "other", RENAME_EXCHANGE) == 0, "exchange");
        must(renameat2(AT_FDCWD, "dir", AT_FDCWD, "full", RENAME_EXCHANGE) == 0, "exchange");
}

static inline void edit_chmod(void)
{
        must(chmod("file", 0600) == 0 && chmod("script", 0644) == 0 && chmod("dir", 0711) == 0, "chmod");
}

static inline void edit_times(void)
{
        must(utimensat(AT_FDCWD, "file", (struct timespec[]){{1000, 1}, {2000, 2}}, 0) == 0, "utimensat");
}

static inline void edit_xattr(void)
{
        must(setxattr("file", "user.new", "value", 5, 0) == 0 && setxattr("dir", "user.new", "value", 5, 0) == 0, "setxattr");
}

static inline void edit_symlink(void)
{
        must(unlink("link") == 0 && symlink("other", "link") == 0, "symlink");
        must(symlink("nowhere", ".link") == 0 && rename(".link", "new") == 0, "symlink");
}

static inline void edit_hard_link(void)
{
        must(link("file", "new") == 0 && link("other", "dir/new") == 0, "link");
        put_at("new", "by its other name", 0);
        must(unlink("other") == 0, "unlink");
        append_text("dir/new", " by its last name");
}

static inline void edit_many(void)
{
        for (int i = 0; i < 300; i++)
                put_text(at("dir", "many-%d", i), "one of many");
        for (int i = 0; i < 300; i += 2)
                must(unlink(at("dir", "many-%d", i)) == 0, "unlink");
}

static const struct edit {
        const char *name;
        void (*make)(void);
} edits[] __attribute__((unused)) = {
        {"write in place", edit_write_in_place},
        {"overwrite longer", edit_overwrite_longer},
        {"overwrite shorter", edit_overwrite_shorter},
        {"append", edit_append},
        {"truncate", edit_truncate},
        {"extend", edit_extend},
        {"write far", edit_write_far},
        {"atomic save", edit_atomic_save},
        {"save with backup", edit_backup_save},
        {"create", edit_create},
        {"create deep", edit_create_deep},
        {"delete", edit_delete},
        {"delete and recreate", edit_recreate},
        {"delete a tree", edit_delete_tree},
        {"mkdir", edit_mkdir},
        {"file becomes directory", edit_file_becomes_directory},
        {"rename a file", edit_rename_file},
        {"rename over", edit_rename_over},
        {"rename a directory", edit_rename_directory},
        {"rename a directory deeper", edit_rename_directory_deeper},
        {"exchange", edit_exchange},
        {"chmod", edit_chmod},
        {"times", edit_times},
        {"xattr", edit_xattr},
        {"replace a symlink", edit_symlink},
        {"hard links", edit_hard_link},
        {"many", edit_many},
};

static inline void make_playground(const char *where)
{
        CLEANUP_FREE char *dir = strdup(where);

        must(mkdir(dir, 0755) == 0, "mkdir %s", dir);
        put_text(at(dir, "file"), "the file's first content");
        put_text(at(dir, "other"), "the other's");
        put_text(at(dir, "script"), "#!/bin/sh\n");
        must(chmod(at(dir, "script"), 0755) == 0 && symlink("file", at(dir, "link")) == 0, "chmod, symlink");
        must(mkdir(at(dir, "dir"), 0755) == 0 && mkdir(at(dir, "dir/deep"), 0755) == 0 && mkdir(at(dir, "full"), 0755) == 0, "mkdir");
        put_text(at(dir, "dir/inside"), "inside");
        put_text(at(dir, "dir/deep/leaf"), "leaf");
        put_text(at(dir, "full/x"), "x");
}

/* Names that edits make: looked up before, so that their absence is cached. */
static inline void look_for_absent(const char *dir)
{
        static const char *const absent[] = {"new", "new/new", "file~", "dir/new", "dir/other", "full/new", ".file.tmp", "dir/many-3"};
        CLEANUP_FREE char *where = strdup(dir);

        for (size_t i = 0; i < ARRAY_LEN(absent); i++)
                must(access(at(where, "%s", absent[i]), F_OK) < 0, "%s", absent[i]);
}

static inline int run_edit(void *arg)
{
        const struct edit *edit = arg;

        edit->make();
        return 0;
}

/* Make the edit in `dir`. */
static inline void make_edit(const struct edit *edit, const char *dir)
{
        must(chdir(dir) == 0, "chdir %s", dir);
        must(child_run(NULL, run_edit, (void *)edit) == 0, "%s", edit->name);
        must(chdir("/") == 0, "chdir");
}
