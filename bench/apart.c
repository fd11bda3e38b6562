#include "bench/apart.h"

#include <mntent.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "cache/base/err.h"

enum {
        OTHERS_MAX = 1024,
};

static bool comes_and_goes(const struct mntent *m)
{
        return !strncmp(m->mnt_type, "fuse", 4) || !strcmp(m->mnt_type, "overlay") || !strncmp(m->mnt_fsname, "/dev/loop", 9);
}

static bool holds(const char *mountpoint, const char *path)
{
        size_t len = strlen(mountpoint);

        return path && !strncmp(mountpoint, path, len) && (path[len] == '/' || path[len] == '\0' || len == 1);
}

void apart_begin(const char *dir)
{
        CLEANUP_FREE char *here = getcwd(NULL, 0), *there = realpath(dir, NULL);
        char *others[OTHERS_MAX];
        struct mntent *m;
        size_t n = 0;
        FILE *mounts;

        if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
                return;
        mounts = setmntent("/proc/self/mounts", "r");
        while (mounts && n < OTHERS_MAX && (m = getmntent(mounts)))
                if (comes_and_goes(m) && !holds(m->mnt_dir, here) && !holds(m->mnt_dir, there) && (others[n] = strdup(m->mnt_dir)))
                        n++;
        if (mounts)
                endmntent(mounts);
        while (n--) {
                umount2(others[n], MNT_DETACH | UMOUNT_NOFOLLOW);
                free(others[n]);
        }
}
