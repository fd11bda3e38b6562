#include "sync/agent/record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/serve/json.h"

#define SUFFIX ".agent"
#define RECORD_MAX (64 * 1024)
#define RECORD_VERSION 1
#define DYING_MS 10000

void record_release(struct record *r)
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
        char text[SOURCE_ID_TEXT + sizeof(SUFFIX)];
};

static struct file_name record_file(const char *id)
{
        struct file_name n;

        snprintf(n.text, sizeof(n.text), "%.16s" SUFFIX, id);
        return n;
}

/* Only asks: taking a lock to find out would make a claim fail that comes at the same moment. */
static bool is_locked(int fd)
{
        struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

        return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static void parse(const char *text, size_t len, struct record *r)
{
        json_t *root = json_loadb(text, len, 0, NULL);

        if (json_integer_value(json_object_get(root, "version")) == RECORD_VERSION) {
                r->pid = (pid_t)json_integer_value(json_object_get(root, "pid"));
                r->own_place = json_is_true(json_object_get(root, "own_place"));
                r->name = path_from_json(json_object_get(root, "name"));
                r->source = path_from_json(json_object_get(root, "source"));
                r->mountpoint = path_from_json(json_object_get(root, "mountpoint"));
        }
        if (!r->name || !r->source || !r->mountpoint) {
                free(r->name);
                free(r->source);
                free(r->mountpoint);
                r->name = r->source = r->mountpoint = NULL;
        }
        json_decref(root);
}

/* Whether the process is on its way out: killed, but some of its threads, and so its lock, not gone yet. */
static bool is_dying(pid_t pid)
{
        CLEANUP_FREE char *text = NULL;
        CLEANUP_FREE char *path = text_new("/proc/%d/stat", (int)pid);
        const char *after_name = path && fd_read_file(AT_FDCWD, path, 4096, &text) > 0 ? strrchr(text, ')') : NULL;

        return after_name && (strncmp(after_name, ") Z", 3) == 0 || strncmp(after_name, ") X", 3) == 0);
}

/* Let it finish: what it leaves is clear afterwards. */
static void wait_dying(pid_t pid)
{
        CLEANUP_FD int fd = (int)syscall(SYS_pidfd_open, pid, 0);
        struct pollfd p = {.fd = fd, .events = POLLIN};

        if (fd >= 0 && is_dying(pid))
                (void)poll(&p, 1, DYING_MS);
}

static int read_record(int dirfd, const char *name, struct record *r)
{
        CLEANUP_FD int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        CLEANUP_FREE char *text = NULL;
        ssize_t n;

        if (fd < 0)
                return -errno;
        memset(r, 0, sizeof(*r));
        memcpy(r->id, name, SOURCE_ID_TEXT - 1);
        r->alive = is_locked(fd);
        n = fd_read_file(dirfd, name, RECORD_MAX, &text);
        if (n >= 0)
                parse(text, (size_t)n, r);
        if (r->alive && r->pid > 0) {
                wait_dying(r->pid);
                r->alive = is_locked(fd);
        }
        return 0;
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
                struct record *grown;

                if (!is_record_name(e->d_name))
                        continue;
                grown = realloc(l.records, (l.count + 1) * sizeof(*grown));
                if (!grown) {
                        rc = -ENOMEM;
                        break;
                }
                l.records = grown;
                if (read_record(dirfd(d), e->d_name, &l.records[l.count]) == 0)
                        l.count++;
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

int record_claim(const char *run, const char *id)
{
        CLEANUP_FD int dirfd = open(run, O_PATH | O_DIRECTORY | O_CLOEXEC);
        CLEANUP_FD int old = -1;
        CLEANUP_FD int fd = -1;
        struct file_name name = record_file(id);
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

        if (dirfd < 0)
                return -errno;
        old = openat(dirfd, name.text, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (old >= 0 && is_locked(old))
                return -EBUSY;
        if (unlinkat(dirfd, name.text, 0) < 0 && errno != ENOENT)
                return -errno;
        fd = openat(dirfd, name.text, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 || fcntl(fd, F_OFD_SETLK, &lock) < 0)
                return -errno;
        return fd_steal(&fd);
}

int record_write(int claim, const struct record *r)
{
        json_t *root =
                json_pack("{s:i, s:I, s:b, s:o, s:o, s:o}", "version", RECORD_VERSION, "pid", (json_int_t)r->pid, "own_place",
                          (int)r->own_place, "name", bytes_to_json(r->name, strlen(r->name)), "source",
                          bytes_to_json(r->source, strlen(r->source)), "mountpoint", bytes_to_json(r->mountpoint, strlen(r->mountpoint)));
        CLEANUP_FREE char *text = json_dumps(root, JSON_COMPACT);

        json_decref(root);
        return text ? fd_write_full(claim, text, strlen(text)) : -ENOMEM;
}

void record_drop(const char *run, const char *id)
{
        CLEANUP_FD int dirfd = open(run, O_PATH | O_DIRECTORY | O_CLOEXEC);
        char sock[SOURCE_ID_TEXT + 5];

        if (dirfd < 0)
                return;
        record_socket_name(id, sock);
        (void)unlinkat(dirfd, sock, 0);
        (void)unlinkat(dirfd, record_file(id).text, 0);
}

bool record_drop_dead(const char *run, const char *id)
{
        CLEANUP_FD int gate = record_gate(run);
        CLEANUP_FD int fd = -1;

        if (gate < 0)
                return false;
        fd = openat(gate, record_file(id).text, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd >= 0 && is_locked(fd))
                return false;
        record_drop(run, id);
        return true;
}
