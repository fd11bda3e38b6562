/*
 * The sources, what git and the configuration say of them, the disks that they and their state are on.
 */
#include "sync/agent/doctor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/cache.h"
#include "sync/agent/config.h"
#include "sync/agent/disks.h"
#include "sync/agent/git.h"
#include "sync/agent/paths.h"
#include "sync/agent/shell.h"
#include "sync/agent/state.h"
#include "sync/engine.h"
#include "sync/serve/json.h"

#define MIB (1024.0 * 1024.0)
/* Clocks of two machines may differ by less and nobody notices. */
#define SKEW_S 5
#define LOOKED_AT_MAX 4096

void doctor_filesystem(struct doctor *d)
{
        bool fine = true;

        for (size_t i = 0; i < d->source_count; i++) {
                CLEANUP_FREE char *word = shell_word(d->sources[i]);
                struct statfs fs;
                const char *name = statfs(d->sources[i], &fs) == 0 ? engine_silent_filesystem((uint32_t)fs.f_type) : NULL;

                if (!name)
                        continue;
                fine = false;
                doctor_found(d, DOCTOR_NOTE,
                             text_new("%s is on a network filesystem or the like (%s), whose changes raise no events: its mounts keep "
                                      "nothing cached, which is slower",
                                      d->sources[i], name),
                             text_new("keep it on a local disk; or, if nobody else changes it: dsfs mount %s -o coherence=events",
                                      why_text(word)));
        }
        if (fine)
                doctor_found(d, DOCTOR_FINE, text_new("sources are on filesystems that tell of changes"), NULL);
}

void doctor_configuration(struct doctor *d)
{
        bool fine = true;

        for (size_t i = 0; i < d->source_count; i++) {
                CLEANUP_FREE char *why = NULL;
                CLEANUP_FREE char *word = shell_word(d->sources[i]);
                struct config *config = NULL;
                int rc = config_load(d->sources[i], NULL, &config, &why);

                config_free(config);
                if (rc == 0)
                        continue;
                fine = false;
                doctor_found(d, DOCTOR_DEGRADED, text_new("%s", why_text(why)),
                             text_new("put that line right, until `dsfs config check %s` is content (`dsfs config show --defaults` lists "
                                      "all keys)",
                                      why_text(word)));
        }
        if (fine)
                doctor_found(d, DOCTOR_FINE, text_new("the configuration is right"), NULL);
}

static bool is_checkout(const char *source)
{
        CLEANUP_FREE char *git = text_new("%s/.git", source);

        return git && access(git, F_OK) == 0;
}

void doctor_git(struct doctor *d)
{
        static const char *const ask[] = {"rev-parse", "--git-dir", NULL};
        bool fine = true;

        for (size_t i = 0; i < d->source_count; i++) {
                struct git_answer a CLEANUP(git_answer_release) = {0};
                CLEANUP_FREE char *why = NULL;
                CLEANUP_FREE char *word = shell_word(d->sources[i]);

                if (!is_checkout(d->sources[i]) || git_ask(d->sources[i], ask, &a, &why) || a.status == 0)
                        continue;
                fine = false;
                if (a.said && strstr(a.said, "dubious ownership"))
                        doctor_found(
                                d, DOCTOR_NOTE,
                                text_new("git does not trust %s, for part of it belongs to somebody else than the source's owner; what "
                                         "git ignores or does there can't be followed",
                                         d->sources[i]),
                                text_new("git config --global --add safe.directory %s (as the owner of %s)", why_text(word),
                                         d->sources[i]));
                else
                        doctor_found(d, DOCTOR_NOTE, text_new("git can't read the repository of %s: %s", d->sources[i], why_text(a.said)),
                                     text_new("git -C %s status", why_text(word)));
        }
        if (fine)
                doctor_found(d, DOCTOR_FINE, text_new("git trusts the sources"), NULL);
}

static bool is_set_in(const char *source, const char *scope)
{
        const char *const ask[] = {"config", scope, "--type=bool", "--get", "core.fsmonitor", NULL};
        struct git_answer a CLEANUP(git_answer_release) = {0};
        CLEANUP_FREE char *why = NULL;

        return git_ask(source, ask, &a, &why) == 0 && a.status == 0 && a.text && strncmp(a.text, "true", 4) == 0;
}

void doctor_fsmonitor(struct doctor *d)
{
        bool fine = true;

        for (size_t i = 0; i < d->source_count; i++) {
                const char *source = d->sources[i];
                CLEANUP_FREE char *word = shell_word(source);
                bool global;

                if (!is_checkout(source))
                        continue;
                global = is_set_in(source, "--global");
                if (!global && !is_set_in(source, "--local"))
                        continue;
                fine = false;
                doctor_found(d, DOCTOR_NOTE,
                             text_new("core.fsmonitor is on in %s: git takes a mount for a network filesystem and refuses its monitor "
                                      "there, with a warning at each command",
                                      source),
                             global ? text_new("git config --global core.fsmonitor false")
                                    : text_new("git -C %s config core.fsmonitor false", why_text(word)));
        }
        if (fine)
                doctor_found(d, DOCTOR_FINE, text_new("no checkout has git's fsmonitor on, which mounts don't have"), NULL);
}

/* Each filesystem once. */
struct disks {
        struct doctor *doctor;
        dev_t seen[64];
        size_t count;
        bool fine;
};

