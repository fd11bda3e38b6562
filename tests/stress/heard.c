/*
 * Nobody who is woken reads what was. Both sides write files that hold a counter, in place, by renaming over and anew; readers in the mount
 * wait for inotify events there, and what they read of a file then must be what was written before the event, or newer, and never older
 * than what was read before.
 *
 *   heard [SECONDS [SEED [uring|dev]]]
 *
 * A writer notes in shared memory what he has written, after he has; an event is of a write that was noted, or is about to be, so a reader
 * who finds less than what had been noted before all that the agent has told (a barrier) is stale. That is looked at every so often; at
 * each event, that nothing goes backwards.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "tests/lib/mount.h"

#define FILES 16u  /* of each writer: nobody else writes them */
#define WRITERS 4u /* the even ones on the host, the odd ones in the mount */
#define READERS 3u
#define SECONDS_DEFAULT 6
#define BURST 40u     /* edits between two rests */
#define BURST_TSAN 4u /* slower by so much, it would be behind for minutes */
#define REST_NS 2000000L
#define LIFE 14400
#define TORN_MAX 20
#define HEARD (IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM)

/* Shared by all. */
struct board {
        _Atomic unsigned long long written[WRITERS][FILES]; /* the last counter that is in the file, or was */
        _Atomic unsigned long long edits, events, checks, stale, unheard, absent, overflows;
        atomic_uint resting[WRITERS]; /* the rest for which the writer has stopped */
        atomic_uint rest;             /* all writers are to; 0: nobody is */
        atomic_uint end;
};

struct actor {
        struct fixture *f;
        struct board *board;
        unsigned id;
        unsigned long long seed;
};

static const char *file_of(const char *root, unsigned writer, unsigned file)
{
        return at(root, "w%u/f%u", writer, file);
}

/*
 * Writing. A counter of fixed width, twice, so that what is torn is seen; the rest varies in length.
 */

static void fill(char *buf, size_t size, unsigned long long counter, unsigned pad)
{
        snprintf(buf, size, "%020llu %020llu %*s", counter, counter, (int)pad, "");
}

static void write_at(const char *path, int flags, const char *text)
{
        CLEANUP_FD int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0644);

        must(fd >= 0 && pwrite(fd, text, strlen(text), 0) == (ssize_t)strlen(text), "write %s", path);
}

static void edit(const struct actor *a, const char *root, unsigned file, unsigned how, unsigned pad, unsigned long long counter)
{
        const char *path = file_of(root, a->id, file);
        char text[2048];

        fill(text, sizeof(text), counter, pad);
        if (how < 5) {
                write_at(path, 0, text);
        } else if (how < 8) {
                const char *tmp = at(root, "w%u/.f%u.tmp", a->id, file);

                write_at(tmp, O_CREAT | O_EXCL, text);
                must(rename(tmp, path) == 0, "rename %s", tmp);
        } else {
                must(unlink(path) == 0, "unlink %s", path);
                write_at(path, O_CREAT | O_EXCL, text);
        }
}

static void rest_if_asked(const struct actor *a)
{
        const struct timespec moment = {.tv_nsec = REST_NS};

        unsigned rest;

        while ((rest = atomic_load(&a->board->rest)) && !atomic_load(&a->board->end)) {
                atomic_store(&a->board->resting[a->id], rest);
                clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
        }
}

static unsigned burst(void)
{
        const char *variant = getenv("VARIANT");

        return variant && strcmp(variant, "tsan") == 0 ? BURST_TSAN : BURST;
}

static int keep_writing(void *arg)
{
        const struct actor *a = arg;
        const struct timespec moment = {.tv_nsec = REST_NS};
        const char *root = a->id % 2 ? a->f->mnt : a->f->src;
        struct dice dice = {a->seed * WRITERS + a->id};

        for (unsigned long long counter = 1; !atomic_load(&a->board->end); counter++) {
                unsigned file = dice_roll(&dice, FILES);

                edit(a, root, file, dice_roll(&dice, 10), dice_roll(&dice, 1500), counter);
                atomic_store(&a->board->written[a->id][file], counter);
                atomic_fetch_add(&a->board->edits, 1);
                if (counter % burst() == 0)
                        clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
                rest_if_asked(a);
        }
        return 0;
}

/*
 * Reading
 */

/* The counter that the file holds; 0: it isn't there, or is just being made. False if there are two. And which file it is. */
static bool read_counter(const char *path, unsigned long long *ret, unsigned long *ino)
{
        CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
        unsigned long long one = 0, two = 0;
        char text[64] = "";
        struct stat st = {0};

        *ret = 0;
        *ino = 0;
        if (fd < 0 || pread(fd, text, 41, 0) != 41)
                return true;
        *ino = fstat(fd, &st) == 0 ? st.st_ino : 0;
        if (sscanf(text, "%llu %llu", &one, &two) != 2)
                return false;
        *ret = one;
        return one == two;
}

