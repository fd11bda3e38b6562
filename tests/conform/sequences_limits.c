/*
 * Where a filesystem ends: no space left, reserved space, as many links as a file can have, the next filesystem. A trial gives back what it
 * took, so that the others find room.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/conform/calls.h"

#define BLOCK 4096
#define FIRST_PART ((off_t)1 << 30)
#define ROUNDS_MAX 4096
#define PATIENCE 20
#define NAMES_MAX 300
#define LONG_TEXT 3000
#define LINKS_MAX 70000 /* ext4 has 65000 */

/* Take all space that can be had, in halves of halves. */
static int take_all(struct trial *t)
{
        int fd = TRY_FD(t, "take all", open("all", O_CREAT | O_EXCL | O_RDWR, 0600));
        off_t end = 0;

        for (off_t part = FIRST_PART; part >= BLOCK;) {
                if (fallocate(fd, 0, end, part) == 0)
                        end += part;
                else
                        part /= 2;
        }
        return fd;
}

/* 0, or the -1 and errno that ends it: how much fits till then depends on what was freed just now. */
static int fill(int fd)
{
        static const char block[BLOCK] = "block";
        ssize_t n = BLOCK;
        off_t at = 0;

        for (int i = 0; i < ROUNDS_MAX && n > 0; i++, at += n)
                n = pwrite(fd, block, BLOCK, at);
        return n < 0 ? -1 : 0;
}

static void write_to_the_end(struct trial *t, const char *what, int fd)
{
        TRY(t, what, fill(fd));
}

static bool is_filled(void *fd)
{
        return fill(*(int *)fd) == 0;
}

/* All that is wanted, now or within the trial's patience. */
static void write_all(struct trial *t, const char *what, int fd)
{
        if (t->call->a)
                (void)wait_until(is_filled, &fd, (int)t->call->a);
        write_to_the_end(t, what, fd);
        TRY(t, "ftruncate", ftruncate(fd, 0));
}

static int make_directory(const char *name)
{
        return mkdir(name, 0755);
}

static int make_file(const char *name)
{
        int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644);

        return fd < 0 ? -1 : close(fd);
}

static int make_symlink(const char *name)
{
        char text[LONG_TEXT + 1] = "";

        memset(text, 'x', LONG_TEXT);
        return symlink(text, name);
}

/* Names until there is no room for another, and away with them. */
static void make_names(struct trial *t, const char *what, int (*make)(const char *name))
{
        int rc = 0, error, made = 0;

        for (; made < NAMES_MAX && rc == 0; made += rc == 0)
                rc = make(at("d", "%200d", made));
        error = errno;
        while (made-- > 0)
                if (unlink(at("d", "%200d", made)) < 0)
                        TRY(t, "rmdir", rmdir(at("d", "%200d", made)));
        tell_result(t, what, rc, error);
}

static void set_attribute(struct trial *t)
{
        char value[LONG_TEXT] = "value";

        TRY(t, "setxattr", setxattr("f", "user.x", value, sizeof(value), 0));
        removexattr("f", "user.x");
}

static void no_space(struct trial *t)
{
        int all = take_all(t), fd = TRY_FD(t, "open", open("f", O_RDWR)), tmp;

        write_to_the_end(t, "write", fd);
        TRY(t, "fsync", fsync(fd));
        TRY(t, "overwrite", pwrite(fd, "text", 4, 0));
        TRY(t, "fallocate", fallocate(fd, 0, 1 << 30, 1 << 20));
        make_names(t, "mkdir", make_directory);
        make_names(t, "create", make_file);
        make_names(t, "symlink", make_symlink);
        set_attribute(t);
        TRY(t, "rename", rename("g", "h"));
        tmp = TRY_FD(t, "tmpfile", open("d", O_TMPFILE | O_RDWR, 0600));
        write_to_the_end(t, "write a tmpfile", tmp);
        TRY(t, "ftruncate", ftruncate(fd, 0));
        TRY(t, "unlink", unlink("all"));
        write_to_the_end(t, "while the unlinked file is open", fd);
        TRY(t, "ftruncate", ftruncate(fd, 0));
        TRY(t, "close", close(all));
        write_all(t, "then", fd);
}

static void unlinked(struct trial *t)
{
        int fd = TRY_FD(t, "open", open("f", O_RDWR));

        close(take_all(t));
        write_to_the_end(t, "write", fd);
        TRY(t, "unlink", unlink("all"));
        write_all(t, "then", fd);
}

static void renamed_over(struct trial *t)
{
        int fd = TRY_FD(t, "open", open("f", O_RDWR));

        close(take_all(t));
        write_to_the_end(t, "write", fd);
        TRY(t, "rename", rename("g", "all"));
        write_all(t, "then", fd);
}

