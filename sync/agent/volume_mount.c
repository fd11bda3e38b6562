#include "sync/agent/volume_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "sync/agent/cmd.h"
#include "sync/agent/config.h"
#include "sync/agent/mount_users.h"
#include "sync/agent/mountinfo.h"
#include "sync/agent/own_run.h"
#include "sync/agent/place.h"
#include "sync/serve/json.h"

#define PLACE_MODE 0755
/* docker is told within a second. */
#define ANSWER_MS 900
#define MOUNT_S 60
#define UMOUNT_S 90
#define LAYERS_MAX 64

int volume_places(const char *run, char **ret, char **why)
{
        CLEANUP_FREE char *dir = text_new("%s/volumes", run);
        int rc = dir ? path_make_private(dir, why) : why_set(why, -ENOMEM, "out of memory");

        if (rc)
                return rc;
        *ret = realpath(dir, NULL);
        return *ret ? 0 : why_set(why, -errno, "%s can't be reached: %s", dir, strerror(errno));
}

int volume_check(const struct volume_wish *w, char **why)
{
        CLEANUP_FREE char *canonical = NULL;
        int rc = place_source(w->source, &canonical, why);

        return rc == 0 && w->config ? config_check_file(w->config, false, why) : rc;
}

/*
 * Who serves
 */

static const struct record *live_at(const struct record_list *records, const char *place)
{
        for (size_t i = 0; i < records->count; i++) {
                const struct record *r = &records->records[i];

                if (r->alive && r->mountpoint && strcmp(r->mountpoint, place) == 0)
                        return r;
        }
        return NULL;
}

/* The connections that are mounted at `place`, one over the other. */
static size_t connections_at(const char *place, unsigned ret[LAYERS_MAX])
{
        struct mount_list mounts;
        size_t n = 0;

        if (mount_list_read(&mounts))
                return 0;
        for (size_t i = 0; i < mounts.count && n < LAYERS_MAX; i++) {
                if (mount_is_dsfs(&mounts.entries[i]) && strcmp(mounts.entries[i].path, place) == 0)
                        ret[n++] = mounts.entries[i].dev;
        }
        mount_list_release(&mounts);
        return n;
}

static bool is_mounted(const char *place)
{
        unsigned devs[LAYERS_MAX];

        return connections_at(place, devs) > 0;
}

/* An agent that is there but does not answer: said here, before anybody waits a minute for it. */
static int check_answers(const char *run, const struct record *r, const char *source, char **why)
{
        json_t *answer = NULL;
        pid_t pid = r->pid;
        int rc = command_ask(run, r, "ping", NULL, ANSWER_MS, &answer, &pid, why);

        json_decref(answer);
        if (rc != -ETIMEDOUT)
                return rc;
        free(steal_ptr(why));
        return why_set(why, rc,
                       "the agent of %s (process %d) does not answer; if that lasts, `kill -9 %d`, and the next mount starts another",
                       source, (int)pid, (int)pid);
}

/* 0: it is mounted and served; -ENOENT: nobody serves it, but it can be mounted; another -errno and *why. */
static int check_served(const char *run, const char *place, const char *source, char **why)
{
        struct record_list records CLEANUP(record_list_release) = {0};
        CLEANUP_FREE char *canonical = realpath(source, NULL);
        char id[SOURCE_ID_TEXT] = "";
        const struct record *r;
        int rc = record_list_read(run, &records);

        if (rc)
                return why_set(why, rc, "the runtime directory %s can't be read: %s", run, strerror(-rc));
        r = live_at(&records, place);
        if (r && canonical && strcmp(r->source, canonical) != 0)
                return why_set(why, -EBUSY, "%s is mounted there, of a volume that is no more known; `dsfs umount %s` first", r->source,
                               place);
        if (r && is_mounted(place))
                return check_answers(run, r, source, why);
        if (canonical)
                path_source_id(canonical, id);
        for (size_t i = 0; i < records.count && !r; i++) {
                if (records.records[i].alive && records.records[i].source && strcmp(records.records[i].id, id) == 0)
                        r = &records.records[i];
        }
        /* One that is starting or ending can't be asked: `dsfs mount` waits for it. */
        rc = r ? check_answers(run, r, source, why) : 0;
        if (rc == -ETIMEDOUT)
                return rc;
        free(steal_ptr(why));
        return -ENOENT;
}

