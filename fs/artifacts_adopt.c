/*
 * Putting into artifact paths what comes from elsewhere: the source, or whoever has filled a stage.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "fs/artifacts_disk.h"

static int already(char **why, const char *path)
{
        return disk_say(why, -EEXIST, "there is an artifact at %s already; --replace drops it for this one", path);
}

static int failed(char **why, int rc, const char *path, const struct tree_work *w)
{
        bool known = w && w->trouble[0];

        return disk_say(why, rc, "%s can't be adopted: %s%s%s; the artifacts are as they were", path, known ? w->trouble : "",
                        known ? ": " : "", strerror(-rc));
}

/* Is something at the root? */
static bool is_there(struct overlay *o, const char *path)
{
        const char *base;
        CLEANUP_FD int dir = disk_parent(o, path, false, &base);
        struct stat st;

        return dir >= 0 && fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/*
 * From a stage
 */

/* Have what the stage has as `name` at the root. */
static int put(struct overlay *o, const struct rule *rule, const char *stage, int fd, const char *name, const char *path, bool replace)
{
        CLEANUP_FREE char *prepared = NULL;
        bool replaced;
        int rc;

        if (disk_has_generations(rule) && asprintf(&prepared, "%s/%s", stage, name) > 0)
                return generations_adopt(o, prepared, path, NULL);
        mutex_lock(&o->work);
        rc = disk_switch(o, fd, name, path, replace, &replaced);
        mutex_unlock(&o->work);
        return rc;
}

static int no_place(struct overlay *o, char **why, const char *path)
{
        return disk_say(why, -ENOENT, "%s can't be adopted: the directory that it is to be in is not there in %s", path, o->source);
}

int artifacts_place_ok(struct overlay *o, const char *path, bool replace, char **why)
{
        const struct rule *rule;
        const char *base;
        CLEANUP_FD int dir = -1;
        int rc = artifacts_rule(o, path, true, &rule, NULL) == 0 ? 0 : artifacts_rule(o, path, false, &rule, why);

        if (rc < 0)
                return rc;
        if (!replace && is_there(o, path))
                return already(why, path);
        dir = disk_source_parent(o, path, &base);
        return dir < 0 ? no_place(o, why, path) : 0;
}

int artifacts_stage_copy(struct artifact_stage *s, const char *from, const char *name, char **why)
{
        struct tree_work work = {.own = true, .uid = geteuid(), .gid = getegid()};
        int rc = tree_copy(&work, AT_FDCWD, from, s->fd, name);

        return rc < 0 ? disk_say(why, rc, "%s can't be copied: %s: %s", from, work.trouble, strerror(-rc)) : 0;
}

int artifacts_place(struct overlay *o, const char *stage, const char *name, const char *path, bool replace, struct artifact_size *ret,
                    char **why)
{
        CLEANUP_FD int fd = openat(o->moving_fd, stage, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct tree_work work = disk_work(o);
        const struct rule *rule;
        struct stat st;
        int rc;

        if (strncmp(stage, STAGE_PREFIX, sizeof(STAGE_PREFIX) - 1) != 0 || strchr(stage, '/') || strchr(name, '/'))
                return disk_say(why, -EINVAL, "%s is no stage", stage);
        if (fd < 0 || fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return failed(why, -errno, path, NULL);
        rc = artifacts_rule(o, path, S_ISDIR(st.st_mode), &rule, why);
        if (rc < 0)
                return rc;
        if (!replace && is_there(o, path))
                return already(why, path);
        work.uid = o->source_layer.uid;
        work.gid = o->source_layer.gid;
        rc = tree_own(&work, fd, name);
        if (rc == 0)
                rc = tree_count(&work, fd, name, ret);
        if (rc == 0)
                rc = put(o, rule, stage, fd, name, path, replace);
        if (rc == -EEXIST)
                return already(why, path);
        if (rc == -ENOENT)
                return no_place(o, why, path);
        return rc < 0 ? failed(why, rc, path, NULL) : 0;
}

/*
 * From the source
 */

struct adoption {
        struct overlay *o;
        const char *path, *base;
        const struct rule *rule;
        int dir; /* the source's directory that it is in */
        struct tree_work work;
};

/* Only on the same filesystem, and only where nothing is. */
static int move_over(struct adoption *a) REQUIRES(a->o->work)
{
        CLEANUP_FREE char *parent = strndup(a->path, a->base == a->path ? 0 : (size_t)(a->base - a->path - 1));
        CLEANUP_FD int to = -1;

        if (!parent)
                return -ENOMEM;
        to = overlay_shadow_make(a->o, parent);
        if (to < 0)
                return to;
        if (renameat2(a->dir, a->base, to, a->base, RENAME_NOREPLACE) < 0)
                return -errno;
        disk_tell(a->o, a->path);
        return 0;
}

static int copy_over(struct adoption *a, bool replace, char **why)
{
        struct artifact_stage stage CLEANUP(artifacts_stage_end) = ARTIFACT_STAGE_NONE;
        int rc = artifacts_stage(a->o, &stage, why);

        if (rc < 0)
                return rc;
        rc = tree_copy(&a->work, a->dir, a->base, stage.fd, OBJECT);
        if (rc < 0)
                return failed(why, rc, a->path, &a->work);
        rc = put(a->o, a->rule, stage.name, stage.fd, OBJECT, a->path, replace);
        if (rc == -EEXIST)
                return already(why, a->path);
        return rc < 0 ? failed(why, rc, a->path, NULL) : 0;
}

static int bring(struct adoption *a, const struct adopt_wish *wish, char **why)
{
        int rc = -EXDEV;

        if (wish->move && !disk_has_generations(a->rule)) {
                mutex_lock(&a->o->work);
                rc = move_over(a);
                mutex_unlock(&a->o->work);
                if (rc == 0)
                        return 0;
        }
        rc = copy_over(a, wish->replace, why);
        if (rc == 0 && wish->move) {
                rc = tree_remove(a->dir, a->base);
                if (rc < 0)
                        return disk_say(why, rc, "%s is adopted, but can't be removed from %s: %s", a->path, a->o->source, strerror(-rc));
        }
        return rc;
}

int artifacts_adopt(struct overlay *o, const char *path, const struct adopt_wish *wish, struct artifact_size *ret, char **why)
{
        struct adoption a = {.o = o, .path = path, .work = disk_work(o)};
        CLEANUP_FD int dir = -1;
        struct stat st;
        int rc;

        if (!*path || !disk_path_ok(path))
                return artifacts_rule(o, path, true, &a.rule, why);
        dir = disk_source_parent(o, path, &a.base);
        if (dir < 0 || fstatat(dir, a.base, &st, AT_SYMLINK_NOFOLLOW) < 0) {
                rc = artifacts_rule(o, path, true, &a.rule, NULL) == 0 ? 0 : artifacts_rule(o, path, false, &a.rule, why);
                return rc < 0 ? rc : disk_say(why, -ENOENT, "%s has nothing at %s to be adopted", o->source, path);
        }
        a.dir = dir;
        rc = artifacts_rule(o, path, S_ISDIR(st.st_mode), &a.rule, why);
        if (rc == 0 && !wish->replace && is_there(o, path))
                rc = already(why, path);
        if (rc == 0) {
                rc = tree_count(&a.work, dir, a.base, ret);
                if (rc < 0)
                        return failed(why, rc, path, NULL);
        }
        return rc < 0 || wish->dry ? rc : bring(&a, wish, why);
}
