/*
 * Removing what nobody uses. What goes is renamed away first, so that a process that ends in the midst of it leaves no halves.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "fs/artifacts_disk.h"

struct prune {
        struct overlay *o;
        const struct prune_wish *wish;
        void (*gone)(void *arg, enum prune_what what, const char *path, const char *name, const struct artifact_size *size);
        void *arg;
        int64_t now;
        struct artifact_stage stage;
        unsigned taken; /* names in the stage */
        char **why;
};

static bool old_enough(const struct prune *p, int64_t used)
{
        return p->wish->older_than < 0 || p->now - used >= p->wish->older_than;
}

static void tell(const struct prune *p, enum prune_what what, const char *path, const char *name, const struct artifact_size *size)
{
        if (p->gone)
                p->gone(p->arg, what, path, name, size);
}

/* A name in the stage that is free. */
static const char *fresh_name(struct prune *p, char text[16])
{
        snprintf(text, 16, "%u", p->taken++);
        return text;
}

static int take(struct prune *p, int from, const char *name)
{
        char fresh[16];

        return renameat2(from, name, p->stage.fd, fresh_name(p, fresh), RENAME_NOREPLACE) < 0 ? -errno : 0;
}

static int empty_stage(struct prune *p)
{
        int rc = 0;

        while (rc == 0 && p->taken > 0) {
                char text[16];

                snprintf(text, sizeof(text), "%u", --p->taken);
                rc = tree_remove(p->stage.fd, text);
        }
        return rc;
}

static int failed(struct prune *p, int rc, const char *what, const char *name)
{
        return disk_say(p->why, rc, "%s%s%s can't be removed: %s", what, *name ? " " : "", name, strerror(-rc));
}

/*
 * Generations
 */

static int prune_generation(struct prune *p, const struct artifact_root *r, const struct artifact_generation *g)
{
        int rc = p->wish->dry ? 0 : generations_drop(p->o, r->path, g->key);

        /* It is in use again, or gone: all the better. */
        if (rc == -ENOENT || rc == -EBUSY)
                return 0;
        if (rc < 0)
                return failed(p, rc, r->path, g->key);
        tell(p, PRUNE_GENERATION, r->path, g->key, &g->size);
        return 0;
}

static int prune_root(struct prune *p, const struct artifact_root *r)
{
        size_t kept = 0;
        int rc = 0;

        for (size_t i = 0; rc == 0 && i < r->generation_count; i++) {
                const struct artifact_generation *g = &r->generations[i];

                if (!g->current && (kept++ >= p->wish->keep) && old_enough(p, g->used))
                        rc = prune_generation(p, r, g);
        }
        return rc;
}

/*
 * Orphans
 */

