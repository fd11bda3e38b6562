/*
 * The model stress: operations on names and attributes.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <xxhash.h>

#include "cache/base/fd.h"
#include "tests/lib/mount.h"
#include "tests/stress/model_side.h"

#define SMALL_LISTING 96 /* bytes: two or three names */
#define LARGE_LISTING 32768
#define LISTED_MAX 64
#define XATTR_NAMES 3u
#define XATTR_LONG 300
#define EMPTY_CALLS 200

ACT(mkdir)
{
        answer_call(a, "mkdir", mkdir(side_path(p, op->path), op->mode | 0700));
}

ACT(mkfifo)
{
        answer_call(a, "mkfifo", mkfifo(side_path(p, op->path), op->mode));
}

ACT(symlink)
{
        answer_call(a, "symlink", symlink(op->to, side_path(p, op->path)));
}

ACT(link)
{
        answer_call(a, "link", link(side_path(p, op->path), side_path(p, op->to)));
}

/* A directory that the source's user moved, still known by its old place because something in it is open, gets its new one when it is
 * looked up; but not while a rename holds the lock for that: the kernel answers ESTALE then, and not after a look. */
ACT(rename)
{
        const char *from = side_path(p, op->path), *to = side_path(p, op->to);
        int rc = renameat2(AT_FDCWD, from, AT_FDCWD, to, op->flags);
        struct stat st;

        if (rc < 0 && errno == ESTALE && p->in_mount) {
                (void)lstat(from, &st);
                (void)lstat(to, &st);
                errno = 0;
                rc = renameat2(AT_FDCWD, from, AT_FDCWD, to, op->flags);
        }
        answer_call(a, "rename", rc);
}

ACT(unlink)
{
        answer_call(a, "unlink", unlink(side_path(p, op->path)));
}

ACT(rmdir)
{
        answer_call(a, "rmdir", rmdir(side_path(p, op->path)));
}

ACT(chmod)
{
        answer_call(a, "chmod", chmod(side_path(p, op->path), op->mode | 0400));
}

ACT(fchmod)
{
        int fd = p->hands[op->h].fd;

        if (!side_is_mute(p, fd)) {
                errno = 0;
                answer_call(a, "fchmod", fchmod(fd, op->mode | 0400));
        }
}

ACT(utimens)
{
        struct timespec times[2] = {{.tv_sec = 1000, .tv_nsec = 1}, {.tv_sec = 1000 + op->salt, .tv_nsec = op->salt}};

        answer_call(a, "utimens", utimensat(AT_FDCWD, side_path(p, op->path), times, AT_SYMLINK_NOFOLLOW));
}

ACT(stat)
{
        struct stat st;

        if (stat(side_path(p, op->path), &st) < 0)
                answer_call(a, "stat", -1);
        else
                answer_stat(a, &st);
}

ACT(readlink)
{
        char target[256] = "";

        answer_call(a, "readlink", readlink(side_path(p, op->path), target, sizeof(target) - 1));
        answer_say(a, " %s", target);
}

ACT(tmpfile)
{
        struct hand *h = &p->hands[op->h];

        fd_close(&h->fd);
        errno = 0;
        h->fd = open(side_path(p, op->path), O_TMPFILE | O_RDWR | O_CLOEXEC, op->mode);
        h->nameless = false;
        answer_call(a, "tmpfile", h->fd < 0 ? -1 : 0);
}

ACT(linkfd)
{
        struct fd_path from = fd_proc_path(p->hands[op->h].fd);

        answer_call(a, "link", linkat(AT_FDCWD, from.text, AT_FDCWD, side_path(p, op->path), AT_SYMLINK_FOLLOW));
}

/*
 * Extended attributes
 */

static const char *xattr_name(uint32_t salt)
{
        static const char *const names[] = {"user.a", "user.b", "user.longer"};

        return names[salt % XATTR_NAMES];
}

ACT(setxattr)
{
        size_t len = (size_t)op->len % XATTR_LONG;

        pattern_fill(scratch(), len, op->salt);
        answer_call(a, "setxattr", lsetxattr(side_path(p, op->path), xattr_name(op->salt), scratch(), len, (int)op->flags));
}

ACT(removexattr)
{
        answer_call(a, "removexattr", lremovexattr(side_path(p, op->path), xattr_name(op->salt)));
}

ACT(getxattr)
{
        answer_call(a, "list", llistxattr(side_path(p, op->path), NULL, 0));
        for (uint32_t i = 0; i < XATTR_NAMES; i++) {
                ssize_t n;

                errno = 0;
                n = lgetxattr(side_path(p, op->path), xattr_name(i), scratch(), BYTES_MAX);
                answer_call(a, xattr_name(i), n);
                if (n > 0)
                        answer_say(a, ":%016llx", (unsigned long long)XXH3_64bits(scratch(), (size_t)n));
        }
}

