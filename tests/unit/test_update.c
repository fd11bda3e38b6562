#include "tests/unit/cache_case.h"

#include <pthread.h>
#include <stdatomic.h>

#include "cache/base/fd.h"

#define QUICK_ROUNDS 300
#define WRITER_BYTES (4U << 20)
#define WRITER_SCANS 20

TestSuite(update, .init = setup, .fini = teardown, .timeout = SECONDS);

/* Scans until nothing is racy any more, so that only its stat tuple says whether a file changed. */
static bool is_settled(void *arg)
{
        return scan(arg).seen.files == 0;
}

static struct cache *open_settled(void)
{
        struct cache *c = open_memory(dir, CACHE_FRESH);

        cr_assert(wait_until(is_settled, c, 20));
        return c;
}

static void rewrite(const char *path, const char *text)
{
        CLEANUP_FD int fd = open(path, O_WRONLY | O_CLOEXEC);

        must(fd >= 0 && pwrite(fd, text, strlen(text), 0) == (ssize_t)strlen(text), "write %s", path);
}

static void set_mtime_as_before(const char *path, const struct stat *st)
{
        must(utimensat(AT_FDCWD, path, (struct timespec[2]){st->st_atim, st->st_mtim}, AT_SYMLINK_NOFOLLOW) == 0, "utimensat");
}

static void must_see(struct cache *c, const char *path)
{
        struct scan_report r = path ? update(c, path) : scan(c);

        must_be_naive(&r);
        r = scan_fresh();
        must_be_naive(&r);
}

Test(update, a_racily_clean_file_is_seen_however_quick_the_rewrite)
{
        struct cache *c = open_memory(dir, CACHE_FRESH);
        char text[16];

        put_text(at(src, "f"), "0000");
        for (int i = 1; i < QUICK_ROUNDS; i++) {
                struct scan_report r;
                struct stat st;

                must(stat(at(src, "f"), &st) == 0, "stat");
                r = i % 2 ? scan(c) : update(c, "f");
                must_be_naive(&r);
                snprintf(text, sizeof(text), "%04d", i);
                rewrite(at(src, "f"), text);
                if (i % 3 == 0)
                        set_mtime_as_before(at(src, "f"), &st);
                r = i % 2 ? update(c, "f") : scan(c);
                must_be_naive(&r);
        }
        cache_close(c);
}

Test(update, same_size_and_mtime_are_told_by_ctime)
{
        struct cache *c;
        struct stat st;

        put_text(at(src, "f"), "one");
        c = open_settled();
        must(stat(at(src, "f"), &st) == 0, "stat");
        rewrite(at(src, "f"), "two");
        set_mtime_as_before(at(src, "f"), &st);
        must_see(c, NULL);
        cache_close(c);
}

Test(update, a_copy_that_preserves_times_is_seen)
{
        static const char *const ways[] = {"cp -p %s/other %s/f", "cp -p --remove-destination %s/other %s/f",
                                           "tar -cf - -C %s --transform s/other/f/ other | tar -xf - -C %s"};
        struct cache *c;

        put_text(at(src, "f"), "one");
        put_text(at(src, "other"), "two");
        must(system(at("", "touch -r %s/f %s/other", src, src) + 1) == 0, "touch");
        c = open_settled();
        for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
                char command[512];

                put_text(at(src, "f"), "one");
                must(system(at("", "touch -r %s/other %s/f", src, src) + 1) == 0, "touch");
                cr_assert(wait_until(is_settled, c, 20));
                snprintf(command, sizeof(command), ways[i], src, src);
                must(system(command) == 0, "%s", command);
                must_see(c, i % 2 ? "f" : NULL);
        }
        cache_close(c);
}

Test(update, times_in_the_future_hide_nothing)
{
        struct timespec future[2] = {{.tv_sec = time(NULL) + 5000}, {.tv_sec = time(NULL) + 5000}};
        struct cache *c = open_memory(dir, CACHE_FRESH);

        put_text(at(src, "f"), "one");
        must(utimensat(AT_FDCWD, at(src, "f"), future, 0) == 0, "utimensat");
        must_see(c, NULL);
        rewrite(at(src, "f"), "two");
        must(utimensat(AT_FDCWD, at(src, "f"), future, 0) == 0, "utimensat");
        must_see(c, NULL);
        cache_close(c);
}

Test(update, a_reused_inode_is_another_file)
{
        struct cache *c;
        struct stat before, after = {0};
        int tries = 0;

        put_text(at(src, "f"), "one");
        c = open_settled();
        must(stat(at(src, "f"), &before) == 0, "stat");
        /* Most filesystems give the number again at once. */
        do {
                must(unlink(at(src, "f")) == 0, "unlink");
                put_text(at(src, "f"), "two");
                must(stat(at(src, "f"), &after) == 0, "stat");
        } while (after.st_ino != before.st_ino && ++tries < 100);
        set_mtime_as_before(at(src, "f"), &before);
        must_see(c, NULL);
        cache_close(c);
}

