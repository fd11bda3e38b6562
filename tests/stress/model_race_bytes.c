/*
 * The model stress, games on bytes: who writes what is known, so it is known what must be there.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/lib/mount.h"
#include "tests/stress/model_race.h"
#include "tests/stress/model_side.h"

#define PAGE 4096

/*
 * A log that everybody appends to, through two handles each: nothing lost, torn, doubled or out of its writer's order.
 *
 * Without passthrough the kernel cuts an append in two where it crosses a page that it doesn't have, so that an append on the source may
 * come in between. So a record is made of cells, none of which crosses a page; the cells of one record lie together where nothing cuts.
 */

#define CELL 64
#define CELLS_MAX 8
#define LOG_MAX (16 << 20)

struct cell {
        uint32_t writer, seq, nth, count, sum;
        unsigned char filling[CELL - 20];
};

static uint32_t sum_of(const struct cell *c)
{
        uint32_t sum = c->writer * 31 + c->seq * 7 + c->nth * 3 + c->count;

        for (size_t i = 0; i < sizeof(c->filling); i++)
                sum = sum * 33 + c->filling[i];
        return sum;
}

static void lay_log(const char *root, unsigned racers)
{
        (void)racers;
        put_text(at(root, "log"), "");
}

static void append_record(struct racer *r)
{
        int *fd = &r->log[dice_roll(&r->dice, 2)];
        struct cell cells[CELLS_MAX];
        uint32_t count = 1 + dice_roll(&r->dice, CELLS_MAX);
        ssize_t len = (ssize_t)(count * sizeof(*cells));

        if (dice_roll(&r->dice, 10) == 0)
                fd_close(fd);
        if (*fd < 0)
                *fd = open(at(r->root, "log"), O_WRONLY | O_APPEND | O_CLOEXEC);
        must(*fd >= 0, "open the log");
        for (uint32_t i = 0; i < count; i++) {
                cells[i] = (struct cell){.writer = r->id, .seq = r->done[r->id].logged, .nth = i, .count = count};
                pattern_fill((char *)cells[i].filling, sizeof(cells[i].filling), cells[i].seq * 7 + i);
                cells[i].sum = sum_of(&cells[i]);
        }
        must(write(*fd, cells, (size_t)len) == len, "append to the log");
        r->done[r->id].logged++;
}

/* What is wrong with the next cell, or NULL. `next` is what each writer's next one must be. */
static const char *judge_cell(const struct view *v, const struct cell *c, const struct cell *before, struct cell next[RACERS])
{
        if (c->writer >= v->racers || c->sum != sum_of(c))
                return "no cell of a record";
        if (c->seq != next[c->writer].seq || c->nth != next[c->writer].nth)
                return "not its writer's next";
        if (c->nth > 0 && (before->writer != c->writer || before->seq != c->seq) && (v->whole || c->writer % 2 == 0))
                return "torn from its record";
        next[c->writer].nth++;
        if (next[c->writer].nth == c->count) {
                next[c->writer].nth = 0;
                next[c->writer].seq++;
        }
        return NULL;
}

static bool check_log(const struct view *v, char *report)
{
        CLEANUP_FREE char *text = NULL;
        ssize_t len = fd_read_file(AT_FDCWD, at(v->root, "log"), LOG_MAX, &text);
        struct cell next[RACERS] = {0}, c = {0};

        must(len >= 0, "read the log");
        for (ssize_t pos = 0; pos + CELL <= len; pos += CELL) {
                struct cell before = c;
                const char *wrong;

                memcpy(&c, text + pos, sizeof(c));
                wrong = judge_cell(v, &c, &before, next);
                if (wrong) {
                        snprintf(report, REPORT_MAX / 2, "at %zd of %zd: racer %u, record %u, cell %u: %s", pos, len, c.writer, c.seq,
                                 c.nth, wrong);
                        return false;
                }
        }
        for (unsigned i = 0; i < v->racers; i++) {
                if (next[i].seq != v->done[i].logged || next[i].nth || len % CELL) {
                        snprintf(report, REPORT_MAX / 2, "racer %u wrote %u records, %u are there", i, v->done[i].logged, next[i].seq);
                        return false;
                }
        }
        return true;
}

const struct game game_log = {"log", lay_log, append_record, check_log};

/*
 * Slots: everybody writes only his own few bytes, several to a page.
 */

#define SLOT 100 /* bytes from one to the next; the value is repeated in it */
#define SLOT_WORDS 20

static void lay_slots(const char *root, unsigned racers)
{
        static const char zero[SLOT * RACERS];

        put_file(at(root, "slots"), zero, SLOT * racers);
}

static void write_slot(struct racer *r)
{
        CLEANUP_FD int fd = open(at(r->root, "slots"), O_RDWR | O_CLOEXEC);
        uint32_t words[SLOT_WORDS];
        unsigned other = dice_roll(&r->dice, RACERS);

        must(fd >= 0, "open slots");
        if (dice_roll(&r->dice, 3) == 0) {
                must(pread(fd, words, sizeof(words), other * SLOT) >= 0, "read slots");
                return;
        }
        for (size_t i = 0; i < SLOT_WORDS; i++)
                words[i] = r->done[r->id].slot + 1;
        must(pwrite(fd, words, sizeof(words), r->id * SLOT) == sizeof(words), "write slots");
        r->done[r->id].slot++;
}

