/*
 * What the calls are made on: every kind of file, every way for a name to be wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/conform/conform.h"

#define BIG_HOLE 8192
#define WITH_MAX 1024

const struct target path_targets[] = {
        {"file", "f", "f:f:644"},
        {"empty", "f", "e:f:644"},
        {"sparse", "f", "b:f:644"},
        {"program", "f", "f:f:755"},
        {"no-mode", "f", "f:f:0"},
        {"read-only", "f", "f:f:444"},
        {"set-id", "f", "f:f:6755"},
        {"set-gid-no-exec", "f", "f:f:2644"},
        {"hard-linked", "f", "f:f:644 h:g:f"},
        {"foreign", "f", "F:f:644"},
        {"foreign-closed", "f", "F:f:600"},
        {"foreign-open", "f", "F:f:666"},
        {"foreign-set-id", "f", "F:f:6777"},
        {"teams", "f", "G:f:660"},
        {"not-teams", "f", "G:f:606"},
        {"dir", "d", "d:d:755"},
        {"dir-full", "d", "d:d:755 f:d/x:644"},
        {"dir-no-mode", "d", "d:d:0"},
        {"dir-foreign", "d", "D:d:755"},
        {"dir-sticky", "d", "D:d:1777"},
        {"dir-set-gid", "d", "E:d:2777"},
        {"link-file", "l", "f:f:644 l:l:f"},
        {"link-foreign", "l", "F:f:600 l:l:f"},
        {"link-dir", "l", "d:d:755 l:l:d"},
        {"link-dangling", "l", "l:l:gone"},
        {"link-far-dangling", "l", "l:l:gone/gone"},
        {"link-self", "l", "l:l:l"},
        {"link-loop", "l", "l:l:m l:m:l"},
        {"link-parent", "l", "l:l:.."},
        {"fifo", "p", "p:p:644"},
        {"socket", "s", "s:s:755"},
        {"whiteout", "w", "w:w:644"},
        {"device", "n", "n:n:666"},
        {"missing", "gone", ""},
        {"missing-slash", "gone/", ""},
        {"missing-below", "gone/x", ""},
        {"below-file", "f/x", "f:f:644"},
        {"below-link", "l/x", "d:d:755 l:l:d f:d/x:644"},
        {"below-loop", "l/x", "l:l:l"},
        {"below-dangling", "l/x", "l:l:gone"},
        {"file-slash", "f/", "f:f:644"},
        {"file-dot", "f/.", "f:f:644"},
        {"file-dotdot", "f/../f", "f:f:644"},
        {"dir-slash", "d/", "d:d:755"},
        {"dir-dot", "d/.", "d:d:755"},
        {"dir-dotdot", "d/..", "d:d:755"},
        {"link-dir-slash", "l/", "d:d:755 l:l:d"},
        {"link-file-slash", "l/", "f:f:644 l:l:f"},
        {"link-dangling-slash", "l/", "l:l:gone"},
        {"dot", ".", ""},
        {"empty-path", "", ""},
        {"long", "%a", "f:%a:644"},
        {"long-missing", "%a", ""},
        {"long-dir", "%a", "d:%a:755"},
        {"too-long", "%b", ""},
        {"path-max", "%pf", "f:f:644"},
        {"path-max-missing", "%pg", ""},
        {"path-too-long", "%qf", "f:f:644"},
        {"bytes", "%x", "f:%x:644"},
        {"newline", "a%nb", "f:a%nb:644"},
        {"unsearchable", "d/x", "D:d:644 f:d/x:666"},
        {"unwritable", "d/x", "D:d:755 f:d/x:666"},
        {"unwritable-missing", "d/x", "D:d:755"},
        {"sticky-own", "d/x", "D:d:1777 f:d/x:644"},
        {"sticky-foreign", "d/x", "D:d:1777 F:d/x:666"},
        {"sticky-missing", "d/x", "D:d:1777"},
        {"set-gid-missing", "d/x", "E:d:2777"},
        {"set-gid-child", "d/x", "E:d:2777 f:d/x:644"},
};
const size_t path_target_count = ARRAY_LEN(path_targets);

const struct target fd_targets[] = {
        {"file", "f", "f:f:666"},
        {"sparse", "f", "b:f:666"},
        {"empty", "f", "e:f:666"},
        {"foreign-set-id", "f", "F:f:6777"},
        {"set-gid-no-exec", "f", "F:f:2666"},
        {"dir", "d", "d:d:777 f:d/x:644 f:d/y:644"},
        {"fifo", "p", "p:p:666"},
};
const size_t fd_target_count = ARRAY_LEN(fd_targets);

static char *fill(char *to, const char *what, size_t len)
{
        while (len >= strlen(what)) {
                to = stpcpy(to, what);
                len -= strlen(what);
        }
        return to;
}

/* "./" as often as leaves room for `rest` in a path of `len` bytes; an odd byte is one more slash. */
static char *fill_path(char *to, size_t len, const char *rest)
{
        size_t room = len - strlen(rest);

        if (room % 2)
                to = stpcpy(to, ".//"), room -= 3;
        return fill(to, "./", room);
}

