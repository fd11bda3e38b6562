#include "fs/cross_copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cache/base/fd.h"

#define BLOCK_BYTES ((size_t)256 << 10)
#define PAIRS_MIN 16U
#define NS_PER_S 1000000000LL
#define PRIVATE_FILE 0600
#define PRIVATE_DIR 0700

void cross_pairs_release(struct cross_pairs *p)
{
        free(p->list);
        p->list = NULL;
        p->count = p->room = 0;
}

DIR *cross_read_directory(int fd)
{
        int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = own < 0 ? NULL : fdopendir(own);

        if (!d && own >= 0)
                close(own);
        return d;
}

static int64_t changed_ns(const struct stat *st)
{
        return st->st_ctim.tv_sec * NS_PER_S + st->st_ctim.tv_nsec;
}

static int add_pair(struct cross_pairs *p, const struct stat *st, int from_fd, const char *name, int to_fd, const char *to_name)
{
        struct cross_pair *pair;
        int rc;

        if (p->count == p->room) {
                size_t room = p->room ? p->room * 2 : PAIRS_MIN;
                struct cross_pair *list = realloc(p->list, room * sizeof(*list));

                if (!list)
                        return -ENOMEM;
                p->list = list;
                p->room = room;
        }
        pair = &p->list[p->count];
        rc = layer_ident(p->from, from_fd, name, &pair->was);
        if (rc == 0)
                rc = layer_ident(p->to, to_fd, to_name, &pair->is);
        pair->changed_ns = changed_ns(st);
        p->count += rc == 0;
        return rc;
}

/*
 * Content
 */

static int copy_through(int in, int out, off_t at, off_t end)
{
        CLEANUP_FREE char *block = malloc(BLOCK_BYTES);

        if (!block)
                return -ENOMEM;
        while (at < end) {
                size_t want = end - at < (off_t)BLOCK_BYTES ? (size_t)(end - at) : BLOCK_BYTES;
                ssize_t got = pread(in, block, want, at);
                ssize_t put = got > 0 ? pwrite(out, block, (size_t)got, at) : got;

                if (put < 0 && errno == EINTR)
                        continue;
                if (put < 0)
                        return -errno;
                if (got == 0)
                        break; /* it has become shorter: who compares will see */
                at += put;
        }
        return 0;
}

static int copy_range(int in, int out, off_t at, off_t end)
{
        while (at < end) {
                loff_t from = at, to = at;
                ssize_t n = copy_file_range(in, &from, out, &to, (size_t)(end - at), 0);

                if (n <= 0)
                        return copy_through(in, out, at, end);
                at += n;
        }
        return 0;
}

/* What is a hole stays one. */
static int copy_content(int in, int out, off_t size)
{
        off_t at = 0;
        int rc = 0;

        if (size == 0 || ioctl(out, FICLONE, in) == 0)
                return 0;
        while (rc == 0 && at < size) {
                off_t data = lseek(in, at, SEEK_DATA);
                off_t hole = data < 0 ? -1 : lseek(in, data, SEEK_HOLE);

                if (data < 0 && errno == ENXIO)
                        break;
                if (data < 0 || hole < 0)
                        data = at, hole = size;
                rc = copy_range(in, out, data, hole < size ? hole : size);
                at = hole;
        }
        return rc == 0 && ftruncate(out, size) < 0 ? -errno : rc;
}

/*
 * Attributes
 */

/* Not every filesystem keeps every attribute, nor may we set each. */
static bool may_be_lost(int error)
{
        return error == EOPNOTSUPP || error == EPERM || error == EINVAL;
}

static int copy_xattrs(int in, int out)
{
        CLEANUP_FREE char *names = NULL;
        struct fd_path from = fd_proc_path(in), to = fd_proc_path(out);
        ssize_t len = listxattr(from.text, NULL, 0);

        if (len <= 0)
                return len < 0 && !may_be_lost(errno) ? -errno : 0;
        names = malloc((size_t)len);
        if (!names)
                return -ENOMEM;
        len = listxattr(from.text, names, (size_t)len);
        for (const char *name = names; len > 0 && name < names + len; name += strlen(name) + 1) {
                CLEANUP_FREE char *value = NULL;
                ssize_t size = getxattr(from.text, name, NULL, 0);

                value = size < 0 ? NULL : malloc((size_t)size + 1);
                if (value)
                        size = getxattr(from.text, name, value, (size_t)size);
                if (value && size >= 0 && setxattr(to.text, name, value, (size_t)size, 0) < 0 && !may_be_lost(errno))
                        return -errno;
        }
        return len < 0 ? -errno : 0;
}