/* What each reader has read. */
struct reader {
        const struct actor *a;
        int fd;
        int watches[WRITERS];
        unsigned long long seen[WRITERS][FILES];
        unsigned long seen_ino[WRITERS][FILES];
        unsigned long long heard[WRITERS][FILES];  /* events since the last barrier */
        unsigned long long before[WRITERS][FILES]; /* what had been written by then */
};

/* What is seen of it from now on, here and in the source: is it the name that is old, or the bytes, and for how long? */
static void follow(struct reader *r, unsigned writer, unsigned file)
{
        unsigned long long begin = clock_now_ns(), is, was = ~0ULL;
        unsigned long ino;
        const struct timespec moment = {.tv_nsec = 50000};

        for (unsigned i = 0; i < 200; i++) {
                unsigned long long source;
                unsigned long source_ino;

                (void)read_counter(file_of(r->a->f->mnt, writer, file), &is, &ino);
                (void)read_counter(file_of(r->a->f->src, writer, file), &source, &source_ino);
                if (is != was)
                        fprintf(stderr, "  %llu us later: %llu (inode %lu), in the source %llu (%lu)\n", (clock_now_ns() - begin) / 1000,
                                is, ino, source, source_ino);
                was = is;
                clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
        }
}

static void check(struct reader *r, unsigned writer, unsigned file, unsigned long long at_least)
{
        struct board *b = r->a->board;
        unsigned long long is;
        unsigned long ino;
        bool whole = read_counter(file_of(r->a->f->mnt, writer, file), &is, &ino);

        /* Who reads what is being written in place may see parts of both, on a bind mount too. */
        for (unsigned i = 0; i < TORN_MAX && !whole; i++)
                whole = read_counter(file_of(r->a->f->mnt, writer, file), &is, &ino);

        atomic_fetch_add(&b->checks, 1);
        if (!is && whole) {
                atomic_fetch_add(&b->absent, 1);
                return;
        }
        if (!whole || is < r->seen[writer][file] || is < at_least) {
                atomic_fetch_add(&b->stale, 1);
                fprintf(stderr, "w%u/f%u says %llu%s (inode %lu), after %llu (%lu), and %llu was due\n", writer, file, is,
                        whole ? "" : " (torn)", ino, r->seen[writer][file], r->seen_ino[writer][file], at_least);
                follow(r, writer, file);
        }
        if (is > r->seen[writer][file]) {
                r->seen[writer][file] = is;
                r->seen_ino[writer][file] = ino;
        }
}

static void take(struct reader *r, const struct inotify_event *in)
{
        unsigned writer = 0, file;

        must(!(in->mask & (IN_UNMOUNT | IN_IGNORED)), "the watch has ended (%x)", in->mask);
        /* We are too slow, and not told how much was lost. */
        if (in->mask & IN_Q_OVERFLOW) {
                atomic_fetch_add(&r->a->board->overflows, 1);
                memset(r->heard, 1, sizeof(r->heard));
                return;
        }
        while (writer < WRITERS && r->watches[writer] != in->wd)
                writer++;
        atomic_fetch_add(&r->a->board->events, 1);
        if (writer == WRITERS || !in->len || sscanf(in->name, "f%u", &file) != 1 || file >= FILES)
                return;
        r->heard[writer][file]++;
        if (!(in->mask & (IN_DELETE | IN_MOVED_FROM)))
                check(r, writer, file, 0);
}

static void take_all(struct reader *r, int patience_ms)
{
        _Alignas(struct inotify_event) char buf[16384];
        struct pollfd p = {.fd = r->fd, .events = POLLIN};
        ssize_t n;

        if (poll(&p, 1, patience_ms) <= 0)
                return;
        while ((n = read(r->fd, buf, sizeof(buf))) > 0) {
                for (const char *at = buf; at < buf + n;) {
                        const struct inotify_event *in = (const void *)at;

                        at += sizeof(*in) + in->len;
                        take(r, in);
                }
        }
}

static int keep_reading(void *arg)
{
        const struct actor *a = arg;
        struct reader r = {.a = a, .fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC)};

        must(r.fd >= 0, "inotify");
        for (unsigned i = 0; i < WRITERS; i++) {
                r.watches[i] = inotify_add_watch(r.fd, at(a->f->mnt, "w%u", i), HEARD);
                must(r.watches[i] >= 0, "watch");
        }
        while (!atomic_load(&a->board->end))
                take_all(&r, 50);
        return 0;
}

