#include "tests/lib/events.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <linux/sockios.h>

#include "cache/base/fd.h"
#include "tests/lib/child.h"

#define PATIENCE_MS 60000

void events_fake_start(struct events_fake *e, const char *dir)
{
        struct sockaddr_un a = {.sun_family = AF_UNIX};

        *e = (struct events_fake){.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), .fd = -1};
        must(snprintf(e->path, sizeof(e->path), "%s/events.sock", dir) < (int)sizeof(a.sun_path), "%s is too long", dir);
        memcpy(a.sun_path, e->path, strlen(e->path) + 1);
        (void)unlink(e->path);
        must(bind(e->listener, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(e->listener, 8) == 0, "%s", e->path);
}

void events_fake_stop(struct events_fake *e)
{
        events_fake_hang_up(e);
        fd_close(&e->listener);
        (void)unlink(e->path);
}

void events_fake_hang_up(struct events_fake *e)
{
        fd_close(&e->fd);
}

static void await(int fd)
{
        struct pollfd p = {.fd = fd, .events = POLLIN};

        must(poll(&p, 1, PATIENCE_MS) == 1, "nobody comes, or asks");
}

void events_fake_take(struct events_fake *e)
{
        size_t n = 0;

        await(e->listener);
        e->fd = accept4(e->listener, NULL, NULL, SOCK_CLOEXEC);
        must(e->fd >= 0, "accept");
        while (!memchr(e->request, '\n', n)) {
                ssize_t got;

                await(e->fd);
                got = read(e->fd, e->request + n, sizeof(e->request) - 1 - n);
                must(got > 0, "the request ends early");
                n += (size_t)got;
        }
        e->request[n] = '\0';
}

void events_fake_accept(struct events_fake *e, bool fresh)
{
        events_fake_take(e);
        events_fake_say(e, "hello",
                        fresh ? ",\"version\":1,\"name\":\"fake\",\"fresh\":true" : ",\"version\":1,\"name\":\"fake\",\"fresh\":false");
}

void events_fake_say(struct events_fake *e, const char *kind, const char *rest)
{
        CLEANUP_FREE char *line = NULL;

        must(asprintf(&line, "{\"kind\":\"%s\",\"clock\":\"c:00000000000000aa:%u\"%s}\n", kind, e->seq++, rest) > 0, "memory");
        must(send(e->fd, line, strlen(line), MSG_NOSIGNAL) == (ssize_t)strlen(line), "nobody reads");
}

void events_fake_change(struct events_fake *e, const char *path, const char *origin)
{
        CLEANUP_FREE char *rest = NULL;

        must(asprintf(&rest, ",\"batch\":1,\"time\":1.5,\"path\":\"%s\",\"type\":\"file\",\"origin\":\"%s\"", path, origin) > 0, "memory");
        events_fake_say(e, "modified", rest);
}

void events_fake_settle(struct events_fake *e)
{
        events_fake_say(e, "settled", ",\"batch\":1,\"time\":1.5,\"changes\":1");
}

void events_fake_edit(struct events_fake *e, const char *path)
{
        events_fake_change(e, path, "host");
        events_fake_settle(e);
}

static bool is_read(void *arg)
{
        struct events_fake *e = arg;
        int left = -1;

        return ioctl(e->fd, SIOCOUTQ, &left) == 0 && left == 0;
}

void events_fake_heard(struct events_fake *e)
{
        must(wait_until(is_read, e, PATIENCE_MS / 1000), "what was said is not read");
}
