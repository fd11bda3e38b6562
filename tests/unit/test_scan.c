#include "tests/unit/cache_case.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "cache/base/fd.h"

#define DEEP_LEVELS 60
#define DEEP_NAME 200
#define COMB_LEVELS 600
#define HUGE_ENTRIES 100000
#define NOBODY 65534

TestSuite(scan, .init = setup, .fini = teardown, .timeout = SECONDS);

static void make_some(void)
{
        must(mkdir(at(src, "d"), 0755) == 0 && mkdir(at(src, "d/e"), 0755) == 0 && mkdir(at(src, "empty"), 0755) == 0, "mkdir");
        put_text(at(src, "f"), "hello");
        put_text(at(src, "d/g"), "");
        put_text(at(src, "d/e/h"), "deep");
        put_text(at(src, "d.x"), "sorts before the slash");
        put_text(at(src, "program"), "#!/bin/sh\n");
        must(chmod(at(src, "program"), 0755) == 0 && symlink("d/e", at(src, "link")) == 0, "chmod");
}

Test(scan, is_the_merkle_hash_of_the_definition)
{
        struct scan_report r;

        make_some();
        r = scan_fresh();
        must_be_naive(&r);
        cr_assert_eq(r.seen.entries, 9);
        cr_assert_eq(r.unread, 0);
}

Test(scan, of_an_empty_source_is_the_hash_of_nothing)
{
        struct scan_report r = scan_fresh();
        struct content want = naive_hash("", 0);

        cr_assert(content_equal(&r.root, &want));
}