int volume_look(const char *run, const char *place, json_t **ret, bool *over, char **why)
{
        unsigned devs[LAYERS_MAX];
        size_t layers = connections_at(place, devs);
        struct record_list records CLEANUP(record_list_release) = {0};
        const struct record *r;
        json_t *answer = NULL;
        json_t *m;
        size_t i;
        pid_t pid;
        int rc = record_list_read(run, &records);

        r = rc ? NULL : live_at(&records, place);
        *over = layers > 1;
        if (!r || !layers)
                return -ENOENT;
        rc = command_ask(run, r, "status", NULL, ANSWER_MS, &answer, &pid, why);
        if (rc)
                return rc == -ENOENT ? -ESRCH : rc;
        rc = -ENOENT;
        json_array_foreach(json_object_get(answer, "mounts"), i, m)
        {
                CLEANUP_FREE char *its_place = path_from_json(json_object_get(m, "mountpoint"));

                if (rc && its_place && strcmp(its_place, place) == 0) {
                        *ret = json_incref(m);
                        rc = 0;
                }
        }
        json_decref(answer);
        return rc;
}

/*
 * Mounting
 */

/* What is there may be a dead mount, so it isn't looked at. */
static int make_place(const char *place, char **why)
{
        if (mkdir(place, PLACE_MODE) < 0 && errno != EEXIST)
                return why_set(why, -errno, "the mount point %s can't be made: %s", place, strerror(errno));
        return 0;
}

/* The sentence of a command that failed. */
static int failed(int rc, const char *what, const char *place, char *said, char **why)
{
        if (rc == -ETIMEDOUT)
                return why_set(why, rc, "%s %s takes too long; `dsfs status` and the agent's log may say why", what, place);
        if (rc < 0)
                return why_set(why, rc, "%s %s can't be run: %s", what, place, strerror(-rc));
        *why = said;
        return said ? -EIO : why_set(why, -EIO, "%s %s failed with status %d", what, place, rc);
}

int volume_mount(const char *run, const char *place, const struct volume_wish *w, char **why)
{
        const char *const args[] = {"mount", "-o", w->options, w->source, place, NULL};
        CLEANUP_FREE char *ignored = NULL;
        char *said = NULL;
        int rc = check_served(run, place, w->source, why);

        if (rc != -ENOENT)
                return rc;
        rc = make_place(place, why);
        if (rc)
                return rc;
        rc = own_run(args, w->config, MOUNT_S, &said);
        /* Another may have mounted it in the same moment: whoever starts agents anew. */
        if (rc && rc != -ETIMEDOUT && check_served(run, place, w->source, &ignored) == 0)
                rc = 0;
        if (rc == 0) {
                free(said);
                return 0;
        }
        (void)rmdir(place); /* if it isn't a mount point */
        return failed(rc, "`dsfs mount` of", place, said, why);
}

int volume_umount(const char *place, char **why)
{
        const char *const gently[] = {"umount", place, NULL};
        const char *const lazily[] = {"umount", "--lazy", place, NULL};
        CLEANUP_FREE char *first = NULL;
        char *said = NULL;
        int rc;

        if (!is_mounted(place)) {
                (void)rmdir(place);
                return 0;
        }
        rc = own_run(gently, NULL, UMOUNT_S, &first);
        if (rc == 0 && first)
                log_warn("%s", first);
        if (rc && is_mounted(place)) {
                log_warn("%s is detached, and those who use it lose it: %s", place, why_text(first));
                rc = own_run(lazily, NULL, UMOUNT_S, &said);
        }
        if (rc && is_mounted(place))
                return failed(rc, "`dsfs umount` of", place, said, why);
        free(said);
        (void)rmdir(place);
        return 0;
}

/*
 * Who uses it
 */

static void take_user(void *arg, size_t which, const struct mount_user *u)
{
        bool *used = arg;

        (void)which;
        (void)u;
        *used = true;
}

bool volume_is_used(const char *place)
{
        unsigned devs[LAYERS_MAX];
        size_t count = connections_at(place, devs);
        bool used = false;

        /* If that can't be found out it counts as used. */
        return count > 0 && (mount_users_elsewhere(place, devs, count, take_user, &used) < 0 || used);
}
