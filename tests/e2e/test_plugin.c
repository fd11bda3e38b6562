/*
 * Volumes, with real dockers, composes and podmans: what their users see, and what is left in the checkout.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/thread.h"
#include "tests/e2e/container.h"
#include "tests/e2e/tool.h"
#include "tests/lib/proc.h"

#define IMAGE "dsfs-e2e:small"
#define SOCKETS "/run/docker"
#define SECOND_NS 1000000000ULL
/* Within a second; the machine may be busy. */
#define SOON_NS (5 * SECOND_NS)
#define DEVELOPER 1000

static const struct variant variants[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .owner = DEVELOPER},
};
static const struct variant by_dev[] = {
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_FANOTIFY, .owner = DEVELOPER},
};

/* Run by a shell: its output, both streams, stays. *rc is its exit status. */
static const char *shell(int *rc, const char *command)
{
        static char out[65536];

        *rc = child_exec((const char *const[]){"timeout", "-k", "5", "90", "sh", "-c", format("{ %s; } 2>&1", command), NULL}, NULL, NULL,
                         out, sizeof(out));
        out[strcspn(out, "\r")] = '\0';
        return keep(out);
}

static const char *well(const char *command)
{
        int rc;
        const char *out = shell(&rc, command);

        errno = 0;
        must(rc == 0, "%s: %d: %s", command, rc, out);
        return out;
}

/* It fails soon, and says this. */
static void badly(const char *command, const char *why)
{
        unsigned long long began = clock_now_ns();
        int rc;
        const char *out = shell(&rc, command);

        errno = 0;
        must(rc != 0 && strstr(out, why), "%s: %d, and not \"%s\": %s", command, rc, why, out);
        must(clock_now_ns() - began < SOON_NS, "%s took long", command);
}

static void says(const char *command, const char *want)
{
        const char *out = well(command);

        must(strstr(out, want), "%s does not say \"%s\": %s", command, want, out);
}

/*
 * The plugin
 */

static pid_t plugin;
static const char *plugin_socket;

static bool is_there(void *arg)
{
        (void)arg;
        return access(plugin_socket, F_OK) == 0;
}

static void start_plugin(const struct fixture *f)
{
        plugin = proc_start((const char *const[]){"env", f->env_runtime, f->env_state, f->env_config, getenv("DSFS_BIN"), "docker-plugin",
                                                  "--socket", plugin_socket, NULL},
                            0, format("%s/plugin.log", f->base));
        must(proc_until(is_there, NULL), "the plugin does not come up");
}

static void end_plugin(int signal, int want)
{
        must(kill(plugin, signal) == 0 && proc_wait(plugin) == want, "the plugin does not end");
}

static void put_hello(struct fixture *f)
{
        put_text(at(f->src, "hello"), "hello\n");
        must(chown(at(f->src, "hello"), DEVELOPER, DEVELOPER) == 0, "chown");
}

/* Where docker looks for plugins is the same for all dockerds: a place of our own, where only we see it. */
static struct containers *begin(struct fixture *f)
{
        struct containers *c;

        must(mkdir(SOCKETS, 0755) == 0 || errno == EEXIST, "mkdir");
        must(mount("none", SOCKETS, "tmpfs", 0, NULL) == 0, "tmpfs at " SOCKETS);
        plugin_socket = SOCKETS "/plugins/dsfs.sock";
        start_plugin(f);
        c = containers_start(f);
        containers_image(f, "small");
        put_hello(f);
        return c;
}

/* Nothing of it is left. */
static void end(struct fixture *f, struct containers *c)
{
        if (c)
                containers_end(c);
        end_plugin(SIGTERM, 0);
        if (c)
                must(umount2(SOCKETS, 0) == 0, "umount " SOCKETS);
        must(fixture_dsfs(f, (const char *const[]){"status", NULL}, NULL, 0) == 4, "a mount is left");
}

static const char *start_container(const char *volume, const char *user)
{
        return container_start((const char *const[]){"-v", format("%s:/app", volume), "--user", user, IMAGE, "sleep", "inf", NULL});
}

/* The agent's process: docker writes numbers as it likes. */
static pid_t agent_of(const char *volume)
{
        return (pid_t)strtol(well(format("docker volume inspect -f '{{json .Status.agent_pid}}' %s", volume)), NULL, 10);
}

