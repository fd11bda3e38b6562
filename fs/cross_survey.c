#include "fs/cross_survey.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "cache/base/fd.h"

#define NS_PER_S 1000000000LL
#define DEPTH_MAX 128U

static int64_t ns_of(const struct timespec *t)
{
        return t->tv_sec * NS_PER_S + t->tv_nsec;
}

static void mix(struct survey *s, const char *name, const struct stat *st)
{
        uint64_t words[] = {st->st_ino,  st->st_mode, (uint64_t)st->st_size, (uint64_t)ns_of(&st->st_mtim), (uint64_t)ns_of(&st->st_ctim),
                            st->st_nlink};

        s->digest = XXH3_64bits_withSeed(words, sizeof(words), XXH3_64bits_withSeed(name, strlen(name), s->digest));
        if (ns_of(&st->st_ctim) > s->newest_ns)
                s->newest_ns = ns_of(&st->st_ctim);
}

static bool is_copyable(const struct stat *st)
{
        return S_ISDIR(st->st_mode) || ((S_ISREG(st->st_mode) || S_ISLNK(st->st_mode)) && st->st_nlink == 1);
}

static int look(const struct layer *l, int dirfd, const char *name, unsigned depth, struct survey *s);

static int look_inside(const struct layer *l, int above, const char *name, unsigned depth, struct survey *s)
{
        CLEANUP_FD int fd = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        const struct dirent *e;
        int rc = 0;

        if (!d)
                return -errno;
        fd_steal(&fd);
        while (rc == 0 && (errno = 0, e = readdir(d))) {
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
                        rc = look(l, dirfd(d), e->d_name, depth + 1, s);
        }
        if (rc == 0 && errno)
                rc = -errno;
        closedir(d);
        return rc;
}

static int look(const struct layer *l, int dirfd, const char *name, unsigned depth, struct survey *s)
{
        struct stat st;

        if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (st.st_dev != l->dev || !is_copyable(&st) || depth > DEPTH_MAX)
                return -EXDEV;
        mix(s, name, &st);
        if (depth == 0)
                s->is_dir = S_ISDIR(st.st_mode);
        s->entries++;
        s->bytes += S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
        if (s->is_dir && (s->entries > CROSS_ENTRIES_MAX || s->bytes > CROSS_BYTES_MAX))
                return -EXDEV;
        return S_ISDIR(st.st_mode) ? look_inside(l, dirfd, name, depth, s) : 0;
}

int cross_survey(const struct layer *l, int dirfd, const char *name, struct survey *ret)
{
        *ret = (struct survey){0};
        return look(l, dirfd, name, 0, ret);
}
