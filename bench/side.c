#include "bench/side.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bench/options.h"
#include "bench/peer.h"
#include "bench/tool.h"
#include "cache/base/err.h"
#include "cache/base/thread.h"

enum {
        PREWARM_POLL_MS = 50,
        PREWARM_LIMIT_S = 60,
        BUSY_POLL_MS = 20,
        BUSY_POLLS = 100,
};

int side_init(struct side *s, const struct options *o, const char *top, const char *name, const char *label, bool fuse)
{
        *s = (struct side){.label = label, .name = name, .fuse = fuse, .options = o};
        if (asprintf(&s->mountpoint, "%s/%s", top, name) < 0) {
                s->mountpoint = NULL;
                return -ENOMEM;
        }
        return mkdir(s->mountpoint, 0755) ? -errno : 0;
}

/* What `dsfs mount` is given after -o: what the user wants, the profile, what the workload wants. NULL: nothing. */
static char *joined_options(const struct side *s, const char *more)
{
        const char *user = s->options->mount_opts;
        char *ret = NULL;

        if (!user && !s->profile && !more)
                return NULL;
        if (asprintf(&ret, "%s%s%s%s%s%s", user ? user : "", user && (s->profile || more) ? "," : "", s->profile ? "profile=" : "",
                     s->profile ? s->profile : "", s->profile && more ? "," : "", more ? more : "") < 0)
                return NULL;
        return ret;
}

static int open_fuse(struct side *s, const char *source, const char *more)
{
        const char *argv[] = {s->options->dsfs, "mount", source, s->mountpoint, NULL, NULL, NULL};
        CLEANUP_FREE char *opts = joined_options(s, more);

        if (opts) {
                argv[4] = "-o";
                argv[5] = opts;
        }
        if (tool_run(argv)) {
                fprintf(stderr, "%s: %s mount %s %s %s%s failed\n", s->options->program, s->options->dsfs, source, s->mountpoint,
                        opts ? "-o " : "", opts ? opts : "");
                return -EIO;
        }
        return 0;
}

static int open_peer(struct side *s, const char *source)
{
        CLEANUP_FREE char *work = NULL;

        if (asprintf(&work, "%s/%u", s->work, s->opens++) < 0)
                return -ENOMEM;
        if (mkdir(work, 0755))
                return -errno;
        if (s->peer->mount(source, s->mountpoint, work)) {
                fprintf(stderr, "%s: %s cannot mount %s\n", s->options->program, s->label, source);
                return -EIO;
        }
        return 0;
}

int side_open(struct side *s, const char *source)
{
        return side_open_with(s, source, NULL);
}

int side_open_with(struct side *s, const char *source, const char *mount_opts)
{
        int err = 0;

        if (s->fuse) {
                err = open_fuse(s, source, mount_opts);
        } else if (s->peer) {
                err = open_peer(s, source);
        } else if (geteuid() == 0 && mount(source, s->mountpoint, NULL, MS_BIND, NULL)) {
                err = -errno;
                fprintf(stderr, "%s: cannot bind %s to %s: %s\n", s->options->program, source, s->mountpoint, strerror(errno));
        }
        if (err)
                return err;
        s->root = strdup(s->fuse || geteuid() == 0 ? s->mountpoint : source);
        return s->root ? 0 : -ENOMEM;
}

/* What still looks at it, an agent's watch or a desktop's, may take a moment to let go. */
static bool unmount(const char *mountpoint)
{
        const struct timespec poll = {.tv_nsec = BUSY_POLL_MS * 1000000L};

        for (int i = 0; umount2(mountpoint, UMOUNT_NOFOLLOW); i++) {
                if (errno != EBUSY || i == BUSY_POLLS)
                        return false;
                clock_nanosleep(CLOCK_MONOTONIC, 0, &poll, NULL);
        }
        return true;
}

void side_close(struct side *s)
{
        const char *const umount[] = {s->options->dsfs, "umount", s->mountpoint, NULL};

        if (!s->root)
                return;
        if (s->fuse ? tool_run(umount) : geteuid() == 0 && !unmount(s->mountpoint))
                fprintf(stderr, "%s: %s is still mounted\n", s->options->program, s->mountpoint);
        free(s->root);
        s->root = NULL;
}

void side_release(struct side *s)
{
        side_close(s);
        free(s->mountpoint);
        free(s->work);
        s->mountpoint = s->work = NULL;
}

int side_settle(struct side *s)
{
        const char *const wait[] = {s->options->dsfs, "wait", s->mountpoint, NULL};

        if (!s->fuse)
                return 0;
        return tool_run(wait) ? -EIO : 0;
}

json_t *side_status(struct side *s)
{
        const char *const argv[] = {s->options->dsfs, "status", "--json", NULL};
        CLEANUP_FREE char *text = NULL;
        json_t *status, *mount, *ret = NULL;
        size_t i;

        if (!s->fuse)
                return NULL;
        if (tool_capture(argv, &text) < 0)
                return NULL;
        status = json_loads(text, 0, NULL);
        json_array_foreach(json_object_get(status, "mounts"), i, mount)
        {
                const char *at = json_string_value(json_object_get(mount, "mountpoint"));

                if (at && !strcmp(at, s->mountpoint))
                        ret = json_incref(mount);
        }
        json_decref(status);
        if (!ret)
                fprintf(stderr, "%s: `%s status --json` doesn't know %s\n", s->options->program, s->options->dsfs, s->mountpoint);
        return ret;
}

json_t *side_requests(struct side *s)
{
        json_t *status = side_status(s), *ret = json_incref(json_object_get(status, "requests"));

        json_decref(status);
        return ret;
}

int side_prewarm(struct side *s, unsigned long long since_ns, double *seconds)
{
        const struct timespec poll = {.tv_nsec = PREWARM_POLL_MS * 1000000L};

        *seconds = -1;
        while (s->fuse) {
                json_t *status = side_status(s), *prewarm = json_object_get(status, "prewarm");
                const char *state = json_string_value(json_object_get(prewarm, "state"));
                bool known = state && strcmp(state, "off") != 0, busy = known && !strcmp(state, "running");
                double passed = (double)(clock_now_ns() - since_ns) / 1e9;

                if (state)
                        snprintf(s->prewarm_end, sizeof s->prewarm_end, "%s", state);
                json_decref(status);
                if (!status)
                        return -EIO;
                if (!known)
                        return 0;
                *seconds = passed;
                if (!busy)
                        return 0;
                if (passed > PREWARM_LIMIT_S) {
                        fprintf(stderr, "%s: prewarming has not ended in %d s\n", s->options->program, PREWARM_LIMIT_S);
                        return -ETIMEDOUT;
                }
                clock_nanosleep(CLOCK_MONOTONIC, 0, &poll, NULL);
        }
        return 0;
}
