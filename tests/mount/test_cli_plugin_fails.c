/*
 * dsfs docker-plugin: what dies, is lost, full, or no more there; and service managers.
 */
#include "tests/mount/plugin.h"

/*
 * What fails
 */

Test(cli_plugin, what_it_knows_outlives_it)
{
        const char *where;

        create("app", NULL, NULL);
        where = mount_volume("app", "c1");
        end_plugin(SIGTERM, 0);
        cr_assert_lt(access(plugin.socket, F_OK), 0, "the socket is left");
        cr_assert(is_dsfs(where));
        start_plugin();
        cr_assert_eq(users("app"), 1);
        mount_volume("app", "c2");
        end_plugin(SIGKILL, 128 + SIGKILL);
        start_plugin();
        cr_assert_eq(users("app"), 2);
        ask_well("VolumeDriver.Unmount", user("app", "c2"));
        expect_content(where, "greeting", "hello\n");
        ask_well("VolumeDriver.Unmount", user("app", "c1"));
        cr_assert_not(is_mounted(where));
}

static bool is_served(void *arg)
{
        const char *name = arg;
        json_t *s = status(name);
        bool ok = strcmp(json_string_value(json_object_get(s, "verdict")), "ok") == 0;

        json_decref(s);
        return ok;
}

/* Served, and no longer by this one. */
static pid_t killed;

static bool is_served_anew(void *arg)
{
        return is_served(arg) && agent_of(arg) != killed;
}

static pid_t parent_of(pid_t pid)
{
        CLEANUP_FREE char *path = NULL;
        CLEANUP_FREE char *text = NULL;
        int parent = 0;

        cr_assert_gt(asprintf(&path, "/proc/%d/stat", pid), 0);
        cr_assert_gt(fd_read_file(AT_FDCWD, path, 4096, &text), 0);
        cr_assert_eq(sscanf(strrchr(text, ')'), ") %*c %d", &parent), 1);
        cr_assert_gt(parent, 1, "%d has no holder", pid);
        return parent;
}

Test(cli_plugin, a_dead_mount_is_mounted_over_when_docker_asks)
{
        const char *where;
        pid_t agent;
        json_t *s;

        create("app", NULL, NULL);
        where = mount_volume("app", "c1");
        for (int i = 0; i < 2; i++) {
                agent = agent_of("app");
                cr_assert_gt(agent, 1);
                /* Its holder would be quicker. */
                cr_assert_eq(kill(parent_of(agent), SIGKILL), 0);
                cr_assert_eq(kill(agent, SIGKILL), 0);
                cr_assert(proc_until(is_gone, &agent));
                killed = agent;
                if (i == 0)
                        cr_assert(proc_until(is_served_anew, "app"), "it is not healed");
                else
                        mount_volume("app", "c2");
                expect_content(where, "greeting", "hello\n");
        }
        s = status("app");
        cr_assert(strstr(json_string_value(json_array_get(json_object_get(s, "warnings"), 0)), "mounted over"));
        json_decref(s);
        ask_well("VolumeDriver.Unmount", user("app", "c1"));
        ask_well("VolumeDriver.Unmount", user("app", "c2"));
        cr_assert_not(is_mounted(where));
}

Test(cli_plugin, an_agent_that_does_not_answer_is_said_to_and_holds_nobody_up)
{
        char other[160];
        json_t *s;
        pid_t agent;

        set_directory(NULL, "other", other, sizeof(other));
        create("app", NULL, NULL);
        create("second", NULL, NULL);
        ask_well("VolumeDriver.Create", json_pack("{s:s, s:{s:s}}", "Name", "other", "Opts", "source", other));
        mount_volume("app", "c1");
        agent = agent_of("app");
        cr_assert_eq(kill(agent, SIGSTOP), 0);
        ask_badly("VolumeDriver.Mount", user("app", "c2"), "does not answer");
        ask_badly("VolumeDriver.Mount", user("second", "c2"), "does not answer");
        ask_well("VolumeDriver.List", json_object());
        mount_volume("other", "c3");
        ask_well("VolumeDriver.Unmount", user("other", "c3"));
        s = status("app");
        cr_assert_neq(strcmp(json_string_value(json_object_get(s, "verdict")), "ok"), 0);
        json_decref(s);
        cr_assert_eq(kill(agent, SIGCONT), 0);
        cr_assert(proc_until(is_served, "app"));
        ask_well("VolumeDriver.Unmount", user("app", "c1"));
}

