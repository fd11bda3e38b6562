#include "fs/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "fs/tree_links.h"

#define BLOCK 512U
#define SEARCHABLE 0700
#define SET_ID (S_ISUID | S_ISGID)

static bool is_dots(const char *name)
{
        return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static int open_dir(int at, const char *name)
{
        int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

/* Takes fd. */
static DIR *list_of(int fd)
{
        DIR *d = fdopendir(fd);

        if (!d)
                fd_close(&fd);
        return d;
}

/*
 * Removing
 */

static int remove_entries(int fd)
{
        /* Opened anew: a duplicate would go on where the last one ended. */
        DIR *d = list_of(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        struct dirent *e;
        int rc = d ? 0 : -errno;

        while (rc == 0 && d && (e = readdir(d))) {
                if (!is_dots(e->d_name))
                        rc = tree_remove(fd, e->d_name);
        }
        if (d)
                closedir(d);
        return rc;
}

/* A directory that isn't the way in for its own owner is made so. */
static int open_to_empty(int at, const char *name)
{
        int fd = open_dir(at, name);

        if (fd != -EACCES || fchmodat(at, name, SEARCHABLE, 0) < 0)
                return fd;
        return open_dir(at, name);
}

static int remove_dir(int at, const char *name)
{
        CLEANUP_FD int fd = open_to_empty(at, name);
        int rc = fd < 0 ? fd : remove_entries(fd);

        if (rc == -EACCES && fd >= 0 && fchmod(fd, SEARCHABLE) == 0)
                rc = remove_entries(fd);
        if (rc < 0)
                return rc == -ENOENT ? 0 : rc;
        return unlinkat(at, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

int tree_remove(int at, const char *name)
{
        if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
                return 0;
        return errno == EISDIR || errno == EPERM ? remove_dir(at, name) : -errno;
}

/*
 * Counting and owning: a walk that changes no names
 */

struct walk {
        struct tree_work *w;
        struct artifact_size *size; /* NULL: own what is met */
        struct tree_links links;
        dev_t dev;
};

static int count_one(struct walk *k, const struct stat *st)
{
        int rc = S_ISDIR(st->st_mode) || st->st_nlink < 2 ? 0 : tree_links_add(&k->links, st->st_ino, NULL, NULL);

        if (rc == -EEXIST)
                return 0;
        k->size->bytes += (uint64_t)st->st_blocks * BLOCK;
        k->size->files += !S_ISDIR(st->st_mode);
        return rc;
}

static int own_one(const struct tree_work *w, int at, const char *name, const struct stat *st)
{
        if (geteuid() == 0 && fchownat(at, name, w->uid, w->gid, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (S_ISLNK(st->st_mode) || !(st->st_mode & SET_ID))
                return 0;
        return fchmodat(at, name, st->st_mode & 07777 & ~(mode_t)SET_ID, 0) < 0 ? -errno : 0;
}

static int visit(struct walk *k, int at, const char *name);

static int visit_entries(struct walk *k, int at, const char *name)
{
        int fd = open_dir(at, name);
        DIR *d = fd < 0 ? NULL : list_of(fd);
        struct dirent *e;
        int rc = 0;

        if (!d)
                return k->size ? 0 : fd < 0 ? fd : -errno;
        while (rc == 0 && (e = readdir(d))) {
                if (!is_dots(e->d_name))
                        rc = visit(k, dirfd(d), e->d_name);
        }
        closedir(d);
        return rc;
}

static int visit(struct walk *k, int at, const char *name)
{
        struct stat st;
        int rc;

        if (k->w->cancel && atomic_load(k->w->cancel))
                return -ECANCELED;
        if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != k->dev)
                return 0;
        rc = k->size ? count_one(k, &st) : own_one(k->w, at, name, &st);
        return rc == 0 && S_ISDIR(st.st_mode) ? visit_entries(k, at, name) : rc;
}

static int walk(struct tree_work *w, int at, const char *name, struct artifact_size *size)
{
        struct walk k = {.w = w, .size = size};
        struct stat st;
        int rc;

        if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : -errno;
        k.dev = st.st_dev;
        rc = visit(&k, at, name);
        tree_links_release(&k.links);
        return rc;
}

int tree_count(struct tree_work *w, int at, const char *name, struct artifact_size *ret)
{
        return walk(w, at, name, ret);
}

int tree_own(struct tree_work *w, int at, const char *name)
{
        return walk(w, at, name, NULL);
}
