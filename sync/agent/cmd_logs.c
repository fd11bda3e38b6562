/*
 * dsfs logs: what the agent of a source has written down, and goes on to.
 */
#include "sync/agent/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "sync/agent/place.h"

#define LINES_DEFAULT 40
#define LINES_MAX 1000000
/* What is put aside, and a line more. */
#define FILE_BYTES_MAX (2 * LOG_FILE_BYTES)
#define CHUNK 65536

/* The last `want` lines of `text`. */
static const char *tail_of(const char *text, size_t len, size_t want)
{
        const char *at = text + len;

        if (at > text && at[-1] == '\n')
                at--;
        while (at > text && want) {
                at--;
                if (*at == '\n' && --want == 0)
                        return at + 1;
        }
        return want ? text : text + len;
}

static size_t lines_in(const char *text)
{
        size_t n = 0;

        for (const char *at = text; (at = strchr(at, '\n')); at++)
                n++;
        return n;
}

/* Print the last lines, of what was put aside too; *at is where the file ends. 0 or -errno. */
static int print_last(int dir, int fd, size_t want, off_t *at)
{
        CLEANUP_FREE char *old = NULL;
        CLEANUP_FREE char *now = NULL;
        ssize_t len = fd_read_file(AT_FDCWD, fd_proc_path(fd).text, FILE_BYTES_MAX, &now);
        size_t have;

        if (len < 0)
                return (int)len;
        *at = len;
        have = lines_in(now);
        if (have < want) {
                ssize_t old_len = fd_read_file(dir, "agent.log.1", FILE_BYTES_MAX, &old);

                if (old_len > 0)
                        fputs(tail_of(old, (size_t)old_len, want - have), stdout);
        }
        if (want)
                fputs(tail_of(now, (size_t)len, want), stdout);
        return fflush(stdout) ? -errno : 0;
}

/* Print what came since. */
static int print_more(int fd, off_t *at)
{
        char text[CHUNK];
        ssize_t n;

        while ((n = pread(fd, text, sizeof(text), *at)) > 0) {
                int rc = fd_write_full(STDOUT_FILENO, text, (size_t)n);

                if (rc)
                        return rc;
                *at += n;
        }
        return n < 0 ? -errno : 0;
}

