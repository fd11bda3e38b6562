#include "fs/artifacts_saved.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "fs/artifacts_survey.h"

#define PRIVATE_MODE 0700

struct number {
        char text[24];
};

static struct number number_of(size_t i)
{
        struct number n;

        snprintf(n.text, sizeof(n.text), "%zu", i);
        return n;
}

int snapshot_entry(int snapshot, size_t i)
{
        int fd = openat(snapshot, number_of(i).text, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

/*
 * Reading
 */

static int add_path(struct artifact_snapshot *s, char *path)
{
        char **paths = path ? reallocarray(s->paths, s->path_count + 1, sizeof(*paths)) : NULL;

        if (!paths) {
                free(path);
                return -ENOMEM;
        }
        s->paths = paths;
        paths[s->path_count++] = path;
        return 0;
}

int snapshot_read(int fd, const char *name, struct tree_work *work, struct artifact_snapshot *ret)
{
        int rc = 0;

        *ret = (struct artifact_snapshot){.name = strdup(name)};
        if (!ret->name)
                return -ENOMEM;
        for (size_t i = 0; rc == 0; i++) {
                CLEANUP_FD int entry = snapshot_entry(fd, i);
                struct stat st;

                if (entry < 0) {
                        rc = entry == -ENOENT ? 0 : entry;
                        break;
                }
                rc = add_path(ret, disk_read_path(entry));
                if (fstatat(entry, "path", &st, 0) == 0)
                        ret->made = st.st_mtim.tv_sec;
                if (rc == 0 && work)
                        rc = tree_count(work, entry, OBJECT, &ret->size);
        }
        if (rc < 0)
                artifacts_snapshot_release(ret);
        return rc;
}

static bool name_ok(const char *name)
{
        return *name && *name != '.' && strlen(name) <= NAME_MAX && !strchr(name, '/');
}

int snapshot_open(struct overlay *o, const char *name, char **why)
{
        int fd = name_ok(name) ? openat(o->saved_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
        int rc = name_ok(name) ? -errno : -ENOENT;

        if (fd >= 0)
                return fd;
        if (rc == -ENOENT)
                return disk_say(why, rc, "there is no snapshot called %s; `dsfs artifacts list` shows them", name);
        return disk_say(why, rc, "the snapshot %s/saved/%s can't be opened: %s", o->dir, name, strerror(-rc));
}

int artifacts_snapshot(struct overlay *o, const char *name, struct artifact_snapshot *ret, char **why)
{
        CLEANUP_FD int fd = snapshot_open(o, name, why);
        int rc = fd < 0 ? fd : snapshot_read(fd, name, NULL, ret);

        return rc < 0 && fd >= 0 ? disk_say(why, rc, "the snapshot %s can't be read: %s", name, strerror(-rc)) : rc;
}

int survey_snapshots(struct overlay *o, struct artifact_survey *ret)
{
        int dirfd = openat(o->saved_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = dirfd < 0 ? NULL : fdopendir(dirfd);
        struct tree_work work = disk_work(o);
        struct dirent *e;
        int rc = d ? 0 : -errno;

        if (!d)
                fd_close(&dirfd);
        while (rc == 0 && d && (e = readdir(d))) {
                CLEANUP_FD int fd = -1;
                struct artifact_snapshot *list;

                if (!name_ok(e->d_name))
                        continue;
                fd = openat(o->saved_fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                list = reallocarray(ret->snapshots, ret->snapshot_count + 1, sizeof(*list));
                if (list)
                        ret->snapshots = list;
                rc = !list ? -ENOMEM : fd < 0 ? -errno : snapshot_read(fd, e->d_name, &work, &list[ret->snapshot_count]);
                ret->snapshot_count += rc == 0;
                rc = rc == -ENOENT ? 0 : rc;
        }
        if (d)
                closedir(d);
        return rc;
}

/*
 * Making
 */

int snapshot_make_entry(int snapshot, size_t i, const char *path)
{
        int fd, rc;

        if (mkdirat(snapshot, number_of(i).text, PRIVATE_MODE) < 0)
                return -errno;
        fd = snapshot_entry(snapshot, i);
        rc = fd < 0 ? fd : disk_write_path(fd, path);
        if (rc < 0)
                fd_close(&fd);
        return rc < 0 ? rc : fd;
}

int snapshot_publish(struct overlay *o, struct artifact_stage *stage, const char *name, bool replace)
{
        bool replaced = false;

        if (renameat2(o->moving_fd, stage->name, o->saved_fd, name, RENAME_NOREPLACE) < 0) {
                if (errno != EEXIST || !replace)
                        return -errno;
                if (renameat2(o->moving_fd, stage->name, o->saved_fd, name, RENAME_EXCHANGE) < 0)
                        return -errno;
                replaced = true;
        }
        (void)unlinkat(stage->fd, RESTORE_READY, 0);
        (void)fsync(o->saved_fd);
        /* No stage any more: its end would empty it. */
        fd_close(&stage->fd);
        if (replaced && tree_remove(o->moving_fd, stage->name) < 0)
                log_warn("%s/moving/%s can't be removed", o->dir, stage->name);
        return 0;
}

static int save_root(struct overlay *o, const char *path, int stage, size_t i, char **why)
{
        struct tree_work work = disk_work(o);
        const struct rule *rule;
        const char *base;
        CLEANUP_FD int dir = -1;
        CLEANUP_FD int entry = -1;
        struct stat st;
        int rc;

        dir = disk_path_ok(path) ? disk_parent(o, path, false, &base) : -EINVAL;
        if (dir < 0 || fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) < 0) {
                /* That it is no artifact at all says more. */
                rc = artifacts_rule(o, path, true, &rule, NULL) == 0 ? 0 : artifacts_rule(o, path, false, &rule, why);
                return rc < 0 ? rc : disk_say(why, -ENOENT, "there is nothing at %s to be saved", path);
        }
        rc = artifacts_rule(o, path, S_ISDIR(st.st_mode), &rule, why);
        if (rc < 0)
                return rc;
        entry = snapshot_make_entry(stage, i, path);
        rc = entry < 0 ? entry : tree_copy(&work, dir, base, entry, OBJECT);
        return rc < 0 ? disk_say(why, rc, "%s can't be copied to a snapshot: %s: %s; nothing was saved", path, work.trouble, strerror(-rc))
                      : 0;
}

static int save_all(struct overlay *o, int stage, char **why)
{
        struct artifact_survey s;
        size_t saved = 0;
        int rc = artifacts_survey(o, NULL, &s, why);

        if (rc < 0)
                return rc;
        for (size_t i = 0; rc == 0 && i < s.root_count; i++) {
                if (s.roots[i].there && !s.roots[i].rule->key_count)
                        rc = save_root(o, s.roots[i].path, stage, saved++, why);
        }
        artifacts_survey_release(&s);
        if (rc == 0 && !saved)
                rc = disk_say(why, -ENOENT, "there is no artifact without a key to be saved; name the paths of others");
        return rc;
}

static int check_name(struct overlay *o, const char *name, bool replace, char **why)
{
        struct stat st;

        if (!name_ok(name))
                return disk_say(why, -EINVAL, "%s is no name for a snapshot: no slash in it, no dot before it, at most %d bytes", name,
                                NAME_MAX);
        if (!replace && fstatat(o->saved_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
                return disk_say(why, -EEXIST, "there is a snapshot called %s already; choose another name, or --replace", name);
        return 0;
}

int artifacts_save(struct overlay *o, const char *name, const char *const *paths, size_t count, bool replace, struct artifact_snapshot *ret,
                   char **why)
{
        struct artifact_stage stage CLEANUP(artifacts_stage_end) = ARTIFACT_STAGE_NONE;
        struct tree_work work = disk_work(o);
        int rc = check_name(o, name, replace, why);

        if (rc == 0)
                rc = artifacts_stage(o, &stage, why);
        for (size_t i = 0; rc == 0 && i < count; i++)
                rc = save_root(o, paths[i], stage.fd, i, why);
        if (rc == 0 && count == 0)
                rc = save_all(o, stage.fd, why);
        if (rc < 0)
                return rc;
        rc = syncfs(stage.fd) < 0 ? -errno : snapshot_read(stage.fd, name, &work, ret);
        if (rc == 0) {
                mutex_lock(&o->work);
                rc = snapshot_publish(o, &stage, name, replace);
                mutex_unlock(&o->work);
                if (rc < 0)
                        artifacts_snapshot_release(ret);
        }
        return rc < 0 ? disk_say(why, rc, "the snapshot %s/saved/%s can't be made: %s; nothing was saved", o->dir, name, strerror(-rc)) : 0;
}
