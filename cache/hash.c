/*
 * A file is hashed between two looks at its stat tuple: if they differ, once more. A change that comes so soon after the last one that
 * the filesystem's clock has not moved on leaves the same tuple; so what was changed just now counts as racy, and is hashed again when it
 * is next looked at, as git does. The same holds for times in the future: the clock may have been set back.
 */
#include "cache/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include "cache/base/fd.h"

#define TRIES 4
/* The kernel's clock for times in filesystems moves every 1 to 10 ms. */
#define GRANULE_NS 20000000LL
/* FAT keeps times in steps of two seconds. */
#define COARSE_GRANULE_NS 2100000000LL
#define LONG_WRITE_BYTES (256U * 1024U)
#define MSDOS_MAGIC 0x4d44
#define EXFAT_MAGIC 0x2011BAB0
#define NS_PER_S 1000000000LL
/* Files of this size that were not in the page cache are not left in it: a developer's other pages are worth more. */
#define DROP_BYTES (256U * 1024U)

/* Of a sparse file nobody needs to know more: it would be read for hours. */
#define FILE_BYTES_MAX (1ULL << 40)

struct hasher {
        XXH3_state_t state;
        const atomic_bool *cancel; /* or NULL */
        char buffer[HASH_BUFFER_BYTES];
};

struct hasher *hasher_new(const atomic_bool *cancel)
{
        struct hasher *h = aligned_alloc(64, (sizeof(struct hasher) + 63) / 64 * 64);

        if (h)
                h->cancel = cancel;
        return h;
}

void hasher_free(struct hasher *h)
{
        free(h);
}

static struct content canonical(XXH128_hash_t h)
{
        XXH128_canonical_t c;
        struct content ret;

        XXH128_canonicalFromHash(&c, h);
        memcpy(ret.bytes, c.digest, sizeof(ret.bytes));
        return ret;
}

enum content_kind content_kind_of(uint32_t mode)
{
        switch (mode & S_IFMT) {
        case S_IFREG:
                return mode & S_IXUSR ? CONTENT_PROGRAM : CONTENT_FILE;
        case S_IFLNK:
                return CONTENT_SYMLINK;
        case S_IFDIR:
                return CONTENT_DIRECTORY;
        default:
                return CONTENT_NONE;
        }
}

static int64_t granule(int fd, const struct tuple *t)
{
        struct statfs fs;

        /* One call may write for long, and the times are those of its beginning. */
        if (t->size >= LONG_WRITE_BYTES)
                return COARSE_GRANULE_NS;
        /* Whole seconds are all that ext4 with small inodes and others keep. */
        if (t->ctime_ns == 0)
                return COARSE_GRANULE_NS;
        if (fstatfs(fd, &fs) == 0 && (fs.f_type == MSDOS_MAGIC || fs.f_type == (__fsword_t)EXFAT_MAGIC))
                return COARSE_GRANULE_NS;
        return GRANULE_NS;
}

static bool is_recent(int64_t s, uint32_t ns, const struct timespec *now, int64_t granule_ns)
{
        /* Whole seconds first, for what is decades away would overflow. */
        if (s < now->tv_sec - 3)
                return false;
        return s > now->tv_sec || (now->tv_sec - s) * NS_PER_S + now->tv_nsec - ns < granule_ns;
}

/* `now` is from before the bytes were read. */
static bool is_racy(int fd, const struct tuple *t, const struct timespec *now)
{
        if (!is_recent(t->mtime_s, t->mtime_ns, now, COARSE_GRANULE_NS) && !is_recent(t->ctime_s, t->ctime_ns, now, COARSE_GRANULE_NS))
                return false;
        return is_recent(t->mtime_s, t->mtime_ns, now, granule(fd, t)) || is_recent(t->ctime_s, t->ctime_ns, now, granule(fd, t));
}

static int look(int fd, struct tuple *ret)
{
        struct statx stx;

        if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &stx) < 0)
                return -errno;
        tuple_of(&stx, ret);
        return 0;
}

static ssize_t read_some(int fd, char *buf, size_t size, off_t off, int flags)
{
        struct iovec iov = {.iov_base = buf, .iov_len = size};
        ssize_t n;

        do
                n = flags ? preadv2(fd, &iov, 1, off, flags) : pread(fd, buf, size, off);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
}

/* Its space comes back when it is closed. */
static bool is_removed(int fd)
{
        struct stat st;

        return fstat(fd, &st) == 0 && st.st_nlink == 0;
}

