/*
 * dsfs doctor: looks at what mounting needs, one sentence and one remedy each; with --fix does what can be done without harm.
 */
#include "sync/agent/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "sync/agent/mountinfo.h"
#include "sync/agent/place.h"
#include "sync/agent/state.h"
#include "sync/serve/json.h"

#define DOCTOR_VERSION 1
#define URING_SWITCH "/sys/module/fuse/parameters/enable_uring"
#define WATCHES_FILE "/proc/sys/fs/inotify/max_user_watches"
#define WATCHES_ENOUGH 65536
#define FILES_ENOUGH 1024
#define KERNEL_URING 614 /* 6.14 */
#define KERNEL_LEAST 600
#define MIB (1024.0 * 1024.0)

enum level {
        FINE,
        NOTE,     /* works; could be better */
        DEGRADED, /* something doesn't work, or won't soon */
        FIXED,
};

static const char *const level_names[] = {"ok", "note", "degraded", "fixed"};

struct doctor {
        bool fix;
        const char *run;
        struct record_list records;
        json_t *findings;
        bool degraded;
};

static void doctor_release(struct doctor *d)
{
        json_decref(d->findings);
        record_list_release(&d->records);
}

/* `what` is a sentence; `remedy` the command that puts it right, or NULL. Both are owned by this. */
static void found(struct doctor *d, enum level level, const char *check, char *what, char *remedy)
{
        json_t *f = json_pack("{s:s, s:s, s:o}", "check", check, "level", level_names[level], "text",
                              bytes_to_json(why_text(what), strlen(why_text(what))));

        if (remedy)
                json_object_set_new(f, "fix", bytes_to_json(remedy, strlen(remedy)));
        json_array_append_new(d->findings, f);
        d->degraded = d->degraded || level == DEGRADED;
        free(what);
        free(remedy);
}

static unsigned kernel_version(void)
{
        struct utsname u;
        unsigned major = 0;
        unsigned minor = 0;

        if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &major, &minor) != 2)
                return 0;
        return major * 100 + minor;
}

static void check_kernel(struct doctor *d)
{
        unsigned v = kernel_version();

        if (v < KERNEL_LEAST)
                found(d, DEGRADED, "kernel", text_new("the kernel is %u.%u; dsfs is made for 6.0 and newer", v / 100, v % 100),
                      text_new("install a newer kernel"));
        else if (v < KERNEL_URING)
                found(d, NOTE, "kernel", text_new("the kernel is %u.%u; from 6.14 on requests can go through io_uring", v / 100, v % 100),
                      text_new("install a newer kernel"));
        else
                found(d, FINE, "kernel", text_new("the kernel is %u.%u", v / 100, v % 100), NULL);
}

static void check_device(struct doctor *d)
{
        if (access("/dev/fuse", R_OK | W_OK) == 0)
                found(d, FINE, "device", text_new("/dev/fuse can be opened"), NULL);
        else if (errno == ENOENT)
                found(d, DEGRADED, "device", text_new("/dev/fuse is not there"), text_new("modprobe fuse"));
        else
                found(d, DEGRADED, "device", text_new("/dev/fuse can't be opened: %s", strerror(errno)), text_new("chmod 666 /dev/fuse"));
}

static bool write_switch(void)
{
        CLEANUP_FD int fd = open(URING_SWITCH, O_WRONLY | O_CLOEXEC | O_TRUNC);

        return fd >= 0 && fd_write_full(fd, "Y\n", 2) == 0;
}

static void check_uring(struct doctor *d)
{
        CLEANUP_FREE char *text = NULL;

        if (fd_read_file(AT_FDCWD, URING_SWITCH, 64, &text) < 0) {
                if (kernel_version() >= KERNEL_URING)
                        found(d, NOTE, "io_uring", text_new("this kernel has no FUSE over io_uring; /dev/fuse is used"),
                              text_new("use a kernel with CONFIG_FUSE_IO_URING, and `modprobe fuse`"));
                return;
        }
        if (text[0] == 'Y' || text[0] == '1')
                found(d, FINE, "io_uring", text_new("FUSE over io_uring is enabled"), NULL);
        else if (d->fix && write_switch())
                found(d, FIXED, "io_uring", text_new("FUSE over io_uring was off; it is enabled now, for mounts made from now on"), NULL);
        else
                found(d, NOTE, "io_uring", text_new("FUSE over io_uring is off; requests go through /dev/fuse, which is slower"),
                      text_new("echo Y > " URING_SWITCH
                               " (as root; to keep it: options fuse enable_uring=1 in /etc/modprobe.d/fuse.conf)"));
}

