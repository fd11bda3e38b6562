/*
 * What a killed agent leaves, and how it is cleared away.
 */
#include "tests/mount/cli.h"

#define URING_SWITCH "/sys/module/fuse/parameters/enable_uring"

TestSuite(cli_dead, .init = start, .fini = stop, .timeout = 600);

/* Both ways that requests take; io_uring is switched on if it isn't. */
static void set_up_transport(const char *name)
{
        if (strcmp(name, "uring") == 0)
                put("/sys/module/fuse/parameters", "enable_uring", "Y");
}

struct transport_case {
        char name[8];
};

static struct transport_case transports[] = {{"uring"}, {"dev"}};

static void mount_by(const char *transport)
{
        char option[32];
        json_t *m;

        set_up_transport(transport);
        snprintf(option, sizeof(option), "transport=%s", transport);
        expect_exit(0, "mount", box.src, box.mnt, "-o", option);
        m = status_mount(0);
        cr_assert_str_eq(json_string_value(json_object_get(m, "transport")), strcmp(transport, "dev") ? "io_uring" : "/dev/fuse");
        json_decref(m);
}

ParameterizedTestParameters(cli_dead, a_killed_agent_is_recovered_by_mounting_again)
{
        return cr_make_param_array(struct transport_case, transports, ARRAY_LEN(transports));
}

ParameterizedTest(struct transport_case *t, cli_dead, a_killed_agent_is_recovered_by_mounting_again, .timeout = 600)
{
        json_t *m;

        mount_by(t->name);
        for (int i = 0; i < 3; i++) {
                kill_agent();
                m = status_mount(1);
                cr_assert_str_eq(json_string_value(json_object_get(m, "verdict")), "broken");
                expect_said(json_string_value(json_array_get(json_object_get(m, "warnings"), 0)), "dsfs umount");
                json_decref(m);
                expect_exit(4, "wait", "app");
                mount_by(t->name);
                expect_content(box.mnt, "greeting", "hello\n");
        }
        expect_exit(0, "umount", box.mnt);
        cr_assert_not(is_mounted(box.mnt), "a dead layer is left");
        expect_nothing_left();
}

/* A client that asks the agent all the time. */
static pid_t start_asking(void)
{
        pid_t pid = fork();
        char path[160];

        if (pid)
                return pid;
        for (unsigned i = 0;; i++) {
                snprintf(path, sizeof(path), "%s/made%u", box.mnt, i % 64);
                int fd = open(path, O_RDWR | O_CREAT, 0644);

                if (fd < 0)
                        _exit(0);
                (void)!write(fd, path, sizeof(path));
                close(fd);
                (void)unlink(path);
        }
}

static bool is_asking(void *arg)
{
        json_t *m = status_mount(0);
        bool yes = json_integer_value(json_object_get(m, "requests_total")) > 2000;

        (void)arg;
        json_decref(m);
        return yes;
}

ParameterizedTestParameters(cli_dead, an_agent_killed_at_work_is_recovered)
{
        return cr_make_param_array(struct transport_case, transports, ARRAY_LEN(transports));
}

ParameterizedTest(struct transport_case *t, cli_dead, an_agent_killed_at_work_is_recovered, .timeout = 600)
{
        pid_t asking[3];

        mount_by(t->name);
        for (size_t i = 0; i < ARRAY_LEN(asking); i++)
                asking[i] = start_asking();
        cr_assert(proc_until(is_asking, NULL));
        kill_agent();
        mount_by(t->name);
        expect_content(box.mnt, "greeting", "hello\n");
        for (size_t i = 0; i < ARRAY_LEN(asking); i++) {
                (void)kill(asking[i], SIGKILL);
                cr_assert_neq(proc_wait(asking[i]), PROC_HUNG, "who waited for the dead agent waits for ever");
        }
        expect_exit(0, "umount", box.mnt);
        expect_nothing_left();
}

Test(cli_dead, umount_clears_away_after_a_killed_agent)
{
        char place[PROC_OUTPUT_MAX];

        expect_exit(0, "mount", box.src);
        memcpy(place, box.r.out, sizeof(place));
        trim(place);
        kill_agent();
        expect_exit(0, "umount", place);
        cr_assert_not(is_mounted(place));
        cr_assert_eq(access(place, F_OK), -1);
        expect_nothing_left();
}

Test(cli_dead, a_source_whose_agent_was_killed_can_move)
{
        CLEANUP_FREE char *other = NULL;

        cr_assert_gt(asprintf(&other, "%s/other", box.base), 0);
        cr_assert_eq(mkdir(other, 0755), 0);
        expect_exit(0, "mount", box.src, box.mnt);
        kill_agent();
        expect_exit(0, "mount", box.src, other);
        expect_content(other, "greeting", "hello\n");
        cr_assert_not(is_mounted(box.mnt), "the dead mount is left");
        expect_exit(0, "umount", other);
}

Test(cli_dead, doctor_finds_and_removes_what_the_dead_left)
{
        expect_exit(0, "mount", box.src, box.mnt);
        kill_agent();
        expect_exit(3, "doctor");
        expect_said(box.r.out, box.mnt);
        expect_said(box.r.out, "dsfs umount");
        cr_assert(is_mounted(box.mnt), "looking changes nothing");
        (void)DSFS("doctor", "--fix", "--json");
        expect_said(box.r.out, "fixed");
        expect_nothing_left();
        (void)DSFS("doctor", "--json");
        cr_assert_null(strstr(box.r.out, box.mnt), "%s", box.r.out);
}

Test(cli_dead, doctor_switches_io_uring_on)
{
        CLEANUP_FREE char *file = NULL;

        /* A file of ours in place of the switch: others use the real one. */
        cr_assert_gt(asprintf(&file, "%s/switch", box.base), 0);
        put(box.base, "switch", "N\n");
        cr_assert_eq(mount(file, URING_SWITCH, NULL, MS_BIND, NULL), 0, "%s", strerror(errno));
        (void)DSFS("doctor");
        expect_said(box.r.out, "echo Y > " URING_SWITCH);
        expect_content(box.base, "switch", "N\n");
        (void)DSFS("doctor", "--fix");
        expect_content(box.base, "switch", "Y\n");
        cr_assert_eq(umount(URING_SWITCH), 0);
}
