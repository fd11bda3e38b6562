/*
 * Who made it, whose it is, who may: sticky and set-gid directories, umask, set-id bits after changes, access control lists. Several users
 * take part, so only root begins these.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/conform/calls.h"

static bool root_keeps(const struct combination *c, enum user user)
{
        return user == USER_ROOT && c->keep;
}

static bool root_begins(const struct combination *c, enum user user)
{
        (void)c;
        return user == USER_ROOT;
}

static bool his_own(const struct combination *c, enum user user)
{
        return c->keep || user == USER_MEMBER;
}

static void make_all_kinds(struct trial *t)
{
        close(TRY_FD(t, "create", open("d/file", O_CREAT | O_RDWR, 0666)));
        TRY(t, "mkdir", mkdir("d/dir", 0777));
        TRY(t, "mkdir set-gid", mkdir("d/dir2", 02777));
        TRY(t, "symlink", symlink("x", "d/link"));
        TRY(t, "mkfifo", mkfifo("d/fifo", 0666));
        TRY(t, "mknod", mknod("d/node", S_IFREG | 06777, 0));
        close(TRY_FD(t, "create set-id", open("d/set-id", O_CREAT | O_RDWR, 06777)));
        TRY(t, "mkdir below", mkdir("d/dir/below", 0777));
        say_fd(t, TRY_FD(t, "tmpfile", open("d", O_TMPFILE | O_RDWR, 02777)));
        TRY(t, "link", link("d/file", "d/hard"));
}

static void make_under_umasks(struct trial *t)
{
        static const mode_t masks[] = {0, 022, 027, 077, 0777};

        for (size_t i = 0; i < ARRAY_LEN(masks); i++) {
                TELL(t, "umask %o\n", masks[i]);
                umask(masks[i]);
                close(TRY_FD(t, "create", open(at("d", "file%zu", i), O_CREAT | O_RDWR, 06777)));
                TRY(t, "mkdir", mkdir(at("d", "dir%zu", i), 07777));
                TRY(t, "mkfifo", mkfifo(at("d", "fifo%zu", i), 0777));
                say_fd(t, TRY_FD(t, "tmpfile", open("d", O_TMPFILE | O_RDWR, 0777)));
        }
}

static void each_makes(struct trial *t)
{
        umask(0);
        in_child(t, &users[t->call->a], make_all_kinds);
}

static void change_others(struct trial *t)
{
        TRY(t, "unlink", unlink("d/roots"));
        TRY(t, "rename", rename("d/roots", "d/x"));
        TRY(t, "rename over", rename("d/mine", "d/roots"));
        TRY(t, "exchange", renameat2(AT_FDCWD, "d/mine", AT_FDCWD, "d/roots", RENAME_EXCHANGE));
        TRY(t, "link", link("d/roots", "d/hard"));
        TRY(t, "rmdir", rmdir("d/dir"));
        TRY_FD(t, "create over", open("d/roots", O_CREAT | O_WRONLY, 0666));
        TRY_FD(t, "create fifo over", open("d/fifo", O_CREAT | O_RDWR | O_NONBLOCK, 0666));
        TRY(t, "rename mine", rename("d/mine", "d/still mine"));
        TRY(t, "unlink mine", unlink("d/still mine"));
}

static void sticky(struct trial *t)
{
        TRY(t, "make", mkdir("d/dir", 0777));
        close(TRY_FD(t, "make", open("d/roots", O_CREAT | O_RDWR, 0666)));
        TRY(t, "chmod", chmod("d/roots", 0666));
        TRY(t, "mkfifo", mkfifo("d/fifo", 0666));
        TRY(t, "chown", chown("d/mine", 4242, 4242));
        in_child(t, &users[USER_STRANGER], change_others);
}

static void change_it(struct trial *t)
{
        int fd = TRY_FD(t, "open", open("f", O_RDWR));
        char c = 'x';
        int other;

        switch (t->call->b) {
        case 0:
                TRY(t, "write", write(fd, "x", 1));
                break;
        case 1:
                TRY(t, "truncate", truncate("f", 1));
                break;
        case 2:
                TRY(t, "ftruncate", ftruncate(fd, 2));
                break;
        case 3:
                TRY(t, "fallocate", fallocate(fd, 0, 0, 100));
                break;
        case 4:
                other = open("f0", O_RDONLY);
                TRY(t, "copy_file_range", copy_file_range(other, NULL, fd, NULL, 3, 0));
                break;
        case 5:
                TRY_FD(t, "O_TRUNC", open("f", O_WRONLY | O_TRUNC));
                break;
        case 6:
                TRY(t, "chown", chown("f", (uid_t)-1, getegid()));
                break;
        case 7:
                TRY(t, "setxattr", setxattr("f", "user.x", &c, 1, 0));
                break;
        case 8:
                TRY(t, "write nothing", write(fd, "", 0));
                break;
        case 9:
                TRY(t, "chmod", chmod("f", 06711));
                break;
        case 10:
                TRY(t, "utimensat", utimensat(AT_FDCWD, "f", NULL, 0));
                break;
        case 11:
                TRY(t, "read", read(fd, &c, 1));
                break;
        default:
                TRY(t, "link", link("f", "g"));
        }
        say_fd(t, fd);
}

static void change_set_id(struct trial *t)
{
        TRY(t, "chmod", chmod("f", (mode_t)t->call->a));
        say_path(t, "f");
        change_it(t);
        say_path(t, "f");
}

static void change_foreign_set_id(struct trial *t)
{
        TRY(t, "chmod", chmod("f", (mode_t)t->call->a));
        in_child(t, &users[USER_STRANGER], change_it);
        in_child(t, &users[USER_MEMBER], change_it);
        say_path(t, "f");
}

/*
 * Access control lists
 */

