#include "cache/base/ident.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#ifndef AT_HANDLE_FID
#define AT_HANDLE_FID 0x200
#endif

#define HANDLE_MAX 128

struct handle {
        struct file_handle head;
        unsigned char bytes[HANDLE_MAX];
};

bool ident_from_handle(int type, const void *bytes, size_t len, struct ident *ret)
{
        XXH128_canonical_t digest;

        if (len == 0 || len > HANDLE_MAX)
                return false;
        memset(ret, 0, sizeof(*ret));
        ret->type = (int16_t)type;
        if (len <= IDENT_BYTES) {
                ret->how = IDENT_HANDLE;
                ret->len = (uint8_t)len;
                memcpy(ret->bytes, bytes, len);
                return true;
        }
        XXH128_canonicalFromHash(&digest, XXH3_128bits(bytes, len));
        ret->how = IDENT_DIGEST;
        ret->len = sizeof(digest.digest);
        memcpy(ret->bytes, digest.digest, sizeof(digest.digest));
        return true;
}

static int ident_from_stat(int dirfd, const char *name, struct ident *ret)
{
        struct statx stx;
        int64_t birth;

        if (statx(dirfd, name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_INO | STATX_BTIME, &stx) < 0)
                return -errno;
        birth = stx.stx_mask & STATX_BTIME ? stx.stx_btime.tv_sec * 1000000000 + stx.stx_btime.tv_nsec : 0;
        memset(ret, 0, sizeof(*ret));
        ret->how = IDENT_STAT;
        ret->len = sizeof(stx.stx_ino) + sizeof(birth);
        memcpy(ret->bytes, &stx.stx_ino, sizeof(stx.stx_ino));
        memcpy(ret->bytes + sizeof(stx.stx_ino), &birth, sizeof(birth));
        return 0;
}

int ident_of(int dirfd, const char *name, struct ident *ret)
{
        struct handle h;
        int mount_id;
        bool fid = false;

        h.head.handle_bytes = HANDLE_MAX;
        if (name_to_handle_at(dirfd, name, &h.head, &mount_id, AT_EMPTY_PATH) < 0) {
                if (errno != EOPNOTSUPP)
                        return -errno;
                h.head.handle_bytes = HANDLE_MAX;
                if (name_to_handle_at(dirfd, name, &h.head, &mount_id, AT_EMPTY_PATH | AT_HANDLE_FID) < 0) {
                        if (errno != EOPNOTSUPP && errno != EINVAL)
                                return -errno;
                        return ident_from_stat(dirfd, name, ret);
                }
                fid = true;
        }
        if (!ident_from_handle(h.head.handle_type, h.head.f_handle, h.head.handle_bytes, ret))
                return -EOVERFLOW;
        if (fid && ret->how == IDENT_HANDLE)
                ret->how = IDENT_FID;
        return 0;
}

bool ident_equal(const struct ident *a, const struct ident *b)
{
        return a->len == b->len && a->type == b->type && a->fs == b->fs && memcmp(a->bytes, b->bytes, a->len) == 0;
}

uint64_t ident_hash(const struct ident *id)
{
        return XXH3_64bits(id->bytes, id->len);
}

int ident_open(int mount_fd, const struct ident *id, int flags)
{
        struct handle h;
        int fd;

        if (id->how != IDENT_HANDLE)
                return -EOPNOTSUPP;
        h.head.handle_bytes = id->len;
        h.head.handle_type = id->type;
        memcpy(h.head.f_handle, id->bytes, id->len);
        fd = open_by_handle_at(mount_fd, &h.head, flags);
        return fd < 0 ? -errno : fd;
}
