#include "sync/agent/events.h"
#include "sync/agent/record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/agent/mountinfo.h"
#include "sync/serve/json.h"

#define SUFFIX ".agent"
#define FRESH_SUFFIX SUFFIX ".new"
#define RECORD_MAX (1024 * 1024)
#define RECORD_VERSION 2
#define DYING_SOON_MS 1000
#define DYING_MS 10000

static void record_release(struct record *r)
{
        free(r->name);
        free(r->source);
        free(r->mountpoint);
        memset(r, 0, sizeof(*r));
}

void record_list_release(struct record_list *l)
{
        for (size_t i = 0; i < l->count; i++)
                record_release(&l->records[i]);
        free(l->records);
        memset(l, 0, sizeof(*l));
}

void record_socket_name(const char *id, char ret[SOURCE_ID_TEXT + 5])
{
        snprintf(ret, SOURCE_ID_TEXT + 5, "%.16s.sock", id);
}

struct file_name {
        char text[SOURCE_ID_TEXT + sizeof(FRESH_SUFFIX)];
};

static struct file_name record_file(const char *id)
{
        struct file_name n;

        snprintf(n.text, sizeof(n.text), "%.16s" SUFFIX, id);
        return n;
}

/* What becomes the record once it is whole. */
static struct file_name fresh_file(const char *id)
{
        struct file_name n;

        snprintf(n.text, sizeof(n.text), "%.16s" FRESH_SUFFIX, id);
        return n;
}

