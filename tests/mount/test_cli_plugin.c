/*
 * dsfs docker-plugin, asked as docker asks it, with real mounts and no docker (tests/e2e/test_plugin.c has one).
 */
#include "tests/mount/cli.h"

#include "cache/base/thread.h"
#include "sync/serve/why.h"

#define SECOND_NS 1000000000ULL
/* docker's users are told within a second; the machine may be busy. */
#define SOON_NS (4 * SECOND_NS)

static struct {
        pid_t pid;
        char socket[128], state[128], log[128];
} plugin;

/*
 * Asking
 */

static int join(void)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        cr_assert_geq(fd, 0);
        strcpy(addr.sun_path, plugin.socket);
        if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
                close(fd);
                return -1;
        }
        return fd;
}

/* The answer's body: owned. As docker asks, or with `accept` something else as others do, who need a status. */
static json_t *ask_json_as(const char *accept, int want, const char *verb, json_t *body)
{
        CLEANUP_FREE char *text = body ? json_dumps(body, JSON_COMPACT) : strdup("");
        CLEANUP_FREE char *request = NULL;
        CLEANUP_FREE char *answer = calloc(1, PROC_OUTPUT_MAX);
        CLEANUP_FD int fd = join();
        json_t *ret;
        char *end;

        json_decref(body);
        cr_assert_geq(fd, 0, "nobody listens");
        cr_assert_gt(asprintf(&request, "POST /%s HTTP/1.1\r\nHost: d\r\nAccept: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                              verb, accept, strlen(text), text),
                     0);
        cr_assert_eq(fd_write_full(fd, request, strlen(request)), 0);
        cr_assert_gt(fd_read_full(fd, answer, PROC_OUTPUT_MAX - 1), 0, "%s: no answer", verb);
        cr_assert_eq(strtol(answer + strlen("HTTP/1.1 "), NULL, 10), want, "%s: %s", verb, answer);
        end = strstr(answer, "\r\n\r\n");
        cr_assert(end);
        ret = json_loads(end + 4, 0, NULL);
        cr_assert(ret, "%s: %s", verb, answer);
        return ret;
}

static json_t *ask_json(const char *verb, json_t *body)
{
        return ask_json_as("application/vnd.docker.plugins.v1.2+json", 200, verb, body);
}

static void ask_well(const char *verb, json_t *body)
{
        json_t *answer = ask_json(verb, body);

        cr_assert_str_eq(json_string_value(json_object_get(answer, "Err")), "", "%s: %s", verb,
                         json_string_value(json_object_get(answer, "Err")));
        json_decref(answer);
}

/* It is refused soon, with a sentence that says this. */
static void ask_badly(const char *verb, json_t *body, const char *why)
{
        unsigned long long began = clock_now_ns();
        json_t *answer = ask_json(verb, body);
        const char *err = json_string_value(json_object_get(answer, "Err"));

        cr_assert(err && strstr(err, why), "%s: \"%s\" does not say \"%s\"", verb, err, why);
        cr_assert_null(strchr(err, '\n'));
        cr_assert_lt(clock_now_ns() - began, SOON_NS, "%s", verb);
        json_decref(answer);
}

/* `option` may be NULL. */
static void create(const char *name, const char *option, const char *value)
{
        json_t *options = json_pack("{s:s}", "source", box.src);

        if (option)
                json_object_set_new(options, option, json_string(value));
        ask_well("VolumeDriver.Create", json_pack("{s:s, s:o}", "Name", name, "Opts", options));
}

static json_t *user(const char *name, const char *id)
{
        return json_pack("{s:s, s:s}", "Name", name, "ID", id);
}

/* Where it is mounted then. */
static char *mount_volume(const char *name, const char *id)
{
        json_t *answer = ask_json("VolumeDriver.Mount", user(name, id));
        const char *where = json_string_value(json_object_get(answer, "Mountpoint"));
        char *ret;

        cr_assert(where, "%s", json_string_value(json_object_get(answer, "Err")));
        ret = keep(where);
        cr_assert(is_dsfs(ret), "%s is not mounted", ret);
        json_decref(answer);
        return ret;
}

/* Status of a volume: owned. */
static json_t *status(const char *name)
{
        json_t *answer = ask_json("VolumeDriver.Get", json_pack("{s:s}", "Name", name));
        json_t *s = json_incref(json_object_get(json_object_get(answer, "Volume"), "Status"));

        cr_assert(s, "%s", json_string_value(json_object_get(answer, "Err")));
        json_decref(answer);
        return s;
}

static size_t users(const char *name)
{
        json_t *s = status(name);
        size_t n = json_array_size(json_object_get(s, "mounted_by"));

        json_decref(s);
        return n;
}

static pid_t agent_of(const char *name)
{
        json_t *s = status(name);
        pid_t pid = (pid_t)json_integer_value(json_object_get(s, "agent_pid"));

        json_decref(s);
        return pid;
}

/*
 * The service
 */

static bool is_answering(void *arg)
{
        int fd = join();

        (void)arg;
        if (fd >= 0)
                close(fd);
        return fd >= 0;
}

static void start_plugin(void)
{
        plugin.pid = proc_start(
                (const char *const[]){getenv("DSFS_BIN"), "docker-plugin", "--socket", plugin.socket, "--state", plugin.state, NULL}, 0,
                plugin.log);
        cr_assert(proc_until(is_answering, NULL), "the plugin does not come up");
}

static void end_plugin(int signal, int want)
{
        cr_assert_eq(kill(plugin.pid, signal), 0);
        cr_assert_eq(proc_wait(plugin.pid), want);
        plugin.pid = 0;
}

static void begin(void)
{
        start();
        snprintf(plugin.socket, sizeof(plugin.socket), "%s/plugins/dsfs.sock", box.base);
        snprintf(plugin.state, sizeof(plugin.state), "%s/state", box.base);
        snprintf(plugin.log, sizeof(plugin.log), "%s/plugin.log", box.base);
        start_plugin();
}

static void end(void)
{
        if (plugin.pid)
                end_plugin(SIGTERM, 0);
        stop();
}

TestSuite(cli_plugin, .init = begin, .fini = end, .timeout = 300);

/*
 * Volumes
 */

Test(cli_plugin, says_what_it_is)
{
        json_t *answer = ask_json("Plugin.Activate", NULL);

        cr_assert_str_eq(json_string_value(json_array_get(json_object_get(answer, "Implements"), 0)), "VolumeDriver");
        json_decref(answer);
        answer = ask_json("VolumeDriver.Capabilities", json_object());
        cr_assert_str_eq(json_string_value(json_object_get(json_object_get(answer, "Capabilities"), "Scope")), "local");
        json_decref(answer);
}

Test(cli_plugin, a_volume_is_mounted_while_somebody_uses_it)
{
        const char *where;
        json_t *answer;

        create("app", NULL, NULL);
        answer = ask_json("VolumeDriver.Path", json_pack("{s:s}", "Name", "app"));
        cr_assert_str_eq(json_string_value(json_object_get(answer, "Mountpoint")), "");
        json_decref(answer);
        where = mount_volume("app", "c1");
        expect_content(where, "greeting", "hello\n");
        mount_volume("app", "c2");
        mount_volume("app", "c2");
        cr_assert_eq(users("app"), 2);
        ask_well("VolumeDriver.Unmount", user("app", "c1"));
        ask_well("VolumeDriver.Unmount", user("app", "c1"));
        cr_assert(is_dsfs(where), "the other one has it still");
        answer = ask_json("VolumeDriver.List", json_object());
        cr_assert_str_eq(json_string_value(json_object_get(json_array_get(json_object_get(answer, "Volumes"), 0), "Mountpoint")), where);
        json_decref(answer);
        ask_well("VolumeDriver.Unmount", user("app", "c2"));
        cr_assert_not(is_mounted(where));
        cr_assert_lt(access(where, F_OK), 0, "the place is left");
        ask_well("VolumeDriver.Remove", json_pack("{s:s}", "Name", "app"));
        ask_badly("VolumeDriver.Get", json_pack("{s:s}", "Name", "app"), "there is no volume app");
        expect_nothing_left();
}

Test(cli_plugin, what_is_wrong_is_said_in_a_sentence)
{
        create("app", "uid", "1000");
        create("app", "uid", "1000");
        ask_badly("VolumeDriver.Create", json_pack("{s:s, s:{s:s}}", "Name", "app", "Opts", "source", box.src),
                  "there is a volume app already");
        ask_badly("VolumeDriver.Create", json_pack("{s:s, s:n}", "Name", "b", "Opts"), "the option source is missing");
        ask_badly("VolumeDriver.Create", json_pack("{s:s, s:{s:s}}", "Name", "b", "Opts", "source", "/nowhere/at/all"),
                  "the source /nowhere/at/all does not exist");
        ask_badly("VolumeDriver.Create", json_pack("{s:s, s:{s:s}}", "Name", "b", "Opts", "source", plugin.log), "is not a directory");
        ask_badly("VolumeDriver.Create", json_pack("{s:s, s:{s:s, s:s}}", "Name", "b", "Opts", "source", box.src, "sauce", "x"),
                  "there is no option sauce; there are: source");
        ask_badly("VolumeDriver.Create",
                  json_pack("{s:s, s:{s:s, s:s}}", "Name", "b", "Opts", "source", box.src, "config", "/nowhere.yaml"), "/nowhere.yaml");
        ask_badly("VolumeDriver.Create", json_pack("{s:s}", "Name", "a/b"), "a volume's name is");
        ask_badly("VolumeDriver.Mount", user("b", "c1"), "there is no volume b");
        ask_badly("VolumeDriver.Mount", json_pack("{s:s}", "Name", "app"), "no \"ID\"");
        ask_badly("VolumeDriver.Remove", json_pack("{s:s}", "Name", "b"), "there is no volume b");
}

/* Its client sees no error in a good status, and would go on. */
Test(cli_plugin, podman_is_told_by_the_status)
{
        json_decref(ask_json_as("*/*", 500, "VolumeDriver.Mount", user("app", "c1")));
        json_decref(ask_json_as("*/*", 200, "VolumeDriver.List", json_object()));
}

Test(cli_plugin, a_source_that_goes_is_missed_at_the_mount)
{
        create("app", NULL, NULL);
        remove_tree(box.src);
        ask_badly("VolumeDriver.Mount", user("app", "c1"), "does not exist");
        cr_assert_eq(users("app"), 0);
}

Test(cli_plugin, a_volume_has_a_configuration_of_its_own)
{
        char config[160];
        const char *where;

        snprintf(config, sizeof(config), "%s/own.yaml", box.base);
        put(box.base, "own.yaml", "version: 1\nartifacts:\n  - path: greeting\n    route: hidden\n");
        create("app", "config", config);
        where = mount_volume("app", "c1");
        cr_assert_lt(access(at(where, "greeting"), F_OK), 0, "it is hidden");
        ask_well("VolumeDriver.Unmount", user("app", "c1"));
}

Test(cli_plugin, volumes_of_one_source_are_mounts_of_one_agent)
{
        const char *first, *second;
        struct stat st;

        create("one", "uid", "1000");
        create("two", "uid", "4242");
        first = mount_volume("one", "c1");
        second = mount_volume("two", "c2");
        cr_assert_eq(stat(at(first, "greeting"), &st), 0);
        cr_assert_eq(st.st_uid, 1000);
        cr_assert_eq(stat(at(second, "greeting"), &st), 0);
        cr_assert_eq(st.st_uid, 4242);
        cr_assert_eq(agent_of("one"), agent_of("two"));
        put(first, "made", "here\n");
        expect_content(second, "made", "here\n");
        ask_well("VolumeDriver.Unmount", user("one", "c1"));
        expect_content(second, "made", "here\n");
        ask_well("VolumeDriver.Unmount", user("two", "c2"));
        expect_nothing_left();
}

#define CROWD 6
#define ROUNDS 5
static const char *const crowd_volumes[] = {"one", "two", "three"};

/* While he has it, it is mounted, whatever the others do. */
static int come_and_go(void *arg)
{
        const unsigned *who = arg;

        for (unsigned round = 0; round < ROUNDS; round++) {
                const char *name = crowd_volumes[(*who + round) % ARRAY_LEN(crowd_volumes)];
                char id[32];
                const char *where;
                bool read;

                snprintf(id, sizeof(id), "c%u-%u", *who, round);
                where = mount_volume(name, id);
                read = access(at(where, "greeting"), R_OK) == 0;
                ask_well("VolumeDriver.Unmount", user(name, id));
                if (!read)
                        return 1;
        }
        return 0;
}

Test(cli_plugin, many_may_come_and_go_at_once)
{
        static unsigned who[CROWD];
        pid_t pids[CROWD];

        for (size_t i = 0; i < ARRAY_LEN(crowd_volumes); i++)
                create(crowd_volumes[i], NULL, NULL);
        for (unsigned i = 0; i < CROWD; i++) {
                who[i] = i;
                pids[i] = child_start(NULL, come_and_go, &who[i]);
        }
        for (unsigned i = 0; i < CROWD; i++)
                cr_assert_eq(child_wait(pids[i]), 0, "%u", i);
        for (size_t i = 0; i < ARRAY_LEN(crowd_volumes); i++)
                cr_assert_eq(users(crowd_volumes[i]), 0);
        expect_nothing_left();
}

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
