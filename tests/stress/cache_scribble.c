/*
 * The files of a memory are damaged in every way that a disk, an editor or a backup knows. Whoever opens them then gets the right root
 * hash, in time and in one piece; what was damaged is used as far as it is sound, or made anew.
 *
 *   cache_scribble [ROUNDS [SEED]]
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/lib/area.h"
#include "tests/lib/mount.h"
#include "tests/lib/naive.h"
#include "tests/stress/tree_edit.h"

#define ROUNDS 100
#define DIRS 30U
#define FILES 20U
#define PAGE 4096U
#define FILE_MAX (8U << 20)
#define LIMIT_S 60U
#define EDITS 3
#define COPIES 4

struct copy {
        char *bytes; /* owned */
        size_t len;
};

static char src[PATH_MAX + 8], dir[PATH_MAX + 8];
/* data.mdb at different times, the last one at the end; and the two small files as they were then. */
static struct copy data[COPIES], lock_file, state_file;
static unsigned *found_count; /* shared */
static struct naive good;

static struct copy read_copy(const char *name)
{
        struct copy c;
        ssize_t n = fd_read_file(AT_FDCWD, at(dir, "%s", name), FILE_MAX, &c.bytes);

        must(n >= 0, "read %s: %zd", name, n);
        c.len = (size_t)n;
        return c;
}

static struct cache *open_memory(enum cache_found *found, char **notice)
{
        struct cache_options options = {.source = src, .dir = dir, .threads = 2};
        struct cache *c;

        must(cache_open(&options, &c, found, notice) == 0, "cache_open");
        return c;
}

static void make_bulk(struct dice *d, unsigned which)
{
        const char *top = at(src, "bulk%u", which);

        (void)mkdir(top, 0755);
        for (unsigned i = 0; i < FILES; i++)
                put_text(at(top, "file%u", i), at("", "%u %u", i, dice_roll(d, 1U << 20)));
}

/* With free pages in it, and old copies of everything. */
static void make_memory(struct dice *d)
{
        enum cache_found found;
        struct scan_report r;

        for (int i = 0; i < COPIES; i++) {
                static struct touched t;
                struct cache *c = open_memory(&found, NULL);

                for (unsigned dir_number = 0; dir_number < DIRS; dir_number++)
                        if (i == 0 || dice_roll(d, 3) == 0)
                                make_bulk(d, dir_number);
                if (i > 0)
                        remove_tree(at(src, "bulk%u", dice_roll(d, DIRS)));
                t.count = 0;
                tree_edit_grow(src, d, &t);
                must(cache_scan(c, NULL, &r) == 0, "scan");
                for (int edits = 0; edits < 20; edits++) {
                        const char *path = at("", "bulk%u", dice_roll(d, DIRS)) + 1;

                        put_text(at(src, "%s", "changing"), path);
                        must(cache_update(c, (const char *const[]){"changing"}, 1, NULL, &r) == 0, "update");
                }
                cache_close(c);
                data[i] = read_copy("data.mdb");
        }
        lock_file = read_copy("lock.mdb");
        state_file = read_copy("state");
        naive_tree(src, &good);
}

static void flip_bits(struct dice *d, char *bytes, size_t len, unsigned count)
{
        while (count-- > 0)
                bytes[dice_roll(d, (unsigned)len)] ^= (char)(1U << dice_roll(d, 8));
}

/* Small numbers are what page numbers, offsets and counts look like. */
static void poke_number(struct dice *d, char *bytes, size_t len)
{
        uint64_t value = dice_roll(d, 4) ? dice_roll(d, 1U << (1 + dice_roll(d, 24))) : UINT64_MAX - dice_roll(d, 3);
        size_t width = (size_t)1 << (1 + dice_roll(d, 3));

        memcpy(bytes + dice_roll(d, (unsigned)(len - width)) / 2 * 2, &value, width);
}

static void scribble_data(struct dice *d, char *bytes, size_t *len)
{
        size_t pages = *len / PAGE;
        char *page = bytes + PAGE * dice_roll(d, (unsigned)pages), *other = bytes + PAGE * dice_roll(d, (unsigned)pages);
        const struct copy *old = &data[dice_roll(d, COPIES)];
        char swap[PAGE];

        switch (dice_roll(d, 12)) {
        case 0: /* the heads of the file and of pages */
                flip_bits(d, bytes, 2 * PAGE, 1);
                break;
        case 1:
                flip_bits(d, bytes + (dice_roll(d, 2) ? PAGE : 0), 200, 1);
                break;
        case 2:
                flip_bits(d, bytes, *len, 1 + dice_roll(d, 40));
                break;
        case 3:
                memset(page, dice_roll(d, 2) ? 0 : 0xff, PAGE);
                break;
        case 4:
                memcpy(swap, page, PAGE);
                memcpy(page, other, PAGE);
                memcpy(other, swap, PAGE);
                break;
        case 5: /* each says that it is in its place */
                memcpy(page + 8, other + 8, PAGE - 8);
                break;
        case 6:
                *len = dice_roll(d, 2) ? dice_roll(d, (unsigned)*len) : PAGE * dice_roll(d, (unsigned)pages);
                break;
        case 7:
        case 8:
                if ((size_t)(page - bytes) + PAGE <= old->len)
                        memcpy(page, old->bytes + (page - bytes), PAGE);
                break;
        case 9:
                poke_number(d, page, 64);
                break;
        case 10:
                poke_number(d, page, PAGE);
                break;
        default:
                flip_bits(d, page, 400, 1 + dice_roll(d, 3));
                break;
        }
}

