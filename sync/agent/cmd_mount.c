/*
 * dsfs mount: find out whether it may be, take the place, and become the agent.
 */
#include "sync/agent/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "sync/agent/agent.h"
#include "sync/agent/daemon.h"
#include "sync/agent/place.h"
#include "sync/agent/record.h"

#define LOG_KEEP_BYTES (1024 * 1024)

/* A mount in the making. Texts are owned. */
struct making {
        struct mount_options options;
        bool foreground;
        char *source;
        char *mountpoint; /* NULL until it is known: the default place depends on the name */
        char *run;
        char *name;
        char id[SOURCE_ID_TEXT];
        bool own_place;
        int claim;
};

static void making_release(struct making *m)
{
        mount_options_release(&m->options);
        free(m->source);
        free(m->mountpoint);
        free(m->run);
        free(m->name);
        fd_close(&m->claim);
}

static bool name_is_taken(const struct record_list *records, const char *name, const char *id)
{
        for (size_t i = 0; i < records->count; i++) {
                const struct record *r = &records->records[i];

                if (r->alive && r->name && strcmp(r->name, name) == 0 && strcmp(r->id, id) != 0)
                        return true;
        }
        return false;
}

static int choose_name(struct making *m, const struct record_list *records, char **why)
{
        const char *folder = strrchr(m->source, '/') + 1;

        if (m->options.name) {
                m->name = strdup(m->options.name);
                if (m->name && name_is_taken(records, m->name, m->id))
                        return why_set(why, -EEXIST, "the name %s is taken by another mount; choose one that `dsfs status` does not list",
                                       m->name);
        } else {
                m->name = strdup(*folder ? folder : "root");
                if (m->name && name_is_taken(records, m->name, m->id)) {
                        CLEANUP_FREE char *plain = m->name;

                        m->name = text_new("%s-%.8s", plain, m->id);
                }
        }
        return m->name ? 0 : why_set(why, -ENOMEM, "out of memory");
}

/* <runtime directory>/mnt/<name>, made if it isn't there. */
static int make_default_place(struct making *m, bool *made, char **why)
{
        CLEANUP_FREE char *mnt = text_new("%s/mnt", m->run);
        CLEANUP_FREE char *real = NULL;
        int rc;

        if (!mnt)
                return why_set(why, -ENOMEM, "out of memory");
        rc = path_make_private(mnt, why);
        if (rc)
                return rc;
        real = realpath(mnt, NULL);
        m->mountpoint = real ? text_new("%s/%s", real, m->name) : NULL;
        if (!m->mountpoint)
                return why_set(why, -errno, "%s can't be reached: %s", mnt, strerror(errno));
        m->own_place = true;
        if (mkdir(m->mountpoint, 0755) == 0) {
                *made = true;
        } else if (errno != EEXIST) {
                rc = -errno;
                return why_set(why, rc, "the mount point %s can't be made: %s", m->mountpoint, strerror(-rc));
        }
        return 0;
}

static const struct record *record_of(const struct record_list *records, const char *id)
{
        for (size_t i = 0; i < records->count; i++) {
                if (strcmp(records->records[i].id, id) == 0)
                        return &records->records[i];
        }
        return NULL;
}

static int already_mounted(const struct making *m, const struct record *r, char **why)
{
        if (!r || !r->mountpoint)
                return why_set(why, -EBUSY, "%s is being mounted by another command right now; `dsfs status` shows it soon", m->source);
        return why_set(why, -EBUSY, "%s is already mounted at %s; use it there, or `dsfs umount %s` first", m->source, r->mountpoint,
                       r->mountpoint);
}

/* What the dead agent of this source left elsewhere. */
static void clear_old_place(const struct making *m, const struct record *old, const struct record_list *records)
{
        unsigned removed;

        if (!old || old->alive || !old->mountpoint || strcmp(old->mountpoint, m->mountpoint) == 0)
                return;
        if (place_remove_dead(old->mountpoint, records, &removed) == 0 && old->own_place)
                (void)rmdir(old->mountpoint);
}

static int take_place_gated(struct making *m, const struct record_list *records, char **why)
{
        const struct record *old = record_of(records, m->id);
        struct record mine = {.alive = true, .pid = getpid()};
        bool dead;
        bool made = false;
        int rc;

        if (old && old->alive)
                return already_mounted(m, old, why);
        rc = choose_name(m, records, why);
        if (rc == 0 && !m->mountpoint)
                rc = make_default_place(m, &made, why);
        if (rc == 0)
                rc = place_check(m->source, m->mountpoint, records, &dead, why);
        if (rc == 0 && dead)
                rc = place_recover(m->mountpoint, records, why);
        if (rc) {
                if (made)
                        (void)rmdir(m->mountpoint);
                return rc;
        }
        clear_old_place(m, old, records);
        m->claim = record_claim(m->run, m->id);
        if (m->claim == -EBUSY)
                return already_mounted(m, NULL, why);
        if (m->claim < 0)
                return why_set(why, m->claim, "%s can't be written to: %s", m->run, strerror(-m->claim));
        mine.own_place = m->own_place;
        mine.name = m->name;
        mine.source = m->source;
        mine.mountpoint = m->mountpoint;
        rc = record_write(m->claim, &mine);
        if (rc) {
                record_drop(m->run, m->id);
                return why_set(why, rc, "%s can't be written to: %s", m->run, strerror(-rc));
        }
        return 0;
}

