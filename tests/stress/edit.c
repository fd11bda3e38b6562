#include "tests/stress/edit.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/lib/mount.h"

#define BYTES_MAX (96u << 10)

struct place {
        const char *dir;
        struct dice *dice;
        unsigned answer; /* of the calls so far */
};

static void note(struct place *p, long ret)
{
        p->answer = p->answer * 31 + (ret < 0 ? (unsigned)errno : 0) + 1;
}

/* Where others edit too, an open file may be deleted behind the mount's back. Where nobody does, the answer is not what it should be. */
static void note_gone(struct place *p, bool gone)
{
        if (gone)
                p->answer++;
}

/* A file, in one of the directories or beside them. */
static const char *some_file(struct place *p)
{
        unsigned d = dice_roll(p->dice, EDIT_DIRS + 1), f = dice_roll(p->dice, EDIT_FILES);

        return d == EDIT_DIRS ? at(p->dir, "f%u", f) : at(p->dir, "d%u/f%u", d, f);
}

static const char *some_dir(struct place *p)
{
        return at(p->dir, "d%u", dice_roll(p->dice, EDIT_DIRS));
}

/* Mostly short, sometimes many pages; each drawing has its own bytes. */
static size_t some_bytes(struct place *p, char *buf)
{
        size_t len = dice_roll(p->dice, 10) ? 1 + dice_roll(p->dice, 300) : 1 + dice_roll(p->dice, BYTES_MAX - 1);
        unsigned salt = dice_roll(p->dice, 1u << 30);

        for (size_t i = 0; i < len; i++)
                buf[i] = (char)('a' + (salt + i * (salt % 7 + 1)) % 26);
        return len;
}

static void write_whole(struct place *p, const char *path, int flags)
{
        static char buf[BYTES_MAX];
        size_t len = some_bytes(p, buf);
        off_t offset = dice_roll(p->dice, 9000);
        bool written;
        CLEANUP_FD int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | flags, 0644);

        note(p, fd);
        if (fd < 0)
                return;
        errno = 0;
        if (flags & (O_TRUNC | O_APPEND))
                written = fd_write_full(fd, buf, len) == 0;
        else
                written = pwrite(fd, buf, len, offset) == (ssize_t)len;
        must(written || errno == ESTALE, "write %s", path);
        note_gone(p, !written);
}

static void write_in_place(struct place *p)
{
        write_whole(p, some_file(p), 0);
}

static void append(struct place *p)
{
        write_whole(p, some_file(p), O_APPEND);
}

static void overwrite(struct place *p)
{
        write_whole(p, some_file(p), O_CREAT | O_TRUNC);
}

static void save_atomically(struct place *p)
{
        const char *path = some_file(p), *temp = at(p->dir, ".tmp%d", getpid());

        write_whole(p, temp, O_CREAT | O_TRUNC);
        note(p, rename(temp, path));
        unlink(temp);
}

static void shorten_or_extend(struct place *p)
{
        const char *path = some_file(p);

        note(p, truncate(path, dice_roll(p->dice, 12000)));
}

static sigjmp_buf no_page;

static void bus_error(int signal)
{
        siglongjmp(no_page, signal);
}

/* False if the page is there no more: somebody has shortened or deleted the file meanwhile. */
static bool store(char *at)
{
        struct sigaction before, action = {.sa_handler = bus_error};
        volatile bool stored = false;

        must(sigaction(SIGBUS, &action, &before) == 0, "sigaction");
        if (sigsetjmp(no_page, 1) == 0) {
                *(volatile char *)at = 'M';
                stored = true;
        }
        must(sigaction(SIGBUS, &before, NULL) == 0, "sigaction");
        return stored;
}