/*
 * Listings
 */

struct entry {
        char name[32];
        unsigned char type;
};

static int by_entry(const void *a, const void *b)
{
        return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

/* One getdents64() into `entries`. Their number, 0 at the end, -1. */
static int list_some(int fd, bool small, struct entry *entries)
{
        static char buf[LARGE_LISTING];
        long n = syscall(SYS_getdents64, fd, buf, small ? SMALL_LISTING : LARGE_LISTING);
        int count = 0;

        if (n < 0)
                return -1;
        for (long i = 0; i < n && count < LISTED_MAX; i += ((struct dirent64 *)(buf + i))->d_reclen) {
                struct dirent64 *d = (struct dirent64 *)(buf + i);

                entries[count].type = d->d_type;
                snprintf(entries[count++].name, sizeof(entries->name), "%.31s", d->d_name);
        }
        return count;
}

/* All of a directory, each name as often as it is told. */
static void list_all(int fd, bool small, struct answer *a)
{
        struct entry entries[LISTED_MAX * 2];
        int count = 0, n;

        while ((n = list_some(fd, small, entries + count)) > 0 && count < LISTED_MAX)
                count += n;
        /* A directory that is gone: only who removed it himself is told so. */
        if (n < 0 && errno != ENOENT)
                answer_call(a, "list", n);
        if (n < 0)
                return;
        qsort(entries, (size_t)count, sizeof(*entries), by_entry);
        for (int i = 0; i < count; i++)
                if (strcmp(entries[i].name, "..") != 0 && strcmp(entries[i].name, ".") != 0)
                        answer_say(a, " %s:%u", entries[i].name, entries[i].type);
}

ACT(readdir)
{
        CLEANUP_FD int fd = open(side_path(p, op->path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        answer_call(a, "open", fd < 0 ? -1 : 0);
        if (fd >= 0)
                list_all(fd, op->salt % 2, a);
}

ACT(hlist)
{
        int fd = p->hands[op->h].fd;
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISDIR(st.st_mode))
                return;
        lseek(fd, 0, SEEK_SET);
        list_all(fd, op->salt % 2, a);
}

/* As rm -r does it: remove what a listing names while the listing goes on. */
ACT(empty)
{
        CLEANUP_FD int fd = open(side_path(p, op->path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct entry entries[LISTED_MAX];
        unsigned removed = 0;
        int n;

        answer_call(a, "open", fd < 0 ? -1 : 0);
        if (fd < 0)
                return;
        for (unsigned calls = 0; calls < EMPTY_CALLS && (n = list_some(fd, op->salt % 2, entries)) > 0; calls++)
                for (int i = 0; i < n; i++)
                        removed += entries[i].type != DT_DIR && unlinkat(fd, entries[i].name, 0) == 0;
        answer_say(a, " removed=%u", removed);
        lseek(fd, 0, SEEK_SET);
        list_all(fd, false, a);
}

/* Every name that could be there, the absent ones too. */
ACT(storm)
{
        for (char kind = 'd'; kind <= 'f'; kind += 2) {
                for (unsigned i = 0; i < 5; i++) {
                        struct stat st;

                        answer_say(a, " %c%u", kind, i);
                        if (lstat(at(side_path(p, op->path), "%c%u", kind, i), &st) < 0)
                                answer_say(a, " %s", strerrorname_np(errno));
                        else
                                answer_say(a, " %o,%lu,%lld", st.st_mode,
                                           a->vague && S_ISDIR(st.st_mode) ? 0UL : (unsigned long)st.st_nlink,
                                           S_ISDIR(st.st_mode) ? 0 : (long long)st.st_size);
                }
        }
}

/* A script is written and run. Who has it open for writing where it is run makes it busy, and only there. */
ACT(exec)
{
        static const char script[] = "#!/bin/sh\nexit 7\n";
        CLEANUP_FD int fd = open(side_path(p, op->path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW, 0755);
        int status = 0;
        pid_t pid;

        answer_call(a, "open", fd < 0 ? -1 : 0);
        if (fd < 0 || fchmod(fd, 0755) < 0 || fd_write_full(fd, script, sizeof(script) - 1) < 0)
                return;
        fd_close(&fd);
        pid = fork();
        if (pid == 0) {
                execl(side_path(p, op->path), "script", (char *)NULL);
                _exit(errno == ETXTBSY ? 126 : 127);
        }
        must(pid > 0 && waitpid(pid, &status, 0) == pid, "fork");
        if (WEXITSTATUS(status) == 126)
                answer_say(a, ANSWER_BUSY);
        else
                answer_say(a, " exit=%d", status);
}

/* Done by who runs the sequence, for it is about everybody's trees. */
ACT(compare)
{
        (void)p, (void)op, (void)a;
}
