/*
 * dsfs mount: find out whether it may be, take the place, and become the agent; or have it done by the one that there is.
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
#include "sync/agent/follow.h"
#include "sync/agent/holder.h"
#include "sync/agent/place.h"
#include "sync/agent/record.h"
#include "sync/agent/restore.h"
#include "sync/agent/taking.h"

#define LOG_KEEP_BYTES (1024 * 1024)

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

/* For as long as the process: a detached mount may outlast what made it. */
static struct agent agent;
static struct heritage heritage = {.channel = -1, .life = -1, .claim = -1, .listener = -1};

/* The first agent of a source. */
static int serve_first(struct making *m, struct daemon *d, char **why)
{
        const struct seat_wish first = {
                .mountpoint = m->mountpoint, .name = m->name, .own_place = m->own_place, .options = &m->options, .text = m->options_text};
        int rc = agent_serve(&agent, d, &m->options, &first, 1, why);

        making_leave(m, rc != 0);
        return rc;
}

/* In the place of one that died. What it can't do is left as it is: for the next one, or for `dsfs umount`. */
static int serve_again(struct making *m, struct daemon *d, char **why)
{
        struct restoring r CLEANUP(restoring_release) = {.count = 0};
        int rc;

        m->claim = heritage.claim;
        rc = record_inherit(m->run, m->id, &m->claim);
        if (rc)
                return why_set(why, rc, "%s can't be claimed again: %s", m->source, strerror(-rc));
        restore_prepare(&heritage, &r);
        if (r.count == 0)
                return 0; /* the holder clears away */
        rc = agent_serve(&agent, d, &m->options, r.wishes, r.count, why);
        if (rc == 0)
                making_leave(m, false);
        return rc;
}

/* The source is claimed. */
static int become_agent(struct making *m, struct daemon *d, char **why)
{
        int rc = 0;

        if (!m->foreground)
                open_log(m);
        if (m->no_holder)
                follow_hold_signals(false);
        else
                rc = holder_start(d, m->run, m->id, m->source, m->claim, &heritage);
        if (rc) {
                making_leave(m, true);
                return why_set(why, rc, "there is no process for the agent: %s", strerror(-rc));
        }
        agent.source = m->source;
        agent.run = m->run;
        agent.id = m->id;
        agent.config = m->config;
        agent.claim = &m->claim;
        agent.heritage = &heritage;
        return heritage.deaths ? serve_again(m, d, why) : serve_first(m, d, why);
}

/* In the process that will be the agent, if there is none. */
static int mount_or_join(struct making *m, struct daemon *d, char **why)
{
        bool joined;
        int rc;

        follow_hold_signals(true);
        rc = making_take(m, &joined, why);
        if (rc || (joined && !m->foreground))
                follow_hold_signals(false);
        if (rc)
                return rc;
        if (!joined)
                return become_agent(m, d, why);
        if (daemon_ready(d, m->mountpoint))
                return follow_stop(m, why); /* whoever asked for it has gone */
        return m->foreground ? follow_mount(m, d, why) : 0;
}

static enum exit_code mount_made(struct making *m)
{
        CLEANUP_FREE char *why = NULL;
        struct daemon daemon;
        int rc = daemon_start(&daemon, m->foreground);

        if (rc == 0)
                rc = mount_or_join(m, &daemon, &why);
        else
                why_set(&why, rc, "the agent can't be started: %s", strerror(-rc));
        if (rc)
                daemon_failed(&daemon, why_text(why));
        return rc ? EXIT_FAILED : EXIT_OK;
}

static const struct option long_options[] = {{"foreground", no_argument, NULL, 'f'},
                                             {"options", required_argument, NULL, 'o'},
                                             {"no-holder", no_argument, NULL, 'H'},
                                             {"help", no_argument, NULL, 'h'},
                                             {0}};

/* What files say goes for this mount unless `-o` says otherwise. */
static int configure(struct making *m, char **why)
{
        CLEANUP_FREE char *command = steal_ptr(&m->options_text);
        CLEANUP_FREE char *said = NULL;
        int rc = config_load(m->source, command, &m->config, why);

        if (rc)
                return rc;
        mount_options_release(&m->options);
        m->options = m->config->options;
        m->config->options.name = NULL;
        said = config_options_text(m->config, false);
        m->options_text = said ? text_new("%s,%s", said, command ? command : "") : NULL;
        return m->options_text ? 0 : why_set(why, -ENOMEM, "out of memory");
}

/* What can be said before anything is done. 0 or -errno and *why. */
static int prepare(struct making *m, int argc, char **argv, char **why)
{
        int rc = argc == 2 ? path_canonical_place(argv[1], &m->mountpoint) : 0;

        path_source_id(m->source, m->id);
        m->run = path_runtime();
        if (!m->run)
                return why_set(why, -ENOMEM, "out of memory");
        if (rc == -ENOENT)
                return why_set(why, rc, "the mount point %s does not exist; `mkdir -p %s` first", argv[1], argv[1]);
        if (rc)
                return why_set(why, rc, "the mount point %s can't be reached: %s", argv[1], strerror(-rc));
        return check_others(m, why);
}

static int take_options(struct making *m, const char *text, char **why)
{
        CLEANUP_FREE char *before = m->options_text;

        m->options_text = text_new("%s%s%s", before ? before : "", before ? "," : "", text);
        if (!m->options_text)
                return why_set(why, -ENOMEM, "out of memory");
        return mount_options_parse(&m->options, text, why);
}

static enum exit_code run_mount(int argc, char **argv)
{
        struct making m CLEANUP(making_release) = MAKING_NONE;
        CLEANUP_FREE char *why = NULL;
        enum exit_code code = EXIT_FAILED;
        int c, rc;

        mount_options_init(&m.options);
        while ((c = getopt_long(argc, argv, "fo:h", long_options, NULL)) != -1) {
                if (c == 'h') {
                        command_help(&cmd_mount);
                        mount_options_help();
                        return EXIT_OK;
                }
                if (c == 'f')
                        m.foreground = true;
                else if (c == 'H')
                        m.no_holder = true;
                else if (c != 'o')
                        return command_usage("mount", "that is no option");
                else if (take_options(&m, optarg, &why))
                        return command_usage("mount", "%s", why_text(why));
        }
        if (argc - optind < 1 || argc - optind > 2)
                return command_usage("mount", "a source and at most one mount point are needed");
        rc = place_source(argv[optind], &m.source, &why);
        if (rc == 0) {
                rc = configure(&m, &why);
                code = rc == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
        }
        if (rc == 0)
                rc = prepare(&m, argc - optind, argv + optind, &why);
        if (rc) {
                log_error("%s", why_text(why));
                return code;
        }
        return mount_made(&m);
}

const struct command cmd_mount = {
        .name = "mount",
        .usage = "SRC [MNT] [-o OPTIONS] [--foreground] [--no-holder]",
        .summary = "Show a source directory at a mount point, and keep it in step",
        .help = "  MNT                   by default a directory of its own in the runtime directory; it is printed\n"
                "                        A source can be mounted at several places, each with options of its own; one process serves all.\n"
                "  -f, --foreground      stay in the foreground (service managers are told through NOTIFY_SOCKET)\n"
                "  --no-holder           have no process that starts dsfs again should it die; for service managers that do\n"
                "  -o, --options KEY=VALUE,KEY…   as below\n\n",
        .run = run_mount,
};
