#include "fs/guard.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/fd.h"

#define DEPTH_MAX 256U

struct look {
        const struct rules *rules;
        unsigned budget; /* entries that may still be looked at */
};

static enum rule_route route_at(const struct rules *rules, const struct pattern_place *place, const char *name, bool is_dir)
{
        const struct rule *r = place ? rules_find(rules, place, name, strlen(name), is_dir) : NULL;

        return r ? r->route : RULE_SOURCE;
}

/* Would it lose what the rules do for it? */
static bool is_let_go(enum rule_route was, enum rule_route will)
{
        return (was == RULE_HIDDEN && will != RULE_HIDDEN) || (was == RULE_READONLY && will != RULE_READONLY && will != RULE_HIDDEN);
}

static int look_below(struct look *l, int dirfd, const struct pattern_place *was, const struct pattern_place *will, unsigned depth);

static int look_at(struct look *l, int dirfd, const struct dirent *d, const struct pattern_place *was, const struct pattern_place *will,
                   unsigned depth)
{
        CLEANUP_FD int fd = -1;
        struct stat st;
        size_t len = strlen(d->d_name);
        bool is_dir = d->d_type == DT_DIR;

        if (d->d_type == DT_UNKNOWN) {
                if (fstatat(dirfd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return errno == ENOENT ? 0 : -errno;
                is_dir = S_ISDIR(st.st_mode);
        }
        if (l->budget-- == 0 || depth == 0)
                return -EXDEV;
        if (is_let_go(route_at(l->rules, was, d->d_name, is_dir), route_at(l->rules, will, d->d_name, is_dir)))
                return -EACCES;
        if (!is_dir)
                return 0;
        was = rules_enter(l->rules, was, d->d_name, len);
        if (will)
                will = rules_enter(l->rules, will, d->d_name, len);
        fd = openat(dirfd, d->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        return was ? look_below(l, fd, was, will, depth - 1) : -ENOMEM;
}

/* `will` is NULL where no rule applies. Places that are the same have the same rules for all that is below. */
static int look_below(struct look *l, int dirfd, const struct pattern_place *was, const struct pattern_place *will, unsigned depth)
{
        struct dirent *d;
        DIR *dir;
        int fd;
        int rc = 0;

        if (was == will)
                return 0;
        fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir) {
                rc = -errno;
                fd_close(&fd);
                return rc;
        }
        while (rc == 0 && (d = readdir(dir))) {
                if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
                        rc = look_at(l, fd, d, was, will, depth);
        }
        closedir(dir);
        return rc;
}

static bool keeps_something(const struct rules *rules)
{
        size_t count;
        const struct rule *list = rules_list(rules, &count);

        for (size_t i = 0; i < count; i++) {
                if (list[i].route == RULE_HIDDEN || list[i].route == RULE_READONLY)
                        return true;
        }
        return false;
}

int guard_rename(struct fs_mount *m, const struct node *dir, const struct place *from, const char *name, const struct node *to_dir,
                 const struct place *to, const char *to_name)
{
        struct look l = {.budget = GUARD_TREE_MAX};
        const struct pattern_place *was, *will = NULL;
        CLEANUP_FD int fd = -1;

        if (!m->overlay || from->layer != &m->source)
                return 0;
        l.rules = overlay_rules(m->overlay);
        if (!keeps_something(l.rules))
                return 0;
        fd = openat(from->fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOTDIR || errno == ELOOP ? 0 : -errno;
        was = rules_enter(l.rules, atomic_load(&dir->place), name, strlen(name));
        if (to->layer == &m->source) {
                will = rules_enter(l.rules, atomic_load(&to_dir->place), to_name, strlen(to_name));
                if (!will)
                        return -ENOMEM;
        }
        return was ? look_below(&l, fd, was, will, DEPTH_MAX) : -ENOMEM;
}

uint8_t guard_is(struct fs_mount *m, struct node *n, uint8_t is, nlink_t links)
{
        char text[NAME_BYTES_MAX + 1];
        node_id id;

        if (!m->overlay || links < 2 || S_ISDIR(n->type) || (is & (NODE_READONLY | NODE_OVERLAY)))
                return is;
        for (unsigned nth = 0; (id = name_of_node(m->names, n, nth, text)) != NODE_NONE; nth++) {
                struct node *dir = node_hold(m->nodes, id);

                if (!dir)
                        continue;
                if (node_is(dir, NODE_READONLY) ||
                    route_at(overlay_rules(m->overlay), atomic_load(&dir->place), text, false) == RULE_READONLY)
                        is |= NODE_READONLY;
                mount_forget(m, dir, 1);
        }
        return is;
}
