/*
 * The model stress: operations on bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "cache/base/fd.h"
#include "tests/lib/mount.h"
#include "tests/stress/model_side.h"

#define FSTAT_FIRST 2u /* of this many appends one asks for the size before */

static struct hand *hand(struct side *p, const struct op *op)
{
        return &p->hands[op->h];
}

static void say_bytes(struct answer *a, const char *buf, ssize_t n)
{
        answer_call(a, "n", n);
        if (n > 0)
                answer_say(a, " bytes=%016llx", (unsigned long long)XXH3_64bits(buf, (size_t)n));
}

ACT(open)
{
        struct hand *h = hand(p, op);
        struct stat st;

        fd_close(&h->fd);
        errno = 0;
        h->fd = open(side_path(p, op->path), (int)op->flags | O_CLOEXEC | O_NONBLOCK, op->mode);
        h->nameless = false;
        answer_call(a, "open", h->fd < 0 ? -1 : 0);
        /* Each kernel inode has a pipe of its own. */
        if (h->fd >= 0 && fstat(h->fd, &st) == 0 && S_ISFIFO(st.st_mode))
                fd_close(&h->fd);
}

ACT(close)
{
        answer_call(a, "close", close(hand(p, op)->fd));
        hand(p, op)->fd = -1;
}

ACT(read)
{
        say_bytes(a, scratch(), read(hand(p, op)->fd, scratch(), (size_t)op->len));
}

/* The kernel takes the place of an append from what it believes the size to be; asked just before, it believes what is true. */
static void write_at_end(struct side *p, const struct op *op, int fd, struct answer *a)
{
        struct stat st;
        bool sure = op->salt % FSTAT_FIRST == 0;

        if (sure)
                (void)fstat(fd, &st);
        answer_call(a, "n", write(fd, scratch(), (size_t)op->len));
        if (sure)
                answer_call(a, "at", lseek(fd, 0, SEEK_CUR));
        else
                a->doubt = p->in_mount;
}

ACT(write)
{
        int fd = hand(p, op)->fd;

        if (side_is_mute(p, fd))
                return;
        errno = 0;
        pattern_fill(scratch(), (size_t)op->len, op->salt);
        if (fd >= 0 && (fcntl(fd, F_GETFL) & O_APPEND)) {
                write_at_end(p, op, fd, a);
                answer_call(a, "seek", lseek(fd, 0, SEEK_SET));
                return;
        }
        answer_call(a, "n", write(fd, scratch(), (size_t)op->len));
}

ACT(pread)
{
        say_bytes(a, scratch(), pread(hand(p, op)->fd, scratch(), (size_t)op->len, op->off));
}

ACT(pwrite)
{
        int fd = hand(p, op)->fd;

        if (side_is_mute(p, fd))
                return;
        errno = 0;
        pattern_fill(scratch(), (size_t)op->len, op->salt);
        /* On an O_APPEND handle it appends. */
        a->doubt = p->in_mount && fd >= 0 && (fcntl(fd, F_GETFL) & O_APPEND);
        errno = 0;
        answer_call(a, "n", pwrite(fd, scratch(), (size_t)op->len, op->off));
}

ACT(append)
{
        CLEANUP_FD int fd = open(side_path(p, op->path), O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK);

        answer_call(a, "open", fd < 0 ? -1 : 0);
        if (fd < 0)
                return;
        pattern_fill(scratch(), (size_t)op->len, op->salt);
        write_at_end(p, op, fd, a);
}

static bool put(struct side *p, const struct op *op, const char *rel, struct answer *a)
{
        CLEANUP_FD int fd = open(side_path(p, rel), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, op->mode);

        answer_call(a, "open", fd < 0 ? -1 : 0);
        if (fd < 0)
                return false;
        pattern_fill(scratch(), (size_t)op->len, op->salt);
        answer_call(a, "n", write(fd, scratch(), (size_t)op->len));
        return true;
}

ACT(put)
{
        (void)put(p, op, op->path, a);
}

ACT(save)
{
        char temp[OP_PATH + 8];

        snprintf(temp, sizeof(temp), "%s~", op->path);
        if (!put(p, op, temp, a))
                return;
        errno = 0;
        answer_call(a, "rename", rename(side_path(p, temp), side_path(p, op->path)));
        errno = 0;
        answer_call(a, "unlink", unlink(side_path(p, temp)));
}

/* All of a file; the count of bytes may be more than one buffer. */
static void say_content(struct answer *a, int fd)
{
        unsigned long long sum = 0;
        long long at = 0;
        ssize_t n;

        while ((n = pread(fd, scratch(), BYTES_MAX, at)) > 0) {
                sum = sum * 31 + XXH3_64bits(scratch(), (size_t)n);
                at += n;
        }
        answer_call(a, "end", n);
        answer_say(a, " bytes=%lld content=%016llx", at, sum);
}