struct acl {
        struct posix_acl_xattr_header head;
        struct posix_acl_xattr_entry entries[6];
};

/* Owner rwx, uid 4242 `named`, group `group`, TEAM `team`, mask `mask`, others `other`. */
static struct acl acl_of(unsigned named, unsigned group, unsigned team, unsigned mask, unsigned other)
{
        return (struct acl){
                {POSIX_ACL_XATTR_VERSION},
                {{ACL_USER_OBJ, 7, ACL_UNDEFINED_ID},
                 {ACL_USER, (unsigned short)named, 4242},
                 {ACL_GROUP_OBJ, (unsigned short)group, ACL_UNDEFINED_ID},
                 {ACL_GROUP, (unsigned short)team, TEAM},
                 {ACL_MASK, (unsigned short)mask, ACL_UNDEFINED_ID},
                 {ACL_OTHER, (unsigned short)other, ACL_UNDEFINED_ID}},
        };
}

static void set_acl(struct trial *t, const char *path, const char *which, struct acl acl)
{
        TRY(t, which, setxattr(path, at("", "system.posix_acl_%s", which) + 1, &acl, sizeof(acl), 0));
        say_path(t, path);
}

static void use_by_acl(struct trial *t)
{
        static const char *const names[] = {"f", "d", "d/file", "d/dir"};

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                TELL(t, "%s as %u\n", names[i], geteuid());
                TRY(t, "eaccess r", eaccess(names[i], R_OK));
                TRY(t, "eaccess w", eaccess(names[i], W_OK));
                TRY(t, "eaccess x", eaccess(names[i], X_OK));
                TRY_FD(t, "open", open(names[i], O_RDONLY | O_NONBLOCK));
                TRY_FD(t, "open", open(names[i], O_RDWR));
                TRY(t, "listxattr", listxattr(names[i], NULL, 0));
                TRY(t, "removexattr", removexattr(names[i], "system.posix_acl_access"));
        }
        TRY(t, "create", mkdir(at("d", "of-%u", geteuid()), 0777));
}

