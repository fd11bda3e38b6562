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
