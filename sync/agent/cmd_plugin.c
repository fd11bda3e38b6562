/*
 * dsfs docker-plugin: the service that docker and podman ask for volumes. Mounts outlive it: it makes and counts them, and serves none.
 */
#include "sync/agent/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "sync/agent/daemon.h"
#include "sync/agent/plugin.h"

#define SOCKET "/run/docker/plugins/dsfs.sock"
#define SOCKET_DIR_MODE 0755
#define SOCKET_MODE 0600
#define BACKLOG 64
#define FIRST_GIVEN_FD 3
/* Each request that has to wait for a disk or an agent has a thread; more of them wait for each other. */
#define THREADS "32"

struct service {
        uv_loop_t loop;
        uv_signal_t term, interrupt;
        struct http_server *server;
        struct plugin *plugin;
        struct daemon daemon;
        char *socket, *state, *run; /* owned */
        bool own_socket;            /* to be removed at the end: it is the file with this number */
        ino_t socket_ino;
};

/*
 * The socket
 */

/* The one that a service manager listens at for us (sd_listen_fds(3), without its library), or -ENOENT. */
static int given_socket(void)
{
        const char *pid = getenv("LISTEN_PID");
        const char *count = getenv("LISTEN_FDS");
        int type = 0;
        socklen_t len = sizeof(type);

        if (!pid || !count || strtol(pid, NULL, 10) != (long)getpid())
                return -ENOENT;
        if (strcmp(count, "1") != 0 || getsockopt(FIRST_GIVEN_FD, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM ||
            fcntl(FIRST_GIVEN_FD, F_SETFD, FD_CLOEXEC) < 0)
                return -EINVAL;
        return FIRST_GIVEN_FD;
}

static int make_parents(char *path)
{
        for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                int rc;

                *slash = '\0';
                rc = mkdir(path, SOCKET_DIR_MODE) < 0 && errno != EEXIST ? -errno : 0;
                *slash = '/';
                if (rc)
                        return rc;
        }
        return 0;
}

static bool is_answered(const struct sockaddr_un *addr)
{
        CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        return fd >= 0 && (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN);
}

/* Listens before it can be found by its name, so that nobody finds it deaf. The descriptor, or -errno and *why. */
static int make_socket(struct service *s, char **why)
{
        CLEANUP_FREE char *fresh = text_new("%s.new", s->socket);
        CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        struct stat st;
        int rc = fd < 0 ? -errno : fresh ? make_parents(s->socket) : -ENOMEM;

        if (rc)
                return why_set(why, rc, "the socket %s can't be made: %s", s->socket, strerror(-rc));
        if (strlen(fresh) >= sizeof(addr.sun_path))
                return why_set(why, -ENAMETOOLONG, "the socket's path %s is too long; name a shorter one by --socket", s->socket);
        strcpy(addr.sun_path, s->socket);
        if (is_answered(&addr))
                return why_set(why, -EADDRINUSE, "somebody serves %s already; end it, or name another socket by --socket", s->socket);
        strcpy(addr.sun_path, fresh);
        (void)unlink(fresh);
        if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || chmod(fresh, SOCKET_MODE) < 0 || listen(fd, BACKLOG) < 0 ||
            stat(fresh, &st) < 0 || rename(fresh, s->socket) < 0) {
                rc = -errno;
                (void)unlink(fresh);
                return why_set(why, rc, "the socket %s can't be made: %s", s->socket, strerror(-rc));
        }
        s->own_socket = true;
        s->socket_ino = st.st_ino;
        return fd_steal(&fd);
}

/* If it is still ours. */
static void remove_socket(const struct service *s)
{
        struct stat st;

        if (s->own_socket && lstat(s->socket, &st) == 0 && st.st_ino == s->socket_ino)
                (void)unlink(s->socket);
}

/*
 * The service
 */

static void end_came(uv_signal_t *signal, int number)
{
        struct service *s = signal->data;

        log_info("ends, for it was told to (%s); mounts stay", strsignal(number));
        daemon_stopping(&s->daemon);
        remove_socket(s);
        uv_close((uv_handle_t *)&s->term, NULL);
        uv_close((uv_handle_t *)&s->interrupt, NULL);
        http_server_close(s->server, NULL, NULL);
        plugin_stop(s->plugin);
}

