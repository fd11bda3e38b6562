#include "sync/agent/agent.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "cache/base/log.h"
#include "cache/base/thread.h"
#include "sync/agent/daemon.h"
#include "sync/agent/mountinfo.h"

/* The mount has been detached from its place, by us or by someone before: whoever still uses it holds the connection open, so it is ended.
 * All that was written has reached the source already. */
static int end_detached(struct agent *a)
{
        int rc = mount_abort(fs_mount_connection(a->mount));

        if (rc == 0)
                return 0;
        log_warn("the users of the detached mount can't be told (%s): they are left with it as it is", strerror(-rc));
        (void)uv_async_send(&a->mount_left);
        return 0;
}

int agent_unmount(struct agent *a, bool lazy)
{
        int rc;

        if (atomic_exchange(&a->stopping, true))
                return -EALREADY;
        prewarm_quit(a->prewarm);
        rc = fs_mount_stop(a->mount, false);
        if (rc == -EBUSY && lazy)
                rc = fs_mount_stop(a->mount, true) == 0 ? end_detached(a) : rc;
        else if (rc == -EINVAL)
                rc = end_detached(a);
        if (rc)
                atomic_store(&a->stopping, false);
        return rc;
}

/* Worker thread. */
static void stop_for_signal(uv_work_t *w)
{
        struct agent *a = w->data;
        int rc = agent_unmount(a, false);

        if (rc == -EBUSY) {
                log_warn("%s is in use: it is detached, and those who use it lose it", a->mountpoint);
                rc = agent_unmount(a, true);
        }
        if (rc && rc != -EALREADY)
                log_error("%s can't be unmounted: %s; `dsfs umount --lazy %s`", a->mountpoint, strerror(-rc), a->mountpoint);
}

static void stop_for_signal_done(uv_work_t *w, int status)
{
        struct agent *a = w->data;

        (void)status;
        a->stop_queued = false;
}

static void stop_soon(struct agent *a)
{
        if (a->stop_queued)
                return;
        a->stop_queued = true;
        a->stop_work.data = a;
        /* Fails only without a callback. */
        (void)uv_queue_work(&a->loop, &a->stop_work, stop_for_signal, stop_for_signal_done);
}

static void signal_came(uv_signal_t *s, int number)
{
        struct agent *a = s->data;

        log_info("%s: unmounting", strsignal(number));
        daemon_stopping(a->daemon);
        stop_soon(a);
}

/* A thread of the mount. */
static void mount_ended(void *arg)
{
        struct agent *a = arg;

        if (!atomic_load(&a->left))
                (void)uv_async_send(&a->mount_ended);
}

static void close_all(struct agent *a)
{
        control_close(a->control);
        prewarm_close(a->prewarm);
        uv_close((uv_handle_t *)&a->terminate, NULL);
        uv_close((uv_handle_t *)&a->interrupt, NULL);
        uv_close((uv_handle_t *)&a->mount_ended, NULL);
        uv_close((uv_handle_t *)&a->mount_left, NULL);
}

static void begin_end(uv_async_t *async)
{
        struct agent *a = async->data;

        if (a->ending)
                return;
        a->ending = true;
        log_info("%s is unmounted", a->mountpoint);
        daemon_stopping(a->daemon);
        engine_shutdown(a->engine);
        close_all(a);
}

/* The mount goes on as long as this process: all that is left is to go. */
static void begin_leaving(uv_async_t *async)
{
        struct agent *a = async->data;

        atomic_store(&a->left, true);
        begin_end(&a->mount_ended);
}

static int loop_start(struct agent *a)
{
        int rc = uv_loop_init(&a->loop);

        if (rc)
                return rc;
        a->terminate.data = a->interrupt.data = a->mount_ended.data = a->mount_left.data = a;
        rc = uv_async_init(&a->loop, &a->mount_ended, begin_end);
        if (rc == 0)
                rc = uv_async_init(&a->loop, &a->mount_left, begin_leaving);
        if (rc == 0)
                rc = uv_signal_init(&a->loop, &a->terminate);
        if (rc == 0)
                rc = uv_signal_start(&a->terminate, signal_came, SIGTERM);
        if (rc == 0)
                rc = uv_signal_init(&a->loop, &a->interrupt);
        if (rc == 0)
                rc = uv_signal_start(&a->interrupt, signal_came, SIGINT);
        return rc;
}

/* Descriptors are what a large tree needs: take what the hard limit gives. */
static void raise_limit(void)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
                limit.rlim_cur = limit.rlim_max;
                (void)setrlimit(RLIMIT_NOFILE, &limit);
        }
}

static int mount_start(struct agent *a, char **why)
{
        const struct mount_options *o = a->options;
        struct fs_options options = {
                .source = a->source,
                .mountpoint = a->mountpoint,
                .name = a->name,
                .profile = o->profile,
                .transport = o->transport,
                .readonly = o->readonly,
                .allow_other = o->allow_other,
                .xattr = o->xattr,
                .squash = o->squash,
                .max_fds = o->max_fds,
        };
        int rc = engine_new(a->source, o->coherence, o->watch, &a->engine, why);

        if (rc)
                return rc;
        options.coherence = engine_coherence(a->engine);
        rc = fs_mount_new(&options, &a->mount, why);
        if (rc)
                return rc;
        return engine_add_mount(a->engine, a->mount);
}

static int control_start(struct agent *a, const char *run, const char *socket, char **why)
{
        struct registry verbs = agent_verbs(a);
        int rc = control_new(&a->loop, run, socket, &verbs, &a->control);

        if (rc)
                return why_set(why, rc, "the control socket %s/%s can't be made: %s", run, socket, strerror(-rc));
        return 0;
}

static void serve(struct agent *a, struct daemon *d)
{
        a->began_ns = clock_now_ns();
        fs_mount_on_end(a->mount, mount_ended, a);
        log_info("%s is mounted at %s", a->source, a->mountpoint);
        if (daemon_ready(d, a->mountpoint))
                stop_soon(a); /* whoever asked for the mount has gone */
        else if (a->options->prewarm && prewarm_start(&a->loop, a->mountpoint, &a->prewarm))
                log_warn("pre-warming can't start; nothing is lost but speed");
        (void)uv_run(&a->loop, UV_RUN_DEFAULT);
}

int agent_serve(struct agent *a, struct daemon *d, const char *run, const char *socket, char **why)
{
        int rc;

        a->daemon = d;
        raise_limit();
        (void)signal(SIGPIPE, SIG_IGN);
        rc = loop_start(a);
        if (rc)
                return why_set(why, rc, "the agent can't start: %s", strerror(-rc));
        rc = control_start(a, run, socket, why);
        if (rc == 0)
                rc = mount_start(a, why);
        if (rc == 0) {
                serve(a, d);
        } else {
                if (a->mount)
                        (void)fs_mount_stop(a->mount, true);
                close_all(a);
                (void)uv_run(&a->loop, UV_RUN_DEFAULT);
        }
        prewarm_free(a->prewarm);
        engine_free(a->engine);
        if (!atomic_load(&a->left))
                fs_mount_free(a->mount);
        (void)uv_loop_close(&a->loop);
        return rc;
}
