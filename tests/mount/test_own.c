/*
 * What a mount has of its own: `.dsfs`, found by name, listed nowhere, changed by nobody.
 */
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/serve/subscriber.h"
#include "tests/mount/case.h"

#define PATIENCE_MS 60000

static const char *own(const struct fixture *f, const char *name)
{
        return at(f->mnt, ".dsfs%s%s", *name ? "/" : "", name);
}

static bool lists(const char *dir, const char *name)
{
        DIR *d = opendir(dir);
        const struct dirent *e;
        bool found = false;

        must(d, "%s can't be read", dir);
        while ((e = readdir(d)))
                found = found || strcmp(e->d_name, name) == 0;
        closedir(d);
        return found;
}

CASE(own, is_found_by_name_and_listed_nowhere)
{
        struct stat st;

        must(stat(own(f, ""), &st) == 0 && S_ISDIR(st.st_mode), "there is no .dsfs");
        must(stat(own(f, "status.json"), &st) == 0 && st.st_mode == (S_IFREG | 0444), "status.json has mode %o", st.st_mode);
        must(stat(own(f, "events.sock"), &st) == 0 && st.st_mode == (S_IFSOCK | 0666), "events.sock has mode %o", st.st_mode);
        must(stat(own(f, "else"), &st) < 0 && errno == ENOENT, "there is something else");
        must(!lists(f->mnt, ".dsfs"), ".dsfs is listed");
        must(lists(own(f, ""), "status.json") && lists(own(f, ""), "events.sock"), ".dsfs lists nothing");
        must(access(at(f->src, ".dsfs"), F_OK) < 0, "the source has got one");
}

CASE(own, nobody_changes_it)
{
        struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};

        put_text(at(f->mnt, "file"), "text");
#define REFUSES(call, error) must((call) < 0 && errno == (error), "%s", #call)
        REFUSES(open(own(f, "new"), O_WRONLY | O_CREAT, 0644), EROFS);
        REFUSES(mkdir(own(f, "new"), 0755), EROFS);
        REFUSES(mkdir(own(f, ""), 0755), EEXIST);
        REFUSES(symlink("a", own(f, "new")), EROFS);
        REFUSES(mknod(own(f, "new"), S_IFSOCK | 0666, 0), EROFS);
        REFUSES(open(own(f, ""), O_TMPFILE | O_WRONLY, 0644), EROFS);
        REFUSES(link(at(f->mnt, "file"), own(f, "new")), EROFS);
        REFUSES(link(own(f, "status.json"), at(f->mnt, "new")), EXDEV);
        REFUSES(unlink(own(f, "status.json")), EROFS);
        REFUSES(unlink(own(f, "events.sock")), EROFS);
        REFUSES(rmdir(own(f, "")), EROFS);
        REFUSES(rename(own(f, ""), at(f->mnt, "new")), EROFS);
        REFUSES(rename(own(f, "status.json"), at(f->mnt, "new")), EROFS);
        REFUSES(rename(at(f->mnt, "file"), own(f, "file")), EROFS);
        REFUSES(rename(at(f->mnt, "file"), own(f, "status.json")), EROFS);
        REFUSES(chmod(own(f, "status.json"), 0666), EROFS);
        REFUSES(chown(own(f, ""), 1, 1), EROFS);
        REFUSES(truncate(own(f, "status.json"), 0), EROFS);
        REFUSES(utimensat(AT_FDCWD, own(f, "status.json"), times, 0), EROFS);
        REFUSES(setxattr(own(f, "status.json"), "user.a", "b", 1, 0), EROFS);
        REFUSES(getxattr(own(f, "status.json"), "user.a", NULL, 0), ENODATA);
#undef REFUSES
        must(listxattr(own(f, "status.json"), NULL, 0) == 0, "it has attributes");
        must(!lists(f->src, "new") && lists(f->src, "file"), "something of it reached the source");
}

static void read_status(const struct fixture *f, json_t **ret)
{
        CLEANUP_FREE char *text = NULL;

        must(fd_read_file(AT_FDCWD, own(f, "status.json"), 65536, &text) > 0, "status.json can't be read");
        *ret = json_loads(text, 0, NULL);
        must(*ret, "status.json is no JSON: %s", text);
        must(!strstr(text, f->base), "it says where things are: %s", text);
}

