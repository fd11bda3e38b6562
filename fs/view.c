#include "fs/view.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "fs/cross_survey.h"

struct view {
        const struct rules *rules;
        const struct pattern_place *place; /* NULL: in an artifact, where all is shown */
};

struct walk {
        unsigned left; /* entries that may still be looked at */
};

static enum rule_route route_in(const struct view *v, const char *name, bool is_dir)
{
        const struct rule *rule = v->place ? rules_find(v->rules, v->place, name, strlen(name), is_dir) : NULL;

        return rule ? rule->route : RULE_SOURCE;
}

static struct view enter(const struct view *v, const char *name)
{
        return (struct view){.rules = v->rules, .place = v->place ? rules_enter(v->rules, v->place, name, strlen(name)) : NULL};
}

static bool is_dir_entry(int fd, const struct dirent *e)
{
        struct stat st;

        if (e->d_type != DT_UNKNOWN)
                return e->d_type == DT_DIR;
        return fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static int compare(struct walk *w, int dirfd, const char *name, const struct view *before, const struct view *after);

static int compare_entry(struct walk *w, int fd, const struct dirent *e, const struct view *before, const struct view *after)
{
        bool is_dir = is_dir_entry(fd, e);
        enum rule_route route = route_in(before, e->d_name, is_dir);
        struct view inner_before, inner_after;

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                return 0;
        if (w->left == 0 || route != route_in(after, e->d_name, is_dir))
                return -EXDEV;
        w->left--;
        if (!is_dir || route == RULE_ARTIFACT || route == RULE_HIDDEN)
                return 0;
        inner_before = enter(before, e->d_name);
        inner_after = enter(after, e->d_name);
        return inner_before.place == inner_after.place ? 0 : compare(w, fd, e->d_name, &inner_before, &inner_after);
}

static int compare(struct walk *w, int dirfd, const char *name, const struct view *before, const struct view *after)
{
        int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        const struct dirent *e;
        int rc = 0;

        if (!d)
                return -errno;
        while (rc == 0 && (e = readdir(d)))
                rc = compare_entry(w, fd, e, before, after);
        closedir(d);
        return rc;
}

static struct view view_of(const struct fs_mount *m, const struct end *e)
{
        struct view dir = {.rules = overlay_rules(m->overlay), .place = atomic_load(&e->dir->place)};

        return e->p.is & NODE_OVERLAY ? (struct view){.rules = dir.rules} : enter(&dir, e->name);
}

/* `e`'s directory goes to where `after` is. */
static int check_one(const struct fs_mount *m, const struct end *e, const struct view *after)
{
        struct view before = view_of(m, e);
        struct walk w = {.left = CROSS_ENTRIES_MAX};
        CLEANUP_FD int shadow = -1;
        struct stat st;
        int rc;

        if (before.place == after->place || fstatat(e->p.fd, e->name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
                return 0;
        rc = compare(&w, e->p.fd, e->name, &before, after);
        if (rc < 0 || (e->p.is & NODE_OVERLAY))
                return rc;
        shadow = place_shadow(m, e->p.fd);
        rc = shadow < 0 ? shadow : compare(&w, shadow, e->name, &before, after);
        return rc == -ENOENT || rc == -ENOTDIR ? 0 : rc;
}

int view_check(struct renaming *r)
{
        struct view from = view_of(r->m, &r->from), to = view_of(r->m, &r->to);
        int rc = check_one(r->m, &r->from, &to);

        return rc == 0 && (r->flags & RENAME_EXCHANGE) ? check_one(r->m, &r->to, &from) : rc;
}
