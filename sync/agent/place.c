#include "sync/agent/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sync/agent/mountinfo.h"

#define FUSE_CONF "/etc/fuse.conf"
#define LAYERS_MAX 1024
/* So many dead mounts may lie on each other at a place, one for each agent that died. */
#define LAYERS_KEPT 32

int place_source(const char *arg, char **ret, char **why)
{
        CLEANUP_FREE char *canonical = realpath(arg, NULL);
        struct stat st;
        int err = errno;

        if (!canonical && err == ENOENT)
                return why_set(why, -ENOENT, "the source %s does not exist; name a directory that does", arg);
        if (!canonical || stat(canonical, &st) < 0) {
                err = canonical ? errno : err;
                return why_set(why, -err, "the source %s can't be reached: %s", arg, strerror(err));
        }
        if (!S_ISDIR(st.st_mode))
                return why_set(why, -ENOTDIR, "the source %s is not a directory; name the directory that it is in", arg);
        if (access(canonical, R_OK | X_OK) < 0)
                return why_set(why, -EACCES, "the source %s can't be read by you; run as its owner", arg);
        *ret = steal_ptr(&canonical);
        return 0;
}

static const struct record *record_at(const struct record_list *records, const char *mountpoint, bool alive)
{
        for (size_t i = 0; i < records->count; i++) {
                const struct record *r = &records->records[i];

                if (r->alive == alive && r->mountpoint && strcmp(r->mountpoint, mountpoint) == 0)
                        return r;
        }
        return NULL;
}

static bool life_is_dead(enum mount_life life, const char *mountpoint, const struct record_list *records)
{
        return life == MOUNT_DEAD || (life == MOUNT_SILENT && record_at(records, mountpoint, false));
}

bool place_is_dead(const char *mountpoint, const struct record_list *records)
{
        if (record_at(records, mountpoint, true))
                return false;
        return life_is_dead(mount_probe(mountpoint), mountpoint, records);
}

static int check_mounted(const struct mount_entry *m, const struct record_list *records, bool *dead, char **why)
{
        const struct record *live = record_at(records, m->path, true);
        enum mount_life life;

        if (live)
                return why_set(why, -EBUSY, "%s is already mounted at %s; `dsfs umount %s` first, or name another mount point",
                               live->source, m->path, m->path);
        if (!mount_is_dsfs(m))
                return why_set(why, -EBUSY, "%s is a mount point already (%s); name an empty directory", m->path, m->type);
        life = mount_probe(m->path);
        if (life_is_dead(life, m->path, records)) {
                *dead = true;
                return 0;
        }
        if (life == MOUNT_SILENT)
                return why_set(why, -EBUSY, "the dsfs mount at %s does not answer; if its agent is gone, `dsfs umount --lazy %s` first",
                               m->path, m->path);
        return why_set(why, -EBUSY, "%s is already a dsfs mount, served by another user or another runtime directory; name another one",
                       m->path);
}

static int check_directory(const char *path, char **why)
{
        struct stat st;
        DIR *d;
        bool empty = true;

        if (lstat(path, &st) < 0) {
                int err = errno;

                if (err == ENOENT)
                        return why_set(why, -ENOENT, "the mount point %s does not exist; `mkdir -p %s` first", path, path);
                return why_set(why, -err, "the mount point %s can't be reached: %s", path, strerror(err));
        }
        if (!S_ISDIR(st.st_mode))
                return why_set(why, -ENOTDIR, "the mount point %s is not a directory; name an empty directory", path);
        d = opendir(path);
        if (!d) {
                int err = errno;

                return why_set(why, -err, "the mount point %s can't be read: %s", path, strerror(err));
        }
        for (struct dirent *e = readdir(d); e && empty; e = readdir(d))
                empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
        closedir(d);
        if (!empty)
                return why_set(why, -ENOTEMPTY, "the mount point %s is not empty; name an empty directory", path);
        return 0;
}

int place_check(const char *source, const char *mountpoint, const struct record_list *records, bool *dead, char **why)
{
        struct mount_list mounts;
        const struct mount_entry *m;
        int rc;

        *dead = false;
        if (path_is_below(mountpoint, source))
                return why_set(why, -EINVAL,
                               "the mount point %s is inside the source %s, which would then contain itself; name one outside", mountpoint,
                               source);
        if (path_is_below(source, mountpoint))
                return why_set(why, -EINVAL, "the source %s is inside the mount point %s, which would hide it; name one elsewhere", source,
                               mountpoint);
        rc = mount_list_read(&mounts);
        if (rc)
                return why_set(why, rc, "/proc/self/mountinfo can't be read: %s; mount /proc", strerror(-rc));
        m = mount_at(&mounts, mountpoint);
        rc = m ? check_mounted(m, records, dead, why) : check_directory(mountpoint, why);
        mount_list_release(&mounts);
        return rc;
}

