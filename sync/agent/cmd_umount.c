/*
 * dsfs umount: asks the agent to stop and waits until it has gone; cleans up after one that died.
 */
#include "sync/agent/cmd.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "sync/agent/mountinfo.h"
#include "sync/agent/place.h"
#include "sync/serve/json.h"

#define STOP_MS 60000

/* 0 when the process has ended. */
static int wait_gone(int pidfd)
{
        struct pollfd p = {.fd = pidfd, .events = POLLIN};
        int n;

        while ((n = poll(&p, 1, STOP_MS)) < 0 && errno == EINTR)
                ;
        return n > 0 ? 0 : -ETIMEDOUT;
}

static bool is_unmounted(const char *mountpoint)
{
        struct mount_list mounts;
        bool there;

        if (mount_list_read(&mounts))
                return false;
        there = mount_at(&mounts, mountpoint) != NULL;
        mount_list_release(&mounts);
        return !there;
}

/* Have it unmounted; and if it was the agent's last mount, wait until that has gone. */
static int stop_mount(const char *run, const struct record *r, bool lazy, char **why)
{
        /* Opened before the question, so that the number can't be another's by the time of the answer. */
        CLEANUP_FD int pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
        CLEANUP_FD int holder = r->holder > 0 ? (int)syscall(SYS_pidfd_open, r->holder, 0) : -1;
        json_t *answer = NULL;
        pid_t pid;
        int rc = command_ask(run, r, "stop",
                             json_pack("{s:b, s:o}", "lazy", (int)lazy, "mountpoint", bytes_to_json(r->mountpoint, strlen(r->mountpoint))),
                             STOP_MS, &answer, &pid, why);
        bool last = json_is_true(json_object_get(answer, "last"));

        if (json_is_true(json_object_get(answer, "abroad")))
                log_warn("%s is unmounted, but somebody who sees mounts of his own (a container, `unshare -m`) still has it: it is served "
                         "until he goes",
                         r->mountpoint);
        json_decref(answer);
        if (rc && r->holder > 0 && is_unmounted(r->mountpoint)) {
                /* The agent died over it. What was being unmounted isn't served again by the next one, which may have had nothing else to
                 * do. */
                free(steal_ptr(why));
                rc = 0;
        }
        if (rc)
                return rc;
        if (last && ((pidfd >= 0 && wait_gone(pidfd)) || (holder >= 0 && wait_gone(holder))))
                return why_set(why, -ETIMEDOUT, "the agent of %s (process %d) does not end; its log says why", r->mountpoint, (int)r->pid);
        return 0;
}

/* What dead agents left there: every layer of the mount, and the place itself if one of them made it. */
static int clear_place(const struct record *r, const struct record_list *records, char **why)
{
        unsigned removed;
        int rc = place_remove_dead(r->mountpoint, records, &removed);

        if (rc)
                return why_set(why, rc, "the dead mount at %s can't be removed: %s; try as root", r->mountpoint, strerror(-rc));
        if (r->own_place)
                (void)rmdir(r->mountpoint);
        return 0;
}

static enum exit_code umount_record(const char *run, struct record *r, const struct record_list *records, bool lazy)
{
        CLEANUP_FREE char *why = NULL;
        bool was_alive = r->alive;
        int rc = 0;

        if (was_alive && !r->mountpoint)
                rc = why_set(&why, -EAGAIN, "the mount is just being made; try again when `dsfs status` shows it");
        else if (was_alive)
                rc = stop_mount(run, r, lazy, &why);
        if (rc == 0) {
                r->alive = false;
                rc = r->mountpoint ? clear_place(r, records, &why) : 0;
        }
        if (rc == 0 && !was_alive)
                record_drop_dead(run, r->id, r->mountpoint);
        if (rc) {
                log_error("%s", why_text(why));
                return EXIT_FAILED;
        }
        return EXIT_OK;
}

/* A mount that no record knows: the runtime directory was cleared, or it is another's. */
static enum exit_code umount_path(const char *arg, const struct record_list *records, bool lazy)
{
        CLEANUP_FREE char *path = NULL;
        struct mount_list mounts;
        const struct mount_entry *m;
        unsigned removed = 0;
        int rc;

        if (path_canonical_place(arg, &path) || mount_list_read(&mounts))
                return command_absent(arg);
        m = mount_at(&mounts, path);
        rc = m && mount_is_dsfs(m) ? 0 : -ENOENT;
        mount_list_release(&mounts);
        if (rc)
                return command_absent(arg);
        rc = place_remove_dead(path, records, &removed);
        if (rc == 0 && removed == 0)
                rc = mount_remove(path, lazy);
        if (rc == -EBUSY)
                log_error("%s is in use, or not yours; end what uses it, or detach it now with `dsfs umount --lazy %s`", path, path);
        else if (rc)
                log_error("%s can't be unmounted: %s", path, strerror(-rc));
        return rc ? EXIT_FAILED : EXIT_OK;
}

static enum exit_code umount_all(const char *run, struct record_list *records, bool lazy)
{
        enum exit_code worst = EXIT_OK;

        for (size_t i = 0; i < records->count; i++) {
                const struct record *r = &records->records[i];

                /* What it still serves is others' to unmount. */
                if (r->alive && r->source && !r->mountpoint)
                        continue;
                if (umount_record(run, &records->records[i], records, lazy))
                        worst = EXIT_FAILED;
        }
        return worst;
}

static const struct option long_options[] = {
        {"all", no_argument, NULL, 'a'}, {"lazy", no_argument, NULL, 'l'}, {"help", no_argument, NULL, 'h'}, {0}};

static enum exit_code run_umount(int argc, char **argv)
{
        CLEANUP_FREE char *run = path_runtime();
        struct record_list records CLEANUP(record_list_release) = {0};
        struct record *r;
        bool all = false;
        bool lazy = false;
        int c;

        while ((c = getopt_long(argc, argv, "alh", long_options, NULL)) != -1) {
                if (c == 'h') {
                        command_help(&cmd_umount);
                        return EXIT_OK;
                }
                if (c == 'a')
                        all = true;
                else if (c == 'l')
                        lazy = true;
                else
                        return command_usage("umount", "that is no option");
        }
        if (all ? argc != optind : argc - optind != 1)
                return command_usage("umount", "one mount's name or mount point is needed, or --all");
        if (!run || record_list_read(run, &records)) {
                log_error("the runtime directory %s can't be read", why_text(run));
                return EXIT_FAILED;
        }
        if (all)
                return umount_all(run, &records, lazy);
        r = command_find(&records, argv[optind]);
        return r ? umount_record(run, r, &records, lazy) : umount_path(argv[optind], &records, lazy);
}

const struct command cmd_umount = {
        .name = "umount",
        .usage = "NAME|MNT [--lazy], or --all [--lazy]",
        .summary = "Unmount; clean up after a dead agent",
        .help = "  -a, --all     every mount of this user\n"
                "  -l, --lazy    detach a mount that is in use\n",
        .run = run_umount,
};
