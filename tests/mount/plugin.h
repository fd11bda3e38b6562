/*
 * dsfs docker-plugin, asked as docker asks it, with real mounts and no docker (tests/e2e/test_plugin.c has one).
 */
#pragma once

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

static inline int join(void)
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
static inline json_t *ask_json_as(const char *accept, int want, const char *verb, json_t *body)
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

static inline json_t *ask_json(const char *verb, json_t *body)
{
        return ask_json_as("application/vnd.docker.plugins.v1.2+json", 200, verb, body);
}

static inline void ask_well(const char *verb, json_t *body)
{
        json_t *answer = ask_json(verb, body);

        cr_assert_str_eq(json_string_value(json_object_get(answer, "Err")), "", "%s: %s", verb,
                         json_string_value(json_object_get(answer, "Err")));
        json_decref(answer);
}

/* It is refused soon, with a sentence that says this. */
static inline void ask_badly(const char *verb, json_t *body, const char *why)
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
static inline void create(const char *name, const char *option, const char *value)
{
        json_t *options = json_pack("{s:s}", "source", box.src);

        if (option)
                json_object_set_new(options, option, json_string(value));
        ask_well("VolumeDriver.Create", json_pack("{s:s, s:o}", "Name", name, "Opts", options));
}

static inline json_t *user(const char *name, const char *id)
{
        return json_pack("{s:s, s:s}", "Name", name, "ID", id);
}

/* Where it is mounted then. */
static inline char *mount_volume(const char *name, const char *id)
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
static inline json_t *status(const char *name)
{
        json_t *answer = ask_json("VolumeDriver.Get", json_pack("{s:s}", "Name", name));
        json_t *s = json_incref(json_object_get(json_object_get(answer, "Volume"), "Status"));

        cr_assert(s, "%s", json_string_value(json_object_get(answer, "Err")));
        json_decref(answer);
        return s;
}

static inline size_t users(const char *name)
{
        json_t *s = status(name);
        size_t n = json_array_size(json_object_get(s, "mounted_by"));

        json_decref(s);
        return n;
}

static inline pid_t agent_of(const char *name)
{
        json_t *s = status(name);
        pid_t pid = (pid_t)json_integer_value(json_object_get(s, "agent_pid"));

        json_decref(s);
        return pid;
}

/*
 * The service
 */

static inline bool is_answering(void *arg)
{
        int fd = join();

        (void)arg;
        if (fd >= 0)
                close(fd);
        return fd >= 0;
}

static inline void start_plugin(void)
{
        plugin.pid = proc_start(
                (const char *const[]){getenv("DSFS_BIN"), "docker-plugin", "--socket", plugin.socket, "--state", plugin.state, NULL}, 0,
                plugin.log);
        cr_assert(proc_until(is_answering, NULL), "the plugin does not come up");
}

static inline void end_plugin(int signal, int want)
{
        cr_assert_eq(kill(plugin.pid, signal), 0);
        cr_assert_eq(proc_wait(plugin.pid), want);
        plugin.pid = 0;
}

static inline void begin(void)
{
        start();
        snprintf(plugin.socket, sizeof(plugin.socket), "%s/plugins/dsfs.sock", box.base);
        snprintf(plugin.state, sizeof(plugin.state), "%s/state", box.base);
        snprintf(plugin.log, sizeof(plugin.log), "%s/plugin.log", box.base);
        start_plugin();
}

static inline void end(void)
{
        if (plugin.pid)
                end_plugin(SIGTERM, 0);
        stop();
}

TestSuite(cli_plugin, .init = begin, .fini = end, .timeout = 300);