/*
 * The barrier: everybody rests, all is told, and then every file is what was last written, and whoever watched heard of it.
 */

static bool all_rest(void *arg)
{
        const struct board *b = arg;

        for (unsigned i = 0; i < WRITERS; i++) {
                if (atomic_load(&b->resting[i]) != atomic_load(&b->rest))
                        return false;
        }
        return true;
}

static void look_at_all(struct reader *r)
{
        struct board *b = r->a->board;
        unsigned long long noted[WRITERS][FILES];
        static unsigned rests;

        atomic_store(&b->rest, ++rests);
        must(wait_until(all_rest, b, 60), "a writer doesn't come to rest");
        fixture_wait(r->a->f);
        take_all(r, 0);
        for (unsigned w = 0; w < WRITERS; w++) {
                for (unsigned i = 0; i < FILES; i++) {
                        noted[w][i] = atomic_load(&b->written[w][i]);
                        check(r, w, i, noted[w][i]);
                        if (noted[w][i] != r->before[w][i] && !r->heard[w][i]) {
                                atomic_fetch_add(&b->unheard, 1);
                                fprintf(stderr, "w%u/f%u: %llu was written, and nothing heard\n", w, i, noted[w][i]);
                        }
                        r->heard[w][i] = 0;
                }
        }
        memcpy(r->before, noted, sizeof(noted));
        atomic_store(&b->rest, 0);
}

static void watch_over(struct fixture *f, struct board *b, unsigned seconds, pid_t *pids, size_t count)
{
        const struct actor self = {f, b, 0, 0};
        struct reader r = {.a = &self, .fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC)};
        unsigned long long end = clock_now_ns() + seconds * 1000000000ULL;

        for (unsigned i = 0; i < WRITERS; i++)
                r.watches[i] = inotify_add_watch(r.fd, at(f->mnt, "w%u", i), HEARD);
        /* They have begun already. */
        memset(r.heard, 1, sizeof(r.heard));
        while (clock_now_ns() < end) {
                for (unsigned i = 0; i < 20; i++)
                        take_all(&r, 10);
                look_at_all(&r);
                for (size_t i = 0; i < count; i++) {
                        siginfo_t info = {0};

                        must(waitid(P_PID, (id_t)pids[i], &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0,
                             "process %zu of the run has ended", i);
                }
        }
        look_at_all(&r);
        atomic_store(&b->end, 1);
        close(r.fd);
}

static unsigned long long run(unsigned seconds, unsigned long long seed, enum transport transport)
{
        const struct variant v = {.backing = ON_EXT4, .transport = transport, .options = "replay=on", .life = LIFE};
        struct board *b = shared_new(sizeof(*b));
        struct actor actors[WRITERS + READERS];
        pid_t pids[WRITERS + READERS];
        struct fixture *f = fixture_prepare(&v);

        for (unsigned w = 0; w < WRITERS; w++) {
                must(mkdir(at(f->src, "w%u", w), 0755) == 0, "mkdir");
                for (unsigned i = 0; i < FILES; i++)
                        put_text(file_of(f->src, w, i), "00000000000000000000 00000000000000000000 ");
        }
        fixture_mount(f);
        for (unsigned i = 0; i < WRITERS + READERS; i++) {
                actors[i] = (struct actor){f, b, i, seed};
                pids[i] = child_start(NULL, i < WRITERS ? keep_writing : keep_reading, &actors[i]);
        }
        watch_over(f, b, seconds, pids, ARRAY_LEN(pids));
        for (size_t i = 0; i < ARRAY_LEN(pids); i++)
                must(child_wait(pids[i]) == 0, "process %zu of the run", i);
        fixture_free(f);
        printf("%s: edits=%llu events=%llu checks=%llu stale=%llu unheard=%llu overflows=%llu seconds=%u seed=%llu\n",
               transport == BY_URING ? "uring" : "dev", b->edits, b->events, b->checks - b->absent, b->stale, b->unheard, b->overflows,
               seconds, seed);
        fflush(stdout);
        return b->stale + b->unheard;
}

int main(int argc, char **argv)
{
        unsigned seconds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : SECONDS_DEFAULT;
        unsigned long long seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (unsigned long long)time(NULL), wrong = 0;

        if (argc > 4 || seconds == 0) {
                fprintf(stderr, "usage: %s [SECONDS [SEED [uring|dev]]]\n", argv[0]);
                return 2;
        }
        if (argc < 4 || strcmp(argv[3], "uring") == 0)
                wrong += run(seconds, seed, BY_URING);
        if (argc < 4 || strcmp(argv[3], "dev") == 0)
                wrong += run(seconds, seed, BY_DEV);
        return wrong > 0;
}
