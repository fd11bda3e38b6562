#include "fs/reach.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "fs/later.h"
#include "fs/overlay.h"
#include "fs/place.h"
#include "fs/privs.h"

#define READ_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
#define NAMES_TRIED 8U
/* What looking for one node may cost, in descriptors opened: twice PATH_MAX / 2 directories. Stale names may lead in circles. */
#define OPENS_MAX 4096U

static int reach_path(struct fs_mount *m, struct node *n, unsigned *budget, struct held *ret);

/* By the identity, for a node that is led to another object changes both, one after the other. */
static const struct layer *layer_of_ident(const struct fs_mount *m, const struct node *n, const struct ident *ident)
{
        if (!m->overlay || !m->overlay->layer.fs)
                return layer_of(m, n);
        return ident->fs ? &m->overlay->layer : &m->source;
}

static bool is_node(const struct fs_mount *m, int fd, const struct node *n)
{
        struct ident is = node_ident(m->nodes, n);
        struct ident ident;

        return layer_ident(layer_of_ident(m, n, &is), fd, "", &ident) == 0 && ident_equal(&ident, &is);
}

static int open_by_handle(struct fs_mount *m, const struct node *n)
{
        struct ident ident = node_ident(m->nodes, n);
        const struct layer *l = layer_of_ident(m, n, &ident);
        int fd;

        if (!l->by_handle)
                return -ESTALE;
        fd = ident_open(l->root_fd, &ident, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        /* The kernel says ENOMEM of an inode that is just being deleted. */
        return fd == -ENOMEM ? -ESTALE : fd;
}

/* Does it mean that the object is not there, rather than that we couldn't look? */
static bool is_gone(int rc)
{
        return rc == -ESTALE || rc == -ENOENT || rc == -ENOTDIR;
}

/* `text` in the directory: in the overlay's part of it, where the node lives there. */
static int open_entry(const struct fs_mount *m, const struct node *n, const struct node *dir, int dirfd, const char *text)
{
        bool apart = node_is(n, NODE_OVERLAY) && !node_is(dir, NODE_OVERLAY);
        CLEANUP_FD int shadow = apart ? place_shadow(m, dirfd) : -1;
        int fd;

        if (apart && shadow < 0)
                return shadow;
        fd = openat(apart ? shadow : dirfd, text, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* Through the names that we know; each only as good as what stands there now. */
static int open_by_name(struct fs_mount *m, struct node *n, unsigned *budget)
{
        char text[NAME_BYTES_MAX + 1];
        node_id dir_id;
        int why = -ESTALE;

        for (unsigned nth = 0; nth < NAMES_TRIED && (dir_id = name_of_node(m->names, n, nth, text)) != NODE_NONE; nth++) {
                struct node *dir = node_hold(m->nodes, dir_id);
                CLEANUP_FD int fd = -1;
                struct held h;
                int rc;

                if (!dir)
                        continue;
                rc = reach_path(m, dir, budget, &h);
                if (rc == 0) {
                        fd = rc = open_entry(m, n, dir, h.fd, text);
                        slots_release(m->slots, &h);
                }
                mount_forget(m, dir, 1);
                if (fd >= 0 && is_node(m, fd, n))
                        return fd_steal(&fd);
                if (rc < 0 && !is_gone(rc))
                        why = rc;
        }
        return why;
}

/* Directories by handle first: that costs one call whatever the depth. Files by name first: an object opened by handle alone has no name
 * for the host's watchers to be told. */
static int open_path(struct fs_mount *m, struct node *n, unsigned *budget)
{
        int fd;

        if (*budget == 0)
                return -ESTALE;
        --*budget;
        if (S_ISDIR(n->type)) {
                fd = open_by_handle(m, n);
                return fd >= 0 ? fd : open_by_name(m, n, budget);
        }
        fd = open_by_name(m, n, budget);
        return fd >= 0 || !layer_of(m, n)->by_handle ? fd : open_by_handle(m, n);
}

static int reach_path(struct fs_mount *m, struct node *n, unsigned *budget, struct held *ret)
{
        uint32_t bound = atomic_load(&n->bound);
        int fd;

        if (slots_get(m->slots, n, SLOT_PATH, ret))
                return 0;
        fd = open_path(m, n, budget);
        if (fd < 0)
                return fd;
        *ret = slots_put_bound(m->slots, n, SLOT_PATH, fd, bound);
        return 0;
}

/* Without privilege, a file whose mode keeps its owner out. Who made it so, or changed the mode while it was open, may go on reading and
 * writing: the kernel decided that, and doesn't tell us who has it open. So the mode is lifted for a moment; the lock keeps two that do so
 * from taking each other's for the file's own. */
static int reopen_lifted(int path_fd, int flags)
{
        static struct mutex lifting = MUTEX_INIT;
        struct stat st;
        int fd = -EACCES;

        mutex_lock(&lifting);
        if (fstatat(path_fd, "", &st, AT_EMPTY_PATH) == 0 && st.st_uid == geteuid() &&
            privs_chmod(path_fd, st.st_mode | S_IRUSR | S_IWUSR) == 0) {
                fd = open(fd_proc_path(path_fd).text, flags);
                fd = fd < 0 ? -errno : fd;
                (void)privs_chmod(path_fd, st.st_mode);
        }
        mutex_unlock(&lifting);
        return fd;
}

/* Turn a path descriptor into one for reading or writing. */
static int reopen(struct fs_mount *m, struct node *n, int path_fd, enum slot_mode mode)
{
        int flags = READ_FLAGS | (mode == SLOT_WRITE ? O_RDWR : 0);
        int fd = open(fd_proc_path(path_fd).text, flags);

        if (fd >= 0 || errno != EACCES || m->privileged)
                return fd < 0 ? -errno : fd;
        fd = reopen_lifted(path_fd, flags);
        later_attr(m, n);
        return fd;
}

/* The node has no descriptor that will do. */
static int reach_new(struct fs_mount *m, struct node *n, enum slot_mode mode, struct held *ret)
{
        unsigned budget = OPENS_MAX;
        uint32_t bound = atomic_load(&n->bound);
        struct held path;
        int rc;
        int fd;

        if (mode == SLOT_PATH)
                return reach_path(m, n, &budget, ret);
        if (!S_ISREG(n->type))
                return S_ISDIR(n->type) ? -EISDIR : -EINVAL;
        /* A path descriptor that is not kept yet need not be: the better one takes its place at once. */
        if (!slots_get(m->slots, n, SLOT_PATH, &path)) {
                fd = open_path(m, n, &budget);
                if (fd < 0)
                        return fd;
                path = (struct held){.fd = fd, .slot = -1};
        }
        fd = rc = reopen(m, n, path.fd, mode);
        if (fd >= 0) {
                *ret = slots_put_bound(m->slots, n, mode, fd, bound);
                rc = 0;
        }
        slots_release(m->slots, &path);
        return rc;
}

static bool is_short(int rc)
{
        return rc == -EMFILE || rc == -ENFILE;
}

int reach(struct fs_mount *m, struct node *n, enum slot_mode mode, struct held *ret)
{
        int rc;

        if (mode == SLOT_WRITE && node_is(n, NODE_READONLY))
                return -EROFS;
        if (slots_get(m->slots, n, mode, ret))
                return 0;
        rc = reach_new(m, n, mode, ret);
        /* The process, or the system, has fewer descriptors than the budget took for granted: what isn't needed goes. */
        if (is_short(rc)) {
                slots_trim();
                rc = reach_new(m, n, mode, ret);
        }
        return rc;
}

/* Not kept: the next reader may want the access time moved. */
static int reach_unnoticed(struct fs_mount *m, struct node *n, struct held *ret)
{
        struct held path;
        int rc = reach(m, n, SLOT_PATH, &path);
        int fd;

        if (rc < 0)
                return rc;
        fd = reach_openat(AT_FDCWD, fd_proc_path(path.fd).text, READ_FLAGS | O_NOATIME, 0);
        slots_release(m->slots, &path);
        *ret = (struct held){.fd = fd, .slot = -1};
        return fd < 0 ? fd : 0;
}

int reach_as_opened(struct fs_mount *m, struct node *n, int flags, struct held *ret)
{
        if ((flags & O_NOATIME) && S_ISREG(n->type) && reach_unnoticed(m, n, ret) == 0)
                return 0;
        return reach(m, n, SLOT_READ, ret);
}

int reach_openat(int dirfd, const char *name, int flags, mode_t mode)
{
        int fd = openat(dirfd, name, flags, mode);

        if (fd < 0 && is_short(-errno)) {
                slots_trim();
                fd = openat(dirfd, name, flags, mode);
        }
        return fd < 0 ? -errno : fd;
}

int reach_directory(struct fs_mount *m, struct node *n)
{
        struct held h;
        int rc = reach(m, n, SLOT_PATH, &h);
        int fd;

        if (rc < 0)
                return rc;
        fd = reach_openat(h.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        slots_release(m->slots, &h);
        return fd;
}

bool reach_pin(struct fs_mount *m, struct node *n)
{
        struct held h;
        bool pinned;
        int rc = reach(m, n, SLOT_PATH, &h);

        if (rc < 0)
                return is_gone(rc); /* then there is nothing to keep */
        pinned = slots_pin(m->slots, n);
        slots_release(m->slots, &h);
        return pinned;
}