/* Root may open it for writing where the kernel asks nobody. */
CASE(own, what_is_written_to_it_is_not_kept)
{
        CLEANUP_FD int fd = open(own(f, "status.json"), O_RDWR | O_CLOEXEC);
        json_t *status;
        char *map;

        must(fd >= 0 || errno == EROFS, "open says %s", strerror(errno));
        if (fd >= 0) {
                must(write(fd, "nonsense", 8) < 0 && errno == EROFS, "it can be written to");
                map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
                if (map != MAP_FAILED) {
                        memcpy(map, "nonsense", 8);
                        must(msync(map, 4096, MS_SYNC) < 0, "it can be stored to");
                        (void)munmap(map, 4096);
                }
        }
        if (f->variant.transport == BY_URING) {
                for (int i = 0; i < 1000; i++) {
                        char text[2] = "";
                        CLEANUP_FD int again = open(own(f, "status.json"), O_RDONLY | O_CLOEXEC);

                        must(read(again, text, 1) == 1, "it can't be read");
                        if (*text == '{')
                                break;
                        must(i < 999, "what was stored stays");
                        (void)poll(NULL, 0, 10);
                }
                read_status(f, &status);
                json_decref(status);
        }
}

CASE(own, can_be_read_in_every_way)
{
        struct statx stx;
        struct statfs sfs;
        CLEANUP_FD int fd = open(own(f, "status.json"), O_RDONLY | O_CLOEXEC);
        CLEANUP_FD int dir = open(own(f, ""), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CLEANUP_FD int copy = open(at(f->mnt, "copy"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        loff_t from = 0, to = 0;
        json_t *status;
        struct stat st;

        must(fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 2, "it is empty");
        must(statx(fd, "", AT_EMPTY_PATH, STATX_ALL, &stx) == 0 && stx.stx_size == (uint64_t)st.st_size, "statx says something else");
        must(statfs(own(f, ""), &sfs) == 0, "statfs");
        must(lseek(fd, 0, SEEK_HOLE) == st.st_size && lseek(fd, 0, SEEK_DATA) == 0, "lseek");
        must(fsync(fd) == 0 && fsync(dir) == 0, "fsync");
        must(copy_file_range(fd, &from, copy, &to, (size_t)st.st_size, 0) == st.st_size, "copy_file_range");
        read_status(f, &status);
        must(json_integer_value(json_object_get(status, "version")) == 1, "it has no version");
        must(json_is_string(json_object_get(status, "verdict")), "it has no verdict");
        json_decref(status);
}

static bool says_clock(void *arg)
{
        struct fixture *f = arg;
        char now[64] = "";
        json_t *status;
        bool same;

        must(fixture_status_text(f, "clock", now, sizeof(now)), "status has no clock");
        read_status(f, &status);
        same = strcmp(now, json_string_value(json_object_get(status, "clock"))) == 0 &&
               json_integer_value(json_object_get(status, "pending")) == 0;
        json_decref(status);
        return same;
}

CASE(own, status_follows_what_happens)
{
        for (int i = 0; i < 3; i++) {
                put_text(at(f->src, "file%d", i), "text");
                must(fixture_dsfs(f, (const char *const[]){"wait", "--hashed", f->mnt, NULL}, NULL, 0) == 0, "dsfs wait");
                must(wait_until(says_clock, f, 60), "status.json stays what it was");
        }
}

/* One more each time that it is looked for. */
static bool says_pending(void *arg)
{
        static int count;
        const struct fixture *f = arg;
        json_t *status;
        bool pending;

        put_text(at(f->src, "more%d", count++), "text");
        read_status(f, &status);
        pending = json_integer_value(json_object_get(status, "pending")) > 0;
        json_decref(status);
        return pending;
}

CASE(own, status_says_that_something_is_not_told_yet)
{
        must(fixture_dsfs(f, (const char *const[]){"wait", "--hashed", f->mnt, NULL}, NULL, 0) == 0, "dsfs wait");
        must(wait_until(says_clock, f, 60), "status.json stays what it was");
        must(wait_until(says_pending, f, 60), "nothing ever waits");
        must(wait_until(says_clock, f, 60), "it waits for ever");
}

CASE_UNMOUNTED(own, the_sources_own_is_not_shown, case_variants)
{
        char text[4096];

        must(mkdir(at(f->src, ".dsfs"), 0755) == 0, "mkdir");
        put_text(at(f->src, ".dsfs/secret"), "text");
        fixture_mount(f);
        must(access(own(f, "secret"), F_OK) < 0 && access(own(f, "status.json"), F_OK) == 0, "the source's is shown");
        must(!lists(f->mnt, ".dsfs"), "the source's is listed");
        must(fixture_dsfs(f, (const char *const[]){"status", f->mnt, NULL}, text, sizeof(text)) == 3, "nobody is warned: %s", text);
        must(strstr(text, "a .dsfs of its own"), "nobody is warned: %s", text);
        /* What the host does to it is nothing that is seen. */
        put_text(at(f->src, ".dsfs/status.json"), "text");
        must(rename(at(f->src, ".dsfs"), at(f->src, "was")) == 0, "rename");
        must(mkdir(at(f->src, ".dsfs"), 0755) == 0 && rmdir(at(f->src, ".dsfs")) == 0, "mkdir");
        fixture_wait(f);
        must(access(own(f, "status.json"), F_OK) == 0 && access(at(f->mnt, "was/secret"), F_OK) == 0, "it is not seen after all");
}

/*
 * The socket
 */

/* As who has nothing but the mount: no /proc, and none of our mounts. */
static int follow_in_a_container(void *arg)
{
        const struct fixture *f = arg;
        CLEANUP_FREE char *why = NULL;
        struct subscriber *s;
        const struct event *e;
        CLEANUP_FD int fd = -1;

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || chroot(f->mnt) < 0 || chdir("/") < 0)
                return 1;
        if (setgid(4242) < 0 || setuid(4242) < 0)
                return 2;
        fd = open("/.dsfs/status.json", O_RDONLY | O_CLOEXEC);
        if (fd < 0 || subscriber_new("/" EVENTS_IN_MOUNT, &(struct subscriber_wish){0}, &s, &why))
                return 3;
        if (subscriber_next(s, PATIENCE_MS, &e, &why) || e->kind != EVENT_HELLO || e->source)
                return 4;
        fd_close(&fd);
        fd = open("/ready", O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0)
                return 5;
        do {
                if (subscriber_next(s, PATIENCE_MS, &e, &why))
                        return 6;
        } while (!event_is_change(e) || strcmp(e->path, "from-the-host") != 0);
        if (strcmp(e->kind == EVENT_CREATED ? e->origin : "", "container") == 0)
                return 7;
        subscriber_free(s);
        return 0;
}

static bool is_ready(void *arg)
{
        const struct fixture *f = arg;

        return access(at(f->src, "ready"), F_OK) == 0;
}

static bool has_ended(void *arg)
{
        return access(at(((const struct fixture *)arg)->mnt, ".dsfs"), F_OK) < 0;
}

CASE(own, events_are_told_in_another_mount_namespace_to_anyone)
{
        pid_t pid;
        int status;

        must(chmod(f->src, 0777) == 0, "chmod");
        must(fixture_dsfs(f, (const char *const[]){"wait", "--hashed", f->mnt, NULL}, NULL, 0) == 0, "dsfs wait");
        pid = child_start(NULL, follow_in_a_container, f);
        must(wait_until(is_ready, f, 60), "the container doesn't come to its events");
        put_text(at(f->src, "from-the-host"), "text");
        status = child_wait(pid);
        must(status == 0, "the container ends with %d", status);
}

/* As somebody on the host does it who knows nothing of dsfs. */
CASE(own, a_followed_mount_can_be_unmounted)
{
        CLEANUP_FREE char *why = NULL;
        CLEANUP_FREE char *path = strdup(own(f, "events.sock"));
        struct subscriber *s;
        const struct event *e;

        must(subscriber_new(path, &(struct subscriber_wish){0}, &s, &why) == 0, "%s", why ? why : "?");
        must(subscriber_next(s, PATIENCE_MS, &e, &why) == 0 && e->kind == EVENT_HELLO, "no hello");
        must(umount2(f->mnt, 0) == 0, "umount says %s", strerror(errno));
        must(wait_until(has_ended, f, 60), "it is still there");
        for (;;) {
                must(subscriber_next(s, PATIENCE_MS, &e, &why) == 0, "it is not told of the end");
                if (e->kind == EVENT_END)
                        break;
        }
        must(strcmp(e->why, "unmounted") == 0, "the end is %s", e->why);
        subscriber_free(s);
        f->mounted = false;
}