static bool in_path(const char *program)
{
        CLEANUP_FREE char *dirs = strdup(getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
        char *rest = dirs;

        for (char *dir = strsep(&rest, ":"); dir; dir = strsep(&rest, ":")) {
                CLEANUP_FREE char *path = text_new("%s/%s", *dir ? dir : ".", program);

                if (path && access(path, X_OK) == 0)
                        return true;
        }
        return false;
}

static void check_unprivileged(struct doctor *d)
{
        if (in_path("fusermount3"))
                found(d, FINE, "fusermount3", text_new("fusermount3 is there: users can mount"), NULL);
        else
                found(d, geteuid() == 0 ? NOTE : DEGRADED, "fusermount3", text_new("fusermount3 is not there: only root can mount"),
                      text_new("apt-get install fuse3"));
        if (place_others_permitted())
                found(d, FINE, "allow_other", text_new("/etc/fuse.conf lets users give others access (allow_other)"), NULL);
        else
                found(d, NOTE, "allow_other",
                      text_new("/etc/fuse.conf lets only root use allow_other, so containers can't use mounts that users make"),
                      text_new("echo user_allow_other >> /etc/fuse.conf (as root)"));
}

static void check_limits(struct doctor *d)
{
        CLEANUP_FREE char *text = NULL;
        struct rlimit files;
        unsigned long watches = 0;

        if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < FILES_ENOUGH)
                found(d, NOTE, "files",
                      text_new("a process may open %llu files at most, which makes large trees slow", (unsigned long long)files.rlim_max),
                      text_new("ulimit -Hn %d", FILES_ENOUGH * 16));
        else
                found(d, FINE, "files", text_new("enough files can be opened"), NULL);
        if (fd_read_file(AT_FDCWD, WATCHES_FILE, 64, &text) > 0)
                watches = strtoul(text, NULL, 10);
        if (geteuid() == 0)
                found(d, FINE, "watches", text_new("root watches with fanotify, which needs no watch for each directory"), NULL);
        else if (watches < WATCHES_ENOUGH)
                found(d, NOTE, "watches", text_new("a user may watch %lu directories; a source with more is watched only in part", watches),
                      text_new("sysctl fs.inotify.max_user_watches=524288 (as root)"));
        else
                found(d, FINE, "watches", text_new("up to %lu directories can be watched", watches), NULL);
}

static void fix_dead(struct doctor *d, const char *path)
{
        unsigned removed;
        int rc = place_remove_dead(path, &d->records, &removed);

        if (rc)
                found(d, DEGRADED, "dead mount", text_new("the dead mount at %s can't be removed: %s", path, strerror(-rc)),
                      text_new("umount -l %s (as root)", path));
        else
                found(d, FIXED, "dead mount", text_new("the dead mount at %s is removed", path), NULL);
}

static void check_mounts(struct doctor *d)
{
        struct mount_list mounts;
        unsigned dead = 0;

        if (mount_list_read(&mounts)) {
                found(d, DEGRADED, "dead mount", text_new("/proc/self/mountinfo can't be read"), text_new("mount -t proc proc /proc"));
                return;
        }
        for (size_t i = 0; i < mounts.count; i++) {
                const struct mount_entry *m = &mounts.entries[i];

                /* Layers of one place count once. */
                if (!mount_is_dsfs(m) || mount_at(&mounts, m->path) != m || !place_is_dead(m->path, &d->records))
                        continue;
                dead++;
                if (d->fix)
                        fix_dead(d, m->path);
                else
                        found(d, DEGRADED, "dead mount", text_new("%s is a mount whose agent has died", m->path),
                              text_new("dsfs umount %s", m->path));
        }
        mount_list_release(&mounts);
        if (dead == 0)
                found(d, FINE, "dead mount", text_new("no mount is dead"), NULL);
}