/* As a container has it: in another mount namespace, at another place. */
struct inmate {
        const char *where;
        int ready, leave;
};

static int live_in_container(void *arg)
{
        struct inmate *i = arg;
        char c = '+';

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount(i->where, box.mnt, NULL, MS_BIND, NULL) < 0)
                return 1;
        (void)!write(i->ready, &c, 1);
        (void)!read(i->leave, &c, 1);
        return 0;
}

static pid_t start_container(struct inmate *i, int *leash)
{
        int ready[2], leave[2];
        pid_t pid;
        char c;

        cr_assert(pipe2(ready, O_CLOEXEC) == 0 && pipe2(leave, O_CLOEXEC) == 0);
        i->ready = ready[1];
        i->leave = leave[0];
        pid = child_start(NULL, live_in_container, i);
        cr_assert_eq(read(ready[0], &c, 1), 1);
        *leash = leave[1];
        close(leave[0]);
        return pid;
}

/* As if it had come long ago. */
static void make_old(const char *name)
{
        CLEANUP_FREE char *path = text_new("%s/plugin/volumes/%s.json", plugin.state, name);
        json_t *record = json_load_file(path, 0, NULL);
        const char *id;
        json_t *since;

        json_object_foreach(json_object_get(record, "users"), id, since)
        {
                json_integer_set(since, 1);
        }
        cr_assert_eq(json_dump_file(record, path, 0), 0);
        json_decref(record);
}

static bool has_no_users(void *arg)
{
        return users(arg) == 0;
}

Test(cli_plugin, users_that_are_no_more_are_forgotten_and_others_are_not)
{
        struct inmate inmate;
        const char *where;
        int leash;
        pid_t pid;

        create("used", NULL, NULL);
        create("left", NULL, NULL);
        inmate.where = mount_volume("used", "c1");
        where = mount_volume("left", "c2");
        pid = start_container(&inmate, &leash);
        end_plugin(SIGKILL, 128 + SIGKILL);
        start_plugin();
        cr_assert_eq(users("left"), 1, "who has come just now may not be seen yet");
        end_plugin(SIGKILL, 128 + SIGKILL);
        make_old("used");
        make_old("left");
        start_plugin();
        cr_assert(proc_until(has_no_users, "left"));
        cr_assert_not(is_mounted(where));
        cr_assert_eq(users("used"), 1);
        ask_badly("VolumeDriver.Remove", json_pack("{s:s}", "Name", "used"), "is in use");
        cr_assert_eq(write(leash, "-", 1), 1);
        close(leash);
        cr_assert_eq(child_wait(pid), 0);
        ask_well("VolumeDriver.Remove", json_pack("{s:s}", "Name", "used"));
        cr_assert_not(is_mounted(inmate.where));
}

Test(cli_plugin, what_is_left_of_a_lost_volume_is_not_taken_for_another)
{
        char other[160];
        const char *where;

        set_directory(NULL, "other", other, sizeof(other));
        create("app", NULL, NULL);
        where = mount_volume("app", "c1");
        end_plugin(SIGKILL, 128 + SIGKILL);
        cr_assert_eq(unlink(at(plugin.state, "plugin/volumes/app.json")), 0);
        start_plugin();
        ask_well("VolumeDriver.Create", json_pack("{s:s, s:{s:s}}", "Name", "app", "Opts", "source", other));
        ask_badly("VolumeDriver.Mount", user("app", "c2"), "is mounted there");
        expect_exit(0, "umount", where);
        where = mount_volume("app", "c2");
        cr_assert_lt(access(at(where, "greeting"), F_OK), 0);
        ask_well("VolumeDriver.Unmount", user("app", "c2"));
}

Test(cli_plugin, after_a_reboot_nobody_is_counted)
{
        CLEANUP_FREE char *path = text_new("%s/plugin/volumes/app.json", plugin.state);
        const char *where;
        json_t *record;

        create("app", NULL, NULL);
        where = mount_volume("app", "c1");
        end_plugin(SIGKILL, 128 + SIGKILL);
        record = json_load_file(path, 0, NULL);
        json_object_set_new(record, "boot", json_string("another"));
        cr_assert_eq(json_dump_file(record, path, 0), 0);
        json_decref(record);
        start_plugin();
        cr_assert_eq(users("app"), 0);
        mount_volume("app", "c2");
        cr_assert_eq(users("app"), 1);
        ask_well("VolumeDriver.Unmount", user("app", "c2"));
        cr_assert_not(is_mounted(where));
}