/* The copy's owner, and what bits it may keep then. */
static int give(const struct cross_pairs *p, const struct stat *st, int fd, const char *name, mode_t *mode)
{
        uid_t uid = p->uid == (uid_t)-1 ? st->st_uid : p->uid;
        gid_t gid = p->gid == (gid_t)-1 ? st->st_gid : p->gid;

        *mode = st->st_mode & 07777;
        if (!S_ISDIR(st->st_mode) && (uid != st->st_uid || gid != st->st_gid))
                *mode &= ~(mode_t)(S_ISUID | S_ISGID);
        return fchownat(fd, name, uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 && errno != EPERM ? -errno : 0;
}

/* Times last: all else moves them. */
static int dress(const struct cross_pairs *p, int in, int out, const struct stat *st)
{
        struct timespec times[] = {st->st_atim, st->st_mtim};
        mode_t mode;
        int rc = give(p, st, out, "", &mode);

        if (rc == 0)
                rc = copy_xattrs(in, out);
        if (rc < 0)
                return rc;
        return fchmod(out, mode) < 0 || futimens(out, times) < 0 ? -errno : 0;
}

/*
 * Objects
 */

int cross_copy_file(struct cross_pairs *p, int from_fd, const char *name, int fd)
{
        CLEANUP_FD int in = openat(from_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        struct stat st;
        int rc;

        if (in < 0 || fstat(in, &st) < 0)
                return -errno;
        rc = S_ISREG(st.st_mode) ? copy_content(in, fd, st.st_size) : -ESTALE;
        if (rc == 0)
                rc = dress(p, in, fd, &st);
        return rc < 0 ? rc : add_pair(p, &st, in, "", fd, "");
}

static int copy_regular(struct cross_pairs *p, int from_fd, const char *name, int to_fd, const char *to_name)
{
        CLEANUP_FD int out = openat(to_fd, to_name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, PRIVATE_FILE);

        return out < 0 ? -errno : cross_copy_file(p, from_fd, name, out);
}

static int copy_symlink(struct cross_pairs *p, const struct stat *st, int from_fd, const char *name, int to_fd, const char *to_name)
{
        struct timespec times[] = {st->st_atim, st->st_mtim};
        char target[PATH_MAX + 1];
        ssize_t len = readlinkat(from_fd, name, target, sizeof(target) - 1);
        mode_t mode;
        int rc;

        if (len < 0)
                return -errno;
        target[len] = '\0';
        if (symlinkat(target, to_fd, to_name) < 0)
                return -errno;
        rc = give(p, st, to_fd, to_name, &mode);
        if (rc < 0)
                return rc;
        if (utimensat(to_fd, to_name, times, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        return add_pair(p, st, from_fd, name, to_fd, to_name);
}

static bool is_dots(const char *name)
{
        return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int copy_directory(struct cross_pairs *p, const struct stat *st, int from_fd, const char *name, int to_fd, const char *to_name)
{
        CLEANUP_FD int in = openat(from_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        CLEANUP_FD int out = -1;
        const struct dirent *e;
        int rc = 0;
        DIR *d;

        if (in < 0 || mkdirat(to_fd, to_name, PRIVATE_DIR) < 0)
                return -errno;
        out = openat(to_fd, to_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        d = out < 0 ? NULL : cross_read_directory(in);
        if (!d)
                return -errno;
        while (rc == 0 && (errno = 0, e = readdir(d))) {
                if (!is_dots(e->d_name))
                        rc = cross_copy(p, in, e->d_name, out, e->d_name);
        }
        if (rc == 0 && errno)
                rc = -errno;
        closedir(d);
        if (rc == 0)
                rc = dress(p, in, out, st);
        return rc < 0 ? rc : add_pair(p, st, in, "", out, "");
}

int cross_copy(struct cross_pairs *p, int from_fd, const char *name, int to_fd, const char *to_name)
{
        struct stat st;

        if (fstatat(from_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (S_ISREG(st.st_mode))
                return copy_regular(p, from_fd, name, to_fd, to_name);
        if (S_ISLNK(st.st_mode))
                return copy_symlink(p, &st, from_fd, name, to_fd, to_name);
        return S_ISDIR(st.st_mode) ? copy_directory(p, &st, from_fd, name, to_fd, to_name) : -EXDEV;
}

/*
 * Removing
 */

/* Whether the entry may go; NULL `p`: all may. */
static bool is_to_go(const struct cross_pairs *p, int fd, const char *name);

static bool remove_tree(const struct cross_pairs *p, int fd, const char *name)
{
        CLEANUP_FD int in = -1;
        const struct dirent *e;
        bool whole = true;
        struct stat st;
        DIR *d;

        if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT;
        if (!S_ISDIR(st.st_mode))
                return is_to_go(p, fd, name) && unlinkat(fd, name, 0) == 0;
        in = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        d = in < 0 ? NULL : cross_read_directory(in);
        if (!d)
                return false;
        while ((e = readdir(d))) {
                if (!is_dots(e->d_name))
                        whole &= remove_tree(p, in, e->d_name);
        }
        closedir(d);
        return unlinkat(fd, name, AT_REMOVEDIR) == 0 && whole;
}

void cross_remove(int fd, const char *name)
{
        (void)remove_tree(NULL, fd, name);
}

static int by_was(const void *a, const void *b)
{
        return memcmp(&((const struct cross_pair *)a)->was, &((const struct cross_pair *)b)->was, sizeof(struct ident));
}

static bool is_to_go(const struct cross_pairs *p, int fd, const char *name)
{
        const struct cross_pair *found;
        struct cross_pair key = {0};
        struct stat st;

        if (!p)
                return true;
        if (layer_ident(p->from, fd, name, &key.was) < 0 || fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return false;
        found = bsearch(&key, p->list, p->count, sizeof(*p->list), by_was);
        return found && found->changed_ns == changed_ns(&st);
}

bool cross_remove_copied(struct cross_pairs *p, int from_fd, const char *name)
{
        qsort(p->list, p->count, sizeof(*p->list), by_was);
        return remove_tree(p, from_fd, name);
}
