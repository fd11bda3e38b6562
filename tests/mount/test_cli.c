/*
 * The commands, when all goes well or is refused.
 */
#include "tests/mount/notices.h"

TestSuite(cli, .init = start, .fini = stop, .timeout = 600);

Test(cli, mounts_at_a_place_of_its_own_and_leaves_nothing)
{
        char place[PROC_OUTPUT_MAX];
        pid_t pid;

        expect_exit(0, "mount", box.src);
        memcpy(place, box.r.out, sizeof(place));
        trim(place);
        expect_said(place, "/run/dsfs/mnt/app");
        cr_assert(is_dsfs(place));
        expect_content(place, "greeting", "hello\n");
        pid = agent_pid();
        expect_exit(0, "umount", "app");
        cr_assert(is_gone(&pid), "the agent outlives its umount");
        cr_assert_eq(access(place, F_OK), -1, "%s is still there", place);
        expect_nothing_left();
}

Test(cli, mounts_at_a_given_place)
{
        expect_exit(0, "mount", box.src, box.mnt);
        trim(box.r.out);
        cr_assert_str_eq(box.r.out, box.mnt);
        expect_content(box.mnt, "greeting", "hello\n");
        put(box.mnt, "made", "inside\n");
        expect_content(box.src, "made", "inside\n");
        expect_exit(0, "umount", box.mnt);
        cr_assert_eq(access(box.mnt, F_OK), 0, "a place that we did not make is not ours to remove");
        expect_nothing_left();
}

Test(cli, relative_paths_work)
{
        cr_assert_eq(chdir(box.base), 0);
        expect_exit(0, "mount", "app", "mnt/", "-o", "name=rel");
        expect_exit(0, "status", "mnt");
        expect_exit(0, "umount", "./mnt");
        expect_nothing_left();
}

static void expect_refusal(const char *src, const char *mnt, const char *named, const char *because)
{
        expect_exit(1, "mount", src, mnt);
        cr_assert_str_eq(box.r.out, "");
        expect_said(box.r.err, named);
        expect_said(box.r.err, because);
        cr_assert_eq(strchr(box.r.err, '\n'), box.r.err + strlen(box.r.err) - 1, "not one line: %s", box.r.err);
        expect_exit(4, "status");
}

Test(cli, what_can_not_be_mounted_is_refused_and_nothing_changes)
{
        CLEANUP_FREE char *inside = NULL;
        CLEANUP_FREE char *file = NULL;
        CLEANUP_FREE char *missing = NULL;

        cr_assert_gt(asprintf(&inside, "%s/inside", box.src), 0);
        cr_assert_gt(asprintf(&file, "%s/greeting", box.src), 0);
        cr_assert_gt(asprintf(&missing, "%s/nonesuch", box.base), 0);
        cr_assert_eq(mkdir(inside, 0755), 0);
        expect_refusal(missing, box.mnt, missing, "does not exist");
        expect_refusal(file, box.mnt, file, "not a directory");
        expect_refusal(box.src, missing, missing, "does not exist");
        expect_refusal(box.src, file, file, "inside the source");
        expect_refusal(box.src, inside, inside, "inside the source");
        expect_refusal(box.src, box.src, box.src, "inside the source");
        expect_refusal(inside, box.src, box.src, "would hide it");
        put(box.mnt, "x", "");
        expect_refusal(box.src, box.mnt, box.mnt, "not empty");
        cr_assert_not(is_mounted(box.mnt));
        cr_assert_eq(mount("none", box.mnt, "tmpfs", 0, NULL), 0);
        expect_refusal(box.src, box.mnt, box.mnt, "mount point already (tmpfs)");
        cr_assert_eq(umount(box.mnt), 0);
}

Test(cli, a_live_mount_is_in_the_way)
{
        CLEANUP_FREE char *other = NULL;

        cr_assert_gt(asprintf(&other, "%s/other", box.base), 0);
        cr_assert_eq(mkdir(other, 0755), 0);
        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(1, "mount", other, box.mnt);
        expect_said(box.r.err, box.mnt);
        expect_said(box.r.err, "already mounted at");
        expect_content(box.mnt, "greeting", "hello\n");
        expect_exit(0, "umount", box.mnt);
}

Test(cli, folders_of_one_name_get_two)
{
        CLEANUP_FREE char *dir = NULL;
        CLEANUP_FREE char *twin = NULL;

        cr_assert_gt(asprintf(&dir, "%s/b", box.base), 0);
        cr_assert_gt(asprintf(&twin, "%s/b/app", box.base), 0);
        cr_assert(mkdir(dir, 0755) == 0 && mkdir(twin, 0755) == 0);
        expect_exit(0, "mount", box.src);
        expect_exit(0, "mount", twin);
        expect_said(box.r.out, "/mnt/app-");
        expect_exit(1, "mount", dir, "-o", "name=app");
        expect_said(box.r.err, "is taken");
        expect_exit(0, "umount", "--all");
        expect_nothing_left();
}

