#include "fs/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "fs/artifacts_disk.h"
#include "fs/cross.h"
#include "fs/fs.h"
#include "fs/generations.h"

#define PRIVATE_MODE 0700
/* How long whoever has the overlay open is waited for, and how often that is looked at. */
#define PATIENCE_NS 10000000000ULL
#define STEP_NS 20000000L

static int say(char **why, int rc, const char *doing, const char *path)
{
        if (asprintf(why, "%s %s: %s", doing, path, strerror(-rc)) < 0)
                *why = NULL;
        return rc;
}

/*
 * Opening
 */

static int make_directories(const char *dir)
{
        char path[PATH_MAX];
        size_t len = strlen(dir);

        if (len >= sizeof(path))
                return -ENAMETOOLONG;
        memcpy(path, dir, len + 1);
        for (size_t at = 1; at <= len; at++) {
                if (path[at] != '/' && path[at] != '\0')
                        continue;
                path[at] = '\0';
                if (mkdir(path, PRIVATE_MODE) < 0 && errno != EEXIST)
                        return -errno;
                path[at] = at == len ? '\0' : '/';
        }
        return 0;
}

/* The directory `name` in `dirfd`, made if it is missing. The descriptor, or -errno. */
static int open_part(int dirfd, const char *name)
{
        int fd;

        if (mkdirat(dirfd, name, PRIVATE_MODE) < 0 && errno != EEXIST)
                return -errno;
        fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* tree/ stands for the source's root: it has its owner and mode. What is above keeps others out. */
static int dress_tree(int fd, const char *source)
{
        struct stat st;

        if (stat(source, &st) < 0)
                return -errno;
        if (geteuid() == 0 && fchown(fd, st.st_uid, st.st_gid) < 0)
                return -errno;
        return fchmod(fd, st.st_mode & 07777) < 0 ? -errno : 0;
}

static int open_layers(struct overlay *o, int dir_fd)
{
        CLEANUP_FREE char *path = NULL;
        CLEANUP_FREE char *canonical = NULL;
        CLEANUP_FD int fd = open_part(dir_fd, "tree");
        int rc = fd < 0 ? fd : dress_tree(fd, o->source);

        if (rc < 0)
                return rc;
        if (asprintf(&path, "%s/tree", o->dir) < 0)
                return -ENOMEM;
        canonical = realpath(path, NULL);
        if (!canonical)
                return -errno;
        rc = layer_open_both(o->source, canonical, &o->source_layer, &o->layer);
        if (rc == 0) {
                layer_apart(&o->layer, &o->source_layer);
                o->by_copy = !layer_same_mount(&o->layer, &o->source_layer);
        }
        return rc;
}

/* One process at a time: an agent, or a command where there is none. */
static int be_alone(int fd)
{
        unsigned long long deadline = clock_now_ns() + PATIENCE_NS;

        while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                struct timespec step = {.tv_nsec = STEP_NS};

                if (errno != EWOULDBLOCK && errno != EINTR)
                        return -errno;
                if (clock_now_ns() > deadline)
                        return -EBUSY;
                (void)nanosleep(&step, NULL);
        }
        return 0;
}

