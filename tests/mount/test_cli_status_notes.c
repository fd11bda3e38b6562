/*
 * What `dsfs status` says of the disk, and what it makes of names that a terminal would obey.
 */
#include "tests/mount/cli.h"

TestSuite(cli_status_notes, .init = start, .fini = stop, .timeout = 120);

static void fill_disk(void)
{
        char path[160];
        static const char zeros[65536];
        int fd;

        snprintf(path, sizeof(path), "%s/filler", box.src);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        cr_assert_geq(fd, 0);
        while (write(fd, zeros, sizeof(zeros)) > 0)
                ;
        cr_assert_eq(errno, ENOSPC);
        close(fd);
}

Test(cli_status_notes, a_full_disk_is_told_of)
{
        char full[192];

        snprintf(full, sizeof(full), "the disk of %s (the source) is full", box.src);
        cr_assert_eq(mount("none", box.src, "tmpfs", 0, "size=32m"), 0, "%s", strerror(errno));
        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(0, "status");
        cr_assert_null(strstr(box.r.out, "is full"), "%s", box.r.out);
        fill_disk();
        /* What is there can be read as well as ever. */
        expect_exit(0, "status");
        expect_said(box.r.out, full);
        expect_said(box.r.out, "df -h");
        expect_exit(0, "umount", box.mnt);
        cr_assert_eq(umount(box.src), 0);
}

Test(cli_status_notes, names_are_shown_and_not_obeyed)
{
        json_t *m;

        expect_exit(0, "mount", box.src, box.mnt, "-o", "prewarm=off");
        expect_exit(0, "wait", "--hashed");
        put(box.src, "a\033]0;owned\007\nok: b", "x\n");
        expect_exit(0, "wait", "--hashed");
        m = status_mount(0);
        /* Programs get it as it is. */
        cr_assert_str_eq(json_string_value(json_object_get(json_object_get(m, "last_change"), "path")), "a\033]0;owned\007\nok: b");
        json_decref(m);
        expect_exit(0, "status");
        expect_said(box.r.out, "a\\x1b]0;owned\\x07\\x0aok: b created by the host");
        cr_assert_null(strchr(box.r.out, '\033'), "%s", box.r.out);
}
