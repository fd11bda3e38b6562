/*
 * Several mounts of one source, by the command line: one agent, a name and options for each mount, and none that takes another with it.
 */
#include "tests/mount/several.h"

#define MOUNTS_MAX 16

TestSuite(cli_several, .init = start, .fini = stop_several, .timeout = 600);

static void put_path(const char *path)
{
        CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

        cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
}

/* A file made through a mount by somebody: whose it is then. */
static uid_t owner_of_new(const char *mnt, const char *name, uid_t by)
{
        char path[192];
        struct stat st;
        pid_t pid;

        snprintf(path, sizeof(path), "%s/%s", mnt, name);
        pid = fork();
        if (pid == 0)
                _exit(setgid(by) || setuid(by) || open(path, O_WRONLY | O_CREAT | O_EXCL, 0644) < 0);
        cr_assert_eq(proc_wait(pid), 0);
        snprintf(path, sizeof(path), "%s/%s", box.src, name);
        cr_assert_eq(stat(path, &st), 0, "%s: %s", path, strerror(errno));
        return st.st_uid;
}

Test(cli_several, each_mount_has_its_name_and_options)
{
        char path[192];
        pid_t pid;

        need_uring();
        cr_assert_eq(chmod(box.src, 0777), 0);
        expect_exit(0, "mount", box.src, place(1));
        expect_exit(0, "mount", box.src, place(2), "-o", "readonly,transport=dev", "-o", "xattr=off");
        cr_assert_eq(strncmp(box.r.out, place(2), strlen(place(2))), 0, "%s", box.r.out);
        expect_exit(0, "mount", box.src, place(3), "-o", "owner=keep,profile=data");
        expect_exit(0, "mount", box.src, place(4), "-o", "name=mine");
        expect_exit(0, "mount", box.src, place(5));
        pid = pid_at(place(1));
        for (unsigned n = 1; n <= 5; n++) {
                static const char *const names[] = {"", "app", "app.2", "app.3", "mine", "app.4"};

                expect_text(place(n), "name", names[n]);
                cr_assert_eq(pid_at(place(n)), pid, "an agent of its own");
                expect_content(place(n), "greeting", "hello\n");
                expect_exit(0, "status", names[n]);
                expect_said(box.r.out, place(n));
                expect_exit(0, "wait", names[n]);
                expect_exit(0, "wait", place(n));
        }
        expect_text(place(1), "transport", "io_uring");
        expect_text(place(2), "transport", "/dev/fuse");
        expect_text(place(1), "profile", "source");
        expect_text(place(3), "profile", "data");
        snprintf(path, sizeof(path), "%s/greeting", place(2));
        cr_assert(open(path, O_WRONLY | O_CLOEXEC) < 0 && errno == EROFS, "%s", strerror(errno));
        snprintf(path, sizeof(path), "%s/made", place(4));
        put_path(path);
        cr_assert_eq(owner_of_new(place(1), "squashed", 1234), 0);
        cr_assert_eq(owner_of_new(place(3), "kept", 1234), 1234);
        cr_assert_eq(chdir(place(3)), 0);
        expect_exit(0, "wait");
        cr_assert_eq(chdir("/"), 0);
        expect_exit(0, "umount", "--all");
        cr_assert(is_gone(&pid));
        expect_nothing_left();
}

Test(cli_several, each_gets_a_place_of_its_own_and_leaves_none)
{
        static char first[PROC_OUTPUT_MAX], second[PROC_OUTPUT_MAX];

        expect_exit(0, "mount", box.src);
        memcpy(first, box.r.out, sizeof(first));
        trim(first);
        expect_exit(0, "mount", box.src);
        memcpy(second, box.r.out, sizeof(second));
        trim(second);
        expect_said(second, "/mnt/app.2");
        expect_content(second, "greeting", "hello\n");
        expect_exit(0, "umount", "app");
        cr_assert_eq(access(first, F_OK), -1, "%s is still there", first);
        expect_content(second, "greeting", "hello\n");
        cr_assert_eq(mounts_listed(), 1);
        /* The name is free again, and there is an agent to ask. */
        expect_exit(0, "mount", box.src);
        trim(box.r.out);
        cr_assert_str_eq(box.r.out, first);
        expect_exit(0, "umount", "app.2");
        cr_assert_eq(access(second, F_OK), -1, "%s is still there", second);
        expect_content(first, "greeting", "hello\n");
        expect_exit(0, "umount", first);
        cr_assert_eq(access(first, F_OK), -1);
        expect_nothing_left();
}

