/*
 * Several mounts of one source, for the tests of them: places beside the source, and what `dsfs status` says of each mount.
 */
#pragma once

#include "tests/mount/cli.h"

/* How the mounts are served and the source is watched. No pointers: Criterion hands it to another process. */
struct way {
        char transport[8], watch[16];
};

static const struct way ways[]
        __attribute__((unused)) = {{"uring", "fanotify"}, {"dev", "fanotify"}, {"uring", "inotify"}, {"dev", "inotify"}};

static char places[20][128];

/* An empty directory beside the source; the same for the same number. */
static inline const char *place(unsigned n)
{
        cr_assert_lt(n, ARRAY_LEN(places));
        snprintf(places[n], sizeof(places[n]), "%s/m%u", box.base, n);
        cr_assert(mkdir(places[n], 0755) == 0 || errno == EEXIST);
        return places[n];
}

static inline void need_uring(void)
{
        put("/sys/module/fuse/parameters", "enable_uring", "Y");
}

static inline void mount_way(const struct way *w, unsigned n, const char *more)
{
        char options[160];

        if (strcmp(w->transport, "uring") == 0)
                need_uring();
        snprintf(options, sizeof(options), "prewarm=off,transport=%s,watch=%s%s%s", w->transport, w->watch, *more ? "," : "", more);
        expect_exit(0, "mount", box.src, place(n), "-o", options);
}

/* What is mounted there in `status --json`: owned; NULL if there is nothing. */
static inline json_t *status_at(const char *mountpoint)
{
        json_t *root;
        json_t *found = NULL;
        json_t *m;
        size_t i;

        (void)DSFS("status", "--json");
        root = json_loads(box.r.out, 0, NULL);
        cr_assert(root, "not JSON: %s", box.r.out);
        json_array_foreach(json_object_get(root, "mounts"), i, m)
        {
                if (strcmp(json_string_value(json_object_get(m, "mountpoint")), mountpoint) == 0)
                        found = json_incref(m);
        }
        json_decref(root);
        return found;
}

static inline void expect_text(const char *mountpoint, const char *key, const char *want)
{
        json_t *m = status_at(mountpoint);

        cr_assert(m, "status does not list %s: %s", mountpoint, box.r.out);
        cr_assert_str_eq(json_string_value(json_object_get(m, key)), want);
        json_decref(m);
}

static inline size_t mounts_listed(void)
{
        json_t *root;
        size_t count;

        (void)DSFS("status", "--json");
        root = json_loads(box.r.out, 0, NULL);
        cr_assert(root, "not JSON: %s", box.r.out);
        count = json_array_size(json_object_get(root, "mounts"));
        json_decref(root);
        return count;
}

static inline pid_t pid_at(const char *mountpoint)
{
        json_t *m = status_at(mountpoint);
        pid_t pid = m ? (pid_t)json_integer_value(json_object_get(m, "pid")) : 0;

        json_decref(m);
        cr_assert_gt(pid, 1);
        return pid;
}

static inline void stop_several(void)
{
        (void)DSFS("umount", "--all", "--lazy");
        for (size_t i = 0; i < ARRAY_LEN(places); i++) {
                if (*places[i])
                        (void)umount2(places[i], MNT_DETACH);
        }
        stop();
}