Test(cli, usage_errors_say_what_is_allowed)
{
        expect_exit(2, "mount");
        expect_exit(2, "mount", box.src, box.mnt, "third");
        expect_exit(2, "mount", box.src, "-o", "transport=fast");
        expect_said(box.r.err, "auto, uring, dev");
        expect_exit(2, "mount", box.src, "-o", "nonesuch");
        expect_said(box.r.err, "transport, watch");
        expect_exit(2, "mount", "--nonesuch", box.src);
        expect_exit(2, "umount");
        expect_exit(2, "umount", "--all", "x");
        expect_exit(2, "status", "a", "b");
        expect_exit(2, "wait", "--timeout", "soon");
        expect_exit(2, "doctor", "x");
        expect_exit(2, "nonesuch");
        expect_nothing_left();
}

Test(cli, every_command_has_help)
{
        static const char *const commands[] = {"mount", "umount", "status", "wait", "doctor"};

        expect_exit(0, "--help");
        for (size_t i = 0; i < ARRAY_LEN(commands); i++)
                expect_said(box.r.out, commands[i]);
        for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
                expect_exit(0, commands[i], "--help");
                expect_said(box.r.out, "usage: dsfs");
        }
        expect_exit(0, "mount", "--help");
        expect_said(box.r.out, "transport");
}

Test(cli, unknown_mounts_are_exit_4)
{
        expect_exit(4, "status");
        expect_exit(4, "status", "--json");
        expect_exit(4, "wait");
        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(4, "status", "nonesuch");
        expect_exit(4, "umount", "nonesuch");
        expect_exit(4, "umount", box.src);
        expect_exit(4, "wait", "nonesuch");
        expect_exit(0, "umount", "app");
        expect_exit(4, "umount", "app");
}

Test(cli, status_says_how_it_is)
{
        json_t *m;

        expect_exit(0, "mount", box.src, box.mnt, "-o", "transport=dev,prewarm=off");
        expect_content(box.mnt, "greeting", "hello\n");
        m = status_mount(0);
        cr_assert_str_eq(json_string_value(json_object_get(m, "verdict")), "ok");
        cr_assert_str_eq(json_string_value(json_object_get(m, "name")), "app");
        cr_assert_str_eq(json_string_value(json_object_get(m, "source")), box.src);
        cr_assert_str_eq(json_string_value(json_object_get(m, "mountpoint")), box.mnt);
        cr_assert_str_eq(json_string_value(json_object_get(m, "profile")), "source");
        cr_assert_str_eq(json_string_value(json_object_get(m, "transport")), "/dev/fuse");
        cr_assert_str_eq(json_string_value(json_object_get(m, "coherence")), "events");
        cr_assert_str_eq(json_string_value(json_object_get(m, "watch")), "fanotify");
        cr_assert_str_eq(json_string_value(json_object_get(json_object_get(m, "prewarm"), "state")), "off");
        cr_assert_gt(json_integer_value(json_object_get(json_object_get(m, "requests"), "LOOKUP")), 0);
        cr_assert_geq(json_integer_value(json_object_get(m, "nodes")), 2);
        cr_assert_gt(json_integer_value(json_object_get(m, "rss")), 1 << 20);
        cr_assert_eq(json_array_size(json_object_get(m, "warnings")), 0);
        json_decref(m);
        expect_exit(0, "status", "app");
        cr_assert_eq(strncmp(box.r.out, "ok: app\n", 8), 0, "the verdict comes first: %s", box.r.out);
}

Test(cli, options_reach_the_mount)
{
        json_t *m;
        int fd;

        expect_exit(0, "mount", box.src, box.mnt, "-o", "ro,coherence=strict,name=my app");
        m = status_mount(0);
        cr_assert_str_eq(json_string_value(json_object_get(m, "name")), "my app");
        cr_assert_str_eq(json_string_value(json_object_get(m, "coherence")), "strict");
        cr_assert_str_eq(json_string_value(json_object_get(m, "watch")), "none");
        cr_assert(json_is_true(json_object_get(m, "readonly")));
        json_decref(m);
        cr_assert_eq(chdir(box.mnt), 0);
        fd = open("new", O_WRONLY | O_CREAT, 0644);
        cr_assert(fd < 0 && errno == EROFS, "%s", strerror(errno));
        cr_assert_eq(chdir("/"), 0);
        expect_exit(0, "umount", "my app");
}