static bool source_has_directory(struct overlay *o, const char *path)
{
        const char *base;
        CLEANUP_FD int dir = disk_source_parent(o, path, &base);
        struct stat st;

        return dir >= 0 && fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static int take_orphan(struct prune *p, const char *path, bool is_dir);

/* A directory of the source's has its shadow here, in which somebody may be making an artifact right now: it stays. */
static int take_entries(struct prune *p, const char *path)
{
        CLEANUP_FD int at = disk_tree(p->o, path);
        int fd = at < 0 ? -1 : openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;
        int rc = d ? 0 : -errno;

        if (!d)
                fd_close(&fd);
        while (rc == 0 && d && (e = readdir(d))) {
                CLEANUP_FREE char *below = NULL;
                const struct rule *rule;
                struct stat st;

                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
                    fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                if (asprintf(&below, "%s/%s", path, e->d_name) < 0) {
                        below = NULL;
                        rc = -ENOMEM;
                } else if (artifacts_rule(p->o, below, S_ISDIR(st.st_mode), &rule, NULL) < 0) {
                        rc = take_orphan(p, below, S_ISDIR(st.st_mode));
                }
        }
        if (d)
                closedir(d);
        return rc;
}

static int take_orphan(struct prune *p, const char *path, bool is_dir)
{
        const char *base;
        CLEANUP_FD int dir = -1;

        if (is_dir && source_has_directory(p->o, path))
                return take_entries(p, path);
        dir = disk_parent(p->o, path, false, &base);
        return dir < 0 ? dir : take(p, dir, base);
}

/* Shadows of directories that are gone, if nothing is in them any more. */
static void remove_empty_shadows(struct overlay *o, const char *path)
{
        CLEANUP_FREE char *above = strdup(path);
        char *slash;

        while (above && (slash = strrchr(above, '/'))) {
                const char *base;
                CLEANUP_FD int dir = -1;

                *slash = '\0';
                if (source_has_directory(o, above))
                        return;
                dir = disk_parent(o, above, false, &base);
                if (dir < 0 || unlinkat(dir, base, AT_REMOVEDIR) < 0)
                        return;
        }
}

/* Has its directory come back? */
static bool is_still_orphan(struct prune *p, const struct artifact_root *r)
{
        CLEANUP_FREE char *above = strdup(r->path);
        char *slash = above ? strrchr(above, '/') : NULL;

        if (!r->rule)
                return true;
        if (!slash)
                return false;
        *slash = '\0';
        return !source_has_directory(p->o, above);
}

static int prune_orphan(struct prune *p, const struct artifact_root *r)
{
        int rc = 0;

        if (!p->wish->dry) {
                mutex_lock(&p->o->work);
                if (is_still_orphan(p, r))
                        rc = take_orphan(p, r->path, r->is_dir);
                if (rc == 0)
                        remove_empty_shadows(p->o, r->path);
                mutex_unlock(&p->o->work);
                if (rc == 0)
                        generations_recheck(p->o, r->path);
                if (rc == -ENOENT)
                        return 0;
                rc = rc < 0 ? rc : empty_stage(p);
        }
        if (rc < 0)
                return failed(p, rc, r->path, "");
        tell(p, PRUNE_ORPHAN, r->path, NULL, &r->size);
        return 0;
}

/*
 * Snapshots
 */

static int newest_first(const void *a, const void *b)
{
        const struct artifact_snapshot *x = a, *y = b;

        return x->made > y->made ? -1 : x->made < y->made;
}

static int prune_snapshot(struct prune *p, const struct artifact_snapshot *s)
{
        int rc = 0;

        if (!p->wish->dry) {
                mutex_lock(&p->o->work);
                rc = take(p, p->o->saved_fd, s->name);
                mutex_unlock(&p->o->work);
                if (rc == -ENOENT)
                        return 0;
                rc = rc < 0 ? rc : empty_stage(p);
        }
        if (rc < 0)
                return failed(p, rc, "the snapshot", s->name);
        tell(p, PRUNE_SNAPSHOT, "", s->name, &s->size);
        return 0;
}

static int prune_snapshots(struct prune *p, struct artifact_survey *s)
{
        int rc = 0;

        if (s->snapshot_count)
                qsort(s->snapshots, s->snapshot_count, sizeof(*s->snapshots), newest_first);
        for (size_t i = p->wish->keep; rc == 0 && i < s->snapshot_count; i++) {
                if (old_enough(p, s->snapshots[i].made))
                        rc = prune_snapshot(p, &s->snapshots[i]);
        }
        return rc;
}

static bool is_prunable_orphan(const struct prune *p, const struct artifact_root *r)
{
        return p->wish->orphans && r->orphan && (r->rule || !p->wish->unsure) && r->size.files + r->size.bytes && old_enough(p, r->changed);
}

static int prune_all(struct prune *p, struct artifact_survey *s)
{
        int rc = 0;

        for (size_t i = 0; rc == 0 && i < s->root_count; i++) {
                const struct artifact_root *r = &s->roots[i];

                if (p->wish->generations)
                        rc = prune_root(p, r);
                if (rc == 0 && is_prunable_orphan(p, r))
                        rc = prune_orphan(p, r);
        }
        return rc == 0 && p->wish->snapshots ? prune_snapshots(p, s) : rc;
}

int artifacts_prune(struct overlay *o, const struct prune_wish *wish,
                    void (*gone)(void *arg, enum prune_what what, const char *path, const char *name, const struct artifact_size *size),
                    void *arg, char **why)
{
        struct prune p = {.o = o, .wish = wish, .gone = gone, .arg = arg, .now = time(NULL), .stage = ARTIFACT_STAGE_NONE, .why = why};
        struct artifact_survey s;
        int rc = artifacts_survey(o, NULL, &s, why);

        if (rc < 0)
                return rc;
        rc = wish->dry ? 0 : artifacts_stage(o, &p.stage, why);
        if (rc == 0)
                rc = prune_all(&p, &s);
        artifacts_stage_end(&p.stage);
        artifacts_survey_release(&s);
        return rc;
}