/* Until we are interrupted, or nobody reads. Takes *log. */
static int follow(const char *path, int dir, int *log, off_t at)
{
        CLEANUP_FD int watch = inotify_init1(IN_CLOEXEC);
        CLEANUP_FD int fd = fd_steal(log);
        char events[4096] __attribute__((aligned(8)));
        struct stat ours, there;
        int rc = 0;

        if (watch < 0 || inotify_add_watch(watch, path, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
                return -errno;
        while (rc == 0) {
                if (fd >= 0)
                        rc = print_more(fd, &at);
                /* Another has taken its place. */
                if (fstatat(dir, "agent.log", &there, AT_SYMLINK_NOFOLLOW) == 0 &&
                    (fd < 0 || fstat(fd, &ours) < 0 || ours.st_ino != there.st_ino)) {
                        if (fd >= 0)
                                rc = print_more(fd, &at);
                        fd_close(&fd);
                        fd = openat(dir, "agent.log", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
                        at = 0;
                        continue;
                }
                if (rc == 0 && read(watch, events, sizeof(events)) < 0 && errno != EINTR)
                        rc = -errno;
        }
        return rc;
}

/* The mount or source that the current directory is in; else the only one that there is. */
static const struct record *record_meant(const struct record_list *l)
{
        CLEANUP_FREE char *here = getcwd(NULL, 0);

        for (size_t i = 0; here && i < l->count; i++) {
                const struct record *r = &l->records[i];

                if ((r->mountpoint && path_is_below(here, r->mountpoint)) || (r->source && path_is_below(here, r->source)))
                        return r;
        }
        for (size_t i = 1; i < l->count; i++) {
                if (strcmp(l->records[i].id, l->records[0].id) != 0)
                        return NULL;
        }
        return l->count ? &l->records[0] : NULL;
}

/* Whose log it is. False when that was not to be found, and was said. */
static bool find_id(const char *arg, const struct record_list *l, char ret[SOURCE_ID_TEXT], enum exit_code *code)
{
        const struct record *r = arg ? command_find(l, arg) : record_meant(l);
        CLEANUP_FREE char *source = NULL;
        CLEANUP_FREE char *why = NULL;

        *code = EXIT_ABSENT;
        if (r)
                snprintf(ret, SOURCE_ID_TEXT, "%s", r->id);
        else if (arg && place_source(arg, &source, &why) == 0)
                path_source_id(source, ret);
        else if (arg)
                (void)command_absent(arg);
        else if (l->count)
                *code = command_usage("logs", "there are several agents; name one of their mounts (`dsfs status` lists them)");
        else
                log_error("nothing is mounted; `dsfs logs SRC` shows what was logged when SRC was");
        return r || source;
}

static enum exit_code show(const char *id, size_t lines, bool follows)
{
        CLEANUP_FREE char *path = path_state(id);
        CLEANUP_FD int dir = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        CLEANUP_FD int fd = dir < 0 ? -1 : openat(dir, "agent.log", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        off_t at = 0;
        int rc = fd < 0 ? -errno : print_last(dir, fd, lines, &at);

        if (rc == -ENOENT) {
                log_error("there is no log in %s: either it was never mounted by you, or its agent runs in the foreground and logs to "
                          "standard error (that of a service: journalctl)",
                          why_text(path));
                return EXIT_ABSENT;
        }
        if (rc == 0 && follows)
                rc = follow(path, dir, &fd, at);
        if (rc && rc != -EPIPE)
                log_error("the log in %s can't be read: %s", why_text(path), strerror(-rc));
        return rc ? EXIT_FAILED : EXIT_OK;
}

static const struct option long_options[] = {
        {"follow", no_argument, NULL, 'f'}, {"lines", required_argument, NULL, 'n'}, {"help", no_argument, NULL, 'h'}, {0}};

static enum exit_code run_logs(int argc, char **argv)
{
        CLEANUP_FREE char *run = path_runtime();
        struct record_list records CLEANUP(record_list_release) = {0};
        unsigned long lines = LINES_DEFAULT;
        char id[SOURCE_ID_TEXT];
        enum exit_code code;
        bool follows = false;
        char *end;
        int c;

        while ((c = getopt_long(argc, argv, "fn:h", long_options, NULL)) != -1) {
                if (c == 'h') {
                        command_help(&cmd_logs);
                        return EXIT_OK;
                }
                if (c == 'f') {
                        follows = true;
                } else if (c == 'n') {
                        lines = strtoul(optarg, &end, 10);
                        if (*optarg < '0' || *optarg > '9' || *end || lines > LINES_MAX)
                                return command_usage("logs", "-n takes a number up to %d, not %s", LINES_MAX, optarg);
                } else {
                        return command_usage("logs", "that is no option");
                }
        }
        if (argc - optind > 1)
                return command_usage("logs", "at most one mount or source can be named");
        if (!run || record_list_read(run, &records)) {
                log_error("the runtime directory %s can't be read", why_text(run));
                return EXIT_FAILED;
        }
        return find_id(argc > optind ? argv[optind] : NULL, &records, id, &code) ? show(id, lines, follows) : code;
}

const struct command cmd_logs = {
        .name = "logs",
        .usage = "[NAME|MNT|SRC] [--follow] [-n LINES]",
        .summary = "Show what the agent of a source has logged",
        .help = "  NAME|MNT|SRC  by default the mount or source of the current directory, or the only one\n"
                "  -f, --follow  go on with what is logged from now on, until Ctrl-C\n"
                "  -n, --lines LINES   how many of the last lines (40)\n"
                "The log is agent.log in the source's state directory; at 1 MiB it is put aside as agent.log.1. An agent in the "
                "foreground\n"
                "logs to standard error instead, with priorities if that is the journal.\n",
        .run = run_logs,
};