static void scribble_state(struct dice *d)
{
        static const char *const texts[] = {"",
                                            "dsfs cache 1 dirty 00000000-0000-0000-0000-000000000000\n",
                                            "dsfs cache 0 clean -\n",
                                            "dsfs cache 2 clean -\n",
                                            "dsfs cache 99999999999999999999 clean -\n",
                                            "dsfs cache 1 filthy -\n",
                                            "dsfs cache 1 clean\n"};
        char bytes[256];

        if (dice_roll(d, 2)) {
                put_text(at(dir, "state"), texts[dice_roll(d, ARRAY_LEN(texts))]);
                return;
        }
        memcpy(bytes, state_file.bytes, state_file.len);
        flip_bits(d, bytes, state_file.len, 1);
        put_file(at(dir, "state"), bytes, state_file.len);
}

static void replace_by_something(struct dice *d)
{
        static const char *const names[] = {"data.mdb", "lock.mdb", "state", "state.new", "owner"};
        const char *path = at(dir, "%s", names[dice_roll(d, ARRAY_LEN(names))]);

        remove_tree(path);
        switch (dice_roll(d, 5)) {
        case 0:
                must(mkdir(path, 0700) == 0, "mkdir");
                break;
        case 1:
                must(symlink("/nonexistent", path) == 0, "symlink");
                break;
        case 2:
                must(mkfifo(path, 0600) == 0, "mkfifo");
                break;
        case 3:
                put_text(path, "this is no database");
                break;
        default:
                break;
        }
}

/* The memory as it was, but for the damage. */
static void damage(struct dice *d)
{
        const struct copy *now = &data[COPIES - 1];
        char *bytes = malloc(FILE_MAX);
        size_t len = now->len;
        unsigned what = dice_roll(d, 20);

        must(bytes, "out of memory");
        memcpy(bytes, now->bytes, len);
        remove_tree(dir);
        must(mkdir(dir, 0700) == 0, "mkdir");
        put_file(at(dir, "lock.mdb"), lock_file.bytes, lock_file.len);
        put_file(at(dir, "state"), state_file.bytes, state_file.len);
        if (what > 3)
                for (unsigned i = dice_roll(d, 3) + 1; i-- > 0 && len >= 2 * PAGE;)
                        scribble_data(d, bytes, &len);
        put_file(at(dir, "data.mdb"), bytes, len);
        free(bytes);
        if (what == 0)
                scribble_state(d);
        else if (what == 1)
                replace_by_something(d);
        else if (what == 2)
                put_text(at(dir, "lock.mdb"), at("", "%u", dice_roll(d, 1U << 30)));
        else if (what == 3)
                must(truncate(at(dir, "lock.mdb"), dice_roll(d, (unsigned)lock_file.len)) == 0, "truncate");
}

static void must_be_right(const struct scan_report *r, const struct content *root, const char *when)
{
        must(content_equal(&r->root, root), "WRONG ROOT HASH %s", when);
}

/* As a process of its own, for LMDB may crash. */
static int use(void *arg)
{
        struct dice *d = arg;
        enum cache_found found;
        struct scan_report r;
        struct content root;
        struct cache *c;
        char *notice;

        alarm(LIMIT_S);
        c = open_memory(&found, &notice);
        must((found == CACHE_REBUILT || found == CACHE_REFUSED) == (notice != NULL), "found %d: %s", found, notice ? notice : "no notice");
        free(notice);
        __atomic_fetch_add(&found_count[found], 1, __ATOMIC_RELAXED);
        must(cache_scan(c, NULL, &r) == 0, "scan");
        must_be_right(&r, &naive_find(&good, "")->hash, "of the first scan");
        /* And it can be written. */
        for (int i = 0; i < EDITS; i++) {
                char name[32];

                snprintf(name, sizeof(name), "bulk%u", dice_roll(d, DIRS));
                make_bulk(d, (unsigned)atoi(name + 4));
                must(cache_update(c, (const char *const[]){name}, 1, NULL, &r) == 0, "update");
        }
        root = naive_root(src);
        must_be_right(&r, &root, "of an update");
        must(cache_scan(c, NULL, &r) == 0, "scan");
        must_be_right(&r, &root, "of the second scan");
        cache_close(c);
        c = open_memory(&found, NULL);
        must(found != CACHE_REBUILT, "it is not good after it was mended");
        must(cache_scan(c, NULL, &r) == 0, "scan");
        must_be_right(&r, &root, "of the next process");
        cache_close(c);
        return 0;
}

int main(int argc, char **argv)
{
        unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : ROUNDS;
        unsigned long long seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (unsigned long long)time(NULL);
        struct dice d = {.state = seed};
        char base[PATH_MAX];

        setvbuf(stdout, NULL, _IOLBF, 0);
        printf("seed %llu, %u rounds\n", seed, rounds);
        area_new_base(base, sizeof(base));
        snprintf(src, sizeof(src), "%s/src", base);
        snprintf(dir, sizeof(dir), "%s/memory", base);
        found_count = shared_new((CACHE_REFUSED + 1) * sizeof(*found_count));
        must(mkdir(src, 0755) == 0, "mkdir %s", src);
        make_memory(&d);
        for (unsigned i = 0; i < rounds; i++) {
                int status;

                damage(&d);
                naive_release(&good);
                naive_tree(src, &good);
                status = child_run(NULL, use, &d);
                must(status == 0, "round %u of seed %llu: status %d%s", i, seed, status, status == 128 + 14 ? ", it hung" : "");
        }
        printf("found good %u, anew %u, refused %u, nothing %u: no wrong hash, no crash, no hang\n", found_count[CACHE_GOOD],
               found_count[CACHE_REBUILT], found_count[CACHE_REFUSED], found_count[CACHE_FRESH]);
        must(rounds < ROUNDS || (found_count[CACHE_GOOD] && found_count[CACHE_REBUILT]), "too little was tried");
        remove_tree(base);
        return 0;
}
