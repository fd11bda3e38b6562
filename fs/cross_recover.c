/*
 * After an agent was killed: what moving/ says was under way is completed if the new place had been taken, else undone. Nothing is mounted
 * yet, so nobody changes artifacts meanwhile.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "fs/cross.h"
#include "fs/cross_copy.h"
#include "fs/cross_record.h"
#include "fs/shadow_tree.h"

/* Split "a/b/c": *name = "c"; and the directory that was "a/b" in the layer, by its identity if that is known, or -errno. */
static int open_parent(const struct layer *l, const struct ident *dir, const char *path, const char **name)
{
        const char *slash = strrchr(path, '/');
        char above[PATH_MAX] = "";
        int fd;

        *name = slash ? slash + 1 : path;
        fd = l->by_handle && dir ? ident_open(l->root_fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        if (fd >= 0)
                return fd;
        if (slash)
                memcpy(above, path, (size_t)(slash - path));
        return overlay_open_beneath(l->root_fd, above, O_RDONLY | O_DIRECTORY);
}

static bool is_there(const struct layer *l, int dirfd, const char *name, const struct ident *want)
{
        struct ident ident;

        return want->how != IDENT_NONE && dirfd >= 0 && layer_ident(l, dirfd, name, &ident) == 0 && ident_equal(&ident, want);
}

/*
 * Moves by a copy
 */

/* The copy stands where it was to be: what is as in it goes from where it was. */
static void remove_same(int from_fd, const char *from, int to_fd, const char *to)
{
        CLEANUP_FD int from_in = -1;
        CLEANUP_FD int to_in = -1;
        struct stat was, is;
        const struct dirent *e;
        DIR *d;

        if (fstatat(from_fd, from, &was, AT_SYMLINK_NOFOLLOW) < 0 || fstatat(to_fd, to, &is, AT_SYMLINK_NOFOLLOW) < 0)
                return;
        if (((was.st_mode ^ is.st_mode) & S_IFMT) != 0)
                return;
        if (!S_ISDIR(was.st_mode)) {
                if (was.st_size == is.st_size && was.st_mtim.tv_sec == is.st_mtim.tv_sec && was.st_mtim.tv_nsec == is.st_mtim.tv_nsec)
                        (void)unlinkat(from_fd, from, 0);
                return;
        }
        from_in = openat(from_fd, from, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        to_in = openat(to_fd, to, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        d = from_in < 0 || to_in < 0 ? NULL : cross_read_directory(from_in);
        while (d && (e = readdir(d))) {
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
                        remove_same(from_in, e->d_name, to_in, e->d_name);
        }
        if (d)
                closedir(d);
        (void)unlinkat(from_fd, from, AT_REMOVEDIR);
}

static void recover_move(const struct overlay *o, const struct cross_record *i)
{
        const struct layer *from = i->to_overlay ? &o->source_layer : &o->layer;
        const struct layer *to = i->to_overlay ? &o->layer : &o->source_layer;
        const char *from_name, *to_name;
        CLEANUP_FD int from_fd = open_parent(from, &i->from_dir, i->from, &from_name);
        CLEANUP_FD int to_fd = open_parent(to, &i->to_dir, i->to, &to_name);

        if (is_there(to, to_fd, to_name, &i->is)) {
                if (is_there(from, from_fd, from_name, &i->was))
                        remove_same(from_fd, from_name, to_fd, to_name);
                log_info("%s: the move of %s to %s has been completed", o->source, i->from, i->to);
                return;
        }
        if (!i->to_overlay && to_fd >= 0)
                cross_remove(to_fd, i->temp);
        log_info("%s: the move of %s to %s has been undone", o->source, i->from, i->to);
}

/*
 * Shadows
 */

static void recover_shadows(struct overlay *o, const struct cross_record *i)
{
        const char *to_name, *from_name, *name;
        CLEANUP_FD int to_fd = open_parent(&o->source_layer, NULL, i->to, &to_name);
        CLEANUP_FD int at_from = open_parent(&o->layer, NULL, i->from, &from_name);
        CLEANUP_FD int at_to = open_parent(&o->layer, NULL, i->to, &name);
        bool renamed = is_there(&o->source_layer, to_fd, to_name, &i->was);
        bool followed = is_there(&o->layer, at_to, name, &i->shadow_from) ||
                        (i->exchange && is_there(&o->layer, at_from, from_name, &i->shadow_to));
        int rc = 0;

        if (renamed && !followed)
                rc = shadow_tree_follow(o, i->from, i->to, i->exchange);
        if (renamed && !(followed && i->exchange))
                shadow_tree_followed(o, i->from, i->to, i->exchange);
        if (rc < 0)
                log_warn("%s: the artifacts of %s can't follow it to %s: %s", o->source, i->from, i->to, strerror(-rc));
}

/*
 * All
 */

static bool has_suffix(const char *name, const char *suffix)
{
        size_t len = strlen(name), n = strlen(suffix);

        return len > n && strcmp(name + len - n, suffix) == 0;
}

static void recover_one(struct overlay *o, const char *name)
{
        struct cross_record i;
        int rc = cross_record_read(o, name, &i);

        if (rc == 0 && i.kind == CROSS_MOVE)
                recover_move(o, &i);
        else if (rc == 0 && i.kind == CROSS_SHADOWS)
                recover_shadows(o, &i);
        cross_record_drop(o, name);
}

static int visit(struct overlay *o, void (*each)(struct overlay *o, const char *name), bool intents)
{
        DIR *d = cross_read_directory(o->moving_fd);
        const struct dirent *e;

        if (!d)
                return -errno;
        rewinddir(d);
        while ((e = readdir(d))) {
                if (strncmp(e->d_name, CROSS_PREFIX, strlen(CROSS_PREFIX)) == 0 && has_suffix(e->d_name, CROSS_RECORD_SUFFIX) == intents)
                        each(o, e->d_name);
        }
        closedir(d);
        return 0;
}

static void sweep(struct overlay *o, const char *name)
{
        cross_remove(o->moving_fd, name);
}

int cross_recover(struct overlay *o)
{
        int rc = visit(o, recover_one, true);

        return rc < 0 ? rc : visit(o, sweep, false);
}
