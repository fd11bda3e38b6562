#include "fs/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "fs/tree_links.h"

#define PIECE (64UL << 20) /* between two looks at `cancel` */
#define SEARCHABLE 0700

struct copy {
        struct tree_work *w;
        struct tree_links links; /* with the first copy's path, relative to `to` */
        int to;                  /* the parent of the whole copy */
        dev_t dev;
};

/* One entry: where it is, and where it is to be. */
struct entry {
        int from, to;
        const char *from_name, *to_name;
        const char *path; /* the copy's, relative to copy.to */
};

static bool is_cancelled(const struct tree_work *w)
{
        return w->cancel && atomic_load(w->cancel);
}

/*
 * What belongs to an inode
 */

static int copy_one_xattr(int from, int to, const char *name)
{
        char small[512];
        CLEANUP_FREE char *large = NULL;
        ssize_t n = fgetxattr(from, name, small, sizeof(small));

        if (n < 0 && errno == ERANGE) {
                n = fgetxattr(from, name, NULL, 0);
                large = n < 0 ? NULL : malloc((size_t)n + 1);
                n = large ? fgetxattr(from, name, large, (size_t)n) : -1;
        }
        if (n < 0)
                return errno == ENODATA ? 0 : -errno;
        if (fsetxattr(to, name, large ? large : small, (size_t)n, 0) == 0)
                return 0;
        /* What only root may set, or this filesystem doesn't keep, others' programs do without. */
        return errno == EPERM || errno == EOPNOTSUPP ? 0 : -errno;
}

static int copy_xattrs(int from, int to)
{
        CLEANUP_FREE char *names = NULL;
        ssize_t n = flistxattr(from, NULL, 0);
        int rc = 0;

        if (n <= 0)
                return n == 0 || errno == EOPNOTSUPP ? 0 : -errno;
        names = malloc((size_t)n);
        n = names ? flistxattr(from, names, (size_t)n) : -1;
        if (n < 0)
                return names ? -errno : -ENOMEM;
        for (char *at = names; rc == 0 && at < names + n; at += strlen(at) + 1)
                rc = copy_one_xattr(from, to, at);
        return rc;
}

