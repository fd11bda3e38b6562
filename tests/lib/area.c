#include "tests/lib/area.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/lib/mount.h"

#define IMAGE_BYTES (4ll << 30) /* sparse */
#define AT_RING 64
#define AREA_PREFIX "dsfs-test."

/* Reachable until the test's process ends, which is what frees them. */
struct kept {
        struct kept *next;
        char text[];
};
static struct kept *kept;

char *keep(const char *text)
{
        struct kept *k = malloc(sizeof(*k) + strlen(text) + 1);

        must(k != NULL, "keep");
        strcpy(k->text, text);
        k->next = kept;
        kept = k;
        return k->text;
}

const char *at(const char *dir, const char *fmt, ...)
{
        static char ring[AT_RING][PATH_MAX];
        static unsigned next;
        char *text = ring[next++ % ARRAY_LEN(ring)];
        int len = snprintf(text, PATH_MAX, "%s/", dir);
        va_list args;

        va_start(args, fmt);
        vsnprintf(text + len, PATH_MAX - (size_t)len, fmt, args);
        va_end(args);
        return text;
}

void put_file(const char *path, const void *bytes, size_t len)
{
        CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        must(fd >= 0, "open %s", path);
        errno = 0;
        must(fd_write_full(fd, bytes, len) == 0, "write %s", path);
}

void put_text(const char *path, const char *text)
{
        put_file(path, text, strlen(text));
}

void mount_type(const char *path, char *ret, size_t size)
{
        CLEANUP_FREE char *line = NULL;
        FILE *in = fopen("/proc/self/mountinfo", "re");
        size_t cap = 0;

        must(in, "/proc/self/mountinfo");
        *ret = '\0';
        while (getline(&line, &cap, in) > 0) {
                char where[PATH_MAX], type[64];
                const char *dash = strstr(line, " - ");

                if (dash && sscanf(line, "%*s %*s %*s %*s %4095s", where) == 1 && strcmp(where, path) == 0 &&
                    sscanf(dash, " - %63s", type) == 1)
                        snprintf(ret, size, "%s", type);
        }
        fclose(in);
}

static void remove_below(int dirfd, const char *name)
{
        CLEANUP_FD int fd = -1;
        struct dirent *e;
        DIR *dir;

        if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
                return;
        fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return;
        dir = fdopendir(dup(fd));
        while (dir && (e = readdir(dir)))
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
                        remove_below(fd, e->d_name);
        if (dir)
                closedir(dir);
        unlinkat(dirfd, name, AT_REMOVEDIR);
}

void remove_tree(const char *path)
{
        remove_below(AT_FDCWD, path);
}

static const char *temp_dir(void)
{
        const char *dir = getenv("TMPDIR");

        return dir && *dir == '/' && strlen(dir) < 24 ? dir : "/tmp";
}

void area_new_base(char *ret, size_t size)
{
        int len = snprintf(ret, size, "%s/" AREA_PREFIX "XXXXXX", temp_dir());

        must(len > 0 && (size_t)len < size, "TMPDIR is too long");
        must(mkdtemp(ret), "mkdtemp %s", ret);
        must(chmod(ret, 0755) == 0, "chmod %s", ret);
}

/* What is made on an image where TMPDIR is not on it already. */
static const struct filesystem {
        const char *name;
        long magic;
        const char *mkfs[6]; /* and the image's path */
} filesystems[] = {
        [ON_EXT4] = {"ext4", EXT4_SUPER_MAGIC, {"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1"}},
        [ON_TMPFS] = {"tmpfs", TMPFS_MAGIC, {NULL}},
        [ON_XFS] = {"xfs", XFS_SUPER_MAGIC, {"mkfs.xfs", "-q", "-f"}},
        [ON_BTRFS] = {"btrfs", BTRFS_SUPER_MAGIC, {"mkfs.btrfs", "-q", "-f"}},
        [ON_OVERLAY] = {"overlay", OVERLAYFS_SUPER_MAGIC, {NULL}},
};

const char *backing_name(enum backing backing)
{
        return filesystems[backing].name;
}

static bool is_on(const struct filesystem *fs, const char *path)
{
        struct statfs sfs;

        return statfs(path, &sfs) == 0 && sfs.f_type == fs->magic;
}