static void acls(struct trial *t)
{
        set_acl(t, "f", "access", acl_of(6, 4, 2, 7, 0));
        set_acl(t, "d", "access", acl_of(7, 5, 7, 5, 0));
        set_acl(t, "d", "default", acl_of(6, 5, 7, 6, 1));
        make_all_kinds(t);
        in_child(t, &users[USER_MEMBER], use_by_acl);
        in_child(t, &users[USER_STRANGER], use_by_acl);
        TRY(t, "chmod", chmod("f", 0707));
        TRY(t, "chmod", chmod("d", 02777));
        in_child(t, &users[USER_MEMBER], use_by_acl);
        in_child(t, &users[USER_STRANGER], use_by_acl);
        umask(077);
        TRY(t, "mkdir", mkdir("d/masked", 0777));
        TRY(t, "remove", removexattr("d", "system.posix_acl_default"));
        TRY(t, "mkdir", mkdir("d/plain", 0777));
        TRY(t, "minimal", setxattr("f", "system.posix_acl_access", "", 0, 0));
        set_acl(t, "f", "default", acl_of(6, 4, 2, 7, 0));
}

static void own_acls(struct trial *t)
{
        set_acl(t, "f", "access", acl_of(6, 4, 2, 7, 0));
        TRY(t, "chmod set-gid", chmod("f", 02775));
        set_acl(t, "f", "access", acl_of(6, 4, 2, 7, 0));
        set_acl(t, "d", "default", acl_of(6, 5, 7, 6, 1));
        make_all_kinds(t);
}

#define SET_ID(name, how)                                                                                                                  \
        {"set-id 6755:" name, change_set_id, 06755, how, NULL, "f:f:755 f:f0:644", his_own, NULL},                                         \
                {"set-id 2745:" name, change_set_id, 02745, how, NULL, "f:f:755 f:f0:644", his_own, NULL},                                 \
                {"others' set-id 6777:" name, change_foreign_set_id, 06777, how, NULL, "f:f:777 f:f0:644", root_begins, NULL},             \
        {                                                                                                                                  \
                "others' set-id 6666:" name, change_foreign_set_id, 06666, how, NULL, "f:f:777 f:f0:644", root_begins, NULL                \
        }

const struct call owner_sequences[] = {
        {"root makes", each_makes, USER_ROOT, 0, NULL, "d:d:755", root_begins, NULL},
        {"a member makes", each_makes, USER_MEMBER, 0, NULL, "D:d:777", root_begins, NULL},
        {"a stranger makes", each_makes, USER_STRANGER, 0, NULL, "D:d:777", root_keeps, NULL},
        {"root makes in set-gid", each_makes, USER_ROOT, 0, NULL, "E:d:2777", root_begins, NULL},
        {"a member makes in set-gid", each_makes, USER_MEMBER, 0, NULL, "E:d:2777", root_begins, NULL},
        {"a stranger makes in set-gid", each_makes, USER_STRANGER, 0, NULL, "E:d:2777", root_keeps, NULL},
        {"umask", make_under_umasks, 0, 0, NULL, "d:d:755", NULL, NULL},
        {"sticky", sticky, 0, 0, NULL, "D:d:1777 f:d/mine:666", root_keeps, NULL},
        {"acl", acls, 0, 0, NULL, "f:f:644 d:d:755", root_keeps, NULL},
        {"own acl", own_acls, 0, 0, NULL, "f:f:644 d:d:755", NULL, NULL},
        SET_ID("write", 0),
        SET_ID("truncate", 1),
        SET_ID("ftruncate", 2),
        SET_ID("fallocate", 3),
        SET_ID("copy_file_range", 4),
        SET_ID("O_TRUNC", 5),
        SET_ID("chown", 6),
        SET_ID("setxattr", 7),
        SET_ID("write nothing", 8),
        SET_ID("chmod", 9),
        SET_ID("utimensat", 10),
        SET_ID("read", 11),
        SET_ID("link", 12),
};
const size_t owner_sequence_count = ARRAY_LEN(owner_sequences);