static bool check_slots(const struct view *v, char *report)
{
        CLEANUP_FD int fd = open(at(v->root, "slots"), O_RDONLY | O_CLOEXEC);

        for (unsigned k = 0; k < v->racers; k++) {
                uint32_t words[SLOT_WORDS];

                must(pread(fd, words, sizeof(words), k * SLOT) == sizeof(words), "read slots");
                for (size_t i = 0; i < SLOT_WORDS; i++) {
                        if (words[i] != v->done[k].slot) {
                                snprintf(report, REPORT_MAX / 2, "racer %u wrote %u last, there is %u", k, v->done[k].slot, words[i]);
                                return false;
                        }
                }
        }
        return true;
}

const struct game game_slots = {"slots", lay_slots, write_slot, check_slots};

/*
 * Pages: everybody has his own of one mapped file. Stamps of others are theirs, and whole.
 */

#define PAGES_EACH 2
#define PAGES_SIZE (RACERS * PAGES_EACH * PAGE)

static uint64_t stamp(unsigned id, uint32_t seq)
{
        return seq ? ((uint64_t)(id + 1) << 32) | seq : 0;
}

static void lay_pages(const char *root, unsigned racers)
{
        static const char zero[PAGES_SIZE];

        (void)racers;
        put_file(at(root, "pages"), zero, sizeof(zero));
}

static void stamp_pages(struct racer *r)
{
        CLEANUP_FD int fd = open(at(r->root, "pages"), O_RDWR | O_CLOEXEC);
        uint64_t *map = mmap(NULL, PAGES_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        unsigned words = PAGES_EACH * PAGE / 8, other = dice_roll(&r->dice, RACERS);
        uint64_t theirs;

        must(fd >= 0 && map != MAP_FAILED, "map pages");
        theirs = __atomic_load_n(&map[other * words + dice_roll(&r->dice, words)], __ATOMIC_RELAXED);
        errno = 0;
        must(theirs == 0 || theirs >> 32 == other + 1, "a stamp of racer %u is %llx", other, (unsigned long long)theirs);
        r->done[r->id].mapped++;
        for (unsigned i = 0; i < words; i++)
                __atomic_store_n(&map[r->id * words + i], stamp(r->id, r->done[r->id].mapped), __ATOMIC_RELAXED);
        must(msync(map, PAGES_SIZE, MS_SYNC) == 0 && munmap(map, PAGES_SIZE) == 0, "msync");
}

static bool check_pages(const struct view *v, char *report)
{
        CLEANUP_FREE char *bytes = NULL;

        must(fd_read_file(AT_FDCWD, at(v->root, "pages"), PAGES_SIZE, &bytes) == PAGES_SIZE, "read pages");
        for (unsigned k = 0; k < v->racers; k++) {
                for (size_t i = 0; i < PAGES_EACH * PAGE; i += 8) {
                        uint64_t have;

                        memcpy(&have, bytes + k * PAGES_EACH * PAGE + i, sizeof(have));
                        if (have != stamp(k, v->done[k].mapped)) {
                                snprintf(report, REPORT_MAX / 2, "racer %u's page has %llx, the last stamp was %llx", k,
                                         (unsigned long long)have, (unsigned long long)stamp(k, v->done[k].mapped));
                                return false;
                        }
                }
        }
        return true;
}

const struct game game_pages = {"pages", lay_pages, stamp_pages, check_pages};

/*
 * Holes: a byte is zero or what its place says.
 */

#define HOLES_SIZE (24 * PAGE)

static void lay_holes(const char *root, unsigned racers)
{
        (void)racers;
        pattern_fill(scratch(), HOLES_SIZE, 1);
        put_file(at(root, "holes"), scratch(), HOLES_SIZE);
}

static void read_holes(int fd, unsigned from, unsigned len)
{
        static char pattern[HOLES_SIZE];
        ssize_t n = pread(fd, scratch(), len, from);

        must(n == (ssize_t)len, "read %u from %u of holes: %zd", len, from, n);
        errno = 0;
        if (!*pattern)
                pattern_fill(pattern, HOLES_SIZE, 1);
        for (unsigned i = 0; i < len; i++)
                must(scratch()[i] == 0 || scratch()[i] == pattern[from + i], "byte %u of holes", from + i);
}

static void punch_or_fill(struct racer *r)
{
        CLEANUP_FD int fd = open(at(r->root, "holes"), O_RDWR | O_CLOEXEC);
        unsigned from = dice_roll(&r->dice, HOLES_SIZE - 1), len = 1 + dice_roll(&r->dice, HOLES_SIZE - from - 1);

        must(fd >= 0, "open holes");
        switch (dice_roll(&r->dice, 5)) {
        case 0:
                must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, len) == 0, "punch");
                break;
        case 1:
                must(fallocate(fd, FALLOC_FL_ZERO_RANGE, from, len) == 0, "zero range");
                break;
        case 2:
                pattern_fill(scratch(), HOLES_SIZE, 1);
                must(pwrite(fd, scratch() + from, len, from) == (ssize_t)len, "fill");
                break;
        default:
                read_holes(fd, from, len);
        }
}

const struct game game_holes = {"holes", lay_holes, punch_or_fill, NULL};
