/*
 * The generations that are kept, as files: kept/<id>/ has `path`, `current` (the key of what is in tree/) and a directory for each key that
 * is not current.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "fs/artifacts_disk.h"
#include "fs/artifacts_survey.h"

#define KEY_MAX 64
#define KEY_MIN 8

static bool is_key(const char *name)
{
        size_t len = strlen(name);

        return len >= KEY_MIN && len <= KEY_MAX && strspn(name, "0123456789abcdef") == len;
}

static int add_generation(struct artifact_root *r, const char *key, struct artifact_generation **ret)
{
        struct artifact_generation *list = reallocarray(r->generations, r->generation_count + 1, sizeof(*list));
        char *copy = strdup(key);

        if (list)
                r->generations = list;
        if (!list || !copy) {
                free(copy);
                return -ENOMEM;
        }
        *ret = &list[r->generation_count++];
        **ret = (struct artifact_generation){.key = copy};
        return 0;
}

static int add_current(int entry, struct artifact_root *r)
{
        CLEANUP_FREE char *key = NULL;
        struct artifact_generation *g;
        int rc;

        if (!r->there || fd_read_file(entry, "current", KEY_MAX + 2, &key) <= 0)
                return 0;
        key[strcspn(key, "\n")] = '\0';
        rc = is_key(key) ? add_generation(r, key, &g) : -EINVAL;
        if (rc < 0)
                return rc == -EINVAL ? 0 : rc;
        g->current = true;
        g->size = r->size;
        g->used = r->changed;
        return 0;
}

static int add_others(struct overlay *o, int entry, struct artifact_root *r)
{
        const char *base = strrchr(r->path, '/') ? strrchr(r->path, '/') + 1 : r->path;
        struct tree_work work = disk_work(o);
        int fd = openat(entry, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;
        int rc = d ? 0 : -errno;

        if (!d)
                fd_close(&fd);
        while (rc == 0 && d && (e = readdir(d))) {
                CLEANUP_FD int kept = is_key(e->d_name) ? openat(entry, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
                struct artifact_generation *g;
                struct stat st;

                if (kept < 0 || fstat(kept, &st) < 0)
                        continue;
                rc = add_generation(r, e->d_name, &g);
                if (rc < 0)
                        break;
                g->used = st.st_mtim.tv_sec;
                rc = tree_count(&work, kept, base, &g->size);
        }
        if (d)
                closedir(d);
        return rc;
}

static struct artifact_root *root_at(struct artifact_survey *s, const char *path)
{
        for (size_t i = 0; i < s->root_count; i++) {
                if (strcmp(s->roots[i].path, path) == 0)
                        return &s->roots[i];
        }
        return NULL;
}

/* The current one first, then by when they were used. */
static int by_use(const void *a, const void *b)
{
        const struct artifact_generation *x = a, *y = b;

        if (x->current != y->current)
                return x->current ? -1 : 1;
        return x->used > y->used ? -1 : x->used < y->used;
}

/* A root that isn't there at the moment is known by its generations only. */
static int root_of(struct overlay *o, struct artifact_survey *s, size_t *room, const char *path, struct artifact_root **ret)
{
        struct stat st;

        *ret = root_at(s, path);
        if (*ret)
                return 0;
        *ret = survey_add_root(s, room, path);
        if (!*ret)
                return -ENOMEM;
        (void)artifacts_rule(o, path, true, &(*ret)->rule, NULL);
        if (!(*ret)->rule)
                (void)artifacts_rule(o, path, false, &(*ret)->rule, NULL);
        (*ret)->is_dir = true;
        if (strrchr(path, '/')) {
                CLEANUP_FREE char *above = strndup(path, (size_t)(strrchr(path, '/') - path));

                (*ret)->orphan = above && fstatat(o->source_layer.root_fd, above, &st, AT_SYMLINK_NOFOLLOW) < 0;
        }
        (*ret)->orphan = (*ret)->orphan || !(*ret)->rule;
        return 0;
}

static int survey_entry(struct overlay *o, const char *id, const char *only, struct artifact_survey *s, size_t *room)
{
        CLEANUP_FD int entry = openat(o->kept_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        CLEANUP_FREE char *path = entry < 0 ? NULL : disk_read_path(entry);
        struct artifact_root *r;
        int rc;

        if (!path || (only && strcmp(path, only) != 0))
                return 0;
        rc = root_of(o, s, room, path, &r);
        if (rc == 0) {
                free(r->id);
                r->id = strdup(id);
                rc = r->id ? add_current(entry, r) : -ENOMEM;
        }
        if (rc == 0)
                rc = add_others(o, entry, r);
        if (rc == 0 && r->generation_count)
                qsort(r->generations, r->generation_count, sizeof(*r->generations), by_use);
        return rc;
}

int survey_kept(struct overlay *o, const char *only, struct artifact_survey *ret, size_t *room)
{
        int fd = openat(o->kept_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;
        int rc = d ? 0 : -errno;

        if (!d)
                fd_close(&fd);
        while (rc == 0 && d && (e = readdir(d))) {
                if (e->d_name[0] != '.')
                        rc = survey_entry(o, e->d_name, only, ret, room);
        }
        if (d)
                closedir(d);
        return rc;
}