Test(cli_several, what_can_not_be_is_refused_and_the_others_serve_on)
{
        char inside[160];

        need_uring();
        expect_exit(0, "mount", box.src, place(1), "-o", "watch=inotify");
        expect_exit(1, "mount", box.src, place(1));
        expect_said(box.r.err, "already mounted at");
        expect_said(box.r.err, place(1));
        expect_exit(1, "mount", box.src, place(2), "-o", "name=app");
        expect_said(box.r.err, "is taken");
        expect_exit(1, "mount", box.src, place(2), "-o", "watch=fanotify");
        expect_said(box.r.err, "-o watch");
        expect_said(box.r.err, "inotify already");
        expect_exit(1, "mount", box.src, place(2), "-o", "coherence=strict");
        expect_said(box.r.err, "-o coherence");
        expect_said(box.r.err, "leave it out");
        snprintf(inside, sizeof(inside), "%s/inside", box.src);
        cr_assert_eq(mkdir(inside, 0755), 0);
        expect_exit(1, "mount", box.src, inside);
        expect_said(box.r.err, "inside the source");
        snprintf(inside, sizeof(inside), "%s/nonesuch", box.base);
        expect_exit(1, "mount", box.src, inside);
        expect_said(box.r.err, "does not exist");
        put(place(3), "x", "");
        expect_exit(1, "mount", box.src, place(3));
        expect_said(box.r.err, "not empty");
        cr_assert_eq(mounts_listed(), 1);
        cr_assert_not(is_mounted(place(2)));
        /* The same as what it is, or what is there. */
        expect_exit(0, "mount", box.src, place(2), "-o", "watch=inotify,coherence=events");
        expect_exit(0, "umount", place(2));
        expect_content(place(1), "greeting", "hello\n");
        expect_exit(0, "umount", "app");
        expect_nothing_left();
}

Test(cli_several, there_are_sixteen_at_most)
{
        char name[16];

        for (unsigned n = 0; n < MOUNTS_MAX; n++)
                expect_exit(0, "mount", box.src, place(n), "-o", "prewarm=off");
        expect_exit(1, "mount", box.src, place(MOUNTS_MAX));
        expect_said(box.r.err, "16 mounts already");
        cr_assert_eq(mounts_listed(), MOUNTS_MAX);
        put(place(3), "made", "through the fourth\n");
        expect_exit(0, "wait", "app");
        for (unsigned n = 0; n < MOUNTS_MAX; n++)
                expect_content(place(n), "made", "through the fourth\n");
        expect_exit(0, "umount", place(7));
        expect_exit(0, "mount", box.src, place(MOUNTS_MAX), "-o", "prewarm=off");
        snprintf(name, sizeof(name), "app.%d", 8);
        expect_text(place(MOUNTS_MAX), "name", name);
        expect_exit(0, "umount", "--all");
        for (unsigned n = 0; n <= MOUNTS_MAX; n++)
                cr_assert_not(is_mounted(place(n)), "%s is left", place(n));
        expect_nothing_left();
}

/* umount(8), while who knows who looks at it. */
static void unmount_by_hand(const char *path)
{
        while (umount(path) < 0)
                cr_assert_eq(errno, EBUSY, "%s: %s", path, strerror(errno));
}

static bool is_listed_no_more(void *arg)
{
        json_t *m = status_at(arg);

        json_decref(m);
        return !m;
}

Test(cli_several, a_mount_that_ends_by_itself_takes_no_other_with_it)
{
        pid_t pid;

        expect_exit(0, "mount", box.src, place(1));
        expect_exit(0, "mount", box.src, place(2));
        pid = pid_at(place(2));
        unmount_by_hand(place(1));
        cr_assert(proc_until(is_listed_no_more, (void *)place(1)), "it stays listed");
        expect_content(place(2), "greeting", "hello\n");
        expect_exit(4, "status", "app");
        expect_exit(0, "mount", box.src, place(1));
        expect_text(place(1), "name", "app");
        /* At once again: the agent may not have noticed. */
        for (int i = 0; i < 10; i++) {
                unmount_by_hand(place(1));
                expect_exit(0, "mount", box.src, place(1), "-o", "prewarm=off");
        }
        unmount_by_hand(place(2));
        unmount_by_hand(place(1));
        cr_assert(proc_until(is_gone, &pid), "the agent stays");
        expect_nothing_left();
}

Test(cli_several, one_in_use_is_not_unmounted_and_the_other_is)
{
        char path[160];
        int fd;

        expect_exit(0, "mount", box.src, place(1));
        expect_exit(0, "mount", box.src, place(2));
        snprintf(path, sizeof(path), "%s/greeting", place(1));
        fd = open(path, O_RDONLY | O_CLOEXEC);
        cr_assert_geq(fd, 0);
        expect_exit(1, "umount", "app");
        expect_said(box.r.err, "--lazy");
        expect_exit(0, "umount", "app.2");
        expect_exit(0, "mount", box.src, place(2));
        expect_exit(0, "umount", "--lazy", "app");
        cr_assert_not(is_mounted(place(1)));
        close(fd);
        expect_content(place(2), "greeting", "hello\n");
        expect_exit(0, "umount", "app.2");
        expect_nothing_left();
}