static void image_path(char *ret, size_t size, const struct filesystem *fs, const char *what)
{
        snprintf(ret, size, "%s/" AREA_PREFIX "%s%s", temp_dir(), fs->name, what);
}

/* Whoever holds this lock may mount and unmount the images. */
static int image_lock(void)
{
        char path[96];
        int fd;

        snprintf(path, sizeof(path), "%s/" AREA_PREFIX "lock", temp_dir());
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0)
                flock(fd, LOCK_EX);
        return fd;
}

static void image_make(const struct filesystem *fs, const char *image)
{
        const char *argv[ARRAY_LEN(fs->mkfs) + 2] = {NULL};
        char said[4096];
        char fresh[112];
        CLEANUP_FD int fd = -1;
        size_t n = 0;

        if (access(image, F_OK) == 0)
                return;
        snprintf(fresh, sizeof(fresh), "%s.new", image);
        fd = open(fresh, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        must(fd >= 0 && ftruncate(fd, IMAGE_BYTES) == 0, "%s", fresh);
        for (; n < ARRAY_LEN(fs->mkfs) && fs->mkfs[n]; n++)
                argv[n] = fs->mkfs[n];
        argv[n] = fresh;
        must(child_exec(argv, NULL, NULL, said, sizeof(said)) == 0, "%s %s: %s", argv[0], fresh, said);
        must(rename(fresh, image) == 0, "rename %s", fresh);
}

static void image_mount(const struct filesystem *fs, const char *image, const char *dir)
{
        image_make(fs, image);
        must(child_exec((const char *const[]){"mount", "-o", "loop", image, dir, NULL}, NULL, NULL, NULL, 0) == 0, "mount -o loop %s",
             image);
}

/* A directory on the image, which is mounted for as long as somebody has one. */
static int image_area(const struct filesystem *fs, const char *base, char *ret, size_t size)
{
        CLEANUP_FD int lock = image_lock();
        char image[96], dir[96];

        must(lock >= 0, "the images' lock");
        image_path(image, sizeof(image), fs, ".img");
        image_path(dir, sizeof(dir), fs, "");
        mkdir(dir, 0755);
        if (!is_on(fs, dir))
                image_mount(fs, image, dir);
        snprintf(ret, size, "%s/%s", dir, strrchr(base, '.') + 1);
        must(mkdir(ret, 0755) == 0, "mkdir %s", ret);
        return open(ret, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void overlay_mount(const char *base, const char *area)
{
        static const char *const parts[] = {"lower", "upper", "work"};
        char options[512];

        for (size_t i = 0; i < ARRAY_LEN(parts); i++)
                must(mkdir(at(base, "%s", parts[i]), 0755) == 0, "mkdir %s/%s", base, parts[i]);
        snprintf(options, sizeof(options), "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", base, base, base);
        must(mount("overlay", area, "overlay", 0, options) == 0, "mount overlay on %s (%s)", area, options);
}

int area_new(const char *base, enum backing backing, bool own, char *ret, size_t size)
{
        const struct filesystem *fs = &filesystems[backing];
        bool tmpfs = backing == ON_TMPFS, overlay = backing == ON_OVERLAY;

        if (!tmpfs && !overlay && !own && !is_on(fs, base))
                return image_area(fs, base, ret, size);
        snprintf(ret, size, "%s/area", base);
        must(mkdir(ret, 0755) == 0, "mkdir %s", ret);
        if (tmpfs)
                must(mount("tmpfs", ret, "tmpfs", 0, own ? "mode=755,size=512m" : "mode=755,size=2g") == 0, "mount tmpfs on %s", ret);
        else if (overlay)
                overlay_mount(base, ret);
        else if (own)
                image_mount(fs, at(base, "area.img"), ret);
        return open(ret, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

bool area_remove(const char *base, const char *area)
{
        char dir[PATH_MAX];

        if (strncmp(area, base, strlen(base)) == 0) {
                if (umount2(area, 0) < 0)
                        umount2(area, MNT_DETACH);
                remove_tree(base);
                return access(base, F_OK) < 0;
        }
        CLEANUP_FD int lock = image_lock();

        (void)lock; /* held to the end; without it we may only fail to unmount */
        snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(area, '/') - area), area);
        remove_tree(area);
        remove_tree(base);
        umount2(dir, 0); /* busy: somebody else's area is there */
        return access(area, F_OK) < 0 && access(base, F_OK) < 0;
}
