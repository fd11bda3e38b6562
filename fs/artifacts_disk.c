#include "fs/artifacts_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/ident.h"
#include "cache/base/log.h"

#define PRIVATE_MODE 0700
#define STAGE_TRIES 64

int disk_say(char **why, int rc, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        if (why && vasprintf(why, fmt, ap) < 0)
                *why = NULL;
        va_end(ap);
        return rc;
}

struct tree_work disk_work(const struct overlay *o)
{
        return (struct tree_work){.cancel = &o->cancelled};
}

const char *artifacts_source(const struct overlay *o)
{
        return o->source;
}

void artifacts_cancel(struct overlay *o)
{
        atomic_store(&o->cancelled, true);
}

/*
 * Paths
 */

bool disk_path_ok(const char *path)
{
        while (*path) {
                size_t len = strcspn(path, "/");

                if (len == 0 || len > NAME_MAX || (path[0] == '.' && (len == 1 || (len == 2 && path[1] == '.'))))
                        return false;
                path += len;
                if (*path == '/' && *++path == '\0')
                        return false;
        }
        return true;
}

static int open_beneath(int dirfd, const char *path)
{
        struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                               .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
        int fd = (int)syscall(SYS_openat2, dirfd, *path ? path : ".", &how, sizeof(how));

        return fd < 0 ? -errno : fd;
}

int disk_tree(const struct overlay *o, const char *path)
{
        char whole[PATH_MAX];

        if ((size_t)snprintf(whole, sizeof(whole), "tree/%s", path) >= sizeof(whole))
                return -ENAMETOOLONG;
        return open_beneath(o->dir_fd, whole);
}

/* The path of the directory that `path` is in; its last component. The caller frees. */
static char *split(const char *path, const char **base)
{
        const char *slash = strrchr(path, '/');

        *base = slash ? slash + 1 : path;
        return strndup(path, slash ? (size_t)(slash - path) : 0);
}

int disk_parent(const struct overlay *o, const char *path, bool make, const char **base)
{
        CLEANUP_FREE char *parent = split(path, base);

        if (!parent)
                return -ENOMEM;
        if (make) {
                int fd = overlay_shadow_make(o, parent);

                if (fd < 0)
                        return fd;
                fd_close(&fd);
        }
        return disk_tree(o, parent);
}

int disk_source_parent(const struct overlay *o, const char *path, const char **base)
{
        CLEANUP_FREE char *parent = split(path, base);

        return parent ? open_beneath(o->source_layer.root_fd, parent) : -ENOMEM;
}

int artifacts_rule(struct overlay *o, const char *path, bool is_dir, const struct rule **ret, char **why)
{
        const struct rules *rules = overlay_rules(o);
        const struct pattern_place *place = rules_root(rules);
        const char *at = path;

        if (!*path || !disk_path_ok(path))
                return disk_say(why, -EINVAL, "%s is not a path below the source", *path ? path : ".");
        for (;;) {
                size_t len = strcspn(at, "/");
                bool last = at[len] == '\0';
                const struct rule *r = rules_find(rules, place, at, len, last ? is_dir : true);

                if (r && r->route == RULE_ARTIFACT) {
                        if (!last)
                                return disk_say(why, -EINVAL, "%s lies inside the artifact %.*s: name that", path, (int)(at + len - path),
                                                path);
                        *ret = r;
                        return 0;
                }
                if (last)
                        return disk_say(why, -EINVAL,
                                        "%s is no artifact: no rule says so of a %s with that path; `dsfs artifacts list` shows what is",
                                        path, is_dir ? "directory" : "file");
                place = rules_enter(rules, place, at, len);
                if (!place)
                        return disk_say(why, -ENOMEM, "out of memory");
                at += len + 1;
        }
}

bool artifacts_shadow(struct overlay *o, const char *path, bool is_dir)
{
        const struct rules *rules = overlay_rules(o);
        const struct pattern_place *place = rules_root(rules);

        while (*path && place) {
                size_t len = strcspn(path, "/");
                bool last = path[len] == '\0';
                const struct rule *r = rules_find(rules, place, path, len, last ? is_dir : true);

                if (r && (r->route == RULE_ARTIFACT || r->route == RULE_HIDDEN))
                        return true;
                if (!last)
                        place = rules_enter(rules, place, path, len);
                path += len + !last;
        }
        return false;
}

/*
 * Putting in place
 */

void disk_tell(struct overlay *o, const char *path)
{
        const char *base;
        CLEANUP_FD int dirfd = o->listener ? disk_source_parent(o, path, &base) : -1;
        struct ident dir;

        if (dirfd >= 0 && layer_ident(&o->source_layer, dirfd, "", &dir) == 0)
                o->listener->switched(o->listener_arg, &dir, base, strlen(base));
}

static void tell_switching(struct overlay *o, int dirfd, const char *name)
{
        struct ident object;

        if (o->listener && layer_ident(&o->layer, dirfd, name, &object) == 0)
                o->listener->switching(o->listener_arg, &object);
}

bool disk_has_generations(const struct rule *r)
{
        return r->key_count || r->seed;
}

