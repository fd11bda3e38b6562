/*
 * What is mounted, and what mounts have left.
 */
#include "sync/agent/doctor.h"

#include <string.h>
#include <unistd.h>

#include "sync/agent/mountinfo.h"
#include "sync/agent/place.h"
#include "sync/agent/shell.h"
#include "sync/serve/json.h"

static void fix_dead(struct doctor *d, const char *path)
{
        CLEANUP_FREE char *at = shell_word(path);
        unsigned removed;
        int rc = place_remove_dead(path, &d->records, &removed);

        if (rc)
                doctor_found(d, DOCTOR_DEGRADED, text_new("the dead mount at %s can't be removed: %s", path, strerror(-rc)),
                             text_new("umount -l %s (as root)", why_text(at)));
        else
                doctor_found(d, DOCTOR_FIXED, text_new("the dead mount at %s is removed", path), NULL);
}

/* It may be had back, too. */
static char *remedy_of_dead(const struct doctor *d, const char *path)
{
        CLEANUP_FREE char *at = shell_word(path);

        for (size_t i = 0; i < d->records.count; i++) {
                const struct record *r = &d->records.records[i];
                CLEANUP_FREE char *source = r->source ? shell_word(r->source) : NULL;

                if (source && r->mountpoint && strcmp(r->mountpoint, path) == 0)
                        return text_new("dsfs mount %s %s (serves it again; or dsfs umount %s)", source, why_text(at), why_text(at));
        }
        return text_new("dsfs umount %s", why_text(at));
}

void doctor_dead(struct doctor *d)
{
        struct mount_list mounts;
        unsigned dead = 0;

        if (mount_list_read(&mounts)) {
                doctor_found(d, DOCTOR_DEGRADED, text_new("/proc/self/mountinfo can't be read"), text_new("mount -t proc proc /proc"));
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
                        doctor_found(d, DOCTOR_DEGRADED, text_new("%s is a mount whose agent has died", m->path),
                                     remedy_of_dead(d, m->path));
        }
        mount_list_release(&mounts);
        if (dead == 0)
                doctor_found(d, DOCTOR_FINE, text_new("no mount is dead"), NULL);
}

void doctor_records(struct doctor *d)
{
        for (size_t i = 0; i < d->records.count; i++) {
                const struct record *r = &d->records.records[i];
                const char *what = r->source ? r->source : r->id;

                if (r->alive)
                        continue;
                if (d->fix && record_drop_dead(d->run, r->id, r->mountpoint)) {
                        if (r->own_place && r->mountpoint)
                                (void)rmdir(r->mountpoint);
                        doctor_found(d, DOCTOR_FIXED, text_new("what the dead agent of %s left is removed", what), NULL);
                } else {
                        doctor_found(d, DOCTOR_DEGRADED, text_new("the agent of %s has died and left its socket and record", what),
                                     text_new("dsfs doctor --fix"));
                }
        }
}

/* Of those other rows speak. */
static bool is_dead(const struct doctor *d, const json_t *mount)
{
        pid_t pid = (pid_t)json_integer_value(json_object_get(mount, "pid"));

        for (size_t i = 0; i < d->records.count; i++) {
                if (d->records.records[i].pid == pid)
                        return !d->records.records[i].alive;
        }
        return false;
}

/* What an agent itself complains of. */
void doctor_live(struct doctor *d)
{
        size_t i;
        size_t k;
        json_t *m;
        json_t *warning;
        bool fine = true;

        json_array_foreach(d->mounts, i, m)
        {
                const char *verdict = json_string_value(json_object_get(m, "verdict"));
                const char *name = json_string_value(json_object_get(m, "name"));

                if ((verdict && strcmp(verdict, "ok") == 0) || is_dead(d, m))
                        continue;
                fine = false;
                json_array_foreach(json_object_get(m, "warnings"), k, warning)
                {
                        doctor_found(d, DOCTOR_DEGRADED, text_new("%s: %s", name ? name : "a mount", json_string_value(warning)), NULL);
                }
        }
        if (fine)
                doctor_found(d, DOCTOR_FINE, text_new("no mount complains (%zu are served)", json_array_size(d->mounts)), NULL);
}

/* A container that was started with the mount's directory sees what is mounted there later only if that is on a shared mount. */
void doctor_propagation(struct doctor *d)
{
        struct mount_list mounts;
        unsigned private = 0;

        if (mount_list_read(&mounts))
                return;
        for (size_t i = 0; i < mounts.count; i++) {
                const struct mount_entry *m = &mounts.entries[i];
                CLEANUP_FREE char *above = NULL;
                CLEANUP_FREE char *at = shell_word(m->path);
                CLEANUP_FREE char *on = NULL;

                if (!mount_is_dsfs(m) || mount_at(&mounts, m->path) != m || m->shared || place_is_dead(m->path, &d->records))
                        continue;
                private++;
                above = strdup(m->path);
                if (!above || !strrchr(above, '/'))
                        continue;
                strrchr(above, '/')[above[0] == '/' && strrchr(above, '/') == above] = '\0';
                on = shell_word(above);
                doctor_found(d, DOCTOR_NOTE,
                             text_new("%s lies on a mount that is private: containers that run already will not see it when it is mounted "
                                      "again (after a crash, say)",
                                      m->path),
                             text_new("dsfs umount %s; mount --bind %s %s && mount --make-rshared %s (as root; then mount it again, and "
                                      "start containers with %s as an rslave volume)",
                                      why_text(at), why_text(on), why_text(on), why_text(on), why_text(on)));
        }
        mount_list_release(&mounts);
        if (private == 0)
                doctor_found(d, DOCTOR_FINE, text_new("no mount is kept from containers that run already"), NULL);
}

void doctor_shadowed(struct doctor *d)
{
        bool fine = true;
        size_t i;
        json_t *m;

        json_array_foreach(d->mounts, i, m)
        {
                json_int_t n = json_integer_value(json_object_get(json_object_get(m, "artifacts"), "shadowed"));
                CLEANUP_FREE char *source = path_from_json(json_object_get(m, "source"));
                CLEANUP_FREE char *word = source ? shell_word(source) : NULL;

                if (n == 0 || !word)
                        continue;
                fine = false;
                doctor_found(d, DOCTOR_NOTE,
                             text_new("%lld paths of %s are not seen in its mounts, for rules call them artifacts", (long long)n, source),
                             text_new("dsfs artifacts list %s (names them; `dsfs artifacts adopt PATH` has them in the mount, a line of "
                                      "`keep` in dsfs.yaml leaves them the source's)",
                                      word));
        }
        if (fine)
                doctor_found(d, DOCTOR_FINE, text_new("nothing of a source is shadowed by artifacts"), NULL);
}
