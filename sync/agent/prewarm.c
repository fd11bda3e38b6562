#include "sync/agent/prewarm.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/log.h"
#include "cache/base/thread.h"

#define REPORT_FD 3

struct prewarm {
        uv_process_t process;
        uv_pipe_t pipe;
        struct prewarm_report report;
        void (*ended)(void *arg);
        void *arg;
        size_t got;       /* bytes of `incoming` */
        unsigned handles; /* that the loop is closing */
        unsigned char incoming[sizeof(struct prewarm_report)];
        struct mutex lock;
        struct cond gone;
        bool running GUARDED_BY(lock); /* from the spawn to the loop's notice of the exit: the pid is its own so long */
};

static void exited(uv_process_t *process, int64_t status, int signal)
{
        struct prewarm *p = process->data;

        if (p->report.state == PREWARM_RUNNING) {
                p->report.state = signal == SIGKILL ? PREWARM_STOPPED : PREWARM_FAILED;
                if (signal != SIGKILL)
                        log_warn("pre-warming ended early (status %d, signal %d); nothing is lost but speed", (int)status, signal);
        }
        mutex_lock(&p->lock);
        p->running = false;
        cond_broadcast(&p->gone);
        mutex_unlock(&p->lock);
        p->ended(p->arg);
}

static void report_space(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
        struct prewarm *p = h->data;

        (void)suggested;
        *buf = uv_buf_init((char *)p->incoming + p->got, (unsigned)(sizeof(p->incoming) - p->got));
}

static void report_came(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
        struct prewarm *p = s->data;

        (void)buf;
        if (n < 0) {
                uv_read_stop(s);
                return;
        }
        p->got += (size_t)n;
        if (p->got == sizeof(p->incoming)) {
                memcpy(&p->report, p->incoming, sizeof(p->report));
                p->got = 0;
        }
}

int prewarm_start(uv_loop_t *loop, const char *mountpoint, void (*ended)(void *arg), void *arg, struct prewarm **ret)
{
        struct prewarm *p = calloc(1, sizeof(*p));
        char pid[16];
        char *argv[] = {"dsfs", PREWARM_COMMAND, (char *)mountpoint, pid, NULL};
        uv_stdio_container_t stdio[REPORT_FD + 1] = {{.flags = UV_IGNORE}, {.flags = UV_IGNORE}, {.flags = UV_IGNORE}};
        uv_process_options_t options = {
                .file = "/proc/self/exe",
                .args = argv,
                .exit_cb = exited,
                .flags = UV_PROCESS_DETACHED,
                .stdio = stdio,
                .stdio_count = REPORT_FD + 1,
        };
        int rc;

        if (!p)
                return -ENOMEM;
        snprintf(pid, sizeof(pid), "%d", getpid());
        mutex_init(&p->lock);
        cond_init(&p->gone);
        p->process.data = p;
        p->pipe.data = p;
        p->report.state = PREWARM_RUNNING;
        p->ended = ended;
        p->arg = arg;
        (void)uv_pipe_init(loop, &p->pipe, 0);
        stdio[REPORT_FD].flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE;
        stdio[REPORT_FD].data.stream = (uv_stream_t *)&p->pipe;
        rc = uv_spawn(loop, &p->process, &options);
        mutex_lock(&p->lock);
        p->running = rc == 0;
        mutex_unlock(&p->lock);
        if (rc == 0)
                rc = uv_read_start((uv_stream_t *)&p->pipe, report_space, report_came);
        if (rc)
                p->report.state = PREWARM_FAILED;
        /* The loop knows its handles in any case. */
        *ret = p;
        return rc;
}

void prewarm_progress(const struct prewarm *p, struct prewarm_report *ret)
{
        memset(ret, 0, sizeof(*ret));
        ret->state = PREWARM_OFF;
        if (p)
                *ret = p->report;
}

void prewarm_quit(struct prewarm *p)
{
        if (!p)
                return;
        mutex_lock(&p->lock);
        while (p->running) {
                (void)kill(p->process.pid, SIGKILL);
                cond_wait(&p->gone, &p->lock);
        }
        mutex_unlock(&p->lock);
}

static void handle_closed(uv_handle_t *h)
{
        struct prewarm *p = h->data;

        if (--p->handles)
                return;
        cond_release(&p->gone);
        mutex_release(&p->lock);
        free(p);
}

void prewarm_close(struct prewarm *p)
{
        if (!p)
                return;
        mutex_lock(&p->lock);
        if (p->running)
                (void)kill(p->process.pid, SIGKILL);
        /* Nobody will be told of the exit any more. */
        p->running = false;
        cond_broadcast(&p->gone);
        mutex_unlock(&p->lock);
        p->handles = 2;
        uv_close((uv_handle_t *)&p->pipe, handle_closed);
        uv_close((uv_handle_t *)&p->process, handle_closed);
}

const char *prewarm_state_name(uint64_t state)
{
        static const char *const names[] = {"off", "running", "done", "limited", "stopped", "failed"};

        return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}
