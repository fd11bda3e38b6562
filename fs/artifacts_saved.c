/*
 * Snapshots: saved/<name>/ has a directory for each root, numbered, with its `path` and the artifact itself as `object` (none: it wasn't
 * there). They are made in moving/ and renamed.
 *
 * A restore prepares such a snapshot in moving/, with the copies that are to go into place; exchanges them with what is there, one by one;
 * and has then, in the same directory, the snapshot of what was before. `ready` says that all copies are there: from then on it is
 * completed whatever happens, and `new` says which inode a root has that is done.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "fs/artifacts_disk.h"
#include "fs/artifacts_survey.h"

#define PRIVATE_MODE 0700
#define INO_MAX 32
#define NEW "new"

struct number {
        char text[24];
};

static struct number number_of(size_t i)
{
        struct number n;

        snprintf(n.text, sizeof(n.text), "%zu", i);
        return n;
}

static int open_entry(int snapshot, size_t i)
{
        int fd = openat(snapshot, number_of(i).text, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

static ino_t ino_at(int dir, const char *name)
{
        struct stat st;

        return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? 0 : st.st_ino;
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

/* `work`: NULL, for no sizes. */
static int read_snapshot(int fd, const char *name, struct tree_work *work, struct artifact_snapshot *ret)
{
        int rc = 0;

        *ret = (struct artifact_snapshot){.name = strdup(name)};
        if (!ret->name)
                return -ENOMEM;
        for (size_t i = 0; rc == 0; i++) {
                CLEANUP_FD int entry = open_entry(fd, i);
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

static int open_snapshot(struct overlay *o, const char *name, char **why)
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
        CLEANUP_FD int fd = open_snapshot(o, name, why);
        int rc = fd < 0 ? fd : read_snapshot(fd, name, NULL, ret);

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
                rc = !list ? -ENOMEM : fd < 0 ? -errno : read_snapshot(fd, e->d_name, &work, &list[ret->snapshot_count]);
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

/* The new entry number `i` for `path`. Its descriptor, or -errno. */
static int make_entry(int snapshot, size_t i, const char *path)
{
        int fd, rc;

        if (mkdirat(snapshot, number_of(i).text, PRIVATE_MODE) < 0)
                return -errno;
        fd = open_entry(snapshot, i);
        rc = fd < 0 ? fd : disk_write_path(fd, path);
        if (rc < 0)
                fd_close(&fd);
        return rc < 0 ? rc : fd;
}

/* Give the stage, which is a whole snapshot, its name. What had it goes. */
static int publish(struct overlay *o, struct artifact_stage *stage, const char *name, bool replace) REQUIRES(o->work)
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
        entry = make_entry(stage, i, path);
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
        rc = syncfs(stage.fd) < 0 ? -errno : read_snapshot(stage.fd, name, &work, ret);
        if (rc == 0) {
                mutex_lock(&o->work);
                rc = publish(o, &stage, name, replace);
                mutex_unlock(&o->work);
                if (rc < 0)
                        artifacts_snapshot_release(ret);
        }
        return rc < 0 ? disk_say(why, rc, "the snapshot %s/saved/%s can't be made: %s; nothing was saved", o->dir, name, strerror(-rc)) : 0;
}

/*
 * Restoring
 */

static int write_ino(int entry, ino_t ino)
{
        CLEANUP_FD int fd = openat(entry, NEW, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        char text[INO_MAX];

        snprintf(text, sizeof(text), "%" PRIuMAX "\n", (uintmax_t)ino);
        return fd < 0 ? -errno : fd_write_full(fd, text, strlen(text));
}

static bool read_ino(int entry, ino_t *ret)
{
        CLEANUP_FREE char *text = NULL;
        uintmax_t ino;

        if (fd_read_file(entry, NEW, INO_MAX, &text) <= 0 || sscanf(text, "%" SCNuMAX, &ino) != 1)
                return false;
        *ret = (ino_t)ino;
        return true;
}

/* A copy of the snapshot's entry in the stage. */
static int prepare_root(struct overlay *o, int from, int stage, size_t i, const char *path, char **why)
{
        struct tree_work work = disk_work(o);
        CLEANUP_FD int there = open_entry(from, i);
        CLEANUP_FD int entry = there < 0 ? -1 : make_entry(stage, i, path);
        const struct rule *rule;
        const char *base;
        CLEANUP_FD int parent = -1;
        struct stat st;
        bool has;
        int rc = there < 0 ? there : entry < 0 ? entry : 0;

        if (rc < 0)
                return disk_say(why, rc, "%s can't be restored: %s", path, strerror(-rc));
        has = fstatat(there, OBJECT, &st, AT_SYMLINK_NOFOLLOW) == 0;
        rc = has ? artifacts_rule(o, path, S_ISDIR(st.st_mode), &rule, why) : 0;
        if (rc < 0)
                return rc;
        parent = disk_parent(o, path, has, &base);
        if (parent < 0 && (has || parent != -ENOENT))
                return disk_say(why, parent, "%s can't be restored: the directory that it is in is not there in %s", path, o->source);
        rc = has ? tree_copy(&work, there, OBJECT, entry, OBJECT) : 0;
        if (rc == 0)
                rc = write_ino(entry, ino_at(entry, OBJECT));
        return rc < 0 ? disk_say(why, rc, "%s can't be restored: %s: %s; nothing was changed", path, work.trouble, strerror(-rc)) : 0;
}

/* Have the entry's object in place of the root, unless that is done; or, `back`, what was there before, if it is. */
static int switch_root(struct overlay *o, int stage, size_t i, bool back) REQUIRES(o->work)
{
        CLEANUP_FD int entry = open_entry(stage, i);
        CLEANUP_FREE char *path = entry < 0 ? NULL : disk_read_path(entry);
        const char *base;
        CLEANUP_FD int dir = -1;
        ino_t new, now;
        bool replaced;
        int rc = 0;

        if (!path || !read_ino(entry, &new))
                return -EIO;
        dir = disk_parent(o, path, false, &base);
        now = dir < 0 ? 0 : ino_at(dir, base);
        if ((now == new) != back)
                return 0;
        if (ino_at(entry, OBJECT))
                rc = disk_switch(o, entry, OBJECT, path, true, &replaced);
        else if (now)
                rc = disk_take(o, path, entry, OBJECT);
        if (rc == 0 && o->generations)
                generations_recheck(o, path);
        return rc;
}

static int switch_all(struct overlay *o, int stage, size_t count) REQUIRES(o->work)
{
        int rc = 0;

        for (size_t i = 0; rc == 0 && i < count; i++)
                rc = switch_root(o, stage, i, false);
        return rc;
}

static void switch_back(struct overlay *o, int stage, size_t count) REQUIRES(o->work)
{
        for (size_t i = count; i-- > 0;)
                (void)switch_root(o, stage, i, true);
        (void)unlinkat(stage, RESTORE_READY, 0);
}

static int mark_ready(int stage)
{
        CLEANUP_FD int fd = -1;

        if (syncfs(stage) < 0)
                return -errno;
        fd = openat(stage, RESTORE_READY, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        return fd < 0 || fsync(fd) < 0 || fsync(stage) < 0 ? -errno : 0;
}

static int commit_restore(struct overlay *o, struct artifact_stage *stage, size_t count)
{
        int rc;

        mutex_lock(&o->work);
        rc = mark_ready(stage->fd);
        if (rc == 0)
                rc = switch_all(o, stage->fd, count);
        if (rc == 0)
                rc = publish(o, stage, ARTIFACT_BEFORE, true);
        if (rc < 0)
                switch_back(o, stage->fd, count);
        mutex_unlock(&o->work);
        return rc;
}

int artifacts_restore(struct overlay *o, const char *name, struct artifact_snapshot *ret, char **why)
{
        struct artifact_stage stage CLEANUP(artifacts_stage_end) = ARTIFACT_STAGE_NONE;
        CLEANUP_FD int from = open_snapshot(o, name, why);
        struct tree_work work = disk_work(o);
        int rc = from < 0 ? from : read_snapshot(from, name, &work, ret);

        if (rc < 0)
                return from < 0 ? rc : disk_say(why, rc, "the snapshot %s can't be read: %s", name, strerror(-rc));
        rc = artifacts_stage(o, &stage, why);
        for (size_t i = 0; rc == 0 && i < ret->path_count; i++)
                rc = prepare_root(o, from, stage.fd, i, ret->paths[i], why);
        if (rc == 0) {
                rc = commit_restore(o, &stage, ret->path_count);
                if (rc < 0)
                        disk_say(why, rc, "the snapshot %s can't be put in place: %s; all is as it was", name, strerror(-rc));
        }
        if (rc < 0)
                artifacts_snapshot_release(ret);
        return rc;
}

static int recover_one(struct overlay *o, const char *name)
{
        struct artifact_stage stage = {.fd = openat(o->moving_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        struct artifact_snapshot s;
        int rc;

        if (stage.fd < 0 || strlen(name) >= sizeof(stage.name) || faccessat(stage.fd, RESTORE_READY, F_OK, 0) < 0 ||
            flock(stage.fd, LOCK_EX | LOCK_NB) < 0) {
                fd_close(&stage.fd);
                return 0;
        }
        memcpy(stage.name, name, strlen(name) + 1);
        rc = read_snapshot(stage.fd, name, NULL, &s);
        if (rc == 0) {
                mutex_lock(&o->work);
                rc = switch_all(o, stage.fd, s.path_count);
                if (rc == 0)
                        rc = publish(o, &stage, ARTIFACT_BEFORE, true);
                mutex_unlock(&o->work);
                artifacts_snapshot_release(&s);
        }
        fd_close(&stage.fd);
        return rc;
}

int disk_recover_restores(struct overlay *o)
{
        int fd = openat(o->moving_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;
        int rc = d ? 0 : -errno;

        if (!d)
                fd_close(&fd);
        while (d && (e = readdir(d))) {
                int one = strncmp(e->d_name, STAGE_PREFIX, sizeof(STAGE_PREFIX) - 1) == 0 ? recover_one(o, e->d_name) : 0;

                if (one < 0)
                        log_warn("a restore that was interrupted can't be completed: %s/moving/%s: %s", o->dir, e->d_name, strerror(-one));
        }
        if (d)
                closedir(d);
        return rc;
}