static void fill(const char *path)
{
        static const char page[4096];
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        cr_assert_geq(fd, 0);
        while (write(fd, page, sizeof(page)) > 0)
                ;
        cr_assert_eq(errno, ENOSPC);
        close(fd);
}

/* docker is told of nothing that a crash would undo. */
Test(cli_plugin, what_cannot_be_kept_is_refused)
{
        end_plugin(SIGTERM, 0);
        set_directory(NULL, "small", plugin.state, sizeof(plugin.state));
        cr_assert_eq(mount("none", plugin.state, "tmpfs", 0, "size=64k"), 0);
        start_plugin();
        create("app", NULL, NULL);
        fill(at(plugin.state, "all"));
        ask_badly("VolumeDriver.Create", json_pack("{s:s, s:{s:s}}", "Name", "b", "Opts", "source", box.src), "No space left on device");
        ask_badly("VolumeDriver.Mount", user("app", "c1"), "No space left on device");
        cr_assert_eq(users("app"), 0);
        expect_nothing_left();
        cr_assert_eq(unlink(at(plugin.state, "all")), 0);
        mount_volume("app", "c1");
        ask_well("VolumeDriver.Unmount", user("app", "c1"));
        end_plugin(SIGTERM, 0);
        cr_assert_eq(umount2(plugin.state, MNT_DETACH), 0);
}

/*
 * Service managers
 */

Test(cli_plugin, there_is_one_for_a_socket_and_one_for_a_state)
{
        expect_exit(1, "docker-plugin", "--socket", plugin.socket, "--state", box.mnt);
        expect_said(box.r.err, "somebody serves");
        expect_exit(1, "docker-plugin", "--socket", at(box.base, "second.sock"), "--state", plugin.state);
        expect_said(box.r.err, "another dsfs docker-plugin has");
        expect_exit(2, "docker-plugin", "--socket", "relative");
        expect_exit(2, "docker-plugin", "argument");
}

/* As systemd does: the socket is there before the service, which says when it is ready. */
static int be_activated(void *arg)
{
        int fd = *(int *)arg;
        CLEANUP_FREE char *pid = text_new("%d", (int)getpid());

        if (dup2(fd, 3) < 0 || fcntl(3, F_SETFD, 0) < 0 || setenv("LISTEN_PID", pid, 1) < 0 || setenv("LISTEN_FDS", "1", 1) < 0)
                return 120;
        execl(getenv("DSFS_BIN"), "dsfs", "docker-plugin", "--state", plugin.state, "--socket", "/nowhere/dsfs.sock", (char *)NULL);
        return 121;
}

static int bind_at(const char *path, int type)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

        snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
        cr_assert_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0, "%s", strerror(errno));
        return fd;
}

static void expect_notified(int fd, const char *want)
{
        struct pollfd p = {.fd = fd, .events = POLLIN};
        char text[64] = "";

        cr_assert_gt(poll(&p, 1, PROC_PATIENCE_S * 1000), 0, "nothing says %s", want);
        cr_assert_gt(recv(fd, text, sizeof(text) - 1, 0), 0);
        cr_assert_str_eq(text, want);
}

Test(cli_plugin, a_service_manager_hands_over_the_socket_and_is_told)
{
        CLEANUP_FREE char *notify = text_new("%s/notify", box.base);
        CLEANUP_FD int told = bind_at(notify, SOCK_DGRAM);
        CLEANUP_FD int listener = -1;
        const char *where;

        end_plugin(SIGTERM, 0);
        listener = bind_at(plugin.socket, SOCK_STREAM);
        cr_assert_eq(listen(listener, 8), 0);
        cr_assert_eq(setenv("NOTIFY_SOCKET", notify, 1), 0);
        plugin.pid = child_start(NULL, be_activated, &listener);
        expect_notified(told, "READY=1");
        create("app", NULL, NULL);
        where = mount_volume("app", "c1");
        end_plugin(SIGTERM, 0);
        expect_notified(told, "STOPPING=1");
        cr_assert_eq(access(plugin.socket, F_OK), 0, "the socket is the manager's");
        cr_assert(is_dsfs(where));
}
