/*
 * dsfs hash: names what files and directories hold, with or without an agent.
 *
 * A directory is hashed with the memory of the source it lies in, where there is one: the nearest directory, itself or above it, that has a
 * memory already. The first of a checkout (a directory with `.git` in it) is kept, and so is that of any directory with --remember; of
 * other directories nothing is left behind. The hash is the same either way.
 */
#include "sync/agent/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/log.h"
#include "cache/cache.h"
#include "sync/agent/hash_progress.h"
#include "sync/agent/mountinfo.h"
#include "sync/agent/state.h"
#include "sync/serve/json.h"

#define HASH_VERSION 1
#define SIGNALLED 128 /* a shell's exit status of what a signal ended */

/* What a signal finds. A scan is given the time to end in good order; otherwise there is nothing to put in order. */
static struct cache *_Atomic scanning;
static volatile sig_atomic_t signalled;

static void on_signal(int number)
{
        struct cache *c = atomic_load(&scanning);

        if (!c)
                _exit(SIGNALLED + number);
        signalled = number;
        cache_cancel(c);
}

static void catch_signals(void)
{
        struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

        (void)sigaction(SIGINT, &sa, NULL);
        (void)sigaction(SIGTERM, &sa, NULL);
}

static void hold_signals(bool hold)
{
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGTERM);
        (void)sigprocmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

struct hash_run {
        bool as_json, remember;
        json_t *entries, *errors;
        bool failed;
};

static void refuse(struct hash_run *r, const char *path, const char *why)
{
        r->failed = true;
        log_error("%s: %s", path, why);
        json_array_append_new(r->errors, json_pack("{s:o, s:s}", "path", bytes_to_json(path, strlen(path)), "error", why));
}

/* A name as coreutils' checksum programs print it: one with a backslash or the end of a line in it is escaped, and the line says so. */
static void print_line(const char *digits, const char *path)
{
        bool odd = strpbrk(path, "\\\n\r") != NULL;

        printf("%s%s  ", odd ? "\\" : "", digits);
        for (const char *p = path; *p; p++) {
                if (*p == '\\')
                        fputs("\\\\", stdout);
                else if (*p == '\n')
                        fputs("\\n", stdout);
                else if (*p == '\r')
                        fputs("\\r", stdout);
                else
                        putchar(*p);
        }
        putchar('\n');
}

static void tell(struct hash_run *r, const char *path, const char *type, const struct content *hash)
{
        char digits[CONTENT_TEXT];

        content_to_text(hash, digits);
        if (r->as_json)
                json_array_append_new(
                        r->entries, json_pack("{s:o, s:s, s:s}", "path", bytes_to_json(path, strlen(path)), "type", type, "hash", digits));
        else
                print_line(digits, path);
}

/* What was hashed may not be all of it. */
static void qualify(struct hash_run *r, const char *path, const struct scan_report *report)
{
        CLEANUP_FREE char *text = NULL;

        if (report->unstable)
                log_warn("%s: %llu files changed while they were read; the hash may be of no moment", path,
                         (unsigned long long)report->unstable);
        if (!report->unread)
                return;
        text = text_new("%llu entries can't be read and are left out of its hash; run as their owner", (unsigned long long)report->unread);
        refuse(r, path, why_text(text));
}

/* Scan `source` with its memory in `dir` (NULL: none), and take the hash of its subdirectory `below` ("": its own). 0; -ENODATA when there
 * is no telling what `below` has; -ECANCELED; or another -errno. */
static int scan(const char *source, const char *dir, const char *below, struct scan_report *report, struct content *ret)
{
        struct cache_options options = {.source = source, .dir = dir};
        struct scan_watcher watcher = {.progress = hash_progress_show};
        CLEANUP_FREE char *notice = NULL;
        enum content_kind kind = CONTENT_DIRECTORY;
        enum cache_found found;
        struct content root;
        struct cache *c;
        int rc = cache_open(&options, &c, &found, &notice);

        if (rc)
                return rc;
        if (notice)
                log_warn("%s", notice);
        watcher.arg = hash_progress_new(source, found != CACHE_GOOD && found != CACHE_SHARED);
        if (!watcher.arg)
                watcher.progress = NULL;
        atomic_store(&scanning, c);
        rc = cache_scan(c, &watcher, report);
        hash_progress_free(watcher.arg);
        *ret = report->root;
        /* What is remembered tells of a part only if it is what was just seen, for another process may be the one that remembers. */
        if (rc == 0 && *below) {
                kind = cache_entry(c, below, ret);
                if (kind != CONTENT_DIRECTORY || cache_entry(c, "", &root) != CONTENT_DIRECTORY || !content_equal(&root, &report->root))
                        rc = -ENODATA;
        }
        hold_signals(true);
        atomic_store(&scanning, NULL);
        cache_close(c);
        hold_signals(false);
        return rc;
}

/* What the kernel says of a file through a mount of ours is not what it is in the source: nothing is remembered of that. */
static bool is_in_mount(const char *canonical)
{
        struct mount_list mounts;
        bool found = false;

        if (mount_list_read(&mounts))
                return true;
        for (size_t i = 0; i < mounts.count; i++)
                found = found || (mount_is_dsfs(&mounts.entries[i]) && path_is_below(canonical, mounts.entries[i].path));
        mount_list_release(&mounts);
        return found;
}