int disk_switch(struct overlay *o, int from, const char *name, const char *path, bool replace, bool *replaced)
{
        const char *base;
        CLEANUP_FD int dir = disk_parent(o, path, true, &base);

        *replaced = false;
        if (dir < 0)
                return dir;
        if (renameat2(from, name, dir, base, RENAME_NOREPLACE) < 0) {
                if (errno != EEXIST || !replace)
                        return -errno;
                tell_switching(o, dir, base);
                if (renameat2(from, name, dir, base, RENAME_EXCHANGE) < 0)
                        return -errno;
                *replaced = true;
        }
        disk_tell(o, path);
        return 0;
}

int disk_take(struct overlay *o, const char *path, int to, const char *name)
{
        const char *base;
        CLEANUP_FD int dir = disk_parent(o, path, false, &base);

        if (dir < 0)
                return dir == -ENOTDIR || dir == -ELOOP ? -ENOENT : dir;
        tell_switching(o, dir, base);
        if (renameat2(dir, base, to, name, RENAME_NOREPLACE) < 0)
                return -errno;
        disk_tell(o, path);
        return 0;
}

/*
 * Entries with a path
 */

char *disk_read_path(int entry)
{
        char *text = NULL;
        ssize_t n = fd_read_file(entry, "path", PATH_MAX, &text);

        while (n > 0 && text[n - 1] == '\n')
                text[--n] = '\0';
        if (n <= 0 || memchr(text, '\0', (size_t)n) || !disk_path_ok(text)) {
                free(text);
                return NULL;
        }
        return text;
}

int disk_write_path(int entry, const char *path)
{
        CLEANUP_FD int fd = openat(entry, "path", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        return fd < 0 ? -errno : fd_write_full(fd, path, strlen(path));
}

/*
 * Stages: each is locked by whoever works in it, so that what isn't locked is nobody's
 */

static int stage_in(int moving, struct artifact_stage *ret)
{
        for (unsigned n = 0; n < STAGE_TRIES; n++) {
                CLEANUP_FD int fd = -1;
                struct timespec now;
                struct stat st;

                clock_gettime(CLOCK_REALTIME, &now);
                snprintf(ret->name, sizeof(ret->name), STAGE_PREFIX "%d.%lx", (int)getpid(), (unsigned long)now.tv_nsec + n);
                if (mkdirat(moving, ret->name, PRIVATE_MODE) < 0) {
                        if (errno != EEXIST)
                                return -errno;
                        continue;
                }
                fd = openat(moving, ret->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                /* Who sweeps may have come in between. */
                if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &st) < 0 || st.st_nlink == 0)
                        continue;
                ret->fd = fd_steal(&fd);
                return 0;
        }
        return -EBUSY;
}

int artifacts_stage(struct overlay *o, struct artifact_stage *ret, char **why)
{
        int rc = stage_in(o->moving_fd, ret);

        return rc < 0 ? disk_say(why, rc, "nothing can be prepared in %s/moving: %s", o->dir, strerror(-rc)) : 0;
}

int artifacts_stage_at(const char *dir, struct artifact_stage *ret, char **why)
{
        CLEANUP_FREE char *path = NULL;
        CLEANUP_FD int moving = -1;
        int rc;

        if (asprintf(&path, "%s/moving", dir) < 0) {
                path = NULL;
                return disk_say(why, -ENOMEM, "out of memory");
        }
        moving = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        rc = moving < 0 ? -errno : stage_in(moving, ret);
        return rc < 0 ? disk_say(why, rc, "nothing can be prepared in %s: %s", path, strerror(-rc)) : 0;
}

static int empty(int fd)
{
        int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = copy < 0 ? NULL : fdopendir(copy);
        struct dirent *e;
        int rc = d ? 0 : -errno;

        while (rc == 0 && d && (e = readdir(d))) {
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
                        rc = tree_remove(fd, e->d_name);
        }
        if (d)
                closedir(d);
        else
                fd_close(&copy);
        return rc;
}

void artifacts_stage_end(struct artifact_stage *s)
{
        int rc;

        if (s->fd < 0)
                return;
        rc = empty(s->fd);
        if (rc == 0) {
                CLEANUP_FD int moving = openat(s->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

                /* Renamed into place, it isn't there under that name. */
                (void)unlinkat(moving, s->name, AT_REMOVEDIR);
        } else {
                log_warn("artifacts: %s can't be removed: %s", s->name, strerror(-rc));
        }
        fd_close(&s->fd);
}

static void sweep_one(struct overlay *o, const char *name)
{
        struct artifact_stage s = {.fd = openat(o->moving_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};

        /* A restore that could not be completed holds what it has replaced. */
        if (s.fd < 0 || strlen(name) >= sizeof(s.name) || flock(s.fd, LOCK_EX | LOCK_NB) < 0 ||
            faccessat(s.fd, RESTORE_READY, F_OK, 0) == 0) {
                fd_close(&s.fd);
                return;
        }
        memcpy(s.name, name, strlen(name) + 1);
        artifacts_stage_end(&s);
}

void artifacts_sweep(struct overlay *o)
{
        int fd = openat(o->moving_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;

        if (!d) {
                fd_close(&fd);
                return;
        }
        while ((e = readdir(d))) {
                if (strncmp(e->d_name, STAGE_PREFIX, sizeof(STAGE_PREFIX) - 1) == 0)
                        sweep_one(o, e->d_name);
        }
        closedir(d);
}
