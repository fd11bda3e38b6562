#include "sync/agent/comeback.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "sync/agent/agent.h"
#include "sync/agent/holding.h"

#define LOOK_MS 200

struct comeback {
        const struct agent *a;
        int fd; /* O_PATH, of the source as it was mounted; owned */
        dev_t dev;
        ino_t ino;
        uv_async_t gone;
        uv_timer_t timer;
        ino_t seen; /* what was there at the last look: it has to stay for one */
};

enum source_state comeback_state(const struct comeback *c)
{
        struct stat was, now;

        if (!c || fstat(c->fd, &was) < 0)
                return SOURCE_THERE;
        if (stat(c->a->source, &now) == 0)
                return now.st_dev == c->dev && now.st_ino == c->ino ? SOURCE_THERE : SOURCE_REPLACED;
        return was.st_nlink == 0 ? SOURCE_DELETED : SOURCE_MOVED;
}

/* On the filesystem that it was on: where one was unmounted there is a directory too, but not the source. */
static bool is_back(struct comeback *c)
{
        ino_t before = c->seen;
        struct stat st;
        bool is = stat(c->a->source, &st) == 0 && S_ISDIR(st.st_mode) && st.st_dev == c->dev;

        c->seen = is ? st.st_ino : 0;
        return is && c->seen == before;
}

static void look(uv_timer_t *timer)
{
        struct comeback *c = timer->data;

        if (!is_back(c) || holding_pid(c->a->holding) == 0)
                return;
        log_warn("%s is there again: starting anew", c->a->source);
        holding_say(c->a->holding, HOLD_AGAIN, 0);
        /* The one end after which everything is brought back. */
        (void)kill(getpid(), SIGKILL);
}

static void begin_looking(uv_async_t *async)
{
        struct comeback *c = async->data;

        if (!uv_is_closing((uv_handle_t *)&c->timer) && !uv_is_active((uv_handle_t *)&c->timer))
                (void)uv_timer_start(&c->timer, look, LOOK_MS, LOOK_MS);
}

int comeback_new(struct agent *a, struct comeback **ret)
{
        struct comeback *c = calloc(1, sizeof(*c));
        struct stat st;
        int rc;

        if (!c)
                return -ENOMEM;
        c->a = a;
        c->fd = open(a->source, O_PATH | O_DIRECTORY | O_CLOEXEC);
        rc = c->fd < 0 || fstat(c->fd, &st) < 0 ? -errno : uv_async_init(&a->loop, &c->gone, begin_looking);
        if (rc) {
                fd_close(&c->fd);
                free(c);
                return rc;
        }
        (void)uv_timer_init(&a->loop, &c->timer);
        c->gone.data = c->timer.data = c;
        c->dev = st.st_dev;
        c->ino = st.st_ino;
        *ret = c;
        return 0;
}

void comeback_look(struct comeback *c)
{
        if (c)
                (void)uv_async_send(&c->gone);
}

void comeback_close(struct comeback *c)
{
        if (!c)
                return;
        uv_close((uv_handle_t *)&c->gone, NULL);
        uv_close((uv_handle_t *)&c->timer, NULL);
}

void comeback_free(struct comeback *c)
{
        if (!c)
                return;
        fd_close(&c->fd);
        free(c);
}
