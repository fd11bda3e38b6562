/*
 * What dsfs needs of the kernel and the machine.
 */
#include "sync/agent/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/agent/place.h"
#include "sync/serve/why.h"

#define URING_SWITCH "/sys/module/fuse/parameters/enable_uring"
#define WATCHES_FILE "/proc/sys/fs/inotify/max_user_watches"
#define WATCHES_ENOUGH 65536
#define FILES_ENOUGH 1024
#define KERNEL_URING 614 /* 6.14 */
#define KERNEL_LEAST 600

static unsigned kernel_version(void)
{
        struct utsname u;
        unsigned major = 0;
        unsigned minor = 0;

        if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &major, &minor) != 2)
                return 0;
        return major * 100 + minor;
}

void doctor_kernel(struct doctor *d)
{
        unsigned v = kernel_version();

        if (v < KERNEL_LEAST)
                doctor_found(d, DOCTOR_DEGRADED, text_new("the kernel is %u.%u; dsfs is made for 6.0 and newer", v / 100, v % 100),
                             text_new("install a newer kernel"));
        else if (v < KERNEL_URING)
                doctor_found(d, DOCTOR_NOTE,
                             text_new("the kernel is %u.%u; from 6.14 on requests can go through io_uring", v / 100, v % 100),
                             text_new("install a newer kernel"));
        else
                doctor_found(d, DOCTOR_FINE, text_new("the kernel is %u.%u", v / 100, v % 100), NULL);
}

void doctor_device(struct doctor *d)
{
        if (access("/dev/fuse", R_OK | W_OK) == 0)
                doctor_found(d, DOCTOR_FINE, text_new("/dev/fuse can be opened"), NULL);
        else if (errno == ENOENT)
                doctor_found(d, DOCTOR_DEGRADED, text_new("/dev/fuse is not there"), text_new("modprobe fuse"));
        else
                doctor_found(d, DOCTOR_DEGRADED, text_new("/dev/fuse can't be opened: %s", strerror(errno)),
                             text_new("chmod 666 /dev/fuse"));
}

static bool write_switch(void)
{
        CLEANUP_FD int fd = open(URING_SWITCH, O_WRONLY | O_CLOEXEC | O_TRUNC);

        return fd >= 0 && fd_write_full(fd, "Y\n", 2) == 0;
}

void doctor_uring(struct doctor *d)
{
        CLEANUP_FREE char *text = NULL;

        if (fd_read_file(AT_FDCWD, URING_SWITCH, 64, &text) < 0) {
                if (kernel_version() >= KERNEL_URING)
                        doctor_found(d, DOCTOR_NOTE, text_new("this kernel has no FUSE over io_uring; /dev/fuse is used"),
                                     text_new("use a kernel with CONFIG_FUSE_IO_URING, and `modprobe fuse`"));
                return;
        }
        if (text[0] == 'Y' || text[0] == '1')
                doctor_found(d, DOCTOR_FINE, text_new("FUSE over io_uring is enabled"), NULL);
        else if (d->fix && write_switch())
                doctor_found(d, DOCTOR_FIXED, text_new("FUSE over io_uring was off; it is enabled now, for mounts made from now on"), NULL);
        else
                doctor_found(d, DOCTOR_NOTE, text_new("FUSE over io_uring is off; requests go through /dev/fuse, which is slower"),
                             text_new("echo Y > " URING_SWITCH
                                      " (as root; to keep it: options fuse enable_uring=1 in /etc/modprobe.d/fuse.conf)"));
}

/* Where `program` is, by PATH; NULL: nowhere. */
static char *find_program(const char *program)
{
        CLEANUP_FREE char *dirs = strdup(getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
        char *rest = dirs;

        for (char *dir = strsep(&rest, ":"); dir; dir = strsep(&rest, ":")) {
                CLEANUP_FREE char *path = text_new("%s/%s", *dir ? dir : ".", program);

                if (path && access(path, X_OK) == 0)
                        return steal_ptr(&path);
        }
        return NULL;
}

static bool runs_as_root(const char *path)
{
        struct statvfs fs;
        struct stat st;

        return stat(path, &st) == 0 && (st.st_mode & S_ISUID) && st.st_uid == 0 && statvfs(path, &fs) == 0 && !(fs.f_flag & ST_NOSUID);
}

void doctor_fusermount(struct doctor *d)
{
        CLEANUP_FREE char *path = find_program("fusermount3");
        enum doctor_level level = geteuid() == 0 ? DOCTOR_NOTE : DOCTOR_DEGRADED;

        if (!path)
                doctor_found(d, level, text_new("fusermount3 is not there: only root can mount"), text_new("apt-get install fuse3"));
        else if (!runs_as_root(path))
                doctor_found(d, level,
                             text_new("%s does not run as root (set-uid, on a file system without nosuid): only root can mount", path),
                             text_new("chmod u+s %s (as root)", path));
        else
                doctor_found(d, DOCTOR_FINE, text_new("fusermount3 is there: users can mount"), NULL);
}

void doctor_allow_other(struct doctor *d)
{
        if (place_others_permitted())
                doctor_found(d, DOCTOR_FINE, text_new("/etc/fuse.conf lets users give others access (allow_other)"), NULL);
        else
                doctor_found(d, DOCTOR_NOTE,
                             text_new("/etc/fuse.conf lets only root use allow_other, so containers can't use mounts that users make"),
                             text_new("echo user_allow_other >> /etc/fuse.conf (as root)"));
}

void doctor_files(struct doctor *d)
{
        struct rlimit files;

        if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < FILES_ENOUGH)
                doctor_found(
                        d, DOCTOR_NOTE,
                        text_new("a process may open %llu files at most, which makes large trees slow", (unsigned long long)files.rlim_max),
                        text_new("ulimit -Hn %d", FILES_ENOUGH * 16));
        else
                doctor_found(d, DOCTOR_FINE, text_new("enough files can be opened"), NULL);
}

static unsigned long number_in(const char *path)
{
        CLEANUP_FREE char *text = NULL;

        return fd_read_file(AT_FDCWD, path, 64, &text) > 0 ? strtoul(text, NULL, 10) : 0;
}

static bool uses_inotify(const struct doctor *d)
{
        size_t i;
        json_t *m;

        json_array_foreach(d->mounts, i, m)
        {
                const char *watch = json_string_value(json_object_get(m, "watch"));

                if (watch && strcmp(watch, "inotify") == 0)
                        return true;
        }
        return false;
}

void doctor_watches(struct doctor *d)
{
        unsigned long watches = number_in(WATCHES_FILE);

        if (geteuid() == 0 && !uses_inotify(d))
                doctor_found(d, DOCTOR_FINE, text_new("root watches with fanotify, which needs no watch for each directory"), NULL);
        else if (watches < WATCHES_ENOUGH)
                doctor_found(d, DOCTOR_NOTE,
                             text_new("a user may watch %lu directories; a source with more is not watched, and its mounts cache nothing",
                                      watches),
                             text_new("sysctl fs.inotify.max_user_watches=524288 (as root; to keep it: in /etc/sysctl.d/)"));
        else
                doctor_found(d, DOCTOR_FINE, text_new("up to %lu directories can be watched", watches), NULL);
}
