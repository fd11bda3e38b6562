/*
 * A file or directory changes, and the change is told, while the kernel is about to learn of it: after its attributes were read and before
 * its node was made, and after that, with the answer on its way. Either way the kernel must not keep what was read before (fs/tell.c).
 *
 * Our name_to_handle_at() and writev() hold the serving thread there: fs/ calls the one between the attributes and the node, libfuse the
 * other for answers over /dev/fuse.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/ident.h"
#include "cache/base/thread.h"
#include "fs/fs.h"
#include "tests/lib/child.h"

#define NAME "victim"
#define TEXT "new content"
#define INSIDE "inside"
#define ENTRY_REPLY_BYTES 144 /* a fuse_out_header and a fuse_entry_out */

enum stage {
        NOWHERE,
        BEFORE_THE_NODE,
        BEFORE_THE_KERNEL,
};

static struct mutex lock = MUTEX_INIT;
static struct cond changed;
static enum stage stop_at; /* the next serving thread that comes here is held */
static bool held;
static int deaf; /* what is told so many times before he goes on finds nothing in the kernel; what is told then may wait for him */
static _Thread_local bool ours; /* a thread of the test */
static char src[128], mnt[128], in_src[160], in_mnt[160], in_dir[176];

static void pass(enum stage here)
{
        mutex_lock(&lock);
        if (!ours && stop_at == here) {
                held = true;
                cond_broadcast(&changed);
                while (stop_at == here)
                        cond_wait(&changed, &lock);
        }
        mutex_unlock(&lock);
}

static void let_go(void)
{
        mutex_lock(&lock);
        stop_at = NOWHERE;
        cond_broadcast(&changed);
        mutex_unlock(&lock);
}

int name_to_handle_at(int dirfd, const char *name, struct file_handle *handle, int *mount_id, int flags)
{
        if (strcmp(name, NAME) == 0)
                pass(BEFORE_THE_NODE);
        return (int)syscall(SYS_name_to_handle_at, dirfd, name, handle, mount_id, flags);
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
        size_t bytes = 0;
        ssize_t rc;

        for (int i = 0; i < count; i++)
                bytes += iov[i].iov_len;
        if (bytes == ENTRY_REPLY_BYTES)
                pass(BEFORE_THE_KERNEL);
        rc = syscall(SYS_writev, fd, iov, count);
        if (ours && --deaf == 0)
                let_go();
        return rc;
}

static void *look(void *arg)
{
        struct stat st;

        ours = true;
        must(stat(in_mnt, &st) == 0, "stat %s", in_mnt);
        (void)arg;
        return NULL;
}

static void put(const char *text)
{
        CLEANUP_FD int fd = open(in_src, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "%s", in_src);
}

static void make_stale(bool directory)
{
        if (!directory)
                put(TEXT);
        else
                must(mkdirat(AT_FDCWD, in_dir, 0755) == 0, "mkdir %s", in_dir);
}

static void run(struct fs_mount *m, enum stage stage, bool directory)
{
        struct ident dir, file;
        pthread_t looker;
        struct stat st, want;

        /* One that the kernel has not heard of. */
        (void)rmdir(in_dir);
        (void)unlink(in_src);
        (void)rmdir(in_src);
        if (directory)
                must(mkdir(in_src, 0755) == 0, "mkdir %s", in_src);
        else
                put("");
        must(ident_of(AT_FDCWD, src, &dir) == 0 && ident_of(AT_FDCWD, in_src, &file) == 0, "identities");
        fs_tell_entry(m, &dir, NAME, strlen(NAME));
        fs_settle(m);

        mutex_lock(&lock);
        stop_at = stage;
        held = false;
        deaf = directory ? 2 : 1;
        must(thread_start(&looker, "look", look, NULL) == 0, "a thread");
        while (!held)
                cond_wait(&changed, &lock);
        mutex_unlock(&lock);
        make_stale(directory);
        if (directory)
                fs_tell_entry(m, &file, INSIDE, strlen(INSIDE));
        else
                fs_tell_content(m, &file);
        let_go();
        must(pthread_join(looker, NULL) == 0, "join");
        must(stat(in_mnt, &st) == 0 && stat(in_src, &want) == 0, "stat %s", in_mnt);
        errno = 0;
        must(st.st_size == want.st_size && st.st_nlink == want.st_nlink, "stage %d: the size is still %lld, the link count %u", (int)stage,
             (long long)st.st_size, (unsigned)st.st_nlink);
}

static void on_end(void *arg)
{
        (void)arg;
}

int main(void)
{
        const char *base = getenv("TMPDIR");
        char top[96];
        struct fs_options options = {.source = src,
                                     .mountpoint = mnt,
                                     .name = "overtaken",
                                     .transport = FS_TRANSPORT_DEV,
                                     .squash = true,
                                     .view_uid = FS_VIEW_AS_IS,
                                     .view_gid = FS_VIEW_AS_IS};
        struct fs_mount *m;
        char *why = NULL;

        ours = true;
        cond_init(&changed);
        snprintf(top, sizeof(top), "%.60s/overtaken.XXXXXX", base ? base : "/tmp");
        must(mkdtemp(top), "mkdtemp");
        snprintf(src, sizeof(src), "%s/src", top);
        snprintf(mnt, sizeof(mnt), "%s/mnt", top);
        snprintf(in_src, sizeof(in_src), "%s/" NAME, src);
        snprintf(in_dir, sizeof(in_dir), "%s/" INSIDE, in_src);
        snprintf(in_mnt, sizeof(in_mnt), "%s/" NAME, mnt);
        must(mkdir(src, 0755) == 0 && mkdir(mnt, 0755) == 0, "mkdir");
        must(fs_mount_new(&options, &m, &why) == 0, "%s", why ? why : "out of memory");
        fs_mount_on_end(m, on_end, NULL);
        for (int i = 0; i < 20; i++) {
                run(m, BEFORE_THE_NODE, i % 2);
                run(m, BEFORE_THE_KERNEL, i % 2);
        }
        must(fs_mount_stop(m, true) == 0, "unmount");
        fs_mount_free(m);
        must(rmdir(in_dir) == 0 && rmdir(in_src) == 0 && rmdir(src) == 0 && rmdir(mnt) == 0 && rmdir(top) == 0, "clean up");
        return 0;
}
