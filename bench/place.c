#include "bench/place.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <mntent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/fs.h>
#include <linux/magic.h>

#include "bench/apart.h"
#include "bench/options.h"
#include "bench/tool.h"
#include "cache/base/err.h"
#include "cache/base/fd.h"

#define URING_SWITCH "/sys/module/fuse/parameters/enable_uring"

enum {
        IMAGE_MIB = 8192, /* sparse */
        GRACE_S = 10,     /* between asking the job to end and ending it */
        MOUNTS_MAX = 64,
        CLEAN_TRIES = 3,
};

/* Returns the value before, or '\0' when it can't be changed. */
static char uring_set(char value)
{
        CLEANUP_FD int fd = open(URING_SWITCH, O_RDWR | O_CLOEXEC);
        char before = '\0';

        if (fd < 0 || read(fd, &before, 1) != 1)
                return '\0';
        if (before != value && pwrite(fd, &value, 1, 0) != 1)
                return '\0';
        return before;
}

static int make_image(struct place *p)
{
        CLEANUP_FREE char *image = NULL;
        CLEANUP_FD int fd = -1;

        if (asprintf(&image, "%s/image", p->top) < 0 || asprintf(&p->disk, "%s/disk", p->top) < 0)
                return -ENOMEM;
        fd = open(image, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
        if (fd < 0 || ftruncate(fd, (off_t)IMAGE_MIB << 20) || mkdir(p->disk, 0755))
                return -errno;

        const char *const mkfs[] = {"mkfs.ext4", "-q", "-F", "-N", "800000", "-E", "lazy_itable_init=1", image, NULL};
        const char *const mount[] = {"mount", "-o", "loop,noinit_itable", image, p->disk, NULL};

        return tool_run(mkfs) || tool_run(mount) ? -EIO : 0;
}

/* What programs go by, named after it: directories below `path`. The agent's sockets and state stay in the place, and what compilers put
 * aside: it is alone there, and leaves nothing behind. */
static int make_private(const char *path, const char *const names[])
{
        for (size_t i = 0; names[i]; i++) {
                CLEANUP_FREE char *dir = NULL;

                if (asprintf(&dir, "%s/%s", path, names[i]) < 0)
                        return -ENOMEM;
                if (mkdir(dir, 0700) || setenv(names[i], dir, 1))
                        return -errno;
        }
        return 0;
}

static int make(const struct options *o, struct place *p)
{
        static const char *const on_top[] = {"XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TMPDIR", NULL};
        /* Artifacts are on the filesystem that the source is on, as they are in a home directory. */
        static const char *const on_disk[] = {"XDG_STATE_HOME", NULL};
        CLEANUP_FREE char *wish = NULL;
        int err;

        if (asprintf(&wish, "%s/dsfs-bench-XXXXXX", o->dir) < 0)
                return -ENOMEM;
        if (!mkdtemp(wish))
                return -errno;
        p->top = realpath(wish, NULL);
        if (!p->top)
                return -errno;
        err = make_private(p->top, on_top);
        if (err)
                return err;
        if (o->image)
                err = make_image(p);
        else if (!(p->disk = strdup(p->top)))
                err = -ENOMEM;
        return err ? err : make_private(p->disk, on_disk);
}

/* Unmount what is below `top`, the last mounted first. False if something refused and was only detached. */
static bool unmount_all(const char *top, const char *dsfs)
{
        size_t len = strlen(top), n = 0;
        char *found[MOUNTS_MAX];
        bool ours[MOUNTS_MAX], clean = true;
        FILE *mounts = setmntent("/proc/self/mounts", "r");
        struct mntent *m;

        while (mounts && n < MOUNTS_MAX && (m = getmntent(mounts)))
                if (!strncmp(m->mnt_dir, top, len) && m->mnt_dir[len] == '/') {
                        ours[n] = !strcmp(m->mnt_type, "fuse.dsfs");
                        found[n++] = strdup(m->mnt_dir);
                }
        if (mounts)
                endmntent(mounts);
        while (n--) {
                const char *const umount[] = {dsfs, "umount", found[n], NULL};

                if ((!ours[n] || tool_run(umount)) && umount2(found[n], UMOUNT_NOFOLLOW)) {
                        umount2(found[n], MNT_DETACH | UMOUNT_NOFOLLOW);
                        clean = false;
                }
                free(found[n]);
        }
        return clean;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
        (void)st;
        (void)type;
        (void)at;
        remove(path);
        return 0;
}

void place_remove(const char *path)
{
        nftw(path, remove_one, 64, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static void clean_up(const struct options *o, struct place *p)
{
        /* An agent that was only just starting may mount behind our back: look again. */
        for (int i = 0; p->top && i < CLEAN_TRIES && !access(p->top, F_OK); i++) {
                if (!unmount_all(p->top, o->dsfs))
                        fprintf(stderr, "%s: something below %s was busy and has been detached\n", o->program, p->top);
                place_remove(p->top);
        }
        if (p->top && !access(p->top, F_OK))
                fprintf(stderr, "%s: %s could not be removed entirely\n", o->program, p->top);
        free(p->top);
        free(p->disk);
}

/* Waits for the job, or for a signal that ends it and everything that it started. The exit code. */
static int attend(const struct options *o, pid_t job, const sigset_t *signals)
{
        const struct timespec grace = {.tv_sec = GRACE_S};
        int status, sig = 0, ended = 0;

        for (;;) {
                int got = sig ? sigtimedwait(signals, NULL, &grace) : sigwaitinfo(signals, NULL);

                if (got == SIGCHLD && waitpid(job, &status, WNOHANG) == job)
                        break;
                if (got < 0 && errno == EAGAIN)
                        kill(-job, SIGKILL);
                if (got > 0 && got != SIGCHLD && !sig) {
                        sig = ended = got;
                        kill(-job, SIGTERM);
                }
        }
        kill(-job, SIGKILL); /* a tool that outlived it would keep mounts busy */
        if (ended)
                return 128 + ended;
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
                fprintf(stderr, "%s: something hung; stopped\n", o->program);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static pid_t start(const struct options *o, const struct place *p, int (*job)(const struct options *, const struct place *),
                   const sigset_t *mask)
{
        pid_t pid = fork();

        if (pid)
                return pid;
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        sigprocmask(SIG_SETMASK, mask, NULL);
        exit(job(o, p));
}

int place_run(const struct options *o, int (*job)(const struct options *o, const struct place *place))
{
        struct place p = {0};
        sigset_t signals, before;
        char switched = '\0';
        int code = 1, err;
        pid_t pid;

        sigemptyset(&signals);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGHUP);
        sigaddset(&signals, SIGCHLD);
        sigprocmask(SIG_BLOCK, &signals, &before);
        apart_begin(o->dir);
        if (!o->self)
                switched = uring_set('Y');
        p.uring = switched == 'N';
        err = make(o, &p);
        if (err) {
                fprintf(stderr, "%s: no place to work below %s: %s\n", o->program, o->dir, strerror(-err));
        } else {
                fflush(NULL);
                pid = start(o, &p, job, &before);
                if (pid > 0) {
                        setpgid(pid, pid);
                        code = attend(o, pid, &signals);
                }
        }
        clean_up(o, &p);
        if (switched == 'N')
                uring_set('N');
        return code;
}

void place_sync(const struct place *place)
{
        CLEANUP_FD int fd = open(place->disk, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd >= 0)
                syncfs(fd);
}

void place_spread(const char *path)
{
        CLEANUP_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int flags;

        if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags))
                return;
        flags |= FS_TOPDIR_FL;
        ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

const char *place_filesystem(const struct place *place, bool *without_journal)
{
        CLEANUP_FREE char *link = NULL, *device = NULL, *journal = NULL;
        struct statfs fs;
        struct stat st;

        *without_journal = false;
        if (statfs(place->disk, &fs) || stat(place->disk, &st))
                return "unknown";
        switch (fs.f_type) {
        case TMPFS_MAGIC:
                return "tmpfs";
        case OVERLAYFS_SUPER_MAGIC:
                return "overlayfs";
        case BTRFS_SUPER_MAGIC:
                return "btrfs";
        case XFS_SUPER_MAGIC:
                return "xfs";
        case EXT4_SUPER_MAGIC:
                break;
        default:
                return "another";
        }
        if (asprintf(&link, "/sys/dev/block/%u:%u", major(st.st_dev), minor(st.st_dev)) < 0 || !(device = realpath(link, NULL)))
                return "ext4";
        /* A journal on the device itself shows there as <device>-8. */
        if (asprintf(&journal, "/proc/fs/jbd2/%s-8", strrchr(device, '/') + 1) >= 0)
                *without_journal = access(journal, F_OK) != 0;
        return *without_journal ? "ext4 without journal" : "ext4";
}
