/*
 * The model stress: operations on mappings.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "cache/base/fd.h"
#include "tests/stress/model_side.h"

static struct hand *hand(struct side *p, const struct op *op)
{
        return &p->hands[op->h];
}

static sigjmp_buf out_of_file;

static void on_bus_error(int signal)
{
        (void)signal;
        siglongjmp(out_of_file, 1);
}

ACT(unmap)
{
        struct hand *h = hand(p, op);

        if (h->map)
                answer_call(a, "munmap", munmap(h->map, h->map_len));
        h->map = NULL;
        fd_close(&h->map_fd);
}

ACT(map)
{
        struct hand *h = hand(p, op);
        void *map;

        act_unmap(p, op, a);
        errno = 0;
        map = mmap(NULL, (size_t)op->len, PROT_READ | PROT_WRITE, MAP_SHARED, h->fd, 0);
        answer_call(a, "mmap", map == MAP_FAILED ? -1 : 0);
        if (map == MAP_FAILED)
                return;
        h->map = map;
        h->map_len = (size_t)op->len;
        h->map_nameless = h->nameless;
        h->map_fd = fcntl(h->fd, F_DUPFD_CLOEXEC, 0);
}

/* How much of the operation's range is mapped and in the file. Asking for the size tells the kernel how long a file that was changed behind
 * the mount is: who reads a mapping without looking may meet zeros beyond its end instead of SIGBUS. */
static size_t mapped_range(const struct hand *h, const struct op *op)
{
        struct stat st;
        int64_t end;

        if (!h->map || fstat(h->map_fd, &st) < 0)
                return 0;
        end = st.st_size < (int64_t)h->map_len ? st.st_size : (int64_t)h->map_len;
        return op->off >= end ? 0 : (size_t)(end - op->off < op->len ? end - op->off : op->len);
}

/* Bytes from the mapping, or into it. */
static void touch(struct side *p, const struct op *op, struct answer *a, bool write)
{
        struct sigaction act = {.sa_handler = on_bus_error}, before;
        struct hand *h = hand(p, op);
        volatile size_t len = mapped_range(h, op);
        volatile size_t beyond = h->map ? (size_t)op->off : 0;

        answer_say(a, " len=%zu", len);
        if (!h->map || (len == 0 && beyond >= h->map_len))
                return;
        sigaction(SIGBUS, &act, &before);
        if (sigsetjmp(out_of_file, 1))
                answer_say(a, " SIGBUS");
        else if (len == 0)
                answer_say(a, " byte=%d", ((volatile char *)h->map)[beyond]);
        else if (write)
                memcpy(h->map + op->off, scratch(), len);
        else
                answer_say(a, " bytes=%016llx", (unsigned long long)XXH3_64bits(h->map + op->off, len));
        sigaction(SIGBUS, &before, NULL);
}

ACT(mread)
{
        touch(p, op, a, false);
}

/* A mapping raises no events, nor does one that is passed through: the source's watch is told by a close. */
ACT(mwrite)
{
        struct hand *h = hand(p, op);

        if (!h->map || side_is_mute(p, h->map_fd))
                return;
        pattern_fill(scratch(), (size_t)op->len, op->salt);
        touch(p, op, a, true);
        errno = 0;
        answer_call(a, "msync", msync(h->map, h->map_len, MS_SYNC));
        if (p->overheard) {
                CLEANUP_FD int fd = open(fd_proc_path(h->map_fd).text, O_WRONLY | O_CLOEXEC);

                (void)fd;
        }
}