static void expand(const char *text, char *ret)
{
        for (; *text; text++) {
                if (*text != '%') {
                        *ret++ = *text;
                        continue;
                }
                switch (*++text) {
                case 'a':
                        ret = fill(ret, "n", NAME_MAX);
                        break;
                case 'b':
                        ret = fill(ret, "n", NAME_MAX + 1);
                        break;
                case 'p':
                        ret = fill_path(ret, PATH_MAX - 1, text + 1);
                        break;
                case 'q':
                        ret = fill_path(ret, PATH_MAX, text + 1);
                        break;
                case 'x':
                        ret = stpcpy(ret, "\xff\xfe\x80");
                        break;
                case 'n':
                        ret = stpcpy(ret, "\n");
                        break;
                case 's':
                        ret = stpcpy(ret, " ");
                        break;
                default:
                        must(false, "%%%c in a target", *text);
                }
        }
        *ret = '\0';
}

const char *target_path(const char *text)
{
        static char path[PATH_MAX + 2];

        expand(text, path);
        return path;
}

static void make_file(char kind, const char *name)
{
        CLEANUP_FD int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        must(fd >= 0, "make %s", name);
        if (kind == 'b')
                must(pwrite(fd, "begin", 5, 0) == 5 && pwrite(fd, "end", 3, BIG_HOLE) == 3, "write %s", name);
        else if (kind != 'e')
                must(write(fd, "hello\n", 6) == 6, "write %s", name);
}

static void make_node(char kind, const char *name)
{
        mode_t type = kind == 'p' ? S_IFIFO : kind == 's' ? S_IFSOCK : S_IFCHR;

        must(mknod(name, type | 0600, kind == 'n' ? makedev(1, 3) : 0) == 0, "mknod %s", name);
}

static void own(char kind, const char *name, const char *arg, const struct who *who)
{
        bool foreign = strchr("FGDE", kind);
        gid_t gid = kind == 'G' || kind == 'E' ? TEAM : foreign ? FOREIGNER : who->gid;

        must(lchown(name, foreign ? FOREIGNER : who->uid, gid) == 0, "chown %s", name);
        if (kind != 'l')
                must(chmod(name, (mode_t)strtoul(arg, NULL, 8)) == 0, "chmod %s", name);
}

static void make_one(const char *item, const struct who *who)
{
        char kind = *item, text[WITH_MAX], *arg;

        expand(item + 2, text);
        arg = strchr(text, ':');
        must(item[1] == ':' && arg, "a target's part: %s", item);
        *arg++ = '\0';
        if (kind == 'h') {
                must(link(arg, text) == 0, "link %s", text);
                return;
        }
        if (strchr("febFG", kind))
                make_file(kind, text);
        else if (strchr("dDE", kind))
                must(mkdir(text, 0700) == 0, "mkdir %s", text);
        else if (kind == 'l')
                must(symlink(arg, text) == 0, "symlink %s", text);
        else
                make_node(kind, text);
        own(kind, text, arg, who);
}

static void make_old(const char *item)
{
        struct timespec old[2] = {{.tv_sec = OLD_TIME}, {.tv_sec = OLD_TIME}};
        char text[WITH_MAX];

        expand(item + 2, text);
        *strchr(text, ':') = '\0';
        must(utimensat(AT_FDCWD, text, old, AT_SYMLINK_NOFOLLOW) == 0, "utimensat %s", text);
}

static void each_item(const char *with, void (*fn)(const char *item, const struct who *who), const struct who *who)
{
        while (with && *with) {
                size_t len = strcspn(with, " ");
                char item[WITH_MAX];

                must(len < sizeof(item), "a target's part is too long");
                memcpy(item, with, len);
                item[len] = '\0';
                if (len)
                        fn(item, who);
                with += len + (with[len] == ' ');
        }
}

static void old_item(const char *item, const struct who *who)
{
        (void)who;
        make_old(item);
}

void target_make(const char *with, const struct who *who)
{
        each_item(with, make_one, who);
        each_item(with, old_item, who);
}