/* Only asks: taking a lock to find out would make a claim fail that comes at the same moment. */
static bool is_locked(int fd)
{
        struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

        return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* The record as it stands, and whether its agent lives. That a file is no longer locked says nothing once another has taken its place. The
 * descriptor or -errno. */
static int open_record(int dirfd, const char *name, bool *alive)
{
        for (;;) {
                CLEANUP_FD int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
                struct stat st;

                if (fd < 0)
                        return -errno;
                *alive = is_locked(fd);
                if (*alive || fstat(fd, &st) < 0 || st.st_nlink > 0)
                        return fd_steal(&fd);
        }
}

static void parse_mount(const json_t *mount, const json_t *source, struct record *r)
{
        r->own_place = json_is_true(json_object_get(mount, "own_place"));
        r->name = path_from_json(json_object_get(mount, "name"));
        r->mountpoint = path_from_json(json_object_get(mount, "mountpoint"));
        r->source = path_from_json(source);
        if (!r->name || !r->source || !r->mountpoint) {
                free(steal_ptr(&r->name));
                free(steal_ptr(&r->mountpoint));
        }
}

/* Append a record for each mount of an agent, all else as in `like`. 0 or -ENOMEM. */
static int parse(const char *text, size_t len, const struct record *like, struct record_list *l)
{
        json_t *root = json_loadb(text, len, 0, NULL);
        const json_t *mounts = NULL;
        size_t count;
        struct record *grown;

        if (json_integer_value(json_object_get(root, "version")) == RECORD_VERSION)
                mounts = json_object_get(root, "mounts");
        count = json_array_size(mounts) ? json_array_size(mounts) : 1;
        grown = realloc(l->records, (l->count + count) * sizeof(*grown));
        if (grown) {
                l->records = grown;
                for (size_t i = 0; i < count; i++) {
                        struct record *r = &l->records[l->count++];

                        *r = *like;
                        r->pid = (pid_t)json_integer_value(json_object_get(root, "pid"));
                        r->holder = (pid_t)json_integer_value(json_object_get(root, "holder_pid"));
                        parse_mount(json_array_get(mounts, i), json_object_get(root, "source"), r);
                }
        }
        json_decref(root);
        return grown ? 0 : -ENOMEM;
}

/* Whether the process is on its way out: killed, but some of its threads, and so its lock, not gone yet. */
static bool is_dying(pid_t pid)
{
        CLEANUP_FREE char *text = NULL;
        CLEANUP_FREE char *path = text_new("/proc/%d/stat", (int)pid);
        const char *after_name = path && fd_read_file(AT_FDCWD, path, 4096, &text) > 0 ? strrchr(text, ')') : NULL;

        return after_name && (strncmp(after_name, ") Z", 3) == 0 || strncmp(after_name, ") X", 3) == 0);
}

/* A thread of it may wait for an answer from its own mount, beyond killing, and so keep everybody else waiting too. */
static void free_dying(const struct record *records, size_t count)
{
        struct mount_list mounts;

        if (mount_list_read(&mounts))
                return;
        for (size_t i = 0; i < count; i++) {
                const struct mount_entry *m = records[i].mountpoint ? mount_at(&mounts, records[i].mountpoint) : NULL;

                if (m && mount_is_dsfs(m))
                        (void)mount_abort(m->dev);
        }
        mount_list_release(&mounts);
}

void record_free_dying(const char *run, const char *id, pid_t agent)
{
        CLEANUP_FREE char *path = text_new("%s/%s%s", run, id, SUFFIX);
        CLEANUP_FREE char *text = NULL;
        struct record_list l = {0};
        struct record like = {0};
        ssize_t n = path ? fd_read_file(AT_FDCWD, path, RECORD_MAX, &text) : -1;

        /* The next one's mounts are no business of ours. */
        if (n > 0 && parse(text, (size_t)n, &like, &l) == 0 && l.records->pid == agent)
                free_dying(l.records, l.count);
        record_list_release(&l);
}

/* Let the agent of these finish: what it leaves is clear afterwards. Its holder does that by itself. */
static void wait_dying(const struct record *records, size_t count)
{
        CLEANUP_FD int fd = (int)syscall(SYS_pidfd_open, records->pid, 0);
        struct pollfd p = {.fd = fd, .events = POLLIN};

        if (fd < 0 || !is_dying(records->pid) || poll(&p, 1, DYING_SOON_MS) != 0)
                return;
        if (records->holder > 0 && kill(records->holder, 0) == 0)
                return;
        free_dying(records, count);
        (void)poll(&p, 1, DYING_MS);
}

/* -ENOENT when it has gone meanwhile. */
static int read_record(int dirfd, const char *name, struct record_list *l)
{
        struct record like = {0};
        CLEANUP_FD int fd = open_record(dirfd, name, &like.alive);
        CLEANUP_FREE char *text = NULL;
        size_t first = l->count;
        ssize_t n;
        int rc;

        if (fd < 0)
                return fd;
        memcpy(like.id, name, SOURCE_ID_TEXT - 1);
        n = fd_read_file(AT_FDCWD, fd_proc_path(fd).text, RECORD_MAX, &text);
        rc = parse(n > 0 ? text : "", n > 0 ? (size_t)n : 0, &like, l);
        if (rc == 0 && like.alive && l->records[first].pid > 0) {
                CLEANUP_FD int again = -1;

                wait_dying(&l->records[first], l->count - first);
                again = open_record(dirfd, name, &like.alive);
                for (size_t i = first; i < l->count; i++)
                        l->records[i].alive = again >= 0 && like.alive;
        }
        return rc;
}

static bool is_record_name(const char *name)
{
        return strlen(name) == SOURCE_ID_TEXT - 1 + sizeof(SUFFIX) - 1 && strcmp(name + SOURCE_ID_TEXT - 1, SUFFIX) == 0;
}

int record_list_read(const char *run, struct record_list *ret)
{
        DIR *d = opendir(run);
        struct record_list l = {0};
        int rc = 0;

        memset(ret, 0, sizeof(*ret));
        if (!d)
                return errno == ENOENT ? 0 : -errno;
        for (struct dirent *e = readdir(d); e && rc == 0; e = readdir(d)) {
                if (is_record_name(e->d_name) && read_record(dirfd(d), e->d_name, &l) == -ENOMEM)
                        rc = -ENOMEM;
        }
        closedir(d);
        if (rc)
                record_list_release(&l);
        else
                *ret = l;
        return rc;
}

int record_gate(const char *run)
{
        CLEANUP_FD int fd = open(run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        while (flock(fd, LOCK_EX) < 0)
                if (errno != EINTR)
                        return -errno;
        return fd_steal(&fd);
}

/* A new file of this name, locked. The descriptor or -errno. */
static int make_locked(int dirfd, const char *name)
{
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        CLEANUP_FD int fd = -1;

        if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
                return -errno;
        fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 || fcntl(fd, F_OFD_SETLK, &lock) < 0)
                return -errno;
        return fd_steal(&fd);
}

int record_claim(const char *run, const char *id)
{
        CLEANUP_FD int dirfd = open(run, O_PATH | O_DIRECTORY | O_CLOEXEC);
        CLEANUP_FD int old = -1;
        bool alive = false;

        if (dirfd < 0)
                return -errno;
        old = open_record(dirfd, record_file(id).text, &alive);
        return old >= 0 && alive ? -EBUSY : make_locked(dirfd, record_file(id).text);
}

/* Whether the record is the file that `claim` locks. */
static bool is_record(int dirfd, const char *id, int claim)
{
        struct stat held, there;

        return claim >= 0 && fstat(claim, &held) == 0 && fstatat(dirfd, record_file(id).text, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
               held.st_dev == there.st_dev && held.st_ino == there.st_ino;
}

int record_inherit(const char *run, const char *id, int *claim)
{
        CLEANUP_FD int dirfd = open(run, O_PATH | O_DIRECTORY | O_CLOEXEC);
        CLEANUP_FD int gate = -1;
        int fresh;

        if (dirfd < 0)
                return -errno;
        /* It is locked, and by us, so nobody else replaces it. */
        if (is_record(dirfd, id, *claim))
                return 0;
        gate = record_gate(run);
        fresh = gate < 0 ? gate : record_claim(run, id);
        if (fresh < 0)
                return fresh;
        fd_close(claim);
        *claim = fresh;
        return 0;
}

static char *record_text(pid_t pid, pid_t holder, const char *source, const struct record_mount *mounts, size_t count)
{
        json_t *list = json_array();
        json_t *root;
        char *text;

        for (size_t i = 0; i < count; i++)
                json_array_append_new(list, json_pack("{s:o, s:o, s:b}", "name", bytes_to_json(mounts[i].name, strlen(mounts[i].name)),
                                                      "mountpoint", bytes_to_json(mounts[i].mountpoint, strlen(mounts[i].mountpoint)),
                                                      "own_place", (int)mounts[i].own_place));
        root = json_pack("{s:i, s:I, s:o, s:o}", "version", RECORD_VERSION, "pid", (json_int_t)pid, "source",
                         bytes_to_json(source, strlen(source)), "mounts", list);
        if (holder)
                json_object_set_new(root, "holder_pid", json_integer(holder));
        text = json_dumps(root, JSON_COMPACT);
        json_decref(root);
        return text;
}

/* Let a file with this text, locked, take the record's place. The descriptor that holds the lock, or -errno. */
static int replace(int dirfd, const char *id, const char *text)
{
        CLEANUP_FD int fd = make_locked(dirfd, fresh_file(id).text);
        int rc = fd < 0 ? fd : fd_write_full(fd, text, strlen(text));

        if (rc == 0 && renameat(dirfd, fresh_file(id).text, dirfd, record_file(id).text) < 0)
                rc = -errno;
        if (rc) {
                (void)unlinkat(dirfd, fresh_file(id).text, 0);
                return rc;
        }
        return fd_steal(&fd);
}

int record_write(const char *run, const char *id, int *claim, pid_t holder, const char *source, const struct record_mount *mounts,
                 size_t count)
{
        CLEANUP_FD int dirfd = open(run, O_PATH | O_DIRECTORY | O_CLOEXEC);
        CLEANUP_FREE char *text = record_text(getpid(), holder, source, mounts, count);
        int fresh;

        if (dirfd < 0)
                return -errno;
        fresh = text ? replace(dirfd, id, text) : -ENOMEM;
        if (fresh < 0)
                return fresh;
        fd_close(claim);
        *claim = fresh;
        return 0;
}

void record_drop(const char *run, const char *id)
{
        CLEANUP_FD int dirfd = open(run, O_PATH | O_DIRECTORY | O_CLOEXEC);
        char sock[SOURCE_ID_TEXT + 5];
        char events[EVENTS_SOCKET_TEXT];

        if (dirfd < 0)
                return;
        record_socket_name(id, sock);
        events_socket_name(id, events);
        (void)unlinkat(dirfd, sock, 0);
        (void)unlinkat(dirfd, events, 0);
        (void)unlinkat(dirfd, record_file(id).text, 0);
}

/* Under the gate: what the dead agent left but for the mount at `mountpoint`. Whether anything is. */
static bool keep_others(int dirfd, const char *id, const char *mountpoint)
{
        struct record_list l = {0};
        struct record_mount left[RECORD_MOUNTS_MAX];
        CLEANUP_FREE char *text = NULL;
        const char *source = NULL;
        size_t count = 0;

        if (read_record(dirfd, record_file(id).text, &l) == 0) {
                for (size_t i = 0; i < l.count && count < ARRAY_LEN(left); i++) {
                        const struct record *r = &l.records[i];

                        if (!r->mountpoint || strcmp(r->mountpoint, mountpoint) == 0)
                                continue;
                        source = r->source;
                        left[count++] = (struct record_mount){r->name, r->mountpoint, r->own_place};
                }
        }
        if (count)
                text = record_text(l.records[0].pid, 0, source, left, count);
        if (text) {
                CLEANUP_FD int fd = replace(dirfd, id, text);

                (void)fd; /* its lock ends here; if it failed there is a mount more to be forgotten later */
        }
        record_list_release(&l);
        return count > 0;
}

bool record_drop_dead(const char *run, const char *id, const char *mountpoint)
{
        CLEANUP_FD int gate = record_gate(run);
        CLEANUP_FD int fd = -1;
        bool alive = false;

        if (gate < 0)
                return false;
        fd = open_record(gate, record_file(id).text, &alive);
        if (fd >= 0 && alive)
                return false;
        if (!mountpoint || fd < 0 || !keep_others(gate, id, mountpoint))
                record_drop(run, id);
        return true;
}