static size_t users(const char *volume)
{
        return (size_t)strtol(well(format("docker volume inspect -f '{{len .Status.mounted_by}}' %s", volume)), NULL, 10);
}

static void must_be_developers(struct fixture *f)
{
        const char *others = well(format("find '%s' ! -uid %d", f->src, DEVELOPER));

        must(!*others, "these are not the developer's: %s", others);
}

/*
 * Docker
 */

static bool has_no_users(void *arg)
{
        return users(arg) == 0;
}

CASE_UNMOUNTED(plugin, volumes_of_docker_from_beginning_to_end, variants)
{
        struct containers *c = begin(f);
        const char *id;

        badly(format("docker volume create -d dsfs -o source=%s -o sauce=x app", f->src),
              "create app: there is no option sauce; there are: source");
        badly(format("docker volume create -d dsfs -o source=%s -o uid=me app", f->src), "create app: uid=me: allowed is a number");
        badly("docker volume create -d dsfs app", "create app: the option source is missing");
        badly("docker volume create -d dsfs -o source=/nowhere app", "create app: the source /nowhere does not exist");
        says(format("docker volume create -d dsfs -o source=%s app", f->src), "app");
        says("docker volume ls", "dsfs      app");
        says("docker volume inspect app", "\"verdict\": \"not mounted\"");
        id = start_container("app", "1000");
        says(format("docker exec %s cat /app/hello", id), "hello");
        says("docker volume inspect app", "\"verdict\": \"ok\"");
        must(users("app") == 1, "not counted");
        says("docker run --rm --network=none --pull=never -v app:/app " IMAGE " sh -c 'echo new >/app/made; cat /app/hello'", "hello");
        says(format("docker exec %s cat /app/made", id), "new");
        badly("docker volume rm app", "volume is in use");

        /* The plugin comes back to what it was. */
        end_plugin(SIGTERM, 0);
        start_plugin(f);
        must(users("app") == 1, "forgotten");
        end_plugin(SIGKILL, 128 + SIGKILL);
        must(unlink(plugin_socket) == 0, "the dead socket");
        start_plugin(f);
        says(format("docker exec %s cat /app/hello", id), "hello");

        /* A container that is killed is no user. */
        well(format("kill -9 $(docker inspect -f '{{.State.Pid}}' %s)", id));
        must(proc_until(has_no_users, "app"), "still counted");
        well(format("docker start %s", id));
        must(users("app") == 1, "not counted again");
        container_remove(id);
        must(users("app") == 0, "still counted");
        says("docker volume rm app", "app");
        must_be_developers(f);
        end(f, c);
}

static pid_t killed;

static bool is_served_anew(void *arg)
{
        pid_t pid = agent_of(arg);

        return pid > 1 && pid != killed;
}

static bool is_read(void *arg)
{
        int rc;

        (void)shell(&rc, format("docker exec %s cat /app/hello", (const char *)arg));
        return rc == 0;
}

/* A volume is bound privately: what is mounted over it later is not seen by who was there before. */
CASE_UNMOUNTED(plugin, an_agent_that_is_killed_is_followed_by_another, variants)
{
        struct containers *c = begin(f);
        const char *before, *after;

        well(format("docker volume create -d dsfs -o source=%s app", f->src));
        before = start_container("app", "1000");
        killed = agent_of("app");
        must(killed > 1 && kill(killed, SIGKILL) == 0, "kill");
        must(proc_until(is_served_anew, "app"), "it isn't mounted over");
        after = start_container("app", "1000");
        says(format("docker exec %s cat /app/hello", after), "hello");
        if (!is_read((void *)before))
                says("docker volume inspect app", "mounted over");
        well(format("docker restart -t 0 %s", before));
        says(format("docker exec %s cat /app/hello", before), "hello");

        /* One that is stuck is said to be. */
        killed = agent_of("app");
        must(kill(killed, SIGSTOP) == 0, "stop");
        badly("docker run --rm --network=none --pull=never -v app:/app " IMAGE " true", "does not answer");
        must(kill(killed, SIGCONT) == 0, "continue");
        container_remove(before);
        container_remove(after);
        well("docker volume rm app");
        end(f, c);
}