Test(cli, names_are_bytes)
{
        CLEANUP_FREE char *odd = NULL;
        json_t *m;

        cr_assert_gt(asprintf(&odd, "%s/a, \\b\n\xff", box.base), 0);
        cr_assert_eq(mkdir(odd, 0755), 0);
        put(odd, "x", "odd\n");
        expect_exit(0, "mount", odd);
        trim(box.r.out);
        m = status_mount(0);
        expect_said(json_string_value(json_object_get(m, "source")), "/a, \\\\b\n\\xff");
        json_decref(m);
        expect_exit(0, "umount", "a, \\b\n\xff");
        expect_nothing_left();
}

Test(cli, wait_is_a_barrier)
{
        expect_exit(0, "mount", box.src, box.mnt);
        expect_content(box.mnt, "greeting", "hello\n");
        for (int i = 0; i < 20; i++) {
                char text[32];

                snprintf(text, sizeof(text), "number %d\n", i);
                put(box.src, "greeting", text);
                expect_exit(0, "wait", "--timeout", "60");
                expect_content(box.mnt, "greeting", text);
        }
        cr_assert_eq(chdir(box.mnt), 0);
        expect_exit(0, "wait");
        cr_assert_eq(chdir("/"), 0);
}

Test(cli, pre_warming_finishes_and_counts)
{
        json_t *m = NULL;
        const char *state = "";
        unsigned long long patience = 5000;

        for (int i = 0; i < 100; i++) {
                char name[32];

                snprintf(name, sizeof(name), "file%d", i);
                put(box.src, name, "some bytes\n");
        }
        expect_exit(0, "mount", box.src, box.mnt);
        do {
                json_decref(m);
                m = status_mount(0);
                state = json_string_value(json_object_get(json_object_get(m, "prewarm"), "state"));
        } while (strcmp(state, "running") == 0 && --patience);
        /* A machine short of memory may stop it, but not this early without saying so. */
        cr_assert(strcmp(state, "done") == 0 || strcmp(state, "stopped") == 0, "%s", state);
        if (strcmp(state, "done") == 0) {
                cr_assert_eq(json_integer_value(json_object_get(json_object_get(m, "prewarm"), "entries")), 101);
                cr_assert_eq(json_integer_value(json_object_get(json_object_get(m, "prewarm"), "files")), 101);
        }
        json_decref(m);
        expect_exit(0, "umount", "app");
}

Test(cli, a_mount_in_use_is_not_unmounted_unless_lazily)
{
        CLEANUP_FREE char *path = NULL;
        CLEANUP_FD int fd = -1;
        pid_t pid;

        expect_exit(0, "mount", box.src, box.mnt);
        pid = agent_pid();
        cr_assert_gt(asprintf(&path, "%s/greeting", box.mnt), 0);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        cr_assert_geq(fd, 0);
        expect_exit(1, "umount", "app");
        expect_said(box.r.err, "--lazy");
        expect_content(box.mnt, "greeting", "hello\n");
        expect_exit(0, "umount", "--lazy", "app");
        cr_assert(is_gone(&pid));
        expect_nothing_left();
}

Test(cli, unmounting_by_other_means_ends_the_agent)
{
        pid_t pid;

        expect_exit(0, "mount", box.src, box.mnt);
        pid = agent_pid();
        /* Busy while pre-warming reads it. */
        while (umount(box.mnt) < 0)
                cr_assert_eq(errno, EBUSY);
        cr_assert(proc_until(is_gone, &pid), "the agent stays");
        expect_nothing_left();
}

Test(cli, sigterm_unmounts)
{
        pid_t pid;

        expect_exit(0, "mount", box.src, box.mnt);
        pid = agent_pid();
        cr_assert_eq(kill(pid, SIGTERM), 0);
        cr_assert(proc_until(is_gone, &pid), "the agent stays");
        expect_nothing_left();
}

Test(cli, the_foreground_tells_the_service_manager)
{
        char path[128];
        CLEANUP_FD int notices = notify_socket(path, sizeof(path));
        CLEANUP_FD int held = -1;
        pid_t pid = start_foreground(box.mnt, path);
        json_t *m;

        expect_notice(notices, "READY=1");
        m = status_mount(0);
        cr_assert_eq(json_integer_value(json_object_get(m, "holder_pid")), pid, "the manager's child is the holder");
        json_decref(m);
        expect_content(box.mnt, "greeting", "hello\n");
        /* In use: it ends all the same, and well. */
        held = open(box.mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        cr_assert_eq(kill(pid, SIGTERM), 0);
        expect_notice(notices, "STOPPING=1");
        cr_assert_eq(proc_wait(pid), 0);
        expect_nothing_left();
}
