#include "tests/unit/cache_case.h"

#include <lmdb.h>
#include <sys/file.h>
#include <sys/mount.h>

#include "cache/base/fd.h"
#include "cache/guard.h"
#include "cache/store.h"
#include "cache/store_write.h"

#define SMALL_MAP (1U << 20)
#define MANY 20000
#define SMALL_DISK "size=400k"

TestSuite(store, .init = setup, .fini = teardown, .timeout = SECONDS);

static struct store *open_store(enum cache_found want)
{
        enum cache_found found;
        struct store *s;
        char *notice;

        must(store_open(dir, false, &s, &found, &notice) == 0 && found == want, "found %d: %s", found, notice);
        free(notice);
        return s;
}

static struct record record_of(unsigned i)
{
        return (struct record){.kind = CONTENT_FILE, .tuple = {.ino = i}, .hash = {.bytes = {(uint8_t)i, (uint8_t)(i >> 8)}}};
}

static void put(struct store *s, dir_id in, unsigned i)
{
        struct record r = record_of(i);
        char name[32];

        store_put(s, in, name, (size_t)snprintf(name, sizeof(name), "%u", i), &r);
}

static bool has(struct store *s, dir_id in, unsigned i)
{
        struct record r;
        char name[32];

        return store_get(s, in, name, (size_t)snprintf(name, sizeof(name), "%u", i), &r) && r.tuple.ino == i;
}

Test(store, what_was_put_is_there_for_the_next_process)
{
        struct store *s = open_store(CACHE_FRESH);

        put(s, 5, 1);
        cr_assert_not(has(s, 5, 2));
        store_flush(s);
        cr_assert(has(s, 5, 1));
        put(s, 5, 2);
        store_close(s);
        s = open_store(CACHE_GOOD);
        cr_assert(has(s, 5, 1) && has(s, 5, 2) && !has(s, 6, 1));
        store_close(s);
}

Test(store, numbers_of_directories_are_not_given_twice)
{
        struct store *s = open_store(CACHE_FRESH);
        dir_id last = 0;

        for (int i = 0; i < 10; i++) {
                cr_assert_gt(store_new_dir(s), last);
                last = store_new_dir(s);
        }
        put(s, last, 1);
        store_close(s);
        s = open_store(CACHE_GOOD);
        cr_assert_gt(store_new_dir(s), last);
        store_close(s);
}

/* The map is made small, so that it has to grow. */
Test(store, the_map_grows_as_it_fills_and_readers_go_on)
{
        struct store *s = open_store(CACHE_FRESH);
        struct store_stats stats;
        MDB_envinfo info;

        cr_assert_eq(mdb_env_set_mapsize(s->env, SMALL_MAP), 0);
        for (unsigned i = 0; i < MANY; i++) {
                put(s, 2 + i % 7, i);
                if (i % 1000 == 0)
                        store_flush(s);
        }
        store_flush(s);
        cr_assert_null(store_off(s));
        mdb_env_info(s->env, &info);
        cr_assert_gt(info.me_mapsize, SMALL_MAP);
        for (unsigned i = 0; i < MANY; i++)
                cr_assert(has(s, 2 + i % 7, i));
        store_stats(s, &stats);
        cr_assert_geq(stats.entries, MANY);
        store_close(s);
        s = open_store(CACHE_GOOD);
        cr_assert(has(s, 2, 0));
        store_close(s);
}

Test(store, has_one_owner_and_any_number_of_readers)
{
        struct store *owner = open_store(CACHE_FRESH), *reader;

        put(owner, 5, 1);
        store_flush(owner);
        reader = open_store(CACHE_SHARED);
        cr_assert_not(store_writable(reader));
        cr_assert(has(reader, 5, 1));
        put(reader, 5, 2);
        put(owner, 5, 3);
        store_flush(owner);
        cr_assert(has(reader, 5, 3) && !has(reader, 5, 2));
        store_close(owner);
        cr_assert(has(reader, 5, 3));
        store_close(reader);
}

Test(store, who_only_reads_keeps_nobody_from_owning_it)
{
        enum cache_found found;
        struct store *reader, *owner = open_store(CACHE_FRESH);
        char *notice;

        put(owner, 5, 1);
        store_close(owner);
        must(store_open(dir, true, &reader, &found, &notice) == 0 && found == CACHE_GOOD, "found %d: %s", found, notice);
        owner = open_store(CACHE_GOOD);
        put(owner, 5, 2);
        store_flush(owner);
        cr_assert(has(reader, 5, 1) && has(reader, 5, 2));
        store_close(owner);
        store_close(reader);
}

