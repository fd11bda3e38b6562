#include "tests/unit/cache_case.h"

#include <pthread.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "cache/base/fd.h"
#include "cache/hash.h"

#define HUGE_BYTES ((off_t)1 << 40) /* with a hole for all of it: minutes to read */

TestSuite(hash, .init = setup, .fini = teardown, .timeout = SECONDS);

static void must_hash_size(size_t size)
{
        char *bytes = malloc(size + 1);
        struct content got, want;

        for (size_t i = 0; i < size; i++)
                bytes[i] = (char)(i * 7919 >> 3);
        put_file(at(src, "f"), bytes, size);
        want = naive_hash(bytes, size);
        cr_assert_eq(content_of_file(AT_FDCWD, at(src, "f"), &got), CONTENT_FILE);
        cr_assert(content_equal(&got, &want), "%zu bytes", size);
        free(bytes);
}

Test(hash, of_a_file_is_xxh3_128_of_its_bytes_at_every_border_of_the_buffer)
{
        static const size_t sizes[] = {0,
                                       1,
                                       2,
                                       4095,
                                       4096,
                                       100000,
                                       HASH_BUFFER_BYTES - 1,
                                       HASH_BUFFER_BYTES,
                                       HASH_BUFFER_BYTES + 1,
                                       2 * HASH_BUFFER_BYTES,
                                       3 * HASH_BUFFER_BYTES + 17};

        for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
                must_hash_size(sizes[i]);
}

Test(hash, text_is_what_xxhsum_prints)
{
        struct content c = naive_hash("", 0);
        char text[CONTENT_TEXT];

        content_to_text(&c, text);
        cr_assert_str_eq(text, "99aa06d3014798d86001c324468d497f");
}

Test(hash, of_a_symlink_is_its_targets)
{
        struct content got, want = naive_hash("no/such/target", 14);

        cr_assert_eq(symlink("no/such/target", at(src, "l")), 0);
        cr_assert_eq(content_of_file(AT_FDCWD, at(src, "l"), &got), CONTENT_SYMLINK);
        cr_assert(content_equal(&got, &want));
}

Test(hash, what_has_no_content_is_not_even_opened)
{
        struct content got;

        cr_assert_eq(mkfifo(at(src, "fifo"), 0600), 0);
        cr_assert_eq(content_of_file(AT_FDCWD, at(src, "fifo"), &got), -EINVAL);
        cr_assert_eq(content_of_file(AT_FDCWD, "/dev/zero", &got), -EINVAL);
        cr_assert_eq(content_of_file(AT_FDCWD, src, &got), -EISDIR);
        cr_assert_eq(content_of_file(AT_FDCWD, at(src, "none"), &got), -ENOENT);
}

static struct hashed hash_of(const char *path)
{
        struct hasher *h = hasher_new(NULL);
        struct hashed ret;

        cr_assert_eq(hash_entry(h, AT_FDCWD, path, &ret), 0);
        hasher_free(h);
        return ret;
}

static void *hash_huge(void *arg)
{
        struct hasher *h = hasher_new(NULL);
        struct hashed got;

        *(int *)arg = hash_entry(h, AT_FDCWD, at(src, "huge"), &got);
        hasher_free(h);
        return NULL;
}

/* Its space is free as soon as its last user has gone, and hashing is none. */
Test(hash, a_file_that_is_removed_meanwhile_is_not_read_to_its_end)
{
        CLEANUP_FD int fd = open(at(src, "huge"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        CLEANUP_FD int watch = inotify_init1(IN_CLOEXEC);
        struct inotify_event event;
        pthread_t thread;
        int rc = 0;

        cr_assert(fd >= 0 && ftruncate(fd, HUGE_BYTES) == 0);
        cr_assert(inotify_add_watch(watch, at(src, "huge"), IN_ACCESS) >= 0);
        cr_assert_eq(pthread_create(&thread, NULL, hash_huge, &rc), 0);
        cr_assert_eq(read(watch, &event, sizeof(event)), sizeof(event));
        cr_assert_eq(unlink(at(src, "huge")), 0);
        cr_assert_eq(pthread_join(thread, NULL), 0);
        cr_assert_eq(rc, -ENOENT);
}

static bool is_racy_no_more(void *arg)
{
        return !hash_of(arg).racy;
}

Test(hash, what_changed_just_now_is_racy_until_the_clock_has_moved_on)
{
        put_text(at(src, "f"), "x");
        cr_assert(hash_of(at(src, "f")).racy);
        cr_assert(wait_until(is_racy_no_more, (void *)at(src, "f"), 10));
}

Test(hash, times_in_the_future_are_racy)
{
        struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = time(NULL) + 1000, .tv_nsec = 5}};

        put_text(at(src, "f"), "x");
        cr_assert(wait_until(is_racy_no_more, (void *)at(src, "f"), 10));
        cr_assert_eq(utimensat(AT_FDCWD, at(src, "f"), times, 0), 0);
        for (int i = 0; i < 3; i++)
                cr_assert(hash_of(at(src, "f")).racy);
}

Test(hash, where_times_are_whole_seconds_two_of_them_are_racy)
{
        char mount[160];
        struct stat st;

        /* ext4 with small inodes keeps whole seconds. */
        snprintf(mount, sizeof(mount), "cd %s && truncate -s 8M i && mkfs.ext4 -q -F -I 128 i 2>/dev/null && mkdir m && mount -o loop i m",
                 base);
        cr_assert_eq(system(mount), 0);
        put_text(at(base, "m/f"), "one");
        cr_assert_eq(stat(at(base, "m/f"), &st), 0);
        cr_assert_eq(st.st_ctim.tv_nsec, 0);
        /* Longer than any granule but that. */
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        cr_assert(hash_of(at(base, "m/f")).racy);
        snprintf(mount, sizeof(mount), "umount %s/m", base);
        cr_assert_eq(system(mount), 0);
}
