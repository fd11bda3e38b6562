/*
 * A restore prepares, in moving/, a snapshot with the copies that are to go into place; exchanges them with what is there, one by one; and
 * has then, in the same directory, the snapshot of what was before. `ready` says that all copies are there: from then on it is completed
 * whatever happens, and `new` says which inode a root has that is done.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "fs/artifacts_saved.h"
#include "fs/generations.h"

#define INO_MAX 32
#define NEW "new"

static ino_t ino_at(int dir, const char *name)
{
        struct stat st;

        return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? 0 : st.st_ino;
}

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
        CLEANUP_FD int there = snapshot_entry(from, i);
        CLEANUP_FD int entry = there < 0 ? -1 : snapshot_make_entry(stage, i, path);
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
        /* What is replaced is the generation that the key stands for now, which nobody may have looked at yet. */
        if (has && rule->key_count && o->generations)
                generations_meet(o->generations, path, rule, false);
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
        CLEANUP_FD int entry = snapshot_entry(stage, i);
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
                rc = snapshot_publish(o, stage, ARTIFACT_BEFORE, true);
        if (rc < 0)
                switch_back(o, stage->fd, count);
        mutex_unlock(&o->work);
        return rc;
}

int artifacts_restore(struct overlay *o, const char *name, struct artifact_snapshot *ret, char **why)
{
        struct artifact_stage stage CLEANUP(artifacts_stage_end) = ARTIFACT_STAGE_NONE;
        CLEANUP_FD int from = snapshot_open(o, name, why);
        struct tree_work work = disk_work(o);
        int rc = from < 0 ? from : snapshot_read(from, name, &work, ret);

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
        rc = snapshot_read(stage.fd, name, NULL, &s);
        if (rc == 0) {
                mutex_lock(&o->work);
                rc = switch_all(o, stage.fd, s.path_count);
                if (rc == 0)
                        rc = snapshot_publish(o, &stage, ARTIFACT_BEFORE, true);
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