Test(update, a_directory_becomes_a_file_and_a_directory_again)
{
        struct cache *c;
        struct cache_stats stats;

        must(mkdir(at(src, "d"), 0755) == 0 && mkdir(at(src, "d/e"), 0755) == 0, "mkdir");
        put_text(at(src, "d/e/f"), "one");
        c = open_settled();
        remove_tree(at(src, "d"));
        put_text(at(src, "d"), "a file");
        must_see(c, "d/e/f");
        cache_stats(c, &stats);
        cr_assert_eq(stats.entries, 3, "what was below it is collected");
        must(unlink(at(src, "d")) == 0 && mkdir(at(src, "d"), 0755) == 0, "mkdir");
        put_text(at(src, "d/f"), "two");
        must_see(c, "d");
        cache_close(c);
}

Test(update, a_renamed_directory_is_where_it_went)
{
        struct scan_report r;
        struct cache *c;

        must(mkdir(at(src, "a"), 0755) == 0 && mkdir(at(src, "a/b"), 0755) == 0, "mkdir");
        put_text(at(src, "a/b/f"), "one");
        c = open_settled();
        must(rename(at(src, "a"), at(src, "z")) == 0, "rename");
        cr_assert_eq(cache_update(c, (const char *const[]){"z", "a"}, 2, NULL, &r), 0);
        must_be_naive(&r);
        cr_assert_eq(cache_entry(c, "a/b/f", &r.root), CONTENT_NONE);
        (void)known(c, "z/b/f");
        cache_close(c);
}

Test(update, a_hard_link_is_a_file_of_its_own)
{
        struct cache *c;

        put_text(at(src, "f"), "one");
        c = open_settled();
        must(link(at(src, "f"), at(src, "g")) == 0, "link");
        must_see(c, "g");
        rewrite(at(src, "g"), "two");
        must_see(c, NULL);
        must(unlink(at(src, "f")) == 0, "unlink");
        must_see(c, "f");
        cache_close(c);
}

Test(update, of_what_leads_out_of_the_source_stays_inside)
{
        struct cache *c;

        put_text(at(base, "outside"), "not ours");
        put_text(at(src, "f"), "one");
        c = open_settled();
        must_see(c, "../outside");
        must_see(c, "..");
        must_see(c, ".");
        must_see(c, ".git/x");
        must_see(c, "f/below/a/file");
        cache_close(c);
}

Test(update, entries_of_deleted_trees_are_collected)
{
        struct cache_stats before, after;
        struct cache *c;

        put_text(at(src, "f"), "one");
        c = open_settled();
        cache_stats(c, &before);
        for (int round = 0; round < 3; round++) {
                must(mkdir(at(src, "d"), 0755) == 0, "mkdir");
                for (int i = 0; i < 20; i++) {
                        must(mkdir(at(src, "d/%d", i), 0755) == 0, "mkdir");
                        for (int j = 0; j < 20; j++)
                                put_text(at(src, "d/%d/%d", i, j), "x");
                }
                must_see(c, "d");
                remove_tree(at(src, "d"));
                must_see(c, round == 2 ? NULL : "d");
                cache_stats(c, &after);
                /* The number of the next directory is written with the first. */
                cr_assert_leq(after.entries, before.entries + 1);
        }
        cache_close(c);
}

struct writer {
        int fd;
        atomic_bool stop;
};

/* The first and the last byte are the same number, and so are all between when it rests. */
static void *keep_writing(void *arg)
{
        struct writer *w = arg;
        char *bytes = malloc(WRITER_BYTES);

        for (int i = 0; !atomic_load(&w->stop); i++) {
                memset(bytes, i, WRITER_BYTES);
                if (pwrite(w->fd, bytes, WRITER_BYTES, 0) != WRITER_BYTES)
                        break;
        }
        free(bytes);
        return NULL;
}

Test(update, a_file_that_changes_while_it_is_read_is_right_or_marked)
{
        struct writer w = {.fd = open(at(src, "f"), O_RDWR | O_CREAT | O_CLOEXEC, 0644)};
        struct cache *c = open_memory(dir, CACHE_FRESH);
        struct content states[256];
        char *bytes = malloc(WRITER_BYTES);
        struct scan_report r;
        pthread_t thread;
        bool owed = false;

        for (int i = 0; i < 256; i++) {
                memset(bytes, i, WRITER_BYTES);
                states[i] = naive_hash(bytes, WRITER_BYTES);
        }
        must(pwrite(w.fd, bytes, WRITER_BYTES, 0) == WRITER_BYTES, "pwrite");
        must(pthread_create(&thread, NULL, keep_writing, &w) == 0, "pthread_create");
        for (int i = 0; i < WRITER_SCANS; i++) {
                struct content got;
                bool consistent = false;

                r = scan(c);
                got = known(c, "f");
                for (int j = 0; j < 256; j++)
                        consistent |= content_equal(&got, &states[j]);
                cr_assert(!owed || r.seen.files == 1, "what was no state of the file passed for one");
                owed = !consistent;
        }
        atomic_store(&w.stop, true);
        pthread_join(thread, NULL);
        close(w.fd);
        must_see(c, NULL);

        cache_close(c);
        free(bytes);
}
