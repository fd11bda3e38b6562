/* Identities, on the filesystems that checkouts are on. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/ident.h"
#include "tests/lib/area.h"
#include "tests/lib/child.h"

#define REUSE_TRIES 64
#define EVENT_MS 30000

static bool on_tmpfs[] = {false, true};

static char base[64];
static char area[128];
static int dir = -1;

static void fail(const char *message)
{
        cr_assert_fail("%s", message);
}

static void make(bool tmpfs)
{
        test_on_fail(fail);
        area_new_base(base, sizeof(base));
        dir = area_new(base, tmpfs ? ON_TMPFS : ON_EXT4, false, area, sizeof(area));
        cr_assert_geq(dir, 0);
}

static void release(void)
{
        fd_close(&dir);
        if (base[0])
                cr_expect(area_remove(base, area));
}

#define IDENT_TEST(name)                                                                                                                   \
        static void name(bool tmpfs);                                                                                                      \
        ParameterizedTestParameters(ident, name)                                                                                           \
        {                                                                                                                                  \
                return cr_make_param_array(bool, on_tmpfs, ARRAY_LEN(on_tmpfs));                                                           \
        }                                                                                                                                  \
        ParameterizedTest(bool *tmpfs, ident, name, .fini = release)                                                                       \
        {                                                                                                                                  \
                make(*tmpfs);                                                                                                              \
                name(*tmpfs);                                                                                                              \
        }                                                                                                                                  \
        static void name(bool tmpfs)

static void make_file(const char *name)
{
        CLEANUP_FD int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

        cr_assert_geq(fd, 0, "%s: %s", name, strerror(errno));
}

static struct ident of(const char *name)
{
        struct ident id;

        cr_assert_eq(ident_of(dir, name, &id), 0, "%s", name);
        return id;
}

static bool same(struct ident a, struct ident b)
{
        cr_assert(!ident_equal(&a, &b) || ident_hash(&a) == ident_hash(&b));
        return ident_equal(&a, &b);
}

IDENT_TEST(hard_links_and_renames_are_the_same_file)
{
        struct ident before;

        (void)tmpfs;
        make_file("a");
        make_file("other");
        before = of("a");
        cr_assert_eq(linkat(dir, "a", dir, "b", 0), 0);
        cr_assert(same(of("b"), before));
        cr_assert_eq(renameat(dir, "a", dir, "c"), 0);
        cr_assert(same(of("c"), before));
        cr_assert_not(same(of("other"), before));
}

IDENT_TEST(a_descriptor_names_itself)
{
        CLEANUP_FD int fd = -1;
        struct ident id;

        (void)tmpfs;
        make_file("a");
        fd = openat(dir, "a", O_PATH | O_NOFOLLOW | O_CLOEXEC);
        cr_assert_geq(fd, 0);
        cr_assert_eq(unlinkat(dir, "a", 0), 0);
        cr_assert_eq(ident_of(fd, "", &id), 0, "it has no name any more");
}

IDENT_TEST(symlinks_are_not_followed)
{
        CLEANUP_FD int fd = -1;
        struct ident id;

        (void)tmpfs;
        make_file("a");
        cr_assert_eq(symlinkat("a", dir, "link"), 0);
        cr_assert_eq(symlinkat("nowhere", dir, "dangling"), 0);
        cr_assert_not(same(of("link"), of("a")));
        cr_assert_not(same(of("link"), of("dangling")));
        fd = openat(dir, "link", O_PATH | O_NOFOLLOW | O_CLOEXEC);
        cr_assert_eq(ident_of(fd, "", &id), 0);
        cr_assert(same(id, of("link")));
}

IDENT_TEST(a_reused_inode_number_is_another_file)
{
        unsigned reused = 0;

        for (unsigned i = 0; i < REUSE_TRIES; i++) {
                struct ident before;
                struct stat st[2];

                make_file("a");
                before = of("a");
                cr_assert_eq(fstatat(dir, "a", &st[0], 0), 0);
                cr_assert_eq(unlinkat(dir, "a", 0), 0);
                make_file("a");
                cr_assert_eq(fstatat(dir, "a", &st[1], 0), 0);
                reused += st[0].st_ino == st[1].st_ino;
                cr_assert_not(same(of("a"), before));
                cr_assert_eq(unlinkat(dir, "a", 0), 0);
        }
        cr_assert(tmpfs || reused > 0, "ext4 reuses numbers at once; else this tests nothing");
}

IDENT_TEST(what_is_missing_is_an_error)
{
        struct ident id;

        (void)tmpfs;
        cr_assert_eq(ident_of(dir, "missing", &id), -ENOENT);
        make_file("a");
        cr_assert_eq(ident_of(dir, "a/b", &id), -ENOTDIR);
        cr_assert_eq(ident_of(-1, "", &id), -EBADF);
}

IDENT_TEST(by_handle_the_same_file_is_opened_or_none)
{
        CLEANUP_FD int fd = -1;
        struct ident id;
        struct ident found;

        (void)tmpfs;
        make_file("a");
        id = of("a");
        cr_assert_eq(renameat(dir, "a", dir, "b"), 0);
        fd = ident_open(dir, &id, O_PATH | O_CLOEXEC);
        cr_assert_geq(fd, 0, "%s", strerror(-fd));
        cr_assert_eq(ident_of(fd, "", &found), 0);
        cr_assert(same(found, id));
        fd_close(&fd);
        cr_assert_eq(unlinkat(dir, "b", 0), 0);
        make_file("b");
        cr_assert_eq(ident_open(dir, &id, O_PATH | O_CLOEXEC), -ESTALE);
}

/* The identity of the entry "made" of `dir` that the next event names, and of the directory. */
static void next_event(int fan, struct ident *dir_id, struct ident *object_id)
{
        struct pollfd p = {.fd = fan, .events = POLLIN};
        _Alignas(struct fanotify_event_metadata) char buf[4096];
        struct fanotify_event_metadata *event = (void *)buf;
        unsigned found = 0;

        cr_assert_eq(poll(&p, 1, EVENT_MS), 1, "no event");
        cr_assert_gt(read(fan, buf, sizeof(buf)), 0);
        for (size_t at = event->metadata_len; at < event->event_len;) {
                struct fanotify_event_info_header head;
                struct file_handle handle;
                const char *info = buf + at;
                const char *bytes = info + sizeof(struct fanotify_event_info_fid) + sizeof(handle);
                struct ident *ret;

                memcpy(&head, info, sizeof(head));
                memcpy(&handle, info + sizeof(struct fanotify_event_info_fid), sizeof(handle));
                ret = head.info_type == FAN_EVENT_INFO_TYPE_DFID_NAME ? dir_id : object_id;
                cr_assert(ident_from_handle(handle.handle_type, bytes, handle.handle_bytes, ret));
                found++;
                at += head.len;
        }
        cr_assert_eq(found, 2);
}