static void cut_down(struct trial *t)
{
        int all = take_all(t), fd = TRY_FD(t, "open", open("f", O_RDWR));

        write_to_the_end(t, "write", fd);
        TRY(t, "ftruncate", ftruncate(all, 0));
        write_all(t, "then", fd);
}

static sigjmp_buf fault;

static void on_fault(int sig)
{
        siglongjmp(fault, sig);
}

/* A mapping of a hole, for which there is no space. */
static void store(struct trial *t, int fd)
{
        struct sigaction act = {.sa_handler = on_fault};
        volatile char *p = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        int sig;

        must(p != MAP_FAILED, "mmap");
        sigaction(SIGBUS, &act, NULL);
        sig = sigsetjmp(fault, 1);
        if (!sig)
                *p = 'T';
        TELL(t, "store: signal %d\n", sig);
        TRY(t, "msync", msync((void *)p, BLOCK, MS_SYNC));
        TRY(t, "fsync", fsync(fd));
        munmap((void *)p, BLOCK);
}

static void map_without_space(struct trial *t)
{
        int all = take_all(t), fd = TRY_FD(t, "open", open("f", O_RDWR)), hole = TRY_FD(t, "open", open("g", O_RDWR));

        TRY(t, "ftruncate", ftruncate(hole, BLOCK));
        write_to_the_end(t, "write", fd);
        store(t, hole);
        TRY(t, "ftruncate", ftruncate(all, 0));
        TRY(t, "ftruncate", ftruncate(fd, 0));
        TRY(t, "ftruncate", ftruncate(hole, 0));
}

static void many_links(struct trial *t)
{
        int count = 0;

        TRY(t, "mkdir", mkdir("../links", 0700));
        while (count < LINKS_MAX && link("f", at("../links", "%d", count)) == 0)
                count++;
        TELL(t, "%d links, then %s\n", count, strerrorname_np(errno));
        TRY(t, "link", link("f", "one more"));
        TRY(t, "rename", rename("../links/0", "../links/other"));
        TRY(t, "rename over", rename("g", "../links/1"));
        say_path(t, "f");
        TRY(t, "link", link("f", "one more"));
        TRY(t, "link", link("f", "two more"));
        say_path(t, "f");
}

static void across(struct trial *t)
{
        int fd = TRY_FD(t, "open", open("f", O_RDWR)),
            far = TRY_FD(t, "open", open(at(t->elsewhere, "far"), O_CREAT | O_TRUNC | O_RDWR, 0600));

        TRY(t, "copy out", copy_file_range(fd, &(off_t){0}, far, &(off_t){0}, 6, 0));
        TRY(t, "sendfile out", sendfile(far, fd, &(off_t){0}, 6));
        TRY(t, "copy in", copy_file_range(far, &(off_t){0}, fd, &(off_t){0}, 6, 0));
        TRY(t, "sendfile in", sendfile(fd, far, &(off_t){0}, 6));
        TRY(t, "link out", link("f", at(t->elsewhere, "f")));
        TRY(t, "link in", link(at(t->elsewhere, "far"), "far"));
        TRY(t, "rename out", rename("d", at(t->elsewhere, "d")));
        TRY(t, "exchange", renameat2(AT_FDCWD, "f", AT_FDCWD, at(t->elsewhere, "far"), RENAME_EXCHANGE));
        TRY(t, "unlink", unlink(at(t->elsewhere, "far")));
}

static bool once_on_ext4(const struct combination *c, enum user user)
{
        return c->backing == ON_EXT4 && c->keep && user == USER_ROOT;
}

static bool source(const struct combination *c, enum user user)
{
        (void)user;
        return c->profile == PROFILE_SOURCE;
}

static bool data(const struct combination *c, enum user user)
{
        return !source(c, user);
}

#define LIMIT(name, fn, patience, with, fit)                                                                                               \
        {                                                                                                                                  \
                name, fn, patience, 0, NULL, with, fit, NULL                                                                               \
        }
/* In the data profile writes don't come by dsfs, which could let them wait for what is about to be free. */
#define FREED(name, fn, with) LIMIT(name, fn, 0, with, source), LIMIT(name ", soon", fn, PATIENCE, with, data)

const struct call limit_sequences[] = {
        FREED("no space", no_space, "f:f:644 f:g:644 d:d:755"),
        FREED("no space: unlinked", unlinked, "f:f:644"),
        FREED("no space: renamed over", renamed_over, "f:f:644 f:g:644"),
        LIMIT("no space: cut down", cut_down, 0, "f:f:644", NULL),
        LIMIT("no space: map", map_without_space, 0, "f:f:644 e:g:644", NULL),
        LIMIT("many links", many_links, 0, "f:f:644 f:g:644", once_on_ext4),
        LIMIT("across", across, 0, "f:f:644 d:d:755", NULL),
};
const size_t limit_sequence_count = ARRAY_LEN(limit_sequences);
