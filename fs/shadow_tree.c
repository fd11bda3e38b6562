#include "fs/shadow_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "fs/cross_copy.h"
#include "fs/cross_record.h"
#include "fs/artifacts.h"

#define ASIDE ".orphan-"
/* Of a name that is kept with that behind it. */
#define ASIDE_NAME_MAX 200

int shadow_tree_parent(const struct overlay *o, const char *path, const char **name)
{
        const char *slash = strrchr(path, '/');
        char above[PATH_MAX] = "";

        *name = slash ? slash + 1 : path;
        if (slash)
                memcpy(above, path, (size_t)(slash - path)); /* shorter than PATH_MAX: it comes from layer_path() */
        return overlay_open_beneath(o->layer.root_fd, above, O_PATH | O_DIRECTORY);
}

static bool prune(int dirfd, const char *name)
{
        CLEANUP_FD int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : cross_read_directory(fd);
        const struct dirent *e;

        if (!d)
                return fd < 0 && errno == ENOENT;
        while ((e = readdir(d))) {
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && (e->d_type == DT_DIR || e->d_type == DT_UNKNOWN))
                        (void)prune(fd, e->d_name);
        }
        closedir(d);
        return unlinkat(dirfd, name, AT_REMOVEDIR) == 0;
}

bool shadow_tree_prune(const struct overlay *o, const char *path)
{
        const char *name;
        CLEANUP_FD int fd = shadow_tree_parent(o, path, &name);

        return fd < 0 || prune(fd, name);
}

/* What had that path belongs to a directory that is gone. */
static int set_aside(const struct overlay *o, int dirfd, const char *name)
{
        char aside[NAME_MAX + 1], number[CROSS_NAME_BYTES];

        if (prune(dirfd, name))
                return 0;
        cross_record_new_name(ASIDE, "", number);
        snprintf(aside, sizeof(aside), "%.*s%s", ASIDE_NAME_MAX, name, number);
        if (renameat2(dirfd, name, dirfd, aside, RENAME_NOREPLACE) < 0)
                return errno == ENOENT ? 0 : -errno;
        log_warn("%s: the artifacts of a directory that was called %s and is gone are kept beside as %s", o->dir, name, aside);
        return 0;
}

/* The directory in tree/ where `path` is to be, made if it is missing. */
static int make_parent(const struct overlay *o, const char *path, const char **name)
{
        const char *slash = strrchr(path, '/');
        char above[PATH_MAX] = "";

        *name = slash ? slash + 1 : path;
        if (slash)
                memcpy(above, path, (size_t)(slash - path));
        return overlay_shadow_make(o, above);
}

static bool is_there(int dirfd, const char *name)
{
        struct stat st;

        return dirfd >= 0 && fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

int shadow_tree_follow(struct overlay *o, const char *from, const char *to, bool exchange)
{
        const char *from_name, *to_name;
        CLEANUP_FD int from_fd = shadow_tree_parent(o, from, &from_name);
        CLEANUP_FD int to_fd = shadow_tree_parent(o, to, &to_name);
        bool from_there = is_there(from_fd, from_name), to_there = is_there(to_fd, to_name);
        int rc = 0;

        if (exchange && from_there && to_there)
                return renameat2(from_fd, from_name, to_fd, to_name, RENAME_EXCHANGE) < 0 ? -errno : 0;
        if (exchange && to_there)
                return shadow_tree_follow(o, to, from, false);
        if (to_there)
                rc = set_aside(o, to_fd, to_name);
        if (rc < 0 || !from_there)
                return rc;
        fd_close(&to_fd);
        to_fd = rc = make_parent(o, to, &to_name);
        if (rc < 0)
                return rc;
        return renameat2(from_fd, from_name, to_fd, to_name, RENAME_NOREPLACE) < 0 ? -errno : 0;
}

void shadow_tree_followed(struct overlay *o, const char *from, const char *to, bool exchange)
{
        char between[CROSS_NAME_BYTES];

        if (!exchange) {
                generations_moved(o, from, to);
                return;
        }
        cross_record_new_name(CROSS_PREFIX, "", between);
        generations_moved(o, from, between);
        generations_moved(o, to, from);
        generations_moved(o, between, to);
}

/* Where `name` of the source's directory is; its descriptor in *fd. 0 or -errno. */
static int host_path(const struct overlay *o, const struct ident *dir, const char *name, size_t len, int *fd, char text[NAME_MAX + 1],
                     char path[PATH_MAX])
{
        if (len > NAME_MAX || !o->source_layer.by_handle)
                return -EOPNOTSUPP;
        memcpy(text, name, len);
        text[len] = '\0';
        *fd = ident_open(o->source_layer.root_fd, dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return *fd < 0 ? *fd : layer_path_of(&o->source_layer, *fd, text, path);
}

bool overlay_host_moved(struct overlay *o, const struct ident *dir, const char *name, size_t len, const struct ident *to_dir,
                        const char *to_name, size_t to_len)
{
        char from[PATH_MAX], to[PATH_MAX], from_text[NAME_MAX + 1], to_text[NAME_MAX + 1];
        CLEANUP_FD int from_fd = -1;
        CLEANUP_FD int to_fd = -1;
        CLEANUP_FD int shadow = -1;
        bool moved = false;
        struct stat st;

        if (host_path(o, dir, name, len, &from_fd, from_text, from) < 0 || host_path(o, to_dir, to_name, to_len, &to_fd, to_text, to) < 0)
                return false;
        rwlock_write(&o->paths);
        shadow = overlay_shadow(o, from);
        /* It may have been renamed again since; and what is there by now has its own. */
        if (shadow >= 0 && !is_there(from_fd, from_text) && fstatat(to_fd, to_text, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
                moved = shadow_tree_follow(o, from, to, false) == 0;
        rwlock_write_end(&o->paths);
        if (moved)
                shadow_tree_followed(o, from, to, false);
        return moved;
}