static int make_elsewhere(void *arg)
{
        (void)arg;
        return mkdirat(dir, "made", 0755) < 0;
}

IDENT_TEST(fanotify_names_objects_by_the_same_identity)
{
        CLEANUP_FD int fan =
                fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_DFID_NAME | FAN_REPORT_FID | FAN_REPORT_TARGET_FID | FAN_CLOEXEC, 0);
        struct ident dir_id = {0};
        struct ident object_id = {0};

        (void)tmpfs;
        cr_assert_geq(fan, 0, "%s", strerror(errno));
        cr_assert_eq(fanotify_mark(fan, FAN_MARK_ADD, FAN_CREATE | FAN_ONDIR, dir, "."), 0, "%s", strerror(errno));
        cr_assert_eq(child_run(NULL, make_elsewhere, NULL), 0);
        next_event(fan, &dir_id, &object_id);
        cr_assert(same(dir_id, of("")));
        cr_assert(same(object_id, of("made")));
}

Test(ident, overlong_handles_become_a_digest)
{
        unsigned char bytes[129] = {0};
        struct ident a;
        struct ident b;

        cr_assert(ident_from_handle(1, bytes, IDENT_BYTES, &a));
        cr_assert_eq(a.how, IDENT_HANDLE);
        cr_assert(ident_from_handle(1, bytes, IDENT_BYTES + 1, &a));
        cr_assert_eq(a.how, IDENT_DIGEST);
        cr_assert(ident_from_handle(1, bytes, IDENT_BYTES + 1, &b));
        cr_assert(same(a, b));
        bytes[IDENT_BYTES] = 1;
        cr_assert(ident_from_handle(1, bytes, IDENT_BYTES + 1, &b));
        cr_assert_not(same(a, b), "the last byte counts");
        cr_assert(ident_from_handle(1, bytes, IDENT_BYTES + 2, &a));
        cr_assert_not(same(a, b), "the length counts");
        cr_assert(ident_from_handle(1, bytes, 128, &a));
        cr_assert_not(ident_from_handle(1, bytes, 129, &a));
        cr_assert_not(ident_from_handle(1, bytes, 0, &a));
        cr_assert_eq(ident_open(AT_FDCWD, &b, O_PATH), -EOPNOTSUPP);
}

Test(ident, the_type_and_every_byte_count)
{
        unsigned char bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8};
        struct ident a;
        struct ident b;

        cr_assert(ident_from_handle(1, bytes, 8, &a));
        cr_assert(ident_from_handle(2, bytes, 8, &b));
        cr_assert_not(same(a, b));
        cr_assert(ident_from_handle(1, bytes, 7, &b));
        cr_assert_not(same(a, b));
        for (int i = 0; i < 8; i++) {
                bytes[i] ^= 0x80;
                cr_assert(ident_from_handle(1, bytes, 8, &b));
                cr_assert_not(same(a, b));
                bytes[i] ^= 0x80;
        }
}