static void watch_signal(struct service *s, uv_signal_t *signal, int number)
{
        (void)uv_signal_init(&s->loop, signal);
        signal->data = s;
        (void)uv_signal_start(signal, end_came, number);
}

static int serve(struct service *s, char **why)
{
        int fd = given_socket();
        int rc;

        if (fd == -EINVAL)
                return why_set(why, fd, "the service manager hands over no socket that can be served; one unix stream socket is needed");
        rc = plugin_new(&s->loop, s->run, s->state, &s->plugin, why);
        if (rc)
                return rc;
        if (fd == -ENOENT)
                fd = make_socket(s, why);
        rc = fd < 0 ? fd : http_server_new(&s->loop, fd, plugin_handle, s->plugin, &s->server);
        if (rc) {
                plugin_stop(s->plugin);
                (void)uv_run(&s->loop, UV_RUN_DEFAULT);
                return *why ? rc : why_set(why, rc, "%s can't be served: %s", s->socket, strerror(-rc));
        }
        watch_signal(s, &s->term, SIGTERM);
        watch_signal(s, &s->interrupt, SIGINT);
        log_info("serves volumes at %s; they are kept in %s", s->own_socket ? s->socket : "the socket it was given", s->state);
        (void)daemon_ready(&s->daemon, "");
        (void)uv_run(&s->loop, UV_RUN_DEFAULT);
        return 0;
}

static enum exit_code run_service(struct service *s)
{
        CLEANUP_FREE char *why = NULL;
        int rc = uv_loop_init(&s->loop);

        if (rc)
                why_set(&why, rc, "no event loop: %s", strerror(-rc));
        else
                rc = serve(s, &why);
        plugin_free(s->plugin);
        if (rc)
                log_error("%s", why_text(why));
        (void)uv_loop_close(&s->loop);
        return rc ? EXIT_FAILED : EXIT_OK;
}

static const struct option long_options[] = {
        {"socket", required_argument, NULL, 's'}, {"state", required_argument, NULL, 'd'}, {"help", no_argument, NULL, 'h'}, {0}};

static enum exit_code run_plugin(int argc, char **argv)
{
        static struct service s = {.daemon = {.foreground = true, .pipe = -1}};
        const char *socket_path = SOCKET;
        const char *state = NULL;
        enum exit_code code;
        int c;

        while ((c = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
                if (c == 'h') {
                        command_help(&cmd_plugin);
                        return EXIT_OK;
                }
                if (c == 's')
                        socket_path = optarg;
                else if (c == 'd')
                        state = optarg;
                else
                        return command_usage("docker-plugin", "that is no option");
        }
        if (argc != optind)
                return command_usage("docker-plugin", "it takes no arguments");
        if (socket_path[0] != '/' || (state && state[0] != '/'))
                return command_usage("docker-plugin", "paths are absolute");
        (void)signal(SIGPIPE, SIG_IGN);
        (void)setenv("UV_THREADPOOL_SIZE", THREADS, 0);
        s.run = path_runtime();
        s.socket = strdup(socket_path);
        s.state = state ? text_new("%s/plugin/volumes", state) : path_state("plugin/volumes");
        if (!s.run || !s.socket || !s.state) {
                log_error("out of memory");
                return EXIT_FAILED;
        }
        code = run_service(&s);
        free(s.run);
        free(s.socket);
        free(s.state);
        return code;
}

const struct command cmd_plugin = {
        .name = "docker-plugin",
        .usage = "[--socket PATH] [--state DIR]",
        .summary = "Serve volumes to docker and podman, until it is told to end",
        .help = "      --socket PATH     where it is asked (" SOCKET "); a service manager's socket comes first\n"
                "      --state DIR       where it keeps DIR/plugin/volumes (the state directory: /var/lib/dsfs)\n"
                "Then: docker volume create -d dsfs -o source=/home/me/app app; docker run -v app:/app …\n"
                "SIGTERM ends it and leaves the mounts as they are; the next one takes over.\n",
        .run = run_plugin,
};
