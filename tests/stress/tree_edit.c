#include "tests/stress/tree_edit.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"

#define DEPTH_MAX 3
#define BYTES_MAX 3000U
#define BYTES_LARGE (300U << 10)

static const char *const names[] = {"a", "b", "a-b", "a.c", "c", "d\n", "\xff\xfe", "é", "Ab", ".git", "zz"};

static const char *full(const char *root, const char *path)
{
        static char ring[4][PATH_MAX];
        static unsigned next;
        char *text = ring[next++ % 4];

        snprintf(text, PATH_MAX, "%s/%s", root, path);
        return text;
}

static void touch(struct touched *t, const char *path)
{
        for (size_t i = 0; i < t->count; i++)
                if (strcmp(t->paths[i], path) == 0)
                        return;
        must(t->count < TOUCHED_MAX, "too many paths");
        snprintf(t->paths[t->count++], TOUCHED_PATH, "%s", path);
}

static unsigned list_names(const char *root, const char *dir, char ret[ARRAY_LEN(names)][NAME_MAX + 1])
{
        unsigned count = 0;

        /* In an order of our own, so that the same dice make the same edits. */
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                char at[TOUCHED_PATH + NAME_MAX];

                snprintf(at, sizeof(at), "%s/%s", dir, names[i]);
                if (faccessat(AT_FDCWD, full(root, at), F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                        strcpy(ret[count++], names[i]);
        }
        return count;
}

/* Of something that is there, unless the tree is empty. */
static bool draw_existing(const char *root, struct dice *d, char ret[TOUCHED_PATH])
{
        char found[ARRAY_LEN(names)][NAME_MAX + 1];
        size_t len = 0;
        unsigned count;

        while ((count = list_names(root, len ? ret : ".", found)) > 0 && (len == 0 || dice_roll(d, 4) > 0))
                len += (size_t)snprintf(ret + len, TOUCHED_PATH - len, "%s%s", len ? "/" : "", found[dice_roll(d, count)]);
        return len > 0;
}

static void draw_path(const char *root, struct dice *d, char ret[TOUCHED_PATH])
{
        unsigned depth;
        size_t len = 0;

        if (dice_roll(d, 3) > 0 && draw_existing(root, d, ret))
                return;
        depth = 1 + dice_roll(d, DEPTH_MAX);
        for (unsigned i = 0; i < depth; i++)
                len += (size_t)snprintf(ret + len, TOUCHED_PATH - len, "%s%s", i ? "/" : "", names[dice_roll(d, ARRAY_LEN(names))]);
}

/* Another name of an inode changes with it, and no path says so. */
static struct {
        const char *root;
        struct touched *touched;
        dev_t dev;
        ino_t ino;
} alias;

static int see_alias(const char *path, const struct stat *st, int type, struct FTW *at)
{
        (void)type;
        (void)at;
        if (st->st_ino == alias.ino && st->st_dev == alias.dev && !S_ISDIR(st->st_mode))
                touch(alias.touched, path + strlen(alias.root) + 1);
        return 0;
}

static void touch_inode(const char *root, const char *path, struct touched *t)
{
        struct stat st;

        touch(t, path);
        if (lstat(full(root, path), &st) < 0 || S_ISDIR(st.st_mode) || st.st_nlink < 2)
                return;
        alias.root = root;
        alias.touched = t;
        alias.dev = st.st_dev;
        alias.ino = st.st_ino;
        nftw(root, see_alias, 8, FTW_PHYS);
}

static void fill_random(struct dice *d, char *bytes, size_t len)
{
        unsigned from = dice_roll(d, 1U << 30);

        for (size_t i = 0; i < len; i++)
                bytes[i] = (char)((from + i * 2654435761U) >> 13);
}

static size_t draw_size(struct dice *d)
{
        if (dice_roll(d, 6) == 0)
                return 0;
        return dice_roll(d, 64) == 0 ? dice_roll(d, BYTES_LARGE) : dice_roll(d, BYTES_MAX);
}

static void write_at(struct dice *d, int fd, off_t at, size_t len)
{
        static char bytes[BYTES_LARGE];

        fill_random(d, bytes, len);
        if (fd >= 0)
                must(pwrite(fd, bytes, len, at) == (ssize_t)len, "pwrite");
}

/* Same size, an append, a truncation, or all anew; perhaps with the times as they were. */
static void edit_content(const char *root, const char *path, struct dice *d)
{
        CLEANUP_FD int fd = open(full(root, path), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return;
        switch (dice_roll(d, 4)) {
        case 0:
                write_at(d, fd, 0, (size_t)st.st_size < BYTES_LARGE ? (size_t)st.st_size : BYTES_LARGE);
                break;
        case 1:
                if (st.st_size < (off_t)BYTES_LARGE)
                        write_at(d, fd, st.st_size, dice_roll(d, 100));
                break;
        case 2:
                must(ftruncate(fd, st.st_size ? (off_t)dice_roll(d, (unsigned)st.st_size + 1) : 10) == 0, "ftruncate");
                break;
        default:
                must(ftruncate(fd, 0) == 0, "ftruncate");
                write_at(d, fd, 0, draw_size(d));
        }
        if (dice_roll(d, 3) == 0) {
                struct timespec times[2] = {st.st_atim, st.st_mtim};

                must(futimens(fd, times) == 0, "futimens");
        }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
        (void)st;
        (void)at;
        return type == FTW_DP ? rmdir(path) : unlink(path);
}

static void remove_all(const char *root, const char *path)
{
        nftw(full(root, path), remove_one, 8, FTW_PHYS | FTW_DEPTH);
}

static void make_file(const char *root, const char *path, struct dice *d)
{
        CLEANUP_FD int fd = open(full(root, path), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
        struct stat st;

        if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
                write_at(d, fd, 0, draw_size(d));
}

static void make_tree(const char *root, const char *path, struct dice *d)
{
        char below[TOUCHED_PATH + 16];

        if (mkdir(full(root, path), 0755) < 0)
                return;
        for (unsigned i = dice_roll(d, 5); i-- > 0;) {
                snprintf(below, sizeof(below), "%s/%s", path, names[dice_roll(d, ARRAY_LEN(names))]);
                if (dice_roll(d, 4) == 0 && strlen(path) < TOUCHED_PATH / 4)
                        make_tree(root, below, d);
                else
                        make_file(root, below, d);
        }
}

/* As `cp -p` does: another inode, another content, the same size and mtime as another file has. */
static void copy_preserving(const char *root, const char *from, const char *to, struct dice *d)
{
        CLEANUP_FD int fd = -1;
        struct stat st;

        if (lstat(full(root, from), &st) < 0 || !S_ISREG(st.st_mode) || strcmp(from, to) == 0)
                return;
        fd = open(full(root, to), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (fd < 0)
                return;
        write_at(d, fd, 0, (size_t)st.st_size < BYTES_LARGE ? (size_t)st.st_size : BYTES_LARGE);
        must(futimens(fd, (struct timespec[2]){st.st_atim, st.st_mtim}) == 0, "futimens");
}

static void set_times(const char *root, const char *path, struct dice *d)
{
        time_t now = time(NULL), when = dice_roll(d, 2) ? now - dice_roll(d, 1000000) : now + dice_roll(d, 1000);
        struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when, .tv_nsec = dice_roll(d, 2) ? 0 : 123456789}};

        (void)utimensat(AT_FDCWD, full(root, path), times, AT_SYMLINK_NOFOLLOW);
}

static void change_mode(const char *root, const char *path)
{
        struct stat st;

        if (lstat(full(root, path), &st) == 0 && S_ISREG(st.st_mode))
                must(chmod(full(root, path), st.st_mode ^ 0100) == 0, "chmod");
}

static void make_link(const char *root, const char *path, struct dice *d)
{
        char target[16];

        snprintf(target, sizeof(target), "%u", dice_roll(d, 50));
        (void)unlink(full(root, path));
        (void)symlink(target, full(root, path));
}

static void move(const char *root, const char *from, const char *to, unsigned flags, struct touched *t)
{
        /* What is moved away or covered may have other names, whose ctime moves. */
        touch_inode(root, from, t);
        touch_inode(root, to, t);
        (void)renameat2(AT_FDCWD, full(root, from), AT_FDCWD, full(root, to), flags);
}

void tree_edit(const char *root, struct dice *d, struct touched *t)
{
        char path[TOUCHED_PATH], other[TOUCHED_PATH];
        unsigned what = dice_roll(d, 100);

        draw_path(root, d, path);
        draw_path(root, d, other);
        if (what < 52 || what >= 60)
                touch_inode(root, path, t);
        if (what < 14)
                make_file(root, path, d);
        else if (what < 40)
                edit_content(root, path, d);
        else if (what < 52)
                make_tree(root, path, d);
        else if (what < 57)
                move(root, path, other, 0, t);
        else if (what < 60)
                move(root, path, other, RENAME_EXCHANGE, t);
        else if (what < 66)
                remove_all(root, path);
        else if (what < 72)
                change_mode(root, path);
        else if (what < 77)
                make_link(root, path, d);
        else if (what < 85)
                set_times(root, path, d);
        else if (what < 90)
                copy_preserving(root, other, path, d);
        else if (what < 95)
                (void)link(full(root, other), full(root, path));
        else if (what < 97)
                (void)mkfifo(full(root, path), 0600);
        else
                (void)unlink(full(root, path));
        touch(t, path);
}

void tree_edit_grow(const char *root, struct dice *d, struct touched *t)
{
        for (int i = 0; i < 6; i++) {
                char path[TOUCHED_PATH];

                draw_path(root, d, path);
                touch(t, path);
                make_tree(root, path, d);
        }
}