static void look_at_disk(struct disks *k, const char *path, const char *what)
{
        char *text, *fix = NULL;
        struct stat st;

        if (!path || stat(path, &st) < 0)
                return;
        for (size_t i = 0; i < k->count; i++) {
                if (k->seen[i] == st.st_dev)
                        return;
        }
        if (k->count < sizeof(k->seen) / sizeof(k->seen[0]))
                k->seen[k->count++] = st.st_dev;
        text = disk_complaint(path, what, false, &fix);
        if (!text)
                return;
        k->fine = false;
        doctor_found(k->doctor, DOCTOR_DEGRADED, text, fix);
}

/* What there is of it. */
static char *nearest_there(char *path)
{
        while (path && access(path, F_OK) < 0 && strrchr(path, '/') > path)
                *strrchr(path, '/') = '\0';
        return path;
}

void doctor_disk(struct doctor *d)
{
        struct disks k = {.doctor = d, .fine = true};
        CLEANUP_FREE char *state = nearest_there(path_state("0000000000000000"));

        for (size_t i = 0; i < d->source_count; i++)
                look_at_disk(&k, d->sources[i], "a source");
        look_at_disk(&k, state, "where artifacts, memories and logs are kept");
        look_at_disk(&k, d->run, "the runtime directory");
        if (k.fine)
                doctor_found(d, DOCTOR_FINE, text_new("the disks have room"), NULL);
}

/* How far in the future the newest of the source and what is right in it was changed. */
static double ahead_of_now(const char *source, char **ret)
{
        CLEANUP_FD int fd = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;
        struct timespec now;
        struct stat st;
        double most = 0;

        if (!dir)
                return 0;
        clock_gettime(CLOCK_REALTIME, &now);
        for (unsigned i = 0; i < LOOKED_AT_MAX && (e = readdir(dir)); i++) {
                double ahead;

                if (strcmp(e->d_name, "..") == 0 || fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                ahead = (double)(st.st_mtim.tv_sec - now.tv_sec);
                if (ahead <= most)
                        continue;
                most = ahead;
                free(*ret);
                *ret = text_new("%s/%s", source, e->d_name);
        }
        (void)fd_steal(&fd);
        closedir(dir);
        return most;
}

void doctor_clock(struct doctor *d)
{
        bool fine = true;

        for (size_t i = 0; i < d->source_count; i++) {
                CLEANUP_FREE char *what = NULL;
                CLEANUP_FREE char *word = shell_word(d->sources[i]);
                double ahead = ahead_of_now(d->sources[i], &what);

                if (ahead < SKEW_S)
                        continue;
                fine = false;
                doctor_found(d, DOCTOR_NOTE,
                             text_new("%s was changed %.0f seconds in the future: the clock here and that of whoever wrote it differ, so "
                                      "that such files are hashed again each time, and make builds too much or too little",
                                      why_text(what), ahead),
                             text_new("set the clock right (timedatectl set-ntp true), then: find %s -newermt now -exec touch {} +",
                                      why_text(word)));
        }
        if (fine)
                doctor_found(d, DOCTOR_FINE, text_new("no source is ahead of the clock"), NULL);
}

static void forget(struct doctor *d, const struct state_entry *e, char *what, char *did)
{
        int rc = d->fix ? state_forget(e->dir) : 0;

        if (rc == -EBUSY) {
                free(what);
                free(did);
                return; /* an agent outlives its source: it will say so itself */
        }
        if (rc || !d->fix) {
                CLEANUP_FREE char *word = shell_word(e->dir);

                free(did);
                doctor_found(d, DOCTOR_NOTE, what, rc ? text_new("rm -r %s/cache", why_text(word)) : text_new("dsfs doctor --fix"));
        } else {
                free(what);
                doctor_found(d, DOCTOR_FIXED, did, NULL);
        }
}

static void check_state(void *arg, const struct state_entry *e)
{
        struct doctor *d = arg;
        CLEANUP_FREE char *cache = text_new("%s/cache", e->dir);
        const char *why = NULL;
        double mib = (double)e->cache_bytes / MIB;

        if (e->life == STATE_GONE && e->cache_bytes)
                forget(d, e, text_new("%s is gone, and what was remembered of it takes %.1f MiB", e->source, mib),
                       text_new("what was remembered of %s, which is gone, is removed (%.1f MiB)", e->source, mib));
        else if (e->source && cache && cache_look(cache, &why) == -EUCLEAN)
                forget(d, e, text_new("what is remembered of %s can't be used and will be made anew: %s", e->source, why),
                       text_new("what was remembered of %s was of no use (%s) and is removed", e->source, why));
}

void doctor_memory(struct doctor *d)
{
        size_t before = json_array_size(d->findings);
        int rc = state_list(check_state, d);
        size_t i;
        json_t *m;

        if (rc)
                doctor_found(d, DOCTOR_NOTE, text_new("the state directory can't be read: %s", strerror(-rc)), NULL);
        json_array_foreach(d->mounts, i, m)
        {
                const char *off = json_string_value(json_object_get(json_object_get(m, "cache"), "off"));
                CLEANUP_FREE char *source = path_from_json(json_object_get(m, "source"));
                CLEANUP_FREE char *dir = source ? state_cache(source) : NULL;

                if (off && dir)
                        doctor_found(d, DOCTOR_DEGRADED,
                                     text_new("nothing is remembered of %s any more (%s): after the next mount everything is read again",
                                              source, off),
                                     text_new("make room or permit writing in %s, then unmount %s and mount it again", dir, source));
        }
        if (json_array_size(d->findings) == before)
                doctor_found(d, DOCTOR_FINE, text_new("what is remembered of sources is sound"), NULL);
}
