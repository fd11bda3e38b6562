/*
 * Making, linking, renaming, removing.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/conform/calls.h"

#define OTHERS "f:f0:644 d:d0:755 f:d0/x:644 l:l0:f0"
#define NO_FLAG 0x40000000

static void mkdir_it(struct trial *t)
{
        TRY(t, "mkdir", mkdir(t->path, (mode_t)t->call->a));
        say_path(t, t->path);
        umask(0);
        TRY(t, "mkdir", mkdir(t->path, (mode_t)t->call->a));
}

static void mknod_it(struct trial *t)
{
        TRY(t, "mknod", mknod(t->path, (mode_t)t->call->a, (dev_t)t->call->b));
        say_path(t, t->path);
        TRY(t, "mknod", mknod(t->path, (mode_t)t->call->a, (dev_t)t->call->b));
}

static void symlink_it(struct trial *t)
{
        char back[PATH_MAX];
        ssize_t n;

        TRY(t, "symlink", symlink(t->call->s, t->path));
        n = TRY(t, "readlink", readlink(t->path, back, sizeof(back)));
        if (n >= 0)
                TELL(t, "it says %.*s\n", (int)n, back);
        say_path(t, t->path);
}

static void symlink_long(struct trial *t)
{
        char text[PATH_MAX + 1] = "", back[PATH_MAX];

        memset(text, 'x', (size_t)t->call->a);
        TRY(t, "symlink", symlink(text, t->path));
        TRY(t, "readlink", readlink(t->path, back, sizeof(back)));
}

static void link_from(struct trial *t)
{
        TRY(t, "linkat", linkat(AT_FDCWD, t->path, AT_FDCWD, "new", (int)t->call->a));
        say_path(t, t->path);
        say_path(t, "new");
}

static void link_to(struct trial *t)
{
        TRY(t, "linkat", linkat(AT_FDCWD, t->call->s, AT_FDCWD, t->path, 0));
        say_path(t, t->call->s);
}

static void link_descriptor(struct trial *t)
{
        int fd = TRY_FD(t, "open", open(t->path, (int)t->call->a | O_NONBLOCK));

        TRY(t, "linkat", linkat(fd, "", AT_FDCWD, "new", AT_EMPTY_PATH));
        TRY(t, "linkat /proc", linkat(AT_FDCWD, fd_proc_path(fd).text, AT_FDCWD, "new2", AT_SYMLINK_FOLLOW));
        say_fd(t, fd);
}

static void link_away(struct trial *t)
{
        TRY(t, "link", link(t->path, at(t->elsewhere, "gone")));
        TRY(t, "rename", rename(t->path, at(t->elsewhere, "gone")));
        TRY(t, "rename back", rename(at(t->elsewhere, "gone"), t->path));
}

static void unlink_it(struct trial *t)
{
        TRY(t, "unlinkat", unlinkat(AT_FDCWD, t->path, (int)t->call->a));
        say_path(t, t->path);
        TRY(t, "unlinkat", unlinkat(AT_FDCWD, t->path, (int)t->call->a));
}

static void rename_from(struct trial *t)
{
        TRY(t, "renameat2", renameat2(AT_FDCWD, t->path, AT_FDCWD, t->call->s, (unsigned)t->call->a));
        say_path(t, t->path);
        say_path(t, t->call->s);
}

static void rename_to(struct trial *t)
{
        TRY(t, "renameat2", renameat2(AT_FDCWD, t->call->s, AT_FDCWD, t->path, (unsigned)t->call->a));
        say_path(t, t->path);
        say_path(t, t->call->s);
}

static void readlink_it(struct trial *t)
{
        char back[PATH_MAX];
        ssize_t n = TRY(t, "readlink", readlink(t->path, back, (size_t)t->call->a));

        if (n > 0)
                TELL(t, "it says %.*s\n", (int)n, back);
}

static void readlink_descriptor(struct trial *t)
{
        char back[PATH_MAX];
        int fd = TRY_FD(t, "open", open(t->path, O_PATH | O_NOFOLLOW));

        TRY(t, "readlinkat", readlinkat(fd, "", back, sizeof(back)));
}

static void working_directory(struct trial *t)
{
        char before[PATH_MAX], after[PATH_MAX];
        int fd;

        must(getcwd(before, sizeof(before)), "getcwd");
        if (TRY(t, "chdir", chdir(t->path)) == 0) {
                must(getcwd(after, sizeof(after)), "getcwd");
                TELL(t, "in %s\n", strncmp(before, after, strlen(before)) == 0 ? after + strlen(before) : "..");
                TRY(t, "access", access("x", F_OK));
                must(chdir(before) == 0, "chdir");
        }
        fd = TRY_FD(t, "open", open(t->path, O_PATH));
        TRY(t, "fchdir", fchdir(fd));
}

#define RENAME_FROM(to, flags)                                                                                                             \
        {                                                                                                                                  \
                "rename:" #flags " to " to, rename_from, (flags), 0, to, OTHERS, NULL, NULL                                                \
        }
#define RENAME_TO(from, flags)                                                                                                             \
        {                                                                                                                                  \
                "rename:" #flags " from " from, rename_to, (flags), 0, from, OTHERS, NULL, NULL                                            \
        }
#define LINK(flags)                                                                                                                        \
        {                                                                                                                                  \
                "link:" #flags, link_from, (flags), 0, NULL, NULL, NULL, NULL                                                              \
        }
#define LINK_TO(from)                                                                                                                      \
        {                                                                                                                                  \
                "link to:" from, link_to, 0, 0, from, OTHERS, NULL, NULL                                                                   \
        }
#define LINK_FD(flags)                                                                                                                     \
        {                                                                                                                                  \
                "link fd:" #flags, link_descriptor, (flags), 0, NULL, NULL, NULL, NULL                                                     \
        }
#define MKDIR(mode)                                                                                                                        \
        {                                                                                                                                  \
                "mkdir:" #mode, mkdir_it, (mode), 0, NULL, NULL, NULL, NULL                                                                \
        }
#define MKNOD(mode)                                                                                                                        \
        {                                                                                                                                  \
                "mknod:" #mode, mknod_it, (mode), 0, NULL, NULL, NULL, NULL                                                                \
        }
#define MKDEV(mode, dev)                                                                                                                   \
        {                                                                                                                                  \
                "mknod:" #mode " " #dev, mknod_it, (mode), (dev), NULL, NULL, NULL, NULL                                                   \
        }
#define UNLINK(flags)                                                                                                                      \
        {                                                                                                                                  \
                "unlink:" #flags, unlink_it, (flags), 0, NULL, NULL, NULL, NULL                                                            \
        }

const struct call name_calls[] = {
        MKDIR(0777),
        MKDIR(0),
        MKDIR(07777),
        MKNOD(S_IFREG | 0666),
        MKNOD(S_IFREG | 06777),
        MKNOD(0644),
        MKNOD(S_IFIFO | 0666),
        MKNOD(S_IFSOCK | 0777),
        MKNOD(S_IFDIR | 0777),
        MKNOD(S_IFLNK | 0777),
        MKDEV(S_IFCHR | 0666, 0),
        MKDEV(S_IFCHR | 0666, 0x103),
        MKDEV(S_IFBLK | 0666, 0x700),
        {"symlink:relative", symlink_it, 0, 0, "gone/x", NULL, NULL, NULL},
        {"symlink:empty", symlink_it, 0, 0, "", NULL, NULL, NULL},
        {"symlink:bytes", symlink_it, 0, 0, "\xff\n", NULL, NULL, NULL},
        {"symlink:longest", symlink_long, 1000, 0, NULL, NULL, NULL, NULL},
        {"symlink:4095", symlink_long, PATH_MAX - 1, 0, NULL, NULL, NULL, NULL},
        {"symlink:4096", symlink_long, PATH_MAX, 0, NULL, NULL, NULL, NULL},
        LINK(0),
        LINK(AT_SYMLINK_FOLLOW),
        LINK(AT_EMPTY_PATH),
        LINK(NO_FLAG),
        LINK_TO("f0"),
        LINK_TO("d0"),
        LINK_TO("l0"),
        LINK_FD(O_RDONLY),
        LINK_FD(O_PATH),
        LINK_FD(O_PATH | O_NOFOLLOW),
        {"link away", link_away, 0, 0, NULL, NULL, NULL, NULL},
        UNLINK(0),
        UNLINK(AT_REMOVEDIR),
        UNLINK(NO_FLAG),
        RENAME_FROM("new", 0),
        RENAME_FROM("f0", 0),
        RENAME_FROM("d0", 0),
        RENAME_FROM("new/", 0),
        RENAME_FROM("d0/in", 0),
        RENAME_FROM("new", RENAME_NOREPLACE),
        RENAME_FROM("f0", RENAME_NOREPLACE),
        RENAME_FROM("f0", RENAME_EXCHANGE),
        RENAME_FROM("d0", RENAME_EXCHANGE),
        RENAME_FROM("new", RENAME_EXCHANGE),
        RENAME_FROM("new", RENAME_WHITEOUT),
        RENAME_FROM("f0", RENAME_EXCHANGE | RENAME_WHITEOUT),
        RENAME_FROM("new", RENAME_EXCHANGE | RENAME_NOREPLACE),
        RENAME_FROM("new", NO_FLAG),
        RENAME_TO("f0", 0),
        RENAME_TO("d0", 0),
        RENAME_TO("l0", 0),
        RENAME_TO("f0", RENAME_NOREPLACE),
        RENAME_TO("d0", RENAME_NOREPLACE),
        {"readlink:4096", readlink_it, PATH_MAX, 0, NULL, NULL, NULL, NULL},
        {"readlink:1", readlink_it, 1, 0, NULL, NULL, NULL, NULL},
        {"readlink:0", readlink_it, 0, 0, NULL, NULL, NULL, NULL},
        {"readlink fd", readlink_descriptor, 0, 0, NULL, NULL, NULL, NULL},
        {"chdir", working_directory, 0, 0, NULL, NULL, NULL, NULL},
};
const size_t name_call_count = ARRAY_LEN(name_calls);