/* Ends, with all that runs in it; the same data afterwards. */
static void restart_docker(struct fixture *f, struct containers **c, const char *option)
{
        pid_t pid = (pid_t)strtol(well(format("cat %s/pid", containers_dir(*c))), NULL, 10);

        must(kill(pid, SIGTERM) == 0 && proc_wait(pid) == 0, "dockerd does not end");
        *c = containers_start_with(f, (const char *const[]){option, NULL});
}

CASE_UNMOUNTED(plugin, dockerd_comes_back_to_the_volumes_that_it_had, variants)
{
        struct containers *c = begin(f);
        const char *id, *dir;

        well(format("docker volume create -d dsfs -o source=%s app", f->src));
        id = start_container("app", "1000");
        restart_docker(f, &c, "--live-restore");
        must(users("app") == 0, "who was stopped is counted");
        well(format("docker start %s", id));
        must(users("app") == 1, "not counted");
        /* This time the container lives on. */
        restart_docker(f, &c, "--live-restore");
        says(format("docker exec %s cat /app/hello", id), "hello");
        must(users("app") >= 1, "who lives on is not counted");
        container_remove(id);
        must(proc_until(has_no_users, "app"), "still counted");
        well("docker volume rm app");
        dir = keep(containers_dir(c));
        end(f, c);
        /* With --live-restore it leaves this, for the next. */
        (void)umount2(format("%s/data", dir), MNT_DETACH);
}

/* In a directory that any of them may write to: what a view is for is shown by the other volume. */
CASE_UNMOUNTED(plugin, whoever_works_on_it_the_developer_owns_it, by_dev)
{
        static const char *const who[] = {"0", "1000", "4242"};
        struct containers *c = begin(f);
        const char *as_it_is, *seen_by_4242;

        must(chmod(f->src, 01777) == 0, "chmod");
        well(format("docker volume create -d dsfs -o source=%s app", f->src));
        well(format("docker volume create -d dsfs -o source=%s -o uid=4242 -o gid=4242 seen", f->src));
        as_it_is = start_container("app", "0");
        seen_by_4242 = start_container("seen", "4242");
        for (size_t i = 0; i < sizeof(who) / sizeof(who[0]); i++) {
                well(format("docker exec -u %s %s sh -c 'mkdir /app/d%s && echo %s >/app/d%s/f || echo %s >/app/f%s'", who[i], as_it_is,
                            who[i], who[i], who[i], who[i], who[i]));
        }
        says(format("docker exec %s stat -c %%u:%%g /app/hello", seen_by_4242), "4242:4242");
        says(format("docker exec %s stat -c %%u /app/hello", as_it_is), "1000");
        well(format("docker exec %s sh -c 'echo mine >>/app/hello && mkdir -p /app/deep/er && echo x >/app/deep/er/f'", seen_by_4242));
        says(format("docker exec %s cat /app/hello", as_it_is), "mine");
        must(agent_of("app") == agent_of("seen"), "two agents");
        must_be_developers(f);
        container_remove(as_it_is);
        container_remove(seen_by_4242);
        well("docker volume rm app seen");
        end(f, c);
}

/*
 * Compose, by the files as they are in packaging/docker
 */

static const char *compose(const char *file, const char *rest)
{
        return well(format("docker-compose -p dsfs -f packaging/docker/%s %s", file, rest));
}

#define VOLUMES "compose.volume.yaml"
#define BOUND "compose.bind.yaml"

CASE_UNMOUNTED(plugin, a_compose_file_has_services_on_one_source, variants)
{
        struct containers *c = begin(f);

        must(setenv("SOURCE", f->src, 1) == 0 && setenv("IMAGE", IMAGE, 1) == 0, "setenv");
        compose(VOLUMES, "up -d");
        must(users("dsfs_app") == 2 && users("dsfs_app-for-db") == 1, "not counted");
        compose(VOLUMES, "exec -T web sh -c 'echo web >/app/by-web'");
        compose(VOLUMES, "exec -T db sh -c 'echo db >/app/by-db; cat /app/by-web'");
        must(strstr(compose(VOLUMES, "exec -T worker sh -c 'cat /app/by-web /app/by-db; stat -c %u /app/by-db'"), "web\ndb\n1000\n"),
             "the worker sees something else");
        must(strstr(compose(VOLUMES, "exec -T db stat -c %u:%g /app/by-web"), "4242:4242"), "no view of its own");
        compose(VOLUMES, "restart -t 0 worker");
        must(users("dsfs_app") == 2, "not counted again");
        must_be_developers(f);
        compose(VOLUMES, "down -t 0 --volumes");
        says("docker volume ls -q | wc -l", "0");
        end(f, c);
}