/* Break the connection behind a dead mount, so that nobody hangs on it any more. */
static int abort_dead(const char *mountpoint, const struct record_list *records)
{
        struct mount_list mounts;
        const struct mount_entry *m;
        int rc = mount_list_read(&mounts);

        if (rc)
                return rc;
        m = mount_at(&mounts, mountpoint);
        if (m && mount_is_dsfs(m) && place_is_dead(mountpoint, records))
                (void)mount_abort(m->dev);
        mount_list_release(&mounts);
        return 0;
}

/* With privilege the dead mount stays and is mounted over: that heals it for containers that see it through a slave mount, which an
 * unmount here would not. fusermount3 refuses to, so without privilege it is removed. */
int place_recover(const char *mountpoint, const struct record_list *records, char **why)
{
        unsigned removed;
        int rc = geteuid() == 0 ? abort_dead(mountpoint, records) : place_remove_dead(mountpoint, records, &removed);

        if (rc)
                return why_set(why, rc, "the dead mount at %s can't be removed: %s; `fusermount3 -uz %s`", mountpoint, strerror(-rc),
                               mountpoint);
        return 0;
}

int place_remove_dead(const char *mountpoint, const struct record_list *records, unsigned *ret)
{
        *ret = 0;
        for (unsigned layer = 0; layer < LAYERS_MAX; layer++) {
                struct mount_list mounts;
                const struct mount_entry *m;
                bool ours;
                int rc = mount_list_read(&mounts);

                if (rc)
                        return rc;
                m = mount_at(&mounts, mountpoint);
                ours = m && mount_is_dsfs(m) && place_is_dead(mountpoint, records);
                if (ours)
                        (void)mount_abort(m->dev);
                mount_list_release(&mounts);
                if (!ours)
                        return 0;
                rc = mount_remove(mountpoint, true);
                if (rc)
                        return rc;
                (*ret)++;
        }
        return -ELOOP;
}

/* How many dsfs mounts lie at `mountpoint`, with the dead one of `connection` among them and nothing alive above it. -errno as
 * place_restore(). */
static int dead_layers(const char *mountpoint, unsigned connection)
{
        struct mount_list mounts;
        const struct mount_entry *top;
        unsigned foreign = 0;
        bool there = false;
        int layers = 0;
        int rc = mount_list_read(&mounts);

        if (rc)
                return rc;
        for (size_t i = 0; i < mounts.count; i++) {
                const struct mount_entry *m = &mounts.entries[i];

                if (strcmp(m->path, mountpoint) != 0)
                        continue;
                there = there || (mount_is_dsfs(m) && m->dev == connection);
                layers += mount_is_dsfs(m);
        }
        top = mount_at(&mounts, mountpoint);
        if (!there)
                rc = -ENOENT;
        else if (!mount_is_dsfs(top))
                rc = -EBUSY;
        else
                foreign = top->dev == connection ? 0 : top->dev;
        mount_list_release(&mounts);
        /* A mount that an agent made and died before it could say so. */
        if (rc == 0 && foreign && mount_probe(mountpoint) != MOUNT_DEAD)
                rc = -EBUSY;
        return rc ? rc : layers;
}

/* As in place_recover(): with privilege it is mounted over, for those who see it through a slave mount. What that leaves below is bounded;
 * who looks at one of the mounts in the middle then loses it. */
int place_restore(const char *mountpoint, unsigned connection)
{
        int layers = dead_layers(mountpoint, connection);
        int left = geteuid() != 0 ? 0 : layers >= LAYERS_KEPT ? 1 : layers;

        if (layers < 0)
                return layers;
        for (int rc = 0; layers > left; layers--) {
                rc = mount_remove(mountpoint, true);
                if (rc)
                        return rc;
        }
        return 0;
}

int place_clear(const char *mountpoint, unsigned connection)
{
        int layers = dead_layers(mountpoint, connection);
        int rc = layers < 0 && layers != -ENOENT ? layers : 0;

        for (; rc == 0 && layers > 0; layers--)
                rc = mount_remove(mountpoint, true);
        return rc;
}

int place_peel(const char *mountpoint)
{
        for (unsigned layer = 0; layer < LAYERS_MAX; layer++) {
                struct mount_list mounts;
                const struct mount_entry *m;
                bool ours;
                int rc = mount_list_read(&mounts);

                if (rc)
                        return rc;
                m = mount_at(&mounts, mountpoint);
                ours = m && mount_is_dsfs(m);
                mount_list_release(&mounts);
                if (!ours || mount_probe(mountpoint) != MOUNT_DEAD)
                        return 0;
                rc = mount_remove(mountpoint, true);
                if (rc)
                        return rc;
        }
        return -ELOOP;
}

bool place_others_permitted(void)
{
        FILE *f = fopen(FUSE_CONF, "re");
        CLEANUP_FREE char *line = NULL;
        size_t size = 0;
        bool found = false;

        if (!f)
                return false;
        while (!found && getline(&line, &size, f) > 0) {
                line[strcspn(line, "\n")] = '\0';
                found = strcmp(line, "user_allow_other") == 0;
        }
        fclose(f);
        return found;
}