Test(cli_several, sigterm_unmounts_all)
{
        int held;
        pid_t pid;

        for (unsigned n = 0; n < 4; n++)
                expect_exit(0, "mount", box.src, place(n));
        pid = pid_at(place(0));
        held = open(place(2), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        cr_assert_eq(kill(pid, SIGTERM), 0);
        cr_assert(proc_until(is_gone, &pid), "the agent stays");
        close(held);
        for (unsigned n = 0; n < 4; n++)
                cr_assert_not(is_mounted(place(n)), "%s is left", place(n));
        expect_nothing_left();
}

static void kill_agent_of(const char *mountpoint)
{
        json_t *m = status_at(mountpoint);

        cr_assert(m, "status does not list %s", mountpoint);
        kill_for_good(m);
        json_decref(m);
}

Test(cli_several, a_killed_agents_mounts_are_recovered_one_by_one)
{
        expect_exit(0, "mount", box.src, place(1));
        expect_exit(0, "mount", box.src, place(2), "-o", "transport=dev");
        for (int i = 0; i < 3; i++) {
                kill_agent_of(place(1));
                expect_exit(1, "status");
                cr_assert_eq(mounts_listed(), 2);
                expect_text(place(1), "verdict", "broken");
                expect_text(place(2), "verdict", "broken");
                expect_exit(0, "mount", box.src, place(2));
                expect_content(place(2), "greeting", "hello\n");
                /* Still there, for those who see it through a slave mount: only mounting over it heals them. */
                cr_assert(is_mounted(place(1)));
                expect_exit(0, "mount", box.src, place(1));
                expect_content(place(1), "greeting", "hello\n");
        }
        expect_exit(0, "umount", place(1));
        expect_exit(0, "umount", place(2));
        cr_assert_not(is_mounted(place(1)), "a dead layer is left");
        cr_assert_not(is_mounted(place(2)), "a dead layer is left");
        expect_nothing_left();
}

Test(cli_several, what_a_killed_agent_left_is_cleared_away)
{
        static char own[PROC_OUTPUT_MAX];

        expect_exit(0, "mount", box.src, place(1));
        expect_exit(0, "mount", box.src, place(2));
        kill_agent_of(place(1));
        expect_exit(0, "umount", place(1));
        cr_assert_not(is_mounted(place(1)));
        cr_assert_eq(mounts_listed(), 1, "the other was forgotten");
        expect_exit(0, "umount", "--all");
        cr_assert_not(is_mounted(place(2)));
        expect_nothing_left();
        expect_exit(0, "mount", box.src, place(1));
        expect_exit(0, "mount", box.src);
        memcpy(own, box.r.out, sizeof(own));
        trim(own);
        kill_agent_of(place(1));
        (void)DSFS("doctor", "--fix");
        cr_assert_not(is_mounted(place(1)));
        cr_assert_eq(access(own, F_OK), -1, "%s is left", own);
        expect_nothing_left();
}

/* Somebody's own mount namespace keeps a copy of every mount that was there: that is no reason to wait, or to refuse the place. */
Test(cli_several, a_mount_that_lives_on_in_another_namespace_is_let_go)
{
        const char *const argv[] = {"unshare", "-m", "--propagation", "private", "sh", "-c", "echo ready >\"$0\"; exec sleep 1000",
                                    NULL,      NULL};
        const char *command[ARRAY_LEN(argv)];
        char ready[192];
        struct stat st;
        pid_t other, agent;

        snprintf(ready, sizeof(ready), "%s.ready", box.src);
        memcpy(command, argv, sizeof(argv));
        command[ARRAY_LEN(argv) - 2] = ready;
        expect_exit(0, "mount", box.src, place(1));
        agent = pid_at(place(1));
        other = proc_start(command, 0, NULL);
        while (stat(ready, &st) < 0 || st.st_size == 0)
                cr_assert_eq(kill(other, 0), 0, "unshare has ended");
        expect_exit(0, "umount", place(1));
        expect_said(box.r.err, "still has it");
        expect_exit(0, "mount", box.src, place(1));
        cr_assert_eq(pid_at(place(1)), agent, "the agent has not stayed");
        expect_content(place(1), "greeting", "hello\n");
        expect_exit(0, "umount", "--all");
        expect_exit(0, "umount", "--all");
        cr_assert_not(is_gone(&agent));
        cr_assert_eq(kill(other, SIGKILL), 0);
        (void)proc_wait(other);
        cr_assert(proc_until(is_gone, &agent), "the agent outlives its last mount");
        expect_nothing_left();
}