ACT(cat)
{
        CLEANUP_FD int fd = open(side_path(p, op->path), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        struct stat st;

        answer_call(a, "open", fd < 0 ? -1 : 0);
        if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
                say_content(a, fd);
}

ACT(hands)
{
        (void)op;
        for (unsigned i = 0; i < OP_HANDS; i++) {
                struct stat st;

                if (p->hands[i].fd < 0)
                        continue;
                answer_say(a, "; hand %u", i);
                if (fstat(p->hands[i].fd, &st) < 0) {
                        answer_call(a, "fstat", -1);
                        continue;
                }
                answer_stat(a, &st);
                if (S_ISREG(st.st_mode) && (fcntl(p->hands[i].fd, F_GETFL) & O_ACCMODE) != O_WRONLY)
                        say_content(a, p->hands[i].fd);
        }
}

/* What a directory's offsets mean is the filesystem's own. */
ACT(lseek)
{
        struct stat st;

        if (fstat(hand(p, op)->fd, &st) == 0 && !S_ISREG(st.st_mode))
                return;
        errno = 0;
        answer_call(a, "at", lseek(hand(p, op)->fd, op->off, (int)op->flags));
}

static bool is_zero(int fd, int64_t from, int64_t to)
{
        ssize_t n = 1;

        for (; from < to && n > 0; from += n) {
                int64_t want = to - from < BYTES_MAX ? to - from : BYTES_MAX;

                n = pread(fd, scratch(), (size_t)want, from);
                for (ssize_t i = 0; i < n; i++)
                        if (scratch()[i])
                                return false;
        }
        return true;
}

/* Where exactly data begins depends on what happens to be in the page cache: only what is told must be true. */
ACT(hole)
{
        int fd = hand(p, op)->fd;
        struct stat st;
        off_t found;

        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
                return;
        errno = 0;
        found = lseek(fd, op->off, (int)op->flags);
        if (found < 0 && !(errno == ENXIO && op->off < st.st_size && op->flags == SEEK_DATA)) {
                answer_call(a, "at", found);
                return;
        }
        if (op->flags == SEEK_DATA)
                answer_say(a, " sane=%d", found < 0 ? is_zero(fd, op->off, st.st_size) : found >= op->off && is_zero(fd, op->off, found));
        else
                answer_say(a, " sane=%d",
                           found >= op->off && found <= st.st_size && (found == st.st_size || is_zero(fd, found, found + 1)));
        lseek(fd, 0, SEEK_SET);
}

ACT(ftruncate)
{
        if (!side_is_mute(p, hand(p, op)->fd)) {
                errno = 0;
                answer_call(a, "ftruncate", ftruncate(hand(p, op)->fd, op->off));
        }
}

ACT(truncate)
{
        answer_call(a, "truncate", truncate(side_path(p, op->path), op->off));
}

ACT(fallocate)
{
        if (!side_is_mute(p, hand(p, op)->fd)) {
                errno = 0;
                answer_call(a, "fallocate", fallocate(hand(p, op)->fd, (int)op->flags, op->off, op->len));
        }
}

/* On ext4, one that is refused for its range has changed the times already, and raises no event. */
ACT(shift)
{
        struct stat st;

        if (fstat(hand(p, op)->fd, &st) == 0 && op->off + op->len < st.st_size)
                act_fallocate(p, op, a);
}

/* What is beyond the size that the kernel believes in is not copied, and it believes the old one until somebody asks: as programs do. */
ACT(copy)
{
        off_t from = op->off, to = op->off2;
        struct stat st;

        if (!side_is_mute(p, p->hands[op->h2].fd)) {
                (void)fstat(hand(p, op)->fd, &st);
                errno = 0;
                answer_call(a, "n", copy_file_range(hand(p, op)->fd, &from, p->hands[op->h2].fd, &to, (size_t)op->len, 0));
        }
}

ACT(fsync)
{
        int fd = hand(p, op)->fd;

        answer_call(a, "sync", op->flags ? fdatasync(fd) : fsync(fd));
}

ACT(crowd)
{
        unsigned long long sum = 0;

        for (unsigned i = 0; i < 40; i++) {
                CLEANUP_FD int fd = open(at(p->crowd, "%u", (op->salt + i * 7) % CROWD), O_RDONLY | O_CLOEXEC);
                ssize_t n = read(fd, scratch(), BYTES_MAX);

                if (n < 0) {
                        answer_call(a, "crowd", n);
                        return;
                }
                sum = sum * 31 + XXH3_64bits(scratch(), (size_t)n);
        }
        answer_say(a, " crowd=%016llx", sum);
}