static void state_must_give(const char *text, enum cache_found want)
{
        struct store *s = open_store(CACHE_FRESH);
        enum cache_found found;
        char *notice;

        put(s, 5, 1);
        store_close(s);
        put_text(at(dir, "state"), text);
        must(store_open(dir, false, &s, &found, &notice) == 0, "store_open");
        cr_assert_eq(found, want, "%s: found %d", text, found);
        cr_assert_eq(notice == NULL, want == CACHE_GOOD);
        cr_assert_eq(s == NULL, want == CACHE_REFUSED);
        cr_assert(!s || has(s, 5, 1) == (want == CACHE_GOOD));
        free(notice);
        store_close(s);
        remove_tree(dir);
}

Test(store, is_trusted_by_how_it_was_left)
{
        state_must_give("dsfs cache 1 clean -\n", CACHE_GOOD);
        state_must_give("dsfs cache 1 dirty 00000000-1111-2222-3333-444444444444\n", CACHE_REBUILT);
        state_must_give("dsfs cache 0 clean -\n", CACHE_REBUILT);
        state_must_give("dsfs cache 2 clean -\n", CACHE_REFUSED);
        state_must_give("", CACHE_REBUILT);
        state_must_give("nonsense", CACHE_REBUILT);
}

Test(store, a_newer_version_is_left_as_it_is)
{
        char *before, *after;

        store_close(open_store(CACHE_FRESH));
        put_text(at(dir, "state"), "dsfs cache 7 splendid -\n");
        put_text(at(dir, "data.mdb"), "of the future");
        cache_close(open_memory(dir, CACHE_REFUSED));
        cr_assert_eq(fd_read_file(AT_FDCWD, at(dir, "state"), 100, &before), 24);
        cr_assert_eq(fd_read_file(AT_FDCWD, at(dir, "data.mdb"), 100, &after), 13);
        free(before);
        free(after);
}

Test(store, a_full_disk_turns_it_off_and_nothing_else)
{
        struct cache_stats stats;
        struct scan_report r;
        struct cache *c;

        must(mkdir(dir, 0700) == 0 && mount("none", dir, "tmpfs", 0, SMALL_DISK) == 0, "mount");
        for (int i = 0; i < 5000; i++)
                must(mknod(at(src, "a-long-name-of-a-file-%d", i), S_IFREG | 0644, 0) == 0, "mknod");
        c = open_memory(dir, CACHE_FRESH);
        r = scan(c);
        must_be_naive(&r);
        cache_stats(c, &stats);
        cr_assert_str_eq(stats.off, "the disk is full");
        put_text(at(src, "more"), "x");
        r = update(c, "more");
        must_be_naive(&r);
        cache_close(c);
        /* What is left of it is used. */
        c = open_memory(dir, CACHE_GOOD);
        r = scan(c);
        must_be_naive(&r);
        cache_close(c);
        must(umount(dir) == 0, "umount");
}

Test(store, a_read_only_filesystem_is_no_obstacle)
{
        struct cache_stats stats;
        struct scan_report r;
        struct cache *c;

        put_text(at(src, "f"), "x");
        must(mkdir(dir, 0700) == 0 && mount("none", dir, "tmpfs", MS_RDONLY, NULL) == 0, "mount");
        c = open_memory(dir, CACHE_REFUSED);
        r = scan(c);
        must_be_naive(&r);
        cache_stats(c, &stats);
        cr_assert_not_null(stats.off);
        cache_close(c);
        must(umount(dir) == 0, "umount");
}

Test(store, without_a_directory_nothing_is_amiss)
{
        struct cache *c = open_memory(NULL, CACHE_FRESH);
        struct cache_stats stats;

        scan(c);
        cache_stats(c, &stats);
        cr_assert_null(stats.off);
        cr_assert(stats.has_root);
        cache_close(c);
}

static bool lives(void *arg, dir_id in)
{
        (void)arg;
        return in == 5;
}

Test(store, lost_records_are_swept)
{
        struct store *s = open_store(CACHE_FRESH);

        for (unsigned i = 0; i < 100; i++)
                put(s, 5 + i % 3, i);
        store_sweep(s, lives, NULL);
        for (unsigned i = 0; i < 100; i++)
                cr_assert_eq(has(s, 5 + i % 3, i), i % 3 == 0);
        store_close(s);
}

Test(store, what_is_below_a_deleted_directory_is_collected)
{
        struct store *s = open_store(CACHE_FRESH);
        struct record r = {.kind = CONTENT_DIRECTORY};
        struct store_stats stats;

        for (unsigned depth = 0; depth < 50; depth++) {
                r.child = depth + 11;
                store_put(s, depth + 10, "d", 1, &r);
                put(s, depth + 10, 1);
                put(s, depth + 10, 2);
        }
        store_delete(s, 10, "d", 1);
        store_flush(s);
        store_stats(s, &stats);
        /* And the number of the next directory. */
        cr_assert_eq(stats.entries, 3);
        cr_assert(has(s, 10, 1) && !has(s, 11, 1));
        store_close(s);
}