/* From here on others see that this source has an agent. */
static int take_place(struct making *m, char **why)
{
        struct record_list records;
        CLEANUP_FD int gate = -1;
        int rc = path_make_private(m->run, why);

        if (rc)
                return rc;
        gate = record_gate(m->run);
        rc = gate < 0 ? gate : record_list_read(m->run, &records);
        if (rc)
                return why_set(why, rc, "the runtime directory %s can't be read: %s", m->run, strerror(-rc));
        rc = take_place_gated(m, &records, why);
        record_list_release(&records);
        return rc;
}

static void leave_place(struct making *m)
{
        CLEANUP_FD int gate = record_gate(m->run);

        (void)gate;
        if (m->own_place)
                (void)rmdir(m->mountpoint);
        record_drop(m->run, m->id);
}

/* A log that can't be kept is no reason not to mount. */
static void open_log(const struct making *m)
{
        CLEANUP_FREE char *dir = path_state(m->id);
        CLEANUP_FREE char *path = dir ? text_new("%s/agent.log", dir) : NULL;
        CLEANUP_FREE char *old = dir ? text_new("%s/agent.log.1", dir) : NULL;
        CLEANUP_FREE char *why = NULL;
        struct stat st;
        int rc;

        if (!path || !old)
                return;
        rc = path_make_private(dir, &why);
        if (rc == 0 && stat(path, &st) == 0 && st.st_size > LOG_KEEP_BYTES)
                (void)rename(path, old);
        if (rc == 0)
                rc = log_open_file(path);
        if (rc)
                log_warn("no log is kept: %s: %s", dir, why ? why : strerror(-rc));
}

static int check_others(const struct making *m, char **why)
{
        if (!m->options.allow_other || geteuid() == 0 || place_others_permitted())
                return 0;
        return why_set(why, -EPERM,
                       "allow_other is for root unless /etc/fuse.conf permits it; leave it out, or have root add the line "
                       "`user_allow_other` (echo user_allow_other >> /etc/fuse.conf)");
}

/* In the process that will be the agent. */
static int become_agent(struct making *m, struct daemon *d, char **why)
{
        struct agent agent = {.options = &m->options, .source = m->source};
        char socket[SOURCE_ID_TEXT + 5];
        int rc = take_place(m, why);

        if (rc)
                return rc;
        agent.mountpoint = m->mountpoint;
        agent.name = m->name;
        if (!m->foreground)
                open_log(m);
        record_socket_name(m->id, socket);
        rc = agent_serve(&agent, d, m->run, socket, why);
        leave_place(m);
        return rc;
}

static enum exit_code mount_made(struct making *m)
{
        CLEANUP_FREE char *why = NULL;
        struct daemon daemon;
        int rc = daemon_start(&daemon, m->foreground);

        if (rc == 0)
                rc = become_agent(m, &daemon, &why);
        else
                why_set(&why, rc, "the agent can't be started: %s", strerror(-rc));
        if (rc)
                daemon_failed(&daemon, why_text(why));
        return rc ? EXIT_FAILED : EXIT_OK;
}

static const struct option long_options[] = {
        {"foreground", no_argument, NULL, 'f'}, {"options", required_argument, NULL, 'o'}, {"help", no_argument, NULL, 'h'}, {0}};

/* What can be said before anything is done. 0 or -errno and *why. */
static int prepare(struct making *m, int argc, char **argv, char **why)
{
        int rc = place_source(argv[0], &m->source, why);

        if (rc)
                return rc;
        path_source_id(m->source, m->id);
        m->run = path_runtime();
        if (!m->run)
                return why_set(why, -ENOMEM, "out of memory");
        if (argc == 2)
                rc = path_canonical_place(argv[1], &m->mountpoint);
        if (rc == -ENOENT)
                return why_set(why, rc, "the mount point %s does not exist; `mkdir -p %s` first", argv[1], argv[1]);
        if (rc)
                return why_set(why, rc, "the mount point %s can't be reached: %s", argv[1], strerror(-rc));
        return check_others(m, why);
}

static enum exit_code run_mount(int argc, char **argv)
{
        struct making m CLEANUP(making_release) = {.claim = -1};
        CLEANUP_FREE char *why = NULL;
        int c;

        mount_options_init(&m.options);
        while ((c = getopt_long(argc, argv, "fo:h", long_options, NULL)) != -1) {
                if (c == 'h') {
                        command_help(&cmd_mount);
                        mount_options_help();
                        return EXIT_OK;
                }
                if (c == 'f')
                        m.foreground = true;
                else if (c != 'o')
                        return command_usage("mount", "that is no option");
                else if (mount_options_parse(&m.options, optarg, &why))
                        return command_usage("mount", "%s", why_text(why));
        }
        if (argc - optind < 1 || argc - optind > 2)
                return command_usage("mount", "a source and at most one mount point are needed");
        if (prepare(&m, argc - optind, argv + optind, &why)) {
                log_error("%s", why_text(why));
                return EXIT_FAILED;
        }
        return mount_made(&m);
}

const struct command cmd_mount = {
        .name = "mount",
        .usage = "SRC [MNT] [-o OPTIONS] [--foreground]",
        .summary = "Show a source directory at a mount point, and keep it in step",
        .help = "  MNT                   by default a directory of its own in the runtime directory; it is printed\n"
                "  -f, --foreground      stay in the foreground (service managers are told through NOTIFY_SOCKET)\n"
                "  -o KEY=VALUE,KEY…     as below\n\n",
        .run = run_mount,
};
