#include "fs/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "fs/meet.h"
#include "fs/reach.h"

/* What the rules say of a name, as a directory and as anything else. */
struct routes {
        const struct rule *as_dir, *as_file;
};

static enum rule_route route_of(const struct rule *r)
{
        return r ? r->route : RULE_SOURCE;
}

static bool in_overlay(const struct rule *r)
{
        return route_of(r) == RULE_ARTIFACT;
}

static bool in_source(const struct rule *r)
{
        return route_of(r) == RULE_SOURCE || route_of(r) == RULE_READONLY;
}

static const struct rule *route_as(const struct routes *r, bool is_dir)
{
        return is_dir ? r->as_dir : r->as_file;
}

/*
 * The place of a directory among the rules
 */

static const struct pattern_place *walk(const struct rules *rules, const char *path, uint8_t *is)
{
        const struct pattern_place *place = rules_root(rules);

        while (*path && place) {
                size_t len = strcspn(path, "/");

                if (route_of(rules_find(rules, place, path, len, true)) == RULE_READONLY)
                        *is |= NODE_READONLY;
                if (rules_key_name(rules, path, len))
                        *is |= NODE_KEY;
                place = rules_enter(rules, place, path, len);
                path += len + (path[len] == '/');
        }
        return place;
}

/* A directory that was moved may be another layer's now, and all below it. */
static int refresh(struct fs_mount *m, struct node *dir, int fd, uint64_t epoch)
{
        const struct rules *rules = overlay_rules(m->overlay);
        const struct pattern_place *place = NULL;
        char path[PATH_MAX];
        uint8_t is = 0;
        int rc = layer_path(&m->source, fd, path, sizeof(path));

        if (rc == 0)
                place = walk(rules, path, &is);
        else if (rc == -EXDEV)
                is = NODE_OVERLAY;
        else if (rc == -ENOENT)
                return 0; /* deleted: nothing is to be found there, nor made */
        if (rc == 0 && !place)
                return -ENOMEM;
        if (rc < 0 && rc != -EXDEV)
                return rc;
        atomic_store(&dir->is, is);
        atomic_store(&dir->place, place);
        atomic_store_explicit(&dir->place_epoch, epoch, memory_order_release);
        return 0;
}

static int locate(struct fs_mount *m, struct node *dir, int fd)
{
        uint64_t epoch = atomic_load(&m->overlay->epoch);

        if (atomic_load_explicit(&dir->place_epoch, memory_order_acquire) == epoch)
                return 0;
        return refresh(m, dir, fd, epoch);
}

static struct routes routes_of(const struct fs_mount *m, const struct node *dir, const char *name, size_t len)
{
        const struct rules *rules = overlay_rules(m->overlay);
        const struct pattern_place *place = atomic_load(&dir->place);

        if (!place)
                return (struct routes){0};
        return (struct routes){
                .as_dir = rules_find(rules, place, name, len, true),
                .as_file = rules_find(rules, place, name, len, false),
        };
}

/* Of the source's directory `dirfd` the one in the overlay; with `make` it is there afterwards. */
static int shadow_of(const struct fs_mount *m, int dirfd, bool make)
{
        char path[PATH_MAX];
        int rc;

        rwlock_read(&m->overlay->paths);
        rc = layer_path(&m->source, dirfd, path, sizeof(path));
        if (rc == 0)
                rc = make ? overlay_shadow_make(m->overlay, path) : overlay_shadow(m->overlay, path);
        rwlock_read_end(&m->overlay->paths);
        return rc;
}

int place_shadow(const struct fs_mount *m, int dirfd)
{
        return shadow_of(m, dirfd, false);
}

/*
 * Finding
 */

static uint8_t is_of(const struct fs_mount *m, const struct place *p, const struct rule *rule, const char *name)
{
        uint8_t is = p->is;

        if (route_of(rule) == RULE_READONLY)
                is |= NODE_READONLY;
        if (!(is & (NODE_KEY | NODE_OVERLAY)) && rules_key_name(overlay_rules(m->overlay), name, strlen(name)))
                is |= NODE_KEY;
        return is;
}

/* The directory itself. True when all that is in it is of its own layer. */
static int begin(struct fs_mount *m, struct node *dir, struct place *ret, bool *whole)
{
        int rc;

        *ret = PLACE_NONE;
        *whole = true;
        rc = reach(m, dir, SLOT_PATH, &ret->held);
        if (rc == 0 && m->overlay)
                rc = locate(m, dir, ret->held.fd);
        ret->fd = ret->held.fd;
        ret->layer = layer_of(m, dir);
        ret->is = atomic_load_explicit(&dir->is, memory_order_relaxed);
        *whole = !m->overlay || (ret->is & NODE_OVERLAY);
        return rc;
}