static bool is_read_by_web(void *arg)
{
        int rc;

        (void)arg;
        (void)shell(&rc, "docker-compose -p dsfs -f packaging/docker/" BOUND " exec -T web cat /app/hello");
        return rc == 0;
}

CASE_UNMOUNTED(plugin, a_bound_mount_heals_where_it_is_a_slave, variants)
{
        struct containers *c = begin(f);
        const char *shared = keep(at(f->base, "shared")), *where = keep(at(shared, "app"));
        const char *const mount_it[] = {"mount", f->src, where, NULL};
        int rc;

        must(mkdir(shared, 0755) == 0 && mkdir(where, 0755) == 0, "mkdir");
        must(mount(shared, shared, NULL, MS_BIND, NULL) == 0 && mount(NULL, shared, NULL, MS_SHARED, NULL) == 0, "shared");
        must(fixture_dsfs(f, mount_it, NULL, 0) == 0, "mount");
        must(setenv("MOUNT", where, 1) == 0 && setenv("IMAGE", IMAGE, 1) == 0, "setenv");
        compose(BOUND, "up -d");
        must(strstr(compose(BOUND, "exec -T web cat /app/hello"), "hello"), "not bound");
        (void)shell(&rc, format("%s %s %s status --json %s | sed -n 's/.*\"pid\": \\([0-9]*\\),/\\1/p' | head -n 1 | xargs kill -9",
                                f->env_runtime, f->env_state, getenv("DSFS_BIN"), where));
        must(rc == 0, "kill");
        /* Whoever serves a mount anew may have been faster. */
        (void)fixture_dsfs(f, mount_it, NULL, 0);
        must(proc_until(is_read_by_web, NULL), "it does not heal");
        compose(BOUND, "down -t 0");
        must(fixture_dsfs(f, (const char *const[]){"umount", where, NULL}, NULL, 0) == 0, "umount");
        must(umount2(shared, 0) == 0, "umount");
        end(f, c);
}

/*
 * Podman
 */

CASE_UNMOUNTED(plugin, podman_has_the_same_volumes, variants)
{
        const char *dir = keep(at(f->base, "podman")), *run, *id;

        must(mkdir(dir, 0755) == 0, "mkdir");
        plugin_socket = keep(at(dir, "dsfs.sock"));
        start_plugin(f);
        put_hello(f);
        put_text(at(dir, "containers.conf"),
                 format("[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n[engine.volume_plugins]\n"
                        "dsfs = \"%s\"\n",
                        plugin_socket));
        must(setenv("CONTAINERS_CONF", at(dir, "containers.conf"), 1) == 0, "setenv");
        tool(f, f->base, "container.sh", format("archive small %s/small.tar", dir));
        run = format("podman --root %s/root --runroot %s/runroot --tmpdir %s/tmp --network-config-dir %s/net --storage-driver vfs", dir,
                     dir, dir, dir);
        well(format("%s import -q %s/small.tar small", run, dir));
        badly(format("%s volume create --driver dsfs -o source=%s -o sauce=x app", run, f->src), "there is no option sauce");
        badly(format("%s volume create --driver dsfs -o source=/nowhere app", run), "the source /nowhere does not exist");
        well(format("%s volume create --driver dsfs -o source=%s -o uid=4242 app", run, f->src));
        /* What it would ask for by itself may be more than this machine allows. */
        id = well(format("%s run -d --network=host --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 -u 4242 -v app:/app small sleep inf",
                         run));
        id = format("%.12s", id);
        says(format("%s exec %s sh -c 'echo more >>/app/hello; cat /app/hello'", run, id), "hello\nmore");
        says(format("%s volume inspect app", run), "\"verdict\": \"ok\"");
        badly(format("%s volume rm app", run), "is being used");
        well(format("%s rm -f -t 0 %s", run, id));
        well(format("%s volume rm app", run));
        must_be_developers(f);
        end(f, NULL);
}
