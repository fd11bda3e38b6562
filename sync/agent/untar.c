#include "sync/agent/untar.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/agent/untar_header.h"
#include "sync/serve/why.h"

#define CHUNK 65536
#define DIR_MODE 0755
#define DIR_LEAST 0700 /* so that its owner gets in */
#define PERMISSIONS 0777

struct made_dir {
        char *path; /* owned */
        mode_t mode;
        int64_t mtime;
};

struct untar {
        int in, root;
        char **why;
        /* The directory that was used last, and its path, for members come directory by directory. */
        char *near; /* owned */
        int near_fd;
        /* Whose modes and times are set at the end: things are still being made in them. */
        struct made_dir *dirs; /* owned */
        size_t dir_count, dir_room;
};

static int refuse(const struct untar *u, const char *name, const char *reason)
{
        return why_set(u->why, -EINVAL, "the archive is refused: its member %s %s", name, reason);
}

static int failed(const struct untar *u, const char *name, int rc)
{
        if (rc == -ELOOP || rc == -ENOTDIR)
                return refuse(u, name, "leads through what is no directory");
        return why_set(u->why, rc, "%s can't be unpacked: %s", name, strerror(-rc));
}

/* Without dots and needless slashes; NULL and *why when it leads out. "": the top itself. The caller frees. */
static char *clean(const struct untar *u, const char *name)
{
        char *ret = calloc(1, strlen(name) + 1);
        char *end = ret;

        if (!ret) {
                why_set(u->why, -ENOMEM, "out of memory");
                return NULL;
        }
        if (*name == '/' || !*name) {
                refuse(u, name, *name ? "has an absolute name" : "has no name");
                free(ret);
                return NULL;
        }
        for (const char *at = name; *at;) {
                size_t len = strcspn(at, "/");

                if (len == 2 && at[0] == '.' && at[1] == '.') {
                        refuse(u, name, "leads upwards (\"..\")");
                        free(ret);
                        return NULL;
                }
                if (len && !(len == 1 && *at == '.')) {
                        if (end > ret)
                                *end++ = '/';
                        memcpy(end, at, len);
                        end += len;
                }
                at += len + strspn(at + len, "/");
        }
        return ret;
}

static int step(int at, const char *name, bool make)
{
        int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0 && errno == ENOENT && make) {
                if (mkdirat(at, name, DIR_MODE) < 0)
                        return -errno;
                fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        }
        return fd < 0 ? -errno : fd;
}