static void be_source(struct fs_mount *m, struct place *p, const struct rule *rule, const char *name)
{
        p->rule = rule;
        p->is = is_of(m, p, rule, name);
        p->key = m->overlay && (p->is & NODE_KEY);
        if (p->key)
                meet_change_begin(m);
}

/* The place goes over to the overlay. 0, or -errno (-ENOENT: there is no such directory). Takes fd. */
static int be_overlay(const struct fs_mount *m, struct place *p, const struct rule *rule, int fd)
{
        p->layer = &m->overlay->layer;
        p->rule = rule;
        p->fd = fd;
        p->is = NODE_OVERLAY;
        p->shadow = true;
        return fd < 0 ? fd : 0;
}

static void meet_routes(struct fs_mount *m, const struct node *dir, int dirfd, const char *name, const struct routes *routes, bool making)
{
        const struct rule *rule = rule_has_generations(routes->as_dir) ? routes->as_dir : routes->as_file;

        if (rule_has_generations(rule))
                meet(m, dir, dirfd, name, rule, making);
}

/* What the rules say depends on what it is: so look, in the overlay first. */
static int find_by_type(struct fs_mount *m, struct place *p, const struct routes *routes, const char *name)
{
        CLEANUP_FD int fd = in_overlay(routes->as_dir) || in_overlay(routes->as_file) ? place_shadow(m, p->fd) : -1;
        struct stat st;

        if (fd >= 0 && fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
                const struct rule *rule = route_as(routes, S_ISDIR(st.st_mode));

                if (in_overlay(rule))
                        return be_overlay(m, p, rule, fd_steal(&fd));
        }
        if (fstatat(p->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
                const struct rule *rule = route_as(routes, S_ISDIR(st.st_mode));

                if (in_source(rule)) {
                        be_source(m, p, rule, name);
                        return 0;
                }
        }
        return -ENOENT;
}

int place_find(struct fs_mount *m, struct node *dir, const char *name, struct place *ret)
{
        struct routes routes;
        bool whole;
        int rc = begin(m, dir, ret, &whole);

        if (rc < 0 || whole)
                return rc;
        routes = routes_of(m, dir, name, strlen(name));
        if (in_source(routes.as_dir) && in_source(routes.as_file) && route_of(routes.as_dir) == route_of(routes.as_file)) {
                be_source(m, ret, routes.as_file, name);
                return 0;
        }
        meet_routes(m, dir, ret->fd, name, &routes, false);
        if (in_overlay(routes.as_dir) && in_overlay(routes.as_file))
                return be_overlay(m, ret, routes.as_dir, place_shadow(m, ret->fd));
        return find_by_type(m, ret, &routes, name);
}

/*
 * Making
 */

/* Is something of the other kind shown there, that the rules keep elsewhere? */
static bool is_taken(struct fs_mount *m, const struct place *p, const struct routes *routes, const char *name, bool is_dir)
{
        const struct rule *mine = route_as(routes, is_dir);
        const struct rule *other = route_as(routes, !is_dir);
        CLEANUP_FD int fd = -1;
        struct stat st;

        if (in_overlay(mine) == in_overlay(other) || route_of(other) == RULE_HIDDEN)
                return false;
        fd = in_overlay(other) ? place_shadow(m, p->fd) : fcntl(p->fd, F_DUPFD_CLOEXEC, 0);
        return fd >= 0 && fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode) != is_dir;
}

int place_make(struct fs_mount *m, struct node *dir, const char *name, bool is_dir, struct place *ret)
{
        const struct rule *rule;
        struct routes routes;
        bool whole;
        int rc = begin(m, dir, ret, &whole);

        if (rc < 0 || whole)
                return rc;
        routes = routes_of(m, dir, name, strlen(name));
        rule = route_as(&routes, is_dir);
        if (route_of(rule) == RULE_HIDDEN)
                return -EACCES;
        meet_routes(m, dir, ret->fd, name, &routes, in_overlay(rule));
        if (is_taken(m, ret, &routes, name, is_dir))
                return -EEXIST;
        if (in_overlay(rule))
                return be_overlay(m, ret, rule, shadow_of(m, ret->fd, true));
        be_source(m, ret, rule, name);
        return ret->is & NODE_READONLY ? -EROFS : 0;
}

void place_end(struct fs_mount *m, struct place *p)
{
        if (p->shadow)
                fd_close(&p->fd);
        if (p->key)
                meet_change_end(m);
        slots_release(m->slots, &p->held);
        *p = PLACE_NONE;
}

/*
 * Telling other mounts
 */

static bool is_to_be_spread(const struct fs_mount *m)
{
        return m->overlay && m->overlay->listener;
}