static int give(const struct tree_work *w, int at, const char *name, const struct stat *st)
{
        if (geteuid() != 0)
                return 0;
        return fchownat(at, name, w->own ? w->uid : st->st_uid, w->own ? w->gid : st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static mode_t mode_of(const struct tree_work *w, const struct stat *st)
{
        return st->st_mode & (w->own ? 01777 : 07777);
}

/* Owner first, for that takes capabilities and set-uid bits away; times last. */
static int dress(const struct tree_work *w, int from, int to, const struct stat *st)
{
        struct timespec times[2] = {st->st_atim, st->st_mtim};

        if (geteuid() == 0 && fchown(to, w->own ? w->uid : st->st_uid, w->own ? w->gid : st->st_gid) < 0)
                return -errno;
        if (!w->own) {
                int rc = copy_xattrs(from, to);

                if (rc < 0)
                        return rc;
        }
        if (fchmod(to, mode_of(w, st)) < 0 || futimens(to, times) < 0)
                return -errno;
        return 0;
}

/*
 * Files
 */

static int copy_range(const struct tree_work *w, int from, int to, off_t begin, off_t end)
{
        off_t out = begin;

        while (begin < end) {
                size_t piece = (uint64_t)(end - begin) < PIECE ? (size_t)(end - begin) : PIECE;
                ssize_t n;

                if (is_cancelled(w))
                        return -ECANCELED;
                n = copy_file_range(from, &begin, to, &out, piece, 0);
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return 0; /* it is shorter now */
        }
        return 0;
}

static int copy_plainly(int from, int to, off_t begin, off_t end)
{
        char bytes[65536];

        while (begin < end) {
                size_t piece = (uint64_t)(end - begin) < sizeof(bytes) ? (size_t)(end - begin) : sizeof(bytes);
                ssize_t n = pread(from, bytes, piece, begin);

                if (n <= 0)
                        return n == 0 ? 0 : -errno;
                for (ssize_t done = 0, m; done < n; done += m) {
                        m = pwrite(to, bytes + done, (size_t)(n - done), begin + done);
                        if (m < 0)
                                return -errno;
                }
                begin += n;
        }
        return 0;
}

/* Whatever is data; holes stay. */
static int copy_data(const struct tree_work *w, int from, int to, off_t size)
{
        off_t at = 0;

        if (ioctl(to, FICLONE, from) == 0)
                return 0;
        if (ftruncate(to, size) < 0)
                return -errno;
        while (at < size) {
                off_t begin = lseek(from, at, SEEK_DATA);
                off_t end = begin < 0 ? -1 : lseek(from, begin, SEEK_HOLE);
                int rc;

                if (begin < 0 && errno == ENXIO)
                        return 0;
                if (begin < 0 || end < 0) {
                        begin = at;
                        end = size;
                }
                rc = copy_range(w, from, to, begin, end);
                if (rc == -EXDEV || rc == -EINVAL || rc == -EOPNOTSUPP || rc == -ENOSYS)
                        rc = copy_plainly(from, to, begin, end);
                if (rc < 0)
                        return rc;
                at = end;
        }
        return 0;
}

static int copy_content(struct copy *c, const struct entry *e, const struct stat *st)
{
        CLEANUP_FD int from = openat(e->from, e->from_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        CLEANUP_FD int to = -1;
        int rc;

        if (from < 0)
                return -errno;
        to = openat(e->to, e->to_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (to < 0)
                return -errno;
        rc = copy_data(c->w, from, to, st->st_size);
        return rc < 0 ? rc : dress(c->w, from, to, st);
}

static int copy_file(struct copy *c, const struct entry *e, const struct stat *st)
{
        const char *before = NULL;
        char *path;
        int rc;

        if (st->st_nlink < 2)
                return copy_content(c, e, st);
        path = strdup(e->path);
        rc = path ? tree_links_add(&c->links, st->st_ino, path, &before) : -ENOMEM;
        if (rc == 0)
                return copy_content(c, e, st);
        free(path);
        if (rc == -EEXIST && linkat(c->to, before, e->to, e->to_name, 0) == 0)
                return 0;
        /* Too many links, or too far down to be named: a copy is as good. */
        return rc == -EEXIST ? copy_content(c, e, st) : rc;
}

/*
 * Everything else
 */

static int copy_link(struct copy *c, const struct entry *e, const struct stat *st)
{
        struct timespec times[2] = {st->st_atim, st->st_mtim};
        char target[PATH_MAX];
        ssize_t n = readlinkat(e->from, e->from_name, target, sizeof(target));
        int rc;

        if (n < 0 || n == sizeof(target))
                return n < 0 ? -errno : -ENAMETOOLONG;
        target[n] = '\0';
        if (symlinkat(target, e->to, e->to_name) < 0)
                return -errno;
        rc = give(c->w, e->to, e->to_name, st);
        if (rc == 0 && utimensat(e->to, e->to_name, times, AT_SYMLINK_NOFOLLOW) < 0)
                rc = -errno;
        return rc;
}

static int copy_special(struct copy *c, const struct entry *e, const struct stat *st)
{
        int rc;

        if (mknodat(e->to, e->to_name, st->st_mode, st->st_rdev) < 0)
                return -errno;
        rc = give(c->w, e->to, e->to_name, st);
        if (rc == 0 && fchmodat(e->to, e->to_name, mode_of(c->w, st), 0) < 0)
                rc = -errno;
        return rc;
}

static int copy_entry(struct copy *c, const struct entry *e);

static void prepend_trouble(struct tree_work *w, const char *name)
{
        size_t len = strlen(name);
        size_t had = strlen(w->trouble);

        if (len + 1 + had >= sizeof(w->trouble))
                return;
        memmove(w->trouble + len + (had > 0), w->trouble, had + 1);
        memcpy(w->trouble, name, len);
        if (had)
                w->trouble[len] = '/';
}

static int copy_entries(struct copy *c, DIR *from, int to, const char *path)
{
        struct dirent *e;
        int rc = 0;

        while (rc == 0 && (e = readdir(from))) {
                CLEANUP_FREE char *below = NULL;
                struct entry sub = {.from = dirfd(from), .to = to, .from_name = e->d_name, .to_name = e->d_name};

                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                        continue;
                if (asprintf(&below, "%s/%s", path, e->d_name) < 0) {
                        below = NULL;
                        return -ENOMEM;
                }
                sub.path = below;
                rc = copy_entry(c, &sub);
        }
        return rc;
}

static int copy_dir(struct copy *c, const struct entry *e, const struct stat *st)
{
        CLEANUP_FD int to = -1;
        int from = openat(e->from, e->from_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *d = from < 0 ? NULL : fdopendir(from);
        int rc = d ? 0 : -errno;

        if (!d) {
                fd_close(&from);
                return rc;
        }
        if (mkdirat(e->to, e->to_name, SEARCHABLE) < 0)
                rc = -errno;
        else if ((to = openat(e->to, e->to_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
                rc = -errno;
        if (rc == 0)
                rc = copy_entries(c, d, to, e->path);
        if (rc == 0)
                rc = dress(c->w, from, to, st);
        closedir(d);
        return rc;
}

static int copy_entry(struct copy *c, const struct entry *e)
{
        struct stat st;
        int rc = fstatat(e->from, e->from_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;

        if (rc == 0 && is_cancelled(c->w))
                rc = -ECANCELED;
        if (rc == 0 && st.st_dev != c->dev)
                return 0; /* somebody's mount */
        if (rc == 0) {
                switch (st.st_mode & S_IFMT) {
                case S_IFDIR:
                        rc = copy_dir(c, e, &st);
                        break;
                case S_IFREG:
                        rc = copy_file(c, e, &st);
                        break;
                case S_IFLNK:
                        rc = copy_link(c, e, &st);
                        break;
                default:
                        rc = copy_special(c, e, &st);
                }
        }
        if (rc < 0)
                prepend_trouble(c->w, e->from_name);
        return rc;
}

int tree_copy(struct tree_work *w, int from, const char *from_name, int to, const char *to_name)
{
        struct copy c = {.w = w, .to = to};
        struct entry e = {.from = from, .to = to, .from_name = from_name, .to_name = to_name, .path = to_name};
        struct stat st;
        int rc;

        w->trouble[0] = '\0';
        if (fstatat(from, from_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        c.dev = st.st_dev;
        rc = copy_entry(&c, &e);
        tree_links_release(&c.links);
        return rc;
}