/* The directory `path` ("" for the top), borrowed: it stays open until the next one is asked for. */
static int reach(struct untar *u, const char *path, size_t len, bool make)
{
        CLEANUP_FREE char *copy = strndup(path, len);
        CLEANUP_FD int fd = -1;
        char *rest = copy;

        if (!copy)
                return -ENOMEM;
        if (u->near && strcmp(u->near, copy) == 0)
                return u->near_fd;
        fd = openat(u->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (char *name = strsep(&rest, "/"); fd >= 0 && name && *name; name = strsep(&rest, "/")) {
                int next = step(fd, name, make);

                fd_close(&fd);
                fd = next;
        }
        if (fd < 0)
                return fd;
        free(u->near);
        u->near = strndup(path, len);
        fd_close(&u->near_fd);
        if (!u->near)
                return -ENOMEM;
        u->near_fd = fd_steal(&fd);
        return u->near_fd;
}

/* The directory in which a member is to be made, and its name there. */
static int reach_parent(struct untar *u, const char *path, bool make, const char **base)
{
        const char *slash = strrchr(path, '/');

        *base = slash ? slash + 1 : path;
        return reach(u, path, slash ? (size_t)(slash - path) : 0, make);
}

static int copy_bytes(struct untar *u, int to, const struct tar_member *m)
{
        char bytes[CHUNK];
        uint64_t left = m->size;

        while (left > 0) {
                uint64_t padded = (left + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
                size_t want = padded < sizeof(bytes) ? (size_t)padded : sizeof(bytes);
                size_t mine = left < want ? (size_t)left : want;
                ssize_t n = fd_read_full(u->in, bytes, want);
                int rc;

                if (n < 0)
                        return why_set(u->why, (int)n, "the archive can't be read: %s", strerror((int)-n));
                if ((size_t)n < want)
                        return why_set(u->why, -EINVAL, "the archive is cut off in the midst of %s", m->name);
                rc = fd_write_full(to, bytes, mine);
                if (rc < 0)
                        return failed(u, m->name, rc);
                left -= mine;
        }
        return 0;
}

/* A later member of the same name takes the place of an earlier one. */
static int clear_name(const struct untar *u, const struct tar_member *m, int at, const char *base)
{
        if (unlinkat(at, base, 0) == 0 || errno == ENOENT)
                return 0;
        return errno == EISDIR ? refuse(u, m->name, "would replace a directory") : failed(u, m->name, -errno);
}

static int make_file(struct untar *u, const struct tar_member *m, int at, const char *base)
{
        struct timespec times[2] = {{.tv_sec = m->mtime}, {.tv_sec = m->mtime}};
        CLEANUP_FD int fd = openat(at, base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        int rc;

        if (fd < 0)
                return failed(u, m->name, -errno);
        rc = copy_bytes(u, fd, m);
        if (rc < 0)
                return rc;
        if (fchmod(fd, m->mode & PERMISSIONS) < 0 || futimens(fd, times) < 0)
                return failed(u, m->name, -errno);
        return 0;
}

static int make_symlink(struct untar *u, const struct tar_member *m, int at, const char *base)
{
        struct timespec times[2] = {{.tv_sec = m->mtime}, {.tv_sec = m->mtime}};

        if (symlinkat(m->link, at, base) < 0 || utimensat(at, base, times, AT_SYMLINK_NOFOLLOW) < 0)
                return failed(u, m->name, -errno);
        return 0;
}

static int make_hard_link(struct untar *u, const struct tar_member *m, int at, const char *base)
{
        CLEANUP_FREE char *target = clean(u, m->link);
        CLEANUP_FD int to = target ? fcntl(at, F_DUPFD_CLOEXEC, 0) : -1;
        const char *target_base;
        int from;

        if (!target)
                return -EINVAL;
        if (to < 0)
                return failed(u, m->name, -errno);
        /* `at` is gone after this. */
        from = reach_parent(u, target, false, &target_base);
        if (from < 0 || !*target_base)
                return refuse(u, m->name, "is a link to what is not in the archive before it");
        if (linkat(from, target_base, to, base, 0) < 0)
                return errno == ENOENT || errno == EPERM ? refuse(u, m->name, "is a link to what is not in the archive before it")
                                                         : failed(u, m->name, -errno);
        return 0;
}

static int remember_dir(struct untar *u, const struct tar_member *m, const char *path)
{
        if (u->dir_count == u->dir_room) {
                size_t room = u->dir_room ? 2 * u->dir_room : 64;
                struct made_dir *dirs = reallocarray(u->dirs, room, sizeof(*dirs));

                if (!dirs)
                        return failed(u, m->name, -ENOMEM);
                u->dirs = dirs;
                u->dir_room = room;
        }
        u->dirs[u->dir_count] = (struct made_dir){.path = strdup(path), .mode = m->mode, .mtime = m->mtime};
        return u->dirs[u->dir_count++].path ? 0 : failed(u, m->name, -ENOMEM);
}

static int make_dir(struct untar *u, const struct tar_member *m, const char *path)
{
        int fd = reach(u, path, strlen(path), true);

        if (fd < 0)
                return failed(u, m->name, fd);
        return remember_dir(u, m, path);
}

static int make_member(struct untar *u, const struct tar_member *m, const char *path)
{
        const char *base;
        int rc, at;

        if (m->kind == TAR_DIRECTORY)
                return make_dir(u, m, path);
        if (!*path)
                return refuse(u, m->name, "has no name");
        at = reach_parent(u, path, true, &base);
        if (at < 0)
                return failed(u, m->name, at);
        rc = clear_name(u, m, at, base);
        if (rc < 0)
                return rc;
        if (m->kind == TAR_FILE)
                return make_file(u, m, at, base);
        return m->kind == TAR_SYMLINK ? make_symlink(u, m, at, base) : make_hard_link(u, m, at, base);
}

static int take_member(struct untar *u, const struct tar_member *m)
{
        CLEANUP_FREE char *path = NULL;

        if (m->kind == TAR_OTHER) {
                bool special = m->type == '3' || m->type == '4' || m->type == '6';

                return refuse(u, m->name, special ? "is a device or a fifo" : "is of a kind that isn't a file, a directory or a link");
        }
        path = clean(u, m->name);
        return path ? make_member(u, m, path) : -EINVAL;
}

/* From the innermost out, or at least not before what is in them was made. */
static int dress_dirs(struct untar *u)
{
        for (size_t i = u->dir_count; i-- > 0;) {
                const struct made_dir *d = &u->dirs[i];
                struct timespec times[2] = {{.tv_sec = d->mtime}, {.tv_sec = d->mtime}};
                int fd = reach(u, d->path, strlen(d->path), false);

                /* A later member may have taken its place. */
                if (fd < 0)
                        continue;
                if (fchmod(fd, (d->mode & PERMISSIONS) | DIR_LEAST) < 0 || futimens(fd, times) < 0)
                        return failed(u, d->path, -errno);
        }
        return 0;
}

/* Whoever writes it into a pipe is to see the end of it. */
static void drain(int in)
{
        char bytes[CHUNK];

        while (fd_read_full(in, bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes))
                ;
}

int untar(int in, int root, char **why)
{
        struct untar u = {.in = in, .root = root, .near_fd = -1, .why = why};
        struct tar_member m = {0};
        int rc;

        while ((rc = tar_next(in, &m, why)) == 0 && m.kind != TAR_END) {
                rc = take_member(&u, &m);
                tar_member_release(&m);
                if (rc < 0)
                        break;
        }
        if (rc == 0) {
                drain(in);
                rc = dress_dirs(&u);
        }
        for (size_t i = 0; i < u.dir_count; i++)
                free(u.dirs[i].path);
        free(u.dirs);
        free(u.near);
        fd_close(&u.near_fd);
        return rc;
}