/* To the end, or a little beyond where it was said to be: a file that grows is read again anyway. The count or -errno. */
static int64_t hash_bytes(struct hasher *h, int fd, uint64_t size, struct content *ret)
{
        bool cached = true;
        off_t done = 0;
        ssize_t n = 0;

        if (size >= DROP_BYTES)
                cached = read_some(fd, h->buffer, 1, 0, RWF_NOWAIT) != -EAGAIN;
        n = read_some(fd, h->buffer, sizeof(h->buffer), 0, 0);
        /* One read and the file is known: the state is not needed. */
        if (n >= 0 && (uint64_t)n == size && (size_t)n < sizeof(h->buffer)) {
                *ret = canonical(XXH3_128bits(h->buffer, (size_t)n));
                return n;
        }
        XXH3_128bits_reset(&h->state);
        while (n > 0 && (uint64_t)done <= size) {
                XXH3_128bits_update(&h->state, h->buffer, (size_t)n);
                done += n;
                if (h->cancel && atomic_load_explicit(h->cancel, memory_order_relaxed))
                        return -ECANCELED;
                if (is_removed(fd))
                        return -ENOENT;
                n = read_some(fd, h->buffer, sizeof(h->buffer), done, 0);
        }
        if (!cached)
                (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        *ret = canonical(XXH3_128bits_digest(&h->state));
        return n < 0 ? n : done;
}

static int hash_file(struct hasher *h, int fd, struct hashed *ret)
{
        struct timespec now;
        struct tuple after;
        int64_t n;
        int rc;

        rc = look(fd, &ret->tuple);
        if (rc == 0 && ret->tuple.size > FILE_BYTES_MAX)
                return -EFBIG;
        for (int i = 0; rc == 0 && i < TRIES && !ret->steady; i++) {
                clock_gettime(CLOCK_REALTIME, &now);
                n = hash_bytes(h, fd, ret->tuple.size, &ret->hash);
                rc = n < 0 ? (int)n : look(fd, &after);
                if (rc < 0)
                        break;
                ret->bytes += (uint64_t)n;
                ret->steady = tuple_equal(&ret->tuple, &after);
                ret->tuple = after;
        }
        if (rc == 0) {
                ret->kind = (uint8_t)content_kind_of(ret->tuple.mode);
                ret->racy = !ret->steady || is_racy(fd, &ret->tuple, &now);
        }
        return rc;
}

static int hash_symlink(struct hasher *h, int fd, struct hashed *ret)
{
        struct timespec now;
        ssize_t n;
        int rc = look(fd, &ret->tuple);

        clock_gettime(CLOCK_REALTIME, &now);
        /* The descriptor stands for one inode, and a symlink's target never changes. */
        n = rc < 0 ? rc : readlinkat(fd, "", h->buffer, sizeof(h->buffer));
        if (rc < 0 || n < 0)
                return rc < 0 ? rc : -errno;
        ret->hash = canonical(XXH3_128bits(h->buffer, (size_t)n));
        ret->kind = CONTENT_SYMLINK;
        ret->steady = true;
        ret->racy = is_racy(fd, &ret->tuple, &now);
        return 0;
}

int hash_entry(struct hasher *h, int dirfd, const char *name, struct hashed *ret)
{
        CLEANUP_FD int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | O_NOATIME);
        int rc;

        *ret = (struct hashed){0};
        /* Only the owner may leave the access time alone. */
        if (fd < 0 && errno == EPERM)
                fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0 && errno == ELOOP) {
                fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
                if (fd >= 0)
                        rc = hash_symlink(h, fd, ret);
                else
                        rc = -errno;
                return rc == -EINVAL ? -ENOENT : rc;
        }
        if (fd < 0)
                return errno == ENXIO ? -ENOENT : -errno; /* a socket, or a fifo */
        rc = hash_file(h, fd, ret);
        return rc == -EISDIR || (rc == 0 && !S_ISREG(ret->tuple.mode)) ? -ENOENT : rc;
}

void hash_dir_begin(struct hasher *h)
{
        XXH3_128bits_reset(&h->state);
}

void hash_dir_add(struct hasher *h, const char *name, size_t len, uint8_t kind, const struct content *hash)
{
        char tail[2 + CONTENT_BYTES] = {'\0', (char)kind};

        memcpy(tail + 2, hash->bytes, CONTENT_BYTES);
        XXH3_128bits_update(&h->state, name, len);
        XXH3_128bits_update(&h->state, tail, sizeof(tail));
}

void hash_dir_end(struct hasher *h, struct content *ret)
{
        *ret = canonical(XXH3_128bits_digest(&h->state));
}

bool content_equal(const struct content *a, const struct content *b)
{
        return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

void content_to_text(const struct content *c, char ret[CONTENT_TEXT])
{
        static const char digits[] = "0123456789abcdef";

        for (size_t i = 0; i < CONTENT_BYTES; i++) {
                ret[2 * i] = digits[c->bytes[i] >> 4];
                ret[2 * i + 1] = digits[c->bytes[i] & 15];
        }
        ret[CONTENT_TEXT - 1] = '\0';
}

int content_of_file(int dirfd, const char *name, struct content *ret)
{
        struct hasher *h;
        struct hashed hashed;
        struct stat st;
        int rc;

        /* Opening a fifo or a device does something to it. */
        if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        if (content_kind_of(st.st_mode) == CONTENT_NONE)
                return -EINVAL;
        h = hasher_new(NULL);
        rc = h ? hash_entry(h, dirfd, name, &hashed) : -ENOMEM;
        hasher_free(h);
        if (rc < 0)
                return rc;
        *ret = hashed.hash;
        return hashed.kind;
}