void place_changed(struct fs_mount *m, const struct node *dir, const struct place *p, const char *name)
{
        struct ident ident;

        if (p->key)
                meet_change(m, p->fd, name);
        if (!is_to_be_spread(m) || !(p->is & NODE_OVERLAY) || (!p->shadow && atomic_load(&m->overlay->watched)))
                return;
        ident = node_ident(m->nodes, dir);
        m->overlay->listener->changed(m->overlay->listener_arg, m, &ident, name, strlen(name));
}

/* The look that set n->is may have been before a directory above it was moved. */
static void look_again(struct fs_mount *m, struct node *n, uint64_t epoch)
{
        char path[PATH_MAX];
        struct held h;
        int rc = reach(m, n, SLOT_PATH, &h);

        if (rc < 0)
                return;
        rc = layer_path(&m->source, h.fd, path, sizeof(path));
        slots_release(m->slots, &h);
        if (rc == 0)
                (void)atomic_fetch_and(&n->is, (uint8_t)~NODE_OVERLAY);
        else if (rc == -EXDEV)
                (void)atomic_fetch_or(&n->is, NODE_OVERLAY);
        else
                return;
        if (!S_ISDIR(n->type))
                atomic_store(&n->place_epoch, epoch);
}

bool place_is_artifact(struct fs_mount *m, struct node *n)
{
        uint64_t epoch = m->overlay ? atomic_load(&m->overlay->epoch) : 0;

        if (m->overlay && atomic_load(&n->place_epoch) != epoch)
                look_again(m, n, epoch);
        return node_is(n, NODE_OVERLAY);
}

bool place_touch(struct fs_mount *m, const struct node *n)
{
        bool key = m->overlay && node_is(n, NODE_KEY);

        if (key)
                meet_change_begin(m);
        return key;
}

static void key_touched(struct fs_mount *m, struct node *n)
{
        struct held h;

        if (reach(m, n, SLOT_PATH, &h) < 0)
                return;
        meet_change(m, h.fd, "");
        slots_release(m->slots, &h);
}

void place_touched(struct fs_mount *m, struct node *n, bool key, bool changed)
{
        struct ident ident;

        if (key && changed)
                key_touched(m, n);
        if (key)
                meet_change_end(m);
        if (!changed)
                return;
        if (!is_to_be_spread(m) || atomic_load(&m->overlay->watched) || !place_is_artifact(m, n))
                return;
        ident = node_ident(m->nodes, n);
        m->overlay->listener->touched(m->overlay->listener_arg, m, &ident);
}

/*
 * Listing
 */

/* A place to read from: the held descriptor only leads there. */
static int open_reading(struct place *p, int dirfd)
{
        p->fd = reach_openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        return p->fd < 0 ? p->fd : 0;
}

int place_list(struct fs_mount *m, struct node *dir, struct place_pair *ret)
{
        CLEANUP_FD int shadow = -1;
        bool whole;
        int rc;

        ret->overlay = PLACE_NONE;
        rc = begin(m, dir, &ret->source, &whole);
        ret->source.fd = -1;
        if (rc == 0 && !whole)
                meet_listing(m, dir, ret->source.held.fd);
        if (rc == 0)
                rc = open_reading(&ret->source, ret->source.held.fd);
        if (rc == 0 && !whole)
                shadow = place_shadow(m, ret->source.fd);
        if (shadow >= 0) {
                ret->overlay.layer = &m->overlay->layer;
                ret->overlay.is = NODE_OVERLAY;
                rc = open_reading(&ret->overlay, shadow);
        }
        return rc;
}

void place_list_end(struct fs_mount *m, struct place_pair *p)
{
        fd_close(&p->source.fd);
        fd_close(&p->overlay.fd);
        slots_release(m->slots, &p->source.held);
}

static bool type_at(int fd, const char *name, bool *is_dir)
{
        struct stat st;

        if (fd < 0 || fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return false;
        *is_dir = S_ISDIR(st.st_mode);
        return true;
}

bool place_shows(struct fs_mount *m, struct node *dir, const struct place_pair *pair, const struct place *p, const char *name,
                 unsigned char type, uint8_t *is)
{
        const struct rule *rule;
        struct routes routes;
        bool is_dir = type == DT_DIR;
        bool other;

        *is = p->is;
        if (!m->overlay || (pair->source.is & NODE_OVERLAY))
                return true;
        routes = routes_of(m, dir, name, strlen(name));
        if (type == DT_UNKNOWN && routes.as_dir != routes.as_file && !type_at(p->fd, name, &is_dir))
                return false;
        rule = route_as(&routes, is_dir);
        if (p == &pair->overlay)
                return in_overlay(rule);
        *is = is_of(m, p, rule, name);
        if (!in_source(rule))
                return false;
        /* What the overlay has under the same name is shown instead. */
        return !in_overlay(route_as(&routes, !is_dir)) || !type_at(pair->overlay.fd, name, &other) || other == is_dir;
}
