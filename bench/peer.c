#include "bench/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/tool.h"
#include "cache/base/err.h"

/* libfuse 2's, for all that stand on it: pages, names, attributes and the absence of names are kept. What is changed behind their back they
 * then don't see, which the benchmark sees to. */
#define LIBFUSE2_CACHE "kernel_cache,entry_timeout=86400,attr_timeout=86400,negative_timeout=86400,big_writes,max_write=131072"

/* --multithreaded: else two compilers wait for each other. */
static int mount_bindfs(const char *source, const char *at, const char *work)
{
        const char *const argv[] = {"bindfs", "--multithreaded", "-o", LIBFUSE2_CACHE ",ac_attr_timeout=86400", source, at, NULL};

        (void)work;
        return tool_run(argv);
}

/* xattr=nosys: else every write asks for security.capability. fuse_msg_size: requests of a megabyte. One branch: no policy has to choose.
 */
static int mount_mergerfs(const char *source, const char *at, const char *work)
{
        const char *const argv[] = {"mergerfs",
                                    "-o",
                                    "cache.files=full,cache.writeback=true,cache.readdir=true,cache.symlinks=true,cache.attr=86400,"
                                    "cache.entry=86400,cache.negative_entry=86400,cache.statfs=86400,cache.open=86400,xattr=nosys,"
                                    "security_capability=false,posix_acl=false,category.create=ff,minfreespace=0,async_read=true,use_ino,"
                                    "inodecalc=passthrough,fuse_msg_size=256",
                                    source,
                                    at,
                                    NULL};

        (void)work;
        return tool_run(argv);
}

/* Directories for an overlay's writes below `work`. */
static bool make_upper(const char *work, char **upper, char **workdir)
{
        if (asprintf(upper, "%s/upper", work) < 0)
                *upper = NULL;
        if (asprintf(workdir, "%s/work", work) < 0)
                *workdir = NULL;
        return *upper && *workdir && !mkdir(*upper, 0755) && !mkdir(*workdir, 0755);
}

/* writeback=1: writes are gathered; static_nlink: directories needn't be counted; noacl: no permission is asked for in user space. The
 * shell swallows what it says about mount options of other systems, every time. */
static int mount_fuse_overlayfs(const char *source, const char *at, const char *work)
{
        CLEANUP_FREE char *upper = NULL, *workdir = NULL, *options = NULL;

        if (!make_upper(work, &upper, &workdir) ||
            asprintf(&options, "lowerdir=%s,upperdir=%s,workdir=%s,timeout=86400,writeback=1,fast_ino=1,static_nlink,noacl", source, upper,
                     workdir) < 0)
                return -1;

        const char *const argv[] = {"sh", "-c", "exec fuse-overlayfs -o \"$0\" \"$1\" 2>/dev/null", options, at, NULL};

        return tool_run(argv);
}

/* One branch, written to in place: nothing is copied up. */
static int mount_unionfs(const char *source, const char *at, const char *work)
{
        CLEANUP_FREE char *branch = NULL;

        (void)work;
        if (asprintf(&branch, "%s=RW", source) < 0)
                return -1;

        const char *const argv[] = {"unionfs", "-o", LIBFUSE2_CACHE ",use_ino", branch, at, NULL};

        return tool_run(argv);
}

/* metacopy: chmod copies no data; redirect_dir: directories of the lower tree can be renamed. */
static int mount_overlay(const char *source, const char *at, const char *work)
{
        CLEANUP_FREE char *upper = NULL, *workdir = NULL, *options = NULL;

        if (!make_upper(work, &upper, &workdir) ||
            asprintf(&options, "lowerdir=%s,upperdir=%s,workdir=%s,redirect_dir=on,metacopy=on", source, upper, workdir) < 0)
                return -1;

        const char *const argv[] = {"mount", "-t", "overlay", "overlay", "-o", options, at, NULL};

        return tool_run(argv);
}

const struct peer peers[] = {
        {"overlayfs", NULL, mount_overlay},         {"bindfs", "bindfs", mount_bindfs},
        {"mergerfs", "mergerfs", mount_mergerfs},   {"fuse-overlayfs", "fuse-overlayfs", mount_fuse_overlayfs},
        {"unionfs-fuse", "unionfs", mount_unionfs},
};
const size_t peers_n = ARRAY_LEN(peers);

const char *peer_missing(const struct peer *p)
{
        if (geteuid() != 0)
                return "needs root";
        return !p->program || tool_exists(p->program) ? NULL : "not installed";
}
