/*
 * packaging/mount.dsfs, as mount(8) calls it: what is mount's own among the options, what is dsfs's, and what can't be had.
 */
#include "tests/mount/cli.h"

static char helper[PATH_MAX];

/* With the dsfs under test, which need not be installed. */
static void start_helper(void)
{
        const char *bin = getenv("DSFS_BIN") ? getenv("DSFS_BIN") : "build/dsfs";
        CLEANUP_FREE char *path = NULL;
        char dir[PATH_MAX];

        cr_assert(realpath("packaging/mount.dsfs", helper), "packaging/mount.dsfs: %s", strerror(errno));
        cr_assert(realpath(bin, dir), "%s: %s", bin, strerror(errno));
        *strrchr(dir, '/') = '\0';
        start();
        cr_assert_gt(asprintf(&path, "%s:%s", dir, getenv("PATH")), 0);
        setenv("PATH", path, 1);
}

TestSuite(mount_helper, .init = start_helper, .fini = stop, .timeout = 120);

static int call(const char *options)
{
        proc_run((const char *const[]){helper, box.src, box.mnt, "-o", options, NULL}, 0, &box.r);
        return box.r.status;
}

Test(mount_helper, mounts_options_are_its_own)
{
        char path[160];

        cr_assert_eq(call("rw,noauto,user,nofail,x-systemd.automount,relatime,nosuid"), 0, "%s", box.r.err);
        expect_content(box.mnt, "greeting", "hello\n");
        snprintf(path, sizeof(path), "%s/new", box.mnt);
        cr_assert_eq(mknod(path, S_IFREG | 0644, 0), 0, "%s", strerror(errno));
        cr_assert_eq(umount2(box.mnt, 0), 0, "%s", strerror(errno));
}

Test(mount_helper, what_is_ours_is_given_on)
{
        char path[160];
        json_t *m;

        cr_assert_eq(call("ro,view_uid=4242"), 0, "%s", box.r.err);
        snprintf(path, sizeof(path), "%s/new", box.mnt);
        cr_assert(mknod(path, S_IFREG | 0644, 0) < 0 && errno == EROFS);
        m = status_mount(0);
        cr_assert_eq(json_integer_value(json_object_get(m, "view_uid")), 4242);
        json_decref(m);
        expect_exit(0, "umount", box.mnt);
}

Test(mount_helper, what_cannot_be_had_is_refused)
{
        const char *const options[] = {"noexec", "rw,sync", "remount,ro", "strictatime", "suid"};

        for (size_t i = 0; i < ARRAY_LEN(options); i++) {
                cr_assert_eq(call(options[i]), 1, "%s: %d", options[i], box.r.status);
                expect_said(box.r.err, "can't be had");
        }
        cr_assert_eq(call("nonesuch"), 1, "%d: %s", box.r.status, box.r.err);
        expect_said(box.r.err, "nonesuch");
        cr_assert_eq(rmdir(box.mnt), 0);
        cr_assert_eq(call("rw"), 32, "%d: %s", box.r.status, box.r.err);
        expect_said(box.r.err, box.mnt);
        expect_exit(4, "status");
}