static void check_records(struct doctor *d)
{
        for (size_t i = 0; i < d->records.count; i++) {
                const struct record *r = &d->records.records[i];
                const char *what = r->source ? r->source : r->id;

                if (r->alive)
                        continue;
                if (d->fix && record_drop_dead(d->run, r->id, r->mountpoint)) {
                        if (r->own_place && r->mountpoint)
                                (void)rmdir(r->mountpoint);
                        found(d, FIXED, "stale socket", text_new("what the dead agent of %s left is removed", what), NULL);
                } else {
                        found(d, DEGRADED, "stale socket", text_new("the agent of %s has died and left its socket and record", what),
                              text_new("dsfs doctor --fix"));
                }
        }
}

/* A memory of a source that is no more. */
static void check_state(void *arg, const struct state_entry *e)
{
        struct doctor *d = arg;
        double mib = (double)e->cache_bytes / MIB;
        int rc;

        if (e->life != STATE_GONE || e->cache_bytes == 0)
                return;
        rc = d->fix ? state_forget(e->dir) : 0;
        if (rc == -EBUSY)
                return; /* an agent outlives its source: it will say so itself */
        if (rc)
                found(d, NOTE, "memory", text_new("what was remembered of %s can't be removed: %s", e->source, strerror(-rc)),
                      text_new("rm -r %s/cache", e->dir));
        else if (d->fix)
                found(d, FIXED, "memory", text_new("what was remembered of %s, which is gone, is removed (%.1f MiB)", e->source, mib),
                      NULL);
        else
                found(d, NOTE, "memory", text_new("%s is gone, and what was remembered of it takes %.1f MiB", e->source, mib),
                      text_new("dsfs doctor --fix"));
}

static void check_states(struct doctor *d)
{
        int rc = state_list(check_state, d);

        if (rc)
                found(d, NOTE, "memory", text_new("the state directory can't be read: %s", strerror(-rc)), NULL);
}

static void print_findings(const struct doctor *d, bool as_json)
{
        size_t i;
        json_t *f;

        if (as_json) {
                json_t *root = json_pack("{s:i, s:s, s:O}", "version", DOCTOR_VERSION, "verdict", d->degraded ? "degraded" : "ok",
                                         "findings", d->findings);

                (void)json_dumpf(root, stdout, JSON_INDENT(2));
                printf("\n");
                json_decref(root);
                return;
        }
        json_array_foreach(d->findings, i, f)
        {
                const char *fix = json_string_value(json_object_get(f, "fix"));

                printf("%-9s %s\n", json_string_value(json_object_get(f, "level")), json_string_value(json_object_get(f, "text")));
                if (fix)
                        printf("          → %s\n", fix);
        }
}

static const struct option long_options[] = {
        {"fix", no_argument, NULL, 'f'}, {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};

static enum exit_code run_doctor(int argc, char **argv)
{
        CLEANUP_FREE char *run = path_runtime();
        struct doctor d CLEANUP(doctor_release) = {.run = run, .findings = json_array()};
        bool as_json = false;
        int c;

        while ((c = getopt_long(argc, argv, "fjh", long_options, NULL)) != -1) {
                if (c == 'h') {
                        command_help(&cmd_doctor);
                        return EXIT_OK;
                }
                if (c == 'f')
                        d.fix = true;
                else if (c == 'j')
                        as_json = true;
                else
                        return command_usage("doctor", "that is no option");
        }
        if (argc != optind)
                return command_usage("doctor", "it takes no arguments");
        if (!run || record_list_read(run, &d.records)) {
                log_error("the runtime directory %s can't be read", why_text(run));
                return EXIT_FAILED;
        }
        check_kernel(&d);
        check_device(&d);
        check_uring(&d);
        check_unprivileged(&d);
        check_limits(&d);
        check_mounts(&d);
        check_records(&d);
        check_states(&d);
        print_findings(&d, as_json);
        return d.degraded ? EXIT_DEGRADED : EXIT_OK;
}

const struct command cmd_doctor = {
        .name = "doctor",
        .usage = "[--fix] [--json]",
        .summary = "Check what mounting needs, and what was left behind; --fix puts right what it can",
        .help = "  -f, --fix     enable io_uring, remove dead mounts, what dead agents left, and what was remembered of sources that\n"
                "                are gone for sure: the directory that they were in is there, on the same file system\n"
                "  -j, --json    for programs (\"version\": 1)\n",
        .run = run_doctor,
};