Test(scan, leaves_out_git_at_any_level_and_what_has_no_content)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct scan_report before, after;
        int s = socket(AF_UNIX, SOCK_STREAM, 0);

        make_some();
        before = scan_fresh();
        must(mkdir(at(src, ".git"), 0755) == 0, "mkdir");
        put_text(at(src, ".git/HEAD"), "ref");
        put_text(at(src, "d/.git"), "gitdir: elsewhere");
        must(mkfifo(at(src, "fifo"), 0666) == 0 && mknod(at(src, "null"), S_IFCHR | 0666, makedev(1, 3)) == 0, "mknod");
        snprintf(address.sun_path, sizeof(address.sun_path), "%s/sock", src);
        must(bind(s, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
        after = scan_fresh();
        close(s);
        cr_assert(content_equal(&before.root, &after.root));
        cr_assert_eq(after.unread, 0);
        put_text(at(src, ".gitignore"), "counts");
        after = scan_fresh();
        cr_assert_not(content_equal(&before.root, &after.root));
        must_be_naive(&after);
}

Test(scan, leaves_out_mount_points_even_of_the_same_filesystem)
{
        struct scan_report before, after;

        make_some();
        before = scan_fresh();
        must(mkdir(at(src, "other"), 0755) == 0 && mkdir(at(src, "same"), 0755) == 0, "mkdir");
        must(mount("none", at(src, "other"), "tmpfs", 0, NULL) == 0, "mount");
        must(mount(at(src, "d"), at(src, "same"), NULL, MS_BIND, NULL) == 0, "mount");
        put_text(at(src, "other/f"), "not ours");
        after = scan_fresh();
        must(umount(at(src, "other")) == 0 && umount(at(src, "same")) == 0, "umount");
        cr_assert(content_equal(&before.root, &after.root));
}

Test(scan, tells_executables_names_and_empty_directories_apart)
{
        struct scan_report a, b;

        put_text(at(src, "f"), "x");
        a = scan_fresh();
        must(chmod(at(src, "f"), 0755) == 0, "chmod");
        b = scan_fresh();
        cr_assert_not(content_equal(&a.root, &b.root));
        must_be_naive(&b);
        must(chmod(at(src, "f"), 0655) == 0, "chmod");
        b = scan_fresh();
        cr_assert(content_equal(&a.root, &b.root), "only the owner's bit counts");
        must(mkdir(at(src, "e"), 0755) == 0, "mkdir");
        b = scan_fresh();
        cr_assert_not(content_equal(&a.root, &b.root));
        must_be_naive(&b);
}

Test(scan, takes_any_name)
{
        char longest[NAME_MAX + 1], all[256] = "";
        struct scan_report r;
        size_t len = 0;

        memset(longest, 'n', NAME_MAX);
        longest[NAME_MAX] = '\0';
        for (int c = 1; c < 256; c++)
                if (c != '/')
                        all[len++] = (char)c;
        put_text(at(src, "%s", longest), "255 bytes");
        put_text(at(src, "%s", all), "every byte");
        put_text(at(src, "new\nline"), "");
        put_text(at(src, "\xff\xfe\x80"), "no UTF-8");
        r = scan_fresh();
        must_be_naive(&r);
        cr_assert_eq(r.seen.entries, 4);
}

static int enter(int fd, const char *name)
{
        int below;

        must(mkdirat(fd, name, 0755) == 0, "mkdirat");
        below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        must(below >= 0, "openat");
        close(fd);
        return below;
}

Test(scan, goes_deeper_than_a_path_may_be_long)
{
        int fd = open(src, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        char name[DEEP_NAME + 1];
        struct scan_report r;
        struct cache *c;

        memset(name, 'n', DEEP_NAME);
        name[DEEP_NAME] = '\0';
        for (int i = 0; i < DEEP_LEVELS; i++)
                fd = enter(fd, name);
        cr_assert_eq(symlinkat("target", fd, "end"), 0);
        close(fd);
        c = open_memory(dir, CACHE_FRESH);
        r = scan(c);
        must_be_naive(&r);
        cr_assert_eq(r.seen.entries, DEEP_LEVELS + 1);
        r = scan(c);
        must_be_naive(&r);
        cr_assert_eq(r.reused + r.seen.files, 1);
        cache_close(c);
}

/* Each level has a neighbour that waits. */
Test(scan, does_not_run_out_of_descriptors_however_deep)
{
        int fd = open(src, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct rlimit limit = {.rlim_cur = 256, .rlim_max = 256};
        struct scan_report r;
        struct content want;

        for (int i = 0; i < COMB_LEVELS; i++) {
                must(mkdirat(fd, "a", 0755) == 0 && mkdirat(fd, "z", 0755) == 0, "mkdirat");
                fd = enter(fd, "m");
        }
        close(fd);
        want = naive_root(src);
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        r = scan_fresh();
        cr_assert(content_equal(&r.root, &want));
        cr_assert_eq(r.unread, 0);
}

static bool skip_some(void *arg, const char *where, const char *name, bool is_directory)
{
        (void)arg;
        return (strcmp(where, "d") == 0 && strcmp(name, "e") == 0 && is_directory) || (strcmp(where, "") == 0 && strcmp(name, "f") == 0);
}

Test(scan, leaves_out_what_it_is_told_to_skip)
{
        struct cache_options options = {.source = src, .skip = skip_some, .threads = 2};
        struct scan_report r, want;
        enum cache_found found;
        struct cache *c;

        make_some();
        must(cache_open(&options, &c, &found, NULL) == 0, "cache_open");
        r = scan(c);
        cache_close(c);
        remove_tree(at(src, "d/e"));
        must(unlink(at(src, "f")) == 0, "unlink");
        want = scan_fresh();
        cr_assert(content_equal(&r.root, &want.root));
}

static int scan_as_user(void *arg)
{
        struct scan_report r = scan_fresh();

        return r.unread == 2 && content_equal(&r.root, arg) ? 0 : 1;
}

Test(scan, leaves_out_and_counts_what_the_user_may_not_read)
{
        struct who nobody = {.uid = NOBODY, .gid = NOBODY};
        struct content want;

        make_some();
        want = naive_root(src);
        put_text(at(src, "secret"), "x");
        must(chmod(at(src, "secret"), 0) == 0 && mkdir(at(src, "closed"), 0) == 0 && chmod(base, 0755) == 0, "chmod");
        cr_assert_eq(child_run(&nobody, scan_as_user, &want), 0);
}

static int scan_huge(void *arg)
{
        struct rusage usage;
        struct cache *c = open_memory(dir, CACHE_FRESH);
        struct scan_report r = scan(c);

        cache_close(c);
        getrusage(RUSAGE_SELF, &usage);
        must(content_equal(&r.root, arg), "the root hash is wrong");
#if !defined(__SANITIZE_ADDRESS__)
        must(usage.ru_maxrss < 64 * 1024, "%ld KiB", usage.ru_maxrss);
#endif
        return 0;
}

Test(scan, of_a_huge_directory_is_bounded)
{
        struct content want;

        for (int i = 0; i < HUGE_ENTRIES; i++)
                must(mknod(at(src, "%d", i), S_IFREG | 0644, 0) == 0, "mknod");
        want = naive_root(src);
        cr_assert_eq(child_run(NULL, scan_huge, &want), 0);
}

Test(scan, of_no_source_fails)
{
        struct cache *c = open_memory(dir, CACHE_FRESH);
        struct scan_report r;

        make_some();
        scan(c);
        remove_tree(src);
        cr_assert_eq(cache_scan(c, NULL, &r), -ENOENT);
        put_text(src, "a file");
        cr_assert_eq(cache_scan(c, NULL, &r), -ENOTDIR);
        cache_close(c);
}

Test(scan, is_cancelled_once)
{
        struct cache *c = open_memory(dir, CACHE_FRESH);
        struct scan_report r;

        make_some();
        cache_cancel(c);
        cr_assert_eq(cache_scan(c, NULL, &r), -ECANCELED);
        r = scan(c);
        must_be_naive(&r);
        cache_close(c);
}

/* Bytes that this process has read so far. */
static unsigned long long bytes_read(void)
{
        CLEANUP_FREE char *text = NULL;
        unsigned long long n = 0;

        must(fd_read_file(AT_FDCWD, "/proc/self/io", 4096, &text) > 0 && sscanf(text, "rchar: %llu", &n) == 1, "/proc/self/io");
        return n;
}

static void *cancel_while_it_reads(void *arg)
{
        unsigned long long begin = bytes_read();

        while (bytes_read() < begin + (64ULL << 20))
                ;
        cache_cancel(arg);
        return NULL;
}

Test(scan, is_cancelled_in_the_midst_of_a_file)
{
        struct cache *c = open_memory(dir, CACHE_FRESH);
        struct scan_report r;
        pthread_t thread;

        put_text(at(src, "sparse"), "");
        must(truncate(at(src, "sparse"), 900LL << 30) == 0, "truncate");
        must(pthread_create(&thread, NULL, cancel_while_it_reads, c) == 0, "thread");
        cr_assert_eq(cache_scan(c, NULL, &r), -ECANCELED);
        pthread_join(thread, NULL);
        cache_close(c);
}

Test(scan, leaves_out_and_counts_what_is_too_large_to_be_read)
{
        struct scan_report r;
        struct content want;

        make_some();
        want = scan_fresh().root;
        put_text(at(src, "sparse"), "");
        must(truncate(at(src, "sparse"), 2LL << 40) == 0, "truncate");
        r = scan_fresh();
        cr_assert(content_equal(&r.root, &want));
        cr_assert_eq(r.unread, 1);
}
