/*
 * The differences between a mount and its backing that are expected: what FUSE on this kernel imposes, and the contracts of DESIGN
 * section 5. Everything else is a bug.
 */
#include "cache/base/fd.h"
#include "tests/conform/conform.h"

static bool readonly(const struct combination *c)
{
        return c->readonly;
}

static bool written(const struct combination *c)
{
        return !c->readonly;
}

static bool written_cold(const struct combination *c)
{
        return !c->readonly && !c->warm;
}

static bool written_warm(const struct combination *c)
{
        return !c->readonly && c->warm;
}

static bool squashed(const struct combination *c)
{
        return !c->keep;
}

static bool written_not_ext4(const struct combination *c)
{
        return !c->readonly && c->backing != ON_EXT4;
}

static bool written_on_ext4_or_xfs(const struct combination *c)
{
        return !c->readonly && (c->backing == ON_EXT4 || c->backing == ON_XFS);
}

static bool not_btrfs(const struct combination *c)
{
        return c->backing != ON_BTRFS;
}

/* Direct transfers must be aligned in the backing, and are not passed on to it. */
static bool direct_is_aligned(const struct combination *c)
{
        return written_on_ext4_or_xfs(c) && c->profile == PROFILE_SOURCE;
}

/* Where a direct read of a hole leaves the access time. */
static bool direct_is_not_seen(const struct combination *c)
{
        return !c->readonly && c->backing == ON_BTRFS && c->profile == PROFILE_SOURCE && !c->warm;
}

static bool reflinks(const struct combination *c)
{
        return !c->readonly && (c->backing == ON_XFS || c->backing == ON_BTRFS);
}

static bool written_source(const struct combination *c)
{
        return !c->readonly && c->profile == PROFILE_SOURCE;
}

static bool written_source_warm(const struct combination *c)
{
        return written_source(c) && c->warm;
}

static bool written_source_cold(const struct combination *c)
{
        return written_source(c) && !c->warm;
}

static bool written_source_keep(const struct combination *c)
{
        return written_source(c) && c->keep;
}

static bool written_data(const struct combination *c)
{
        return !c->readonly && c->profile == PROFILE_DATA;
}

static bool written_data_keep(const struct combination *c)
{
        return written_data(c) && c->keep;
}

static bool not_tmpfs(const struct combination *c)
{
        return c->backing != ON_TMPFS;
}

#define SET_GID_WRITES "@(write|vectors|truncate|sync|copy|unlinked|renamed_over|fallocate):*/set-gid-no-exec/@(member|stranger)"
#define SET_GID_CUTS "others' set-id 6666:@(fallocate|truncate|ftruncate|O_TRUNC|copy_file_range)/*"
#define MADE_DEVICES "mknod:@(S_IFCHR+0666 0x103|S_IFBLK+0666 0x700)/*/root"
#define REFUSED_MODES "fallocate:O_RDWR @(0x08|0x20|0x40|0x4000)/*"

const struct difference differences[] = {
        {"atime", "*", "* atime=new", "* atime=old", written_warm, false},
        {"atime", "@(*/empty|@(open|reopen):*O_TRUNC*/*)/*", "* atime=new", "* atime=old", written_source_cold, false},
        {"atime", "copy:O_RDONLY 0/dir/*", "* atime=new", "* atime=old", written_cold, false},
        {"atime", "stat:*/empty/*", "old: atime 0 *", "old: atime 1 *", written_source_warm, false},
        {"atime", "utimes:[2468] 0/empty/*", "-", "atime 1000000000.*", written_source_warm, false},
        {"atime", "sync:*", "* atime=old", "* atime=new", written_cold, false},
        {"readonly", "*", "* -> -1 EACCES", "* -> -1 EROFS", readonly, true},
        {"readonly", "open:O_ACCMODE/*", "open -> 0", "open -> -1 EROFS", readonly, true},
        {"readonly", "bind/*", "connect -> -1 ECONNREFUSED", "connect -> -1 EROFS", readonly, false},
        {"device-nodes", MADE_DEVICES, "mknod -> 0", "mknod -> -1 EPERM", written, true},
        {"fifo-times", "fifo/fifo/*", "* atime=new", "* atime=old", written, false},
        {"fifo-times", "*/fifo/*", "* [mc]time=new", "* [mc]time=@(old|set)", written, false},
        {"chown-nobody", "chown:-1:-1/*", "* ctime=new", "* ctime=set", written, true},
        {"chown-nobody", "chown:-1:-1/*", "chown -> -1 EPERM", "chown -> 0", written, true},
        {"chown-squash", "@(chown|lchown|chown self|attributes)*", "* ctime=new", "* ctime=set", squashed, false},
        {"direct", "@(open:O_RDWR*O_DIRECT|read:*O_DIRECT 0)/*", "* -> -1 EINVAL", "* -> [0-9]*", direct_is_aligned, true},
        {"direct", "open:*O_DIRECT/sparse/*", "* atime=old", "* atime=new", direct_is_not_seen, false},
        {"set-gid", SET_GID_WRITES, "*mode=100666", "*mode=102666", written_source, true},
        {"set-gid", "others' set-id 6666:*", "*mode=100666", "*mode=102666", written_source_keep, true},
        {"set-gid", "@(truncate|fallocate):*/set-gid-no-exec/@(member|stranger)", "*mode=100666", "*mode=102666", written_data, true},
        {"set-gid", SET_GID_CUTS, "*mode=100666", "*mode=102666", written_data_keep, true},
        {"set-id-data", "*", "*mode=*[234567]???", "*mode=*[01]???", written_data, false},
        {"set-id-truncate", "truncate:6/*set-*id*/@(member|stranger)", "*@(mode|ctime)=*", "*@(mode|ctime)=*", reflinks, false},
        {"truncate-times", "truncate:0/empty/*", "* ctime=set", "* ctime=new", written_not_ext4, true},
        {"append-data", "append/*", "pread -> 16", "pread -> 20", written_data, true},
        {"set-id-squash", "*", "*mode=*[234567]???", "*mode=*[01]???", squashed, false},
        {"set-id-squash", "others' set-id *:link/*", "*mode=*[234567]???", "*mode=*[01]???", squashed, true},
        {"set-id-squash", "xattr:security.capability/*", "setxattr -> 0", "setxattr -> -1 EPERM", squashed, true},
        {"ioctl", "ioctls:*", "FS_IOC_GETFLAGS -> 0", "FS_IOC_GETFLAGS -> -1 ENOTTY", NULL, false},
        {"ioctl", "ioctls:*", "FICLONE -> @(0|-1 EINVAL)", "FICLONE -> -1 EOPNOTSUPP", reflinks, true},
        {"epoll", "poll:*", "epoll_ctl -> -1 EPERM", "epoll_ctl -> 0", NULL, false},
        {"fallocate", REFUSED_MODES, "fallocate*", "fallocate* -> -1 EOPNOTSUPP", written_on_ext4_or_xfs, true},
        {"no-space-map", "no space: map/*", "store: signal 7", "store: signal 0", written_source, true},
        {"noappend", "vectors:O_RDWR+O_APPEND 0/*", "*size=*", "*size=*", written, true},
        {"nowait", "vectors:*", "preadv2 -> *", "preadv2 -> -1 EOPNOTSUPP", not_tmpfs, false},
        {"max-size", "seek:*", "* lseek -> -1 EINVAL", "* lseek -> [0-9]*", not_btrfs, true},
};
const size_t difference_count = ARRAY_LEN(differences);
