#include "sync/serve/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "sync/serve/json.h"
#include "sync/serve/why.h"

#define ANSWER_MAX (8 * 1024 * 1024)
#define CHUNK (16 * 1024)
#define NS_PER_MS 1000000ULL

int client_connect(const char *dir, const char *name, pid_t *pid)
{
        CLEANUP_FD int dirfd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        struct ucred peer;
        socklen_t len = sizeof(peer);

        if (dirfd < 0 || fd < 0)
                return -errno;
        /* Through the directory's descriptor, for its own path may be longer than an address can be. */
        if ((size_t)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", fd_proc_path(dirfd).text, name) >= sizeof(addr.sun_path))
                return -ENAMETOOLONG;
        if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
                return -errno;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
                return -errno;
        *pid = peer.pid;
        return fd_steal(&fd);
}

static int send_request(int fd, const char *verb, json_t *args, char **why)
{
        json_t *request = json_pack("{s:s, s:o}", "verb", verb, "args", args ? args : json_object());
        CLEANUP_FREE char *text = json_dumps(request, JSON_COMPACT);
        CLEANUP_FREE char *line = text ? text_new("%s\n", text) : NULL;
        size_t len = line ? strlen(line) : 0;

        json_decref(request);
        if (!line)
                return why_set(why, -ENOMEM, "out of memory");
        for (size_t done = 0; done < len;) {
                ssize_t n = send(fd, line + done, len - done, MSG_NOSIGNAL);

                if (n < 0 && errno != EINTR)
                        return why_set(why, -errno, "the agent hung up: %s", strerror(errno));
                if (n > 0)
                        done += (size_t)n;
        }
        return 0;
}

static int wait_readable(int fd, unsigned long long deadline_ns, bool forever)
{
        for (;;) {
                struct pollfd p = {.fd = fd, .events = POLLIN};
                unsigned long long now = clock_now_ns();
                int left = forever ? -1 : now >= deadline_ns ? 0 : (int)((deadline_ns - now) / NS_PER_MS) + 1;
                int n = poll(&p, 1, left);

                if (n > 0)
                        return 0;
                if (n == 0)
                        return -ETIMEDOUT;
                if (errno != EINTR)
                        return -errno;
        }
}

/* The next line, without its newline. */
static int receive_line(int fd, int timeout_ms, char **ret, size_t *ret_len, char **why)
{
        unsigned long long deadline = clock_now_ns() + (unsigned long long)(timeout_ms > 0 ? timeout_ms : 0) * NS_PER_MS;
        CLEANUP_FREE char *line = NULL;
        size_t len = 0;

        for (;;) {
                char *grown = realloc(line, len + CHUNK);
                int rc = grown ? wait_readable(fd, deadline, timeout_ms < 0) : -ENOMEM;
                ssize_t n;
                char *end;

                if (grown)
                        line = grown;
                if (rc)
                        return why_set(why, rc, rc == -ETIMEDOUT ? "the agent does not answer" : "%s", strerror(-rc));
                n = recv(fd, line + len, CHUNK, 0);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return why_set(why, -EPIPE, "the agent hung up without an answer");
                end = memchr(line + len, '\n', (size_t)n);
                if (end) {
                        *ret_len = (size_t)(end - line);
                        *ret = steal_ptr(&line);
                        return 0;
                }
                len += (size_t)n;
                if (len > ANSWER_MAX)
                        return why_set(why, -EFBIG, "the agent's answer is too long");
        }
}

static int read_answer(json_t *answer, json_t **ret, bool *answered, char **why)
{
        const json_t *ok = json_object_get(answer, "ok");
        json_t *result = json_object_get(answer, "result");
        json_int_t err = json_integer_value(json_object_get(answer, "errno"));

        if (json_is_true(ok) && json_is_object(result)) {
                *answered = true;
                *ret = json_incref(result);
                return 0;
        }
        if (!json_is_false(ok) || err <= 0 || err > 4095)
                return why_set(why, -EPROTO, "the agent's answer is not one that this version understands");
        *answered = true;
        *why = path_from_json(json_object_get(answer, "error"));
        return -(int)err;
}

int client_ask(int fd, const char *verb, json_t *args, int timeout_ms, json_t **ret, bool *answered, char **why)
{
        CLEANUP_FREE char *line = NULL;
        json_t *answer;
        size_t len = 0;
        int rc;

        *answered = false;
        rc = send_request(fd, verb, args, why);
        if (rc == 0)
                rc = receive_line(fd, timeout_ms, &line, &len, why);
        if (rc)
                return rc;
        answer = json_loadb(line, len, 0, NULL);
        rc = read_answer(answer, ret, answered, why);
        json_decref(answer);
        return rc;
}
