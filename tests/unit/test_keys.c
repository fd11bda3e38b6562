#include "fs/keys.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"

static char base[64];
static int root = -1;

static void begin(void)
{
        snprintf(base, sizeof(base), "%s/keys.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
        cr_assert(mkdtemp(base));
        root = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        cr_assert_geq(root, 0);
        cr_assert_eq(mkdirat(root, "a", 0755), 0);
        cr_assert_eq(mkdirat(root, "a/b", 0755), 0);
}

static void end(void)
{
        char command[128];

        close(root);
        snprintf(command, sizeof(command), "rm -rf %s", base);
        cr_assert_eq(system(command), 0);
}

TestSuite(keys, .init = begin, .fini = end);

static void put(const char *path, const char *text)
{
        CLEANUP_FD int fd = openat(root, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        cr_assert(fd >= 0 && fd_write_full(fd, text, strlen(text)) == 0, "%s", path);
}

static const char *const lock[] = {"lock"};
static const char *const two[] = {"lock", "setup"};
static const struct rule by_lock = {.pattern = "out/", .route = RULE_ARTIFACT, .keys = lock, .key_count = 1};
static const struct rule by_two = {.pattern = "out/", .route = RULE_ARTIFACT, .keys = two, .key_count = 2};

static struct key key_in(const char *parent, const struct rule *rule)
{
        struct key_files files = {0};
        struct key key = {0};

        cr_assert_eq(key_files_find(root, parent, rule, &files), 0);
        cr_assert_eq(key_of(root, rule, &files, &key), 0);
        key_files_release(&files);
        cr_assert(key_is_text(key.text));
        return key;
}

#define EXPECT_SAME(a, b)                                                                                                                  \
        do {                                                                                                                               \
                struct key x_ = (a), y_ = (b);                                                                                             \
                cr_expect(key_equal(&x_, &y_));                                                                                            \
        } while (0)
#define EXPECT_OTHER(a, b)                                                                                                                 \
        do {                                                                                                                               \
                struct key x_ = (a), y_ = (b);                                                                                             \
                cr_expect_not(key_equal(&x_, &y_));                                                                                        \
        } while (0)

Test(keys, content_makes_the_key_whatever_the_times_and_modes)
{
        struct key first, second;

        put("lock", "one");
        first = key_in("", &by_lock);
        put("lock", "two");
        second = key_in("", &by_lock);
        EXPECT_OTHER(first, second);
        cr_assert_eq(unlinkat(root, "lock", 0), 0);
        put("lock", "one");
        cr_assert_eq(fchmodat(root, "lock", 0700, 0), 0);
        EXPECT_SAME(first, key_in("", &by_lock));
}

Test(keys, the_nearest_file_counts_up_to_the_root)
{
        struct key far, near;

        put("lock", "far");
        far = key_in("a/b", &by_lock);
        EXPECT_SAME(far, key_in("", &by_lock));
        put("a/lock", "near");
        near = key_in("a/b", &by_lock);
        EXPECT_OTHER(near, far);
        EXPECT_SAME(near, key_in("a", &by_lock));
        EXPECT_SAME(far, key_in("", &by_lock));
        cr_assert_eq(unlinkat(root, "a/lock", 0), 0);
        EXPECT_SAME(far, key_in("a/b", &by_lock));
}

Test(keys, a_missing_file_is_not_an_empty_one)
{
        struct key missing = key_in("", &by_lock);

        put("lock", "");
        EXPECT_OTHER(missing, key_in("", &by_lock));
}

Test(keys, all_files_count_each_in_its_place)
{
        struct key first;

        put("lock", "one");
        put("setup", "two");
        first = key_in("", &by_two);
        put("lock", "two");
        put("setup", "one");
        EXPECT_OTHER(first, key_in("", &by_two));
        put("lock", "one");
        put("setup", "two");
        EXPECT_SAME(first, key_in("", &by_two));
}

Test(keys, rule_and_salt_count)
{
        struct rule other = by_lock, salted = by_lock, unsalted = by_lock;

        other.pattern = "/out/";
        salted.salt = "alpine";
        unsalted.salt = "";
        put("lock", "one");
        EXPECT_OTHER(key_in("", &by_lock), key_in("", &other));
        EXPECT_OTHER(key_in("", &by_lock), key_in("", &salted));
        EXPECT_SAME(key_in("", &by_lock), key_in("", &unsalted));
}

Test(keys, a_directory_counts_with_all_below_it)
{
        struct key first, changed;

        cr_assert_eq(mkdirat(root, "a/lock", 0755), 0);
        cr_assert_eq(mkdirat(root, "a/lock/deep", 0755), 0);
        put("a/lock/deep/leaf", "one");
        first = key_in("a", &by_lock);
        put("a/lock/deep/leaf", "two");
        changed = key_in("a", &by_lock);
        EXPECT_OTHER(first, changed);
        put("a/lock/deep/more", "");
        EXPECT_OTHER(changed, key_in("a", &by_lock));
        put("a/lock/deep/leaf", "one");
        cr_assert_eq(unlinkat(root, "a/lock/deep/more", 0), 0);
        EXPECT_SAME(first, key_in("a", &by_lock));
}

Test(keys, nothing_outside_the_source_is_read)
{
        static const char *const up[] = {"../lock"};
        const struct rule outside = {.pattern = "out/", .route = RULE_ARTIFACT, .keys = up, .key_count = 1};
        struct key first;
        char beside[80];

        cr_assert_eq(symlinkat("..", root, "up"), 0);
        first = key_in("", &outside);
        snprintf(beside, sizeof(beside), "%s/../lock", base);
        cr_assert(access(beside, F_OK) < 0);
        {
                CLEANUP_FD int fd = open(beside, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

                cr_assert(fd >= 0 && fd_write_full(fd, "x", 1) == 0);
        }
        EXPECT_SAME(first, key_in("", &outside));
        cr_assert_eq(unlink(beside), 0);
        /* A symlink is its target's name, not what it leads to. */
        cr_assert_eq(symlinkat("other", root, "lock"), 0);
        first = key_in("", &by_lock);
        put("other", "content");
        EXPECT_SAME(first, key_in("", &by_lock));
}

Test(keys, what_changed_just_before_it_was_looked_at_is_not_trusted)
{
        struct key_files before = {0}, now = {0};
        struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};

        put("lock", "one");
        cr_assert_eq(utimensat(root, "lock", old, 0), 0);
        cr_assert_eq(key_files_find(root, "", &by_lock, &before), 0);
        cr_assert_eq(key_files_find(root, "", &by_lock, &now), 0);
        cr_expect_not(key_files_same(&before, &now));
        before.list[0].looked_ns += 10000000000LL;
        cr_expect(key_files_same(&before, &now));
        key_files_release(&now);
        put("lock", "two");
        cr_assert_eq(key_files_find(root, "", &by_lock, &now), 0);
        cr_expect_not(key_files_same(&before, &now));
        key_files_release(&now);
        key_files_release(&before);
}

Test(keys, what_was_replaced_since_it_was_found_has_to_be_found_again)
{
        struct key_files files = {0};
        struct key key;

        put("lock", "one");
        cr_assert_eq(key_files_find(root, "", &by_lock, &files), 0);
        put("other", "two");
        cr_assert_eq(renameat(root, "other", root, "lock"), 0);
        cr_expect_eq(key_of(root, &by_lock, &files, &key), -EAGAIN);
        key_files_release(&files);
        cr_assert_eq(key_files_find(root, "", &by_lock, &files), 0);
        cr_expect_eq(key_of(root, &by_lock, &files, &key), 0);
        key_files_release(&files);
}