/* The nearest directory with a memory, from `canonical` upwards; *below is where in it `canonical` is. NULL: none has. */
static char *source_above(const char *canonical, const char **below)
{
        CLEANUP_FREE char *at = strdup(canonical);

        while (at && !state_remembers(at)) {
                char *slash = strrchr(at, '/');

                if (slash == at && at[1] == '\0')
                        return NULL;
                slash[slash == at ? 1 : 0] = '\0';
        }
        if (at) {
                *below = canonical + strlen(at);
                *below += strspn(*below, "/");
        }
        return steal_ptr(&at);
}

static bool is_checkout(const char *canonical)
{
        CLEANUP_FREE char *git = text_new("%s/.git", canonical);

        return git && access(git, F_OK) == 0;
}

/* Make a memory for `canonical` if it is to have one. Its directory (the caller frees), or NULL. */
static char *memory_for(const struct hash_run *r, const char *canonical)
{
        CLEANUP_FREE char *why = NULL;

        if (!r->remember && !is_checkout(canonical))
                return NULL;
        if (state_make(canonical, &why) == 0)
                return state_cache(canonical);
        log_warn("nothing is remembered of %s: %s", canonical, why_text(why));
        return NULL;
}

static int hash_directory(const struct hash_run *r, const char *path, struct scan_report *report, struct content *ret)
{
        CLEANUP_FREE char *canonical = realpath(path, NULL);
        CLEANUP_FREE char *source = NULL;
        CLEANUP_FREE char *dir = NULL;
        const char *below = "";
        int rc = -ENODATA;

        if (!canonical)
                return -errno;
        if (is_in_mount(canonical))
                return scan(canonical, NULL, "", report, ret);
        if (!r->remember)
                source = source_above(canonical, &below);
        if (source && *below) {
                dir = state_cache(source);
                rc = dir ? scan(source, dir, below, report, ret) : -ENOMEM;
                /* What was left out there is no part of this. */
                report->unread = report->unstable = 0;
                free(steal_ptr(&dir));
        }
        if (rc == -ENODATA) {
                dir = source && !*below ? state_cache(source) : memory_for(r, canonical);
                rc = scan(canonical, dir, "", report, ret);
        }
        return rc;
}

static int hash_one(struct hash_run *r, const char *path)
{
        struct scan_report report = {0};
        struct content hash;
        struct stat st;
        int rc;

        if (lstat(path, &st) < 0) {
                refuse(r, path, strerror(errno));
                return 0;
        }
        if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode)) {
                refuse(r, path, "only files, directories and symlinks have a hash");
                return 0;
        }
        rc = S_ISDIR(st.st_mode) ? hash_directory(r, path, &report, &hash) : content_of_file(AT_FDCWD, path, &hash);
        if (rc == -ECANCELED)
                return rc;
        if (rc < 0) {
                refuse(r, path, strerror(-rc));
                return 0;
        }
        tell(r, path, S_ISDIR(st.st_mode) ? "directory" : S_ISLNK(st.st_mode) ? "symlink" : "file", &hash);
        qualify(r, path, &report);
        return 0;
}

static void print_json(const struct hash_run *r)
{
        json_t *root = json_pack("{s:i, s:O, s:O}", "version", HASH_VERSION, "entries", r->entries, "errors", r->errors);

        (void)json_dumpf(root, stdout, JSON_INDENT(2));
        printf("\n");
        json_decref(root);
}

static enum exit_code hash_all(struct hash_run *r, const char *const paths[], size_t count)
{
        int rc = 0;

        catch_signals();
        r->entries = json_array();
        r->errors = json_array();
        for (size_t i = 0; rc == 0 && i < count; i++)
                rc = hash_one(r, paths[i]);
        if (rc == 0 && r->as_json)
                print_json(r);
        json_decref(r->entries);
        json_decref(r->errors);
        if (fflush(stdout)) {
                log_error("what was found can't be written: %s", strerror(errno));
                r->failed = true;
        }
        if (rc == -ECANCELED)
                return (enum exit_code)(SIGNALLED + signalled);
        return r->failed ? EXIT_FAILED : EXIT_OK;
}

static const struct option long_options[] = {
        {"json", no_argument, NULL, 'j'}, {"remember", no_argument, NULL, 'r'}, {"help", no_argument, NULL, 'h'}, {0}};

static enum exit_code run_hash(int argc, char **argv)
{
        static const char *const here[] = {"."};
        struct hash_run r = {0};
        int c;

        while ((c = getopt_long(argc, argv, "jrh", long_options, NULL)) != -1) {
                if (c == 'h') {
                        command_help(&cmd_hash);
                        return EXIT_OK;
                }
                if (c == 'j')
                        r.as_json = true;
                else if (c == 'r')
                        r.remember = true;
                else
                        return command_usage("hash", "that is no option");
        }
        if (argc == optind)
                return hash_all(&r, here, 1);
        return hash_all(&r, (const char *const *)argv + optind, (size_t)(argc - optind));
}

const struct command cmd_hash = {
        .name = "hash",
        .usage = "[PATH…] [--json] [--remember]",
        .summary = "Name what files and directories hold: one hash each, with or without an agent",
        .help = "  PATH            the current directory by default. A file: the digits of `xxhsum -H128`. A symlink: its target's text; "
                "it\n"
                "                  is not followed, unless a slash follows it. A directory: one hash over all that is in it, its files,\n"
                "                  symlinks and directories with their names and whether they can be executed; `.git` is left out\n"
                "  -j, --json      for programs (\"version\": 1)\n"
                "  -r, --remember  remember the files' hashes in the state directory, so that the next time only what has changed is "
                "read.\n"
                "                  A checkout's (a directory with .git in it) are remembered anyway, other directories' are not\n"
                "It exits with 1 if one of the paths has no hash, and goes on with the others.\n",
        .run = run_hash,
};