/* Through the layer's own copy of the mount, so that what is in these can be renamed to tree/ and back. */
static int open_parts(struct overlay *o)
{
        int rc;

        o->dir_fd = rc = openat(o->layer.root_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (rc < 0)
                return -errno;
        rc = be_alone(o->dir_fd);
        if (rc < 0)
                return rc;
        o->kept_fd = rc = open_part(o->dir_fd, "kept");
        if (rc >= 0)
                o->moving_fd = rc = open_part(o->dir_fd, "moving");
        if (rc >= 0)
                o->saved_fd = rc = open_part(o->dir_fd, "saved");
        return rc < 0 ? rc : 0;
}

static int open_all(struct overlay *o)
{
        CLEANUP_FD int fd = -1;
        int rc = make_directories(o->dir);

        if (rc < 0)
                return rc;
        fd = open(o->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fchmod(fd, PRIVATE_MODE) < 0)
                return -errno;
        rc = open_layers(o, fd);
        return rc < 0 ? rc : open_parts(o);
}

int overlay_open(const struct overlay_options *options, struct overlay **ret, char **why)
{
        struct overlay *o = calloc(1, sizeof(*o));
        int rc;

        if (!o)
                return say(why, -ENOMEM, "cannot open the overlay", options->dir);
        o->dir_fd = o->kept_fd = o->moving_fd = o->saved_fd = -1;
        o->source_layer.root_fd = o->layer.root_fd = -1;
        atomic_init(&o->epoch, 1);
        mutex_init(&o->lock);
        mutex_init(&o->work);
        rwlock_init(&o->gate);
        rwlock_init(&o->paths);
        o->dir = strdup(options->dir);
        o->source = strdup(options->source);
        rc = o->dir && o->source ? open_all(o) : -ENOMEM;
        if (rc == 0)
                rc = disk_recover_restores(o);
        if (rc == -EBUSY) {
                overlay_free(o);
                return disk_say(why, rc, "another dsfs command is at work in %s; try again when it has ended", options->dir);
        }
        o->budget = options->budget;
        if (rc == 0)
                rc = generations_new(o, &o->generations);
        if (rc < 0) {
                overlay_free(o);
                return say(why, rc, "cannot open the overlay", options->dir);
        }
        rc = cross_recover(o);
        if (rc < 0)
                log_warn("%s: what an earlier agent left half done stays so: %s", o->dir, strerror(-rc));
        overlay_set_rules(o, options->rules);
        *ret = o;
        return 0;
}

void overlay_free(struct overlay *o)
{
        if (!o)
                return;
        generations_free(o->generations);
        mutex_lock(&o->lock);
        for (size_t i = 0; i < o->past_count; i++)
                rules_free(o->past[i]);
        free(o->past);
        mutex_unlock(&o->lock);
        mutex_release(&o->lock);
        mutex_release(&o->work);
        rwlock_release(&o->paths);
        rwlock_release(&o->gate);
        layer_release(&o->layer);
        layer_release(&o->source_layer);
        fd_close(&o->saved_fd);
        fd_close(&o->moving_fd);
        fd_close(&o->kept_fd);
        fd_close(&o->dir_fd);
        free(o->dir);
        free(o->source);
        free(o);
}

void overlay_listen(struct overlay *o, const struct overlay_listener *listener, void *arg)
{
        o->listener_arg = arg;
        o->listener = listener;
}

void overlay_moved(struct overlay *o, struct fs_mount *origin, const struct ident *was, const struct ident *is, uint8_t what)
{
        fs_moved(origin, was, is, what);
        if (o->listener)
                o->listener->moved(o->listener_arg, origin, was, is, what);
}

bool overlay_is_passed(struct overlay *o, struct fs_mount *origin, const struct ident *object)
{
        return fs_is_passed(origin, object) || (o->listener && o->listener->is_passed(o->listener_arg, origin, object));
}

bool overlay_beside_source(const struct overlay *o)
{
        return o->layer.fs == 0;
}

void overlay_watched(struct overlay *o, bool watched)
{
        atomic_store(&o->watched, watched);
}

void overlay_keys_watched(struct overlay *o, bool watched)
{
        generations_watched(o->generations, watched);
}

/*
 * Rules
 */

/* Those before are kept, for nodes remember their places in them: there are as many as somebody has edited the configuration. */
void overlay_set_rules(struct overlay *o, struct rules *rules)
{
        struct rules **more;

        mutex_lock(&o->lock);
        more = realloc(o->past, (o->past_count + 1) * sizeof(*o->past));
        if (more) {
                o->past = more;
                o->past[o->past_count++] = rules;
        }
        mutex_unlock(&o->lock);
        atomic_store(&o->rules, rules);
        overlay_raise_epoch(o);
}

const struct rules *overlay_rules(struct overlay *o)
{
        return atomic_load(&o->rules);
}

void overlay_raise_epoch(struct overlay *o)
{
        atomic_fetch_add(&o->epoch, 1);
}

/*
 * Shadows
 */

int overlay_open_beneath(int root, const char *path, int flags)
{
        struct open_how how = {.flags = (unsigned)flags | O_NOFOLLOW | O_CLOEXEC,
                               .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
        int fd = (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof(how));

        return fd < 0 ? -errno : fd;
}

int overlay_source_open(const struct overlay *o, const char *path)
{
        return overlay_open_beneath(o->source_layer.root_fd, path, O_PATH | O_DIRECTORY);
}

int overlay_shadow(const struct overlay *o, const char *path)
{
        int fd = overlay_open_beneath(o->layer.root_fd, path, O_PATH | O_DIRECTORY);

        /* Where an artifact of another kind stands now, there is no shadow. */
        return fd == -ENOTDIR || fd == -ELOOP ? -ENOENT : fd;
}

/* Make the shadow `name` of the source's `like`, in `dirfd`. */
static int make_shadow(const struct overlay *o, int dirfd, const char *name, const char *like)
{
        CLEANUP_FD int there = overlay_open_beneath(o->source_layer.root_fd, like, O_PATH | O_DIRECTORY);
        CLEANUP_FD int fd = -1;
        struct stat st;

        if (there < 0)
                return there;
        if (fstat(there, &st) < 0)
                return -errno;
        if (mkdirat(dirfd, name, PRIVATE_MODE) < 0)
                return errno == EEXIST ? 0 : -errno;
        fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (geteuid() == 0 && fchown(fd, st.st_uid, st.st_gid) < 0)
                return -errno;
        return fchmod(fd, st.st_mode & 07777) < 0 ? -errno : 0;
}

int overlay_shadow_make(const struct overlay *o, const char *path)
{
        CLEANUP_FD int fd = openat(o->layer.root_fd, ".", O_PATH | O_CLOEXEC);
        char above[PATH_MAX];

        for (const char *at = path; *at && fd >= 0;) {
                size_t len = strcspn(at, "/");
                size_t upto = (size_t)(at - path) + len;
                char name[NAME_MAX + 1];
                int next;
                int rc = len <= NAME_MAX && upto < sizeof(above) ? 0 : -ENAMETOOLONG;

                if (rc < 0)
                        return rc;
                memcpy(name, at, len);
                name[len] = '\0';
                memcpy(above, path, upto);
                above[upto] = '\0';
                next = overlay_open_beneath(fd, name, O_PATH | O_DIRECTORY);
                if (next == -ENOENT) {
                        rc = make_shadow(o, fd, name, above);
                        next = rc < 0 ? rc : overlay_open_beneath(fd, name, O_PATH | O_DIRECTORY);
                }
                if (next < 0)
                        return next;
                fd_close(&fd);
                fd = next;
                at += len + (at[len] == '/');
        }
        return fd < 0 ? -errno : fd_steal(&fd);
}
