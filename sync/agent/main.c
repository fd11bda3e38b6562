/*
 * dsfs: the command line. The house, top to bottom (nobody looks upwards):
 *
 *   sync/agent/   main.c          this map, and the table of commands
 *                 cmd_*.c cmd.h   one command each, and what they share (cmd.c)
 *                 taking.c        name, place and claim of a mount in the making, or who makes it instead    follow.c  and stays with it
 *                 agent.c         the process behind mounts: its loop, its start and its end    seat.c, seat_end.c  one mount of it
 *                 holder.c        above the agent: starts the next when it dies (holder_kept.c: with what it knows)    holding.c  the
 * agent's side    hold.h  what is said restore.c       which mounts the next agent makes again verbs.c         what it answers on its
 * control socket    report.c  of that, what `status` shows options.c       -o        daemon.c   into the background, readiness, service
 * managers config.c        configuration files    config_doc.c  as text    config_keys.c  all keys    config_artifacts.c  lists presets.c
 * rules ready made       config_show.c  back to text ruling.c        the rules that follow (rule_list.c: in the making)    reload.c  and
 * keep following while mounted ignored.c       what git ignores (ignore_file.c: one list; ignored_tracked.c: what it doesn't)    git.c
 * asking git place.c         may this be mounted there?        mountinfo.c  what is mounted, alive or dead hash_progress.c how far `hash`
 * is         state.c    what is kept of a source, and which it is record.c        who serves what, while it lives   paths.c      where all
 * that is kept artifacts_ops.c what `artifacts` does, for the agent's verb (verbs_artifacts.c) and for the command without one;
 *                 artifacts_target.c which of the two; artifacts_from.c, untar.c  what was built elsewhere; writers.c  who writes to it;
 *                 figures.c       of artifacts, for `status`
 *                 status_gather.c what `status` prints: asked of agents; status_show.c for a person, status_watch.c again and again
 *                 doctor*.c       what can be wrong: cmd_doctor.c has the table    disks.c  room    shell.c  paths to copy
 *                 complete.c      what shells ask        features.c  what `--version` says
 *                 mount_users.c   the containers that use a mount        term.c  colours and width
 *                 plugin.c        docker's volumes    plugin_jobs.c  what changes them    plugin_status.c  how they are
 *                 volume.c        one of them    volume_store.c  on disk    volume_mount.c  mounted, by    own_run.c  `dsfs mount`
 *                 prewarm.c       reads a fresh mount in the background (prewarm_walk.c is the process that does)
 *                 events.c        where changes are told: on the host and in each mount    board.c  and, there, how the mount does
 *   sync/serve/   control.c       the control socket    registry.c  requests and answers    client.c  the other end
 *                 http.c          a plugin's socket    http_request.c  what may come in by it
 *                 stream.c        the event stream      stream_lines.c  its lines           subscriber.c  the other end
 *                 stream_door.c   who may come in       stream_sub.c    one who did         stream_pump.c what it gets of the journal
 *                 json.c          names are bytes       why.c       sentences that explain failures    socket.c  making sockets
 *   sync/run/     run.c           `dsfs run` at work: its poll    decide.c  when, as a table of states    choices.c  its options
 *                 keeper.c        the process above the command, which leaves nothing behind    terminal.c  lent to the command
 *                 feed.c          changes, by as many connections as it takes    selection.c  which of them count
 *                 changed.c       what the command is told of them    in_mount.c  what a mount offers to those who are in it
 *   sync/client/                  dsfs-client, the static program for containers: main.c has its map
 *   sync/         hashing.c       keeps the root hash true to the source (hashing_queue.c, hashing_place.c: what to look at;
 *                                 hashing_run.c: when; hashing_look.c: what is there; hashing_found.c: what differs)
 *                 settle.c        knows git by its traces    reflog.c  one of them
 *                 journal.c       what has changed, in order, for as long as there is room
 *                 latency.c       how long that takes
 *                 engine.c        mounts of a source, and barriers    watch*.c  sees every change of the source
 *                 engine_sink.c   tells mounts what the watch sees, engine_artifacts.c what other mounts do to artifacts
 *   fs/           fs.h            what the kernel sees: a mount
 *   cache/base/                   descriptors, locks, log, identity of files
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sync/agent/cmd.h"
#include "sync/agent/complete.h"
#include "sync/agent/features.h"
#include "sync/agent/prewarm.h"

#ifndef DSFS_VERSION
#define DSFS_VERSION "0.1.0"
#endif

static enum exit_code run_prewarm(int argc, char **argv)
{
        return argc == 3 && prewarm_work(argv[1], (pid_t)atoi(argv[2])) == 0 ? EXIT_OK : EXIT_FAILED;
}

static const struct command cmd_prewarm = {.name = PREWARM_COMMAND, .usage = "MNT PID", .run = run_prewarm};

/* clang-format off */
static const struct command *const commands[] = {
        &cmd_mount,
        &cmd_umount,
        &cmd_status,
        &cmd_wait,
        &cmd_events,
        &cmd_run,
        &cmd_hash,
        &cmd_artifacts,
        &cmd_config,
        &cmd_logs,
        &cmd_doctor,
        &cmd_plugin,
        &cmd_prewarm,
};
/* clang-format on */

static void usage(FILE *to)
{
        fprintf(to, "usage: dsfs COMMAND …\n\nMount a source directory, coherent with what happens to it.\n\n");
        for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
                if (commands[i]->summary)
                        fprintf(to, "  %-13s %s\n", commands[i]->name, commands[i]->summary);
        }
        fprintf(to, "\n`dsfs COMMAND --help` says more; `dsfs --version` which this is.\n"
                    "Exit codes: 0 ok, 1 failure, 2 usage, 3 degraded, 4 no such mount or agent.\n");
}

/* Which this is, what it was built with, and what of the kernel's it uses. */
static void version(void)
{
        char *names = NULL;

        printf("dsfs %s\n", DSFS_VERSION);
        names = features_text();
        fputs(names ? names : "", stdout);
        free(names);
}

int main(int argc, char **argv)
{
        if (argc < 2) {
                usage(stderr);
                return EXIT_USAGE;
        }
        if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
                usage(stdout);
                return EXIT_OK;
        }
        if (strcmp(argv[1], "--version") == 0) {
                version();
                return EXIT_OK;
        }
        if (strcmp(argv[1], COMPLETE_COMMAND) == 0)
                return complete_words(commands, ARRAY_LEN(commands), argv + 2, (size_t)argc - 2);
        for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
                if (strcmp(commands[i]->name, argv[1]) != 0)
                        continue;
                return commands[i]->run(argc - 1, argv + 1);
        }
        fprintf(stderr, "dsfs: there is no command %s; see `dsfs --help`\n", argv[1]);
        return EXIT_USAGE;
}