static void store_by_mapping(struct place *p)
{
        CLEANUP_FD int fd = open(some_file(p), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        unsigned where = dice_roll(p->dice, 1u << 30);
        struct stat st;
        char *map;

        note(p, fd);
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
                return;
        map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        must(map != MAP_FAILED, "mmap");
        note_gone(p, !store(&map[where % (unsigned)st.st_size]));
        must(munmap(map, (size_t)st.st_size) == 0, "munmap");
}

static void delete_file(struct place *p)
{
        note(p, unlink(some_file(p)));
}

static void make_directory(struct place *p)
{
        note(p, mkdir(some_dir(p), 0755));
}

static void delete_directory(struct place *p)
{
        const char *dir = some_dir(p);

        for (unsigned i = 0; i < EDIT_FILES; i++)
                unlink(at(dir, "f%u", i));
        note(p, rmdir(dir));
}

static void rename_file(struct place *p)
{
        const char *from = some_file(p), *to = some_file(p);

        note(p, rename(from, to));
}

static void rename_directory(struct place *p)
{
        const char *from = some_dir(p), *to = some_dir(p);

        note(p, rename(from, to));
}

static void exchange_files(struct place *p)
{
        const char *a = some_file(p), *b = some_file(p);

        note(p, renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE));
}

static void exchange_directories(struct place *p)
{
        const char *a = some_dir(p), *b = some_dir(p);

        note(p, renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE));
}

static void change_mode(struct place *p)
{
        const char *path = dice_roll(p->dice, 4) ? some_file(p) : some_dir(p);
        struct stat st;

        if (lstat(path, &st) == 0 && !S_ISLNK(st.st_mode))
                note(p, chmod(path, dice_roll(p->dice, 2) ? 0755 : 0700));
        else
                note(p, dice_roll(p->dice, 2));
}

static void set_times(struct place *p)
{
        struct timespec times[2] = {{dice_roll(p->dice, 1u << 30), 1}, {dice_roll(p->dice, 1u << 30), dice_roll(p->dice, 1000000000)}};

        note(p, utimensat(AT_FDCWD, some_file(p), times, AT_SYMLINK_NOFOLLOW));
}

static void replace_symlink(struct place *p)
{
        const char *path = some_file(p);
        char target[32];

        snprintf(target, sizeof(target), "target %u", dice_roll(p->dice, 1000));
        unlink(path);
        note(p, symlink(target, path));
}

static void hard_link(struct place *p)
{
        const char *from = some_file(p), *to = some_file(p);

        note(p, link(from, to));
}

static const struct kind {
        void (*make)(struct place *p);
        unsigned weight;
} kinds[] = {
        {write_in_place, 10},   {append, 8},           {overwrite, 14},      {save_atomically, 12},
        {shorten_or_extend, 5}, {delete_file, 8},      {make_directory, 6},  {delete_directory, 1},
        {rename_file, 7},       {rename_directory, 4}, {exchange_files, 3},  {exchange_directories, 2},
        {change_mode, 4},       {set_times, 3},        {replace_symlink, 4}, {store_by_mapping, 4},
        {hard_link, 5},
};

unsigned edit_once(const char *dir, struct dice *dice, bool links)
{
        struct place p = {.dir = dir, .dice = dice};
        unsigned sum = 0, pick;

        for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
                sum += links || kinds[i].make != hard_link ? kinds[i].weight : 0;
        pick = dice_roll(dice, sum);
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
                if (pick < kinds[i].weight) {
                        kinds[i].make(&p);
                        break;
                }
                pick -= kinds[i].weight;
        }
        return p.answer;
}

void edit_fill(const char *dir, struct dice *dice)
{
        struct place p = {.dir = dir, .dice = dice};

        must(mkdir(dir, 0755) == 0, "mkdir %s", dir);
        for (unsigned d = 0; d < EDIT_DIRS / 2; d++)
                must(mkdir(at(dir, "d%u", d), 0755) == 0, "mkdir");
        for (unsigned i = 0; i < EDIT_DIRS * EDIT_FILES / 2; i++)
                overwrite(&p);
}

void edit_each_name(const char *dir, void (*fn)(void *arg, const char *path), void *arg)
{
        for (unsigned f = 0; f < EDIT_FILES; f++)
                fn(arg, at(dir, "f%u", f));
        for (unsigned d = 0; d < EDIT_DIRS; d++) {
                fn(arg, at(dir, "d%u", d));
                for (unsigned f = 0; f < EDIT_FILES; f++)
                        fn(arg, at(dir, "d%u/f%u", d, f));
        }
}
