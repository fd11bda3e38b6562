/*
 * What artifacts there are: tree/ and the source are walked side by side, as far down as the topmost artifacts.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "fs/artifacts_disk.h"
#include "fs/artifacts_survey.h"

struct survey {
        struct overlay *o;
        const struct rules *rules;
        struct tree_work work;
        struct artifact_survey *ret;
        size_t room, shadowed_room;
};

/* A directory that is walked: `path` is its own with a slash behind, or "". */
struct spot {
        const char *path;
        const struct pattern_place *place;
        int tree, source; /* -1: not there */
        bool gone;        /* the source has none */
};

static bool is_dots(const char *name)
{
        return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static bool is_artifact(const struct rule *r)
{
        return r && r->route == RULE_ARTIFACT;
}

/* Room for one more of `size` bytes; NULL without memory. */
static void *extend(void *array, size_t count, size_t *room, size_t size)
{
        if (count < *room)
                return array;
        *room = *room ? 2 * *room : 16;
        return reallocarray(array, *room, size);
}

struct artifact_root *survey_add_root(struct artifact_survey *ret, size_t *room, const char *path)
{
        struct artifact_root *roots = extend(ret->roots, ret->root_count, room, sizeof(*roots));
        char *copy = strdup(path);

        if (roots)
                ret->roots = roots;
        if (!roots || !copy) {
                free(copy);
                return NULL;
        }
        roots[ret->root_count] = (struct artifact_root){.path = copy};
        return &roots[ret->root_count++];
}

static int add_root(struct survey *s, const struct spot *at, const char *name, const struct rule *rule, const struct stat *st)
{
        CLEANUP_FREE char *path = NULL;
        struct artifact_root *r;

        if (asprintf(&path, "%s%s", at->path, name) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        r = survey_add_root(s->ret, &s->room, path);
        if (!r)
                return -ENOMEM;
        r->rule = rule;
        r->is_dir = S_ISDIR(st->st_mode);
        r->there = !at->gone && rule;
        r->orphan = !r->there;
        r->changed = st->st_mtim.tv_sec;
        return tree_count(&s->work, at->tree, name, &r->size);
}

static void drop_roots(struct artifact_survey *ret, size_t from)
{
        while (ret->root_count > from)
                survey_root_release(&ret->roots[--ret->root_count]);
}

static int walk_tree(struct survey *s, const struct spot *at, bool *useful);

static int enter(struct survey *s, const struct spot *at, const char *name, const struct stat *st, bool *useful)
{
        CLEANUP_FREE char *path = NULL;
        CLEANUP_FD int tree = openat(at->tree, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        CLEANUP_FD int source = at->source < 0 ? -1 : openat(at->source, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct spot sub = {.tree = tree, .source = source, .gone = source < 0};
        size_t before = s->ret->root_count;
        bool below = false;
        int rc;

        if (tree < 0)
                return errno == ENOENT ? 0 : -errno;
        sub.place = rules_enter(s->rules, at->place, name, strlen(name));
        if (!sub.place || asprintf(&path, "%s%s/", at->path, name) < 0)
                return -ENOMEM;
        sub.path = path;
        rc = walk_tree(s, &sub, &below);
        *useful = *useful || below;
        if (rc < 0 || below || s->ret->root_count == before)
                return rc;
        /* Nothing in it is anybody's: it is one orphan, not as many as it has files. */
        drop_roots(s->ret, before);
        return add_root(s, at, name, NULL, st);
}

/* `*useful`: there is an artifact root in it, though perhaps in a directory that is gone. */
static int walk_tree(struct survey *s, const struct spot *at, bool *useful)
{
        int fd = openat(at->tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;
        int rc = 0;

        if (!d) {
                rc = -errno;
                fd_close(&fd);
                return rc;
        }
        while (rc == 0 && (e = readdir(d))) {
                const struct rule *rule;
                struct stat st;

                if (is_dots(e->d_name) || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                rule = rules_find(s->rules, at->place, e->d_name, strlen(e->d_name), S_ISDIR(st.st_mode));
                if (is_artifact(rule)) {
                        *useful = true;
                        rc = add_root(s, at, e->d_name, rule, &st);
                } else if (S_ISDIR(st.st_mode)) {
                        rc = enter(s, at, e->d_name, &st, useful);
                } else {
                        rc = add_root(s, at, e->d_name, NULL, &st);
                }
        }
        closedir(d);
        return rc;
}

/*
 * The source
 */

static int add_shadowed(struct survey *s, const char *path, const char *name)
{
        char **list = extend(s->ret->shadowed, s->ret->shadowed_count, &s->shadowed_room, sizeof(*list));
        char *whole;

        if (!list)
                return -ENOMEM;
        s->ret->shadowed = list;
        if (asprintf(&whole, "%s%s", path, name) < 0)
                return -ENOMEM;
        list[s->ret->shadowed_count++] = whole;
        return 0;
}

static int walk_source(struct survey *s, int dir, const char *path, const struct pattern_place *place);

static int enter_source(struct survey *s, int dir, const char *path, const char *name, const struct pattern_place *place)
{
        CLEANUP_FREE char *below = NULL;
        CLEANUP_FD int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        const struct pattern_place *sub;
        struct stat st;

        /* What we may not look into, or is another's mount, we don't know. */
        if (fd < 0 || fstat(fd, &st) < 0 || st.st_dev != s->o->source_layer.dev)
                return 0;
        sub = rules_enter(s->rules, place, name, strlen(name));
        if (!sub || asprintf(&below, "%s%s/", path, name) < 0)
                return -ENOMEM;
        return walk_source(s, fd, below, sub);
}

static bool is_directory(int dir, const struct dirent *e)
{
        struct stat st;

        if (e->d_type != DT_UNKNOWN)
                return e->d_type == DT_DIR;
        return fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static int walk_source(struct survey *s, int dir, const char *path, const struct pattern_place *place)
{
        int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;
        int rc = 0;

        if (!d) {
                fd_close(&fd);
                return 0;
        }
        while (rc == 0 && (e = readdir(d))) {
                bool is_dir;

                if (is_dots(e->d_name))
                        continue;
                is_dir = is_directory(dirfd(d), e);
                if (is_artifact(rules_find(s->rules, place, e->d_name, strlen(e->d_name), is_dir)))
                        rc = add_shadowed(s, path, e->d_name);
                else if (is_dir)
                        rc = enter_source(s, dirfd(d), path, e->d_name, place);
                if (rc == 0 && atomic_load(&s->o->cancelled))
                        rc = -ECANCELED;
        }
        closedir(d);
        return rc;
}

/*
 * All of it
 */

static int by_path(const void *a, const void *b)
{
        return strcmp(((const struct artifact_root *)a)->path, ((const struct artifact_root *)b)->path);
}

static int by_text(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static int look_everywhere(struct survey *s)
{
        CLEANUP_FD int tree = disk_tree(s->o, "");
        struct spot root = {.path = "", .place = rules_root(s->rules), .tree = tree, .source = s->o->source_layer.root_fd};
        bool useful = false;
        int rc = tree < 0 ? tree : walk_tree(s, &root, &useful);

        if (rc == 0)
                rc = walk_source(s, s->o->source_layer.root_fd, "", root.place);
        return rc;
}

static int look_at(struct survey *s, const char *path)
{
        const char *base;
        CLEANUP_FD int dir = disk_parent(s->o, path, false, &base);
        CLEANUP_FREE char *above = strndup(path, (size_t)(base - path));
        struct spot at = {.path = above, .tree = dir};
        const struct rule *rule = NULL;
        struct stat st;
        int rc;

        if (!above)
                return -ENOMEM;
        if (dir < 0 || fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return 0;
        rc = artifacts_rule(s->o, path, S_ISDIR(st.st_mode), &rule, NULL);
        if (rc < 0)
                return rc == -ENOMEM ? rc : 0;
        if (base != path) {
                struct stat source;

                above[base - path - 1] = '\0';
                at.gone = fstatat(s->o->source_layer.root_fd, above, &source, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(source.st_mode);
                above[base - path - 1] = '/';
        }
        return add_root(s, &at, base, rule, &st);
}

int artifacts_survey(struct overlay *o, const char *only, struct artifact_survey *ret, char **why)
{
        struct survey s = {.o = o, .rules = overlay_rules(o), .work = disk_work(o), .ret = ret};
        int rc;

        *ret = (struct artifact_survey){0};
        rc = only ? look_at(&s, only) : look_everywhere(&s);
        if (rc == 0)
                rc = survey_kept(o, only, ret, &s.room);
        if (rc == 0 && !only)
                rc = survey_snapshots(o, ret);
        if (rc < 0) {
                artifacts_survey_release(ret);
                return disk_say(why, rc, "the artifacts in %s can't be read: %s", o->dir, strerror(-rc));
        }
        if (ret->root_count)
                qsort(ret->roots, ret->root_count, sizeof(*ret->roots), by_path);
        if (ret->shadowed_count)
                qsort(ret->shadowed, ret->shadowed_count, sizeof(*ret->shadowed), by_text);
        return 0;
}

void survey_root_release(struct artifact_root *r)
{
        for (size_t i = 0; i < r->generation_count; i++)
                free(r->generations[i].key);
        free(r->generations);
        free(r->path);
        free(r->id);
}

void artifacts_snapshot_release(struct artifact_snapshot *s)
{
        for (size_t i = 0; i < s->path_count; i++)
                free(s->paths[i]);
        free(s->paths);
        free(s->name);
        *s = (struct artifact_snapshot){0};
}

void artifacts_survey_release(struct artifact_survey *s)
{
        drop_roots(s, 0);
        for (size_t i = 0; i < s->shadowed_count; i++)
                free(s->shadowed[i]);
        for (size_t i = 0; i < s->snapshot_count; i++)
                artifacts_snapshot_release(&s->snapshots[i]);
        free(s->roots);
        free(s->shadowed);
        free(s->snapshots);
        *s = (struct artifact_survey){0};
}
