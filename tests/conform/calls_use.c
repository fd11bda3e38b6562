/*
 * What else is done with a path: running it, watching it, binding a socket to it, handles, fifos' ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/conform/calls.h"

#define HANDLE_MAX 128

static void exec_child(struct trial *t)
{
        char *argv[] = {"x", NULL, NULL};

        TRY(t, "execve", execve(t->path, argv, (char *[]){NULL}));
}

static void exec_it(struct trial *t)
{
        in_child(t, NULL, exec_child);
}

static void exec_descriptor(struct trial *t)
{
        char *argv[] = {"x", NULL, NULL};
        int fd = TRY_FD(t, "open", open(t->path, O_PATH | O_CLOEXEC));

        TRY(t, "execveat", execveat(fd, "", argv, (char *[]){NULL}, AT_EMPTY_PATH));
        TRY(t, "execveat", execveat(AT_FDCWD, t->path, argv, (char *[]){NULL}, AT_SYMLINK_NOFOLLOW));
}

static void watch_it(struct trial *t)
{
        int fd = inotify_init1(IN_NONBLOCK);

        TRY(t, "inotify_add_watch", inotify_add_watch(fd, t->path, (uint32_t)t->call->a) < 0 ? -1 : 0);
}

static struct sockaddr_un address(const char *path)
{
        struct sockaddr_un a = {.sun_family = AF_UNIX};

        strncpy(a.sun_path, path, sizeof(a.sun_path) - 1);
        return a;
}

static void bind_it(struct trial *t)
{
        struct sockaddr_un a = address(t->path);
        int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);

        if (!*t->path || strlen(t->path) >= sizeof(a.sun_path)) {
                TELL(t, "no address\n");
                return;
        }
        TRY(t, "bind", bind(server, (struct sockaddr *)&a, sizeof(a)));
        TRY(t, "listen", listen(server, 1));
        TRY(t, "connect", connect(client, (struct sockaddr *)&a, sizeof(a)));
        TRY(t, "write", write(client, "x", 1));
        say_path(t, t->path);
}

static void handle_it(struct trial *t)
{
        _Alignas(struct file_handle) char room[sizeof(struct file_handle) + HANDLE_MAX];
        struct file_handle *h = (struct file_handle *)room;
        int mount_id;

        h->handle_bytes = HANDLE_MAX;
        TRY(t, "name_to_handle_at", name_to_handle_at(AT_FDCWD, t->path, h, &mount_id, (int)t->call->a));
}

static void fifo_it(struct trial *t)
{
        char buf[4] = "";
        int reader = TRY_FD(t, "open for reading", open(t->path, O_RDONLY | O_NONBLOCK));
        int writer = TRY_FD(t, "open for writing", open(t->path, O_WRONLY | O_NONBLOCK));

        TRY(t, "write", write(writer, "abc", 3));
        TRY(t, "read", read(reader, buf, 3));
        TELL(t, "read %s\n", buf);
        say_fd(t, writer);
        close(reader);
        if (reader < 0)
                TRY(t, "write", write(writer, "d", 1));
}

static void exec_while_written(struct trial *t)
{
        int fd = TRY_FD(t, "open", open(t->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC));

        in_child(t, NULL, exec_child);
        close(fd);
        in_child(t, NULL, exec_child);
}

const struct call use_calls[] = {
        {"exec", exec_it, 0, 0, NULL, NULL, NULL, NULL},
        {"execveat", exec_descriptor, 0, 0, NULL, NULL, NULL, NULL},
        {"exec while open for writing", exec_while_written, 0, 0, NULL, NULL, NULL, NULL},
        {"inotify", watch_it, IN_ALL_EVENTS, 0, NULL, NULL, NULL, NULL},
        {"inotify:onlydir", watch_it, IN_ALL_EVENTS | IN_ONLYDIR, 0, NULL, NULL, NULL, NULL},
        {"inotify:dont_follow", watch_it, IN_ALL_EVENTS | IN_DONT_FOLLOW, 0, NULL, NULL, NULL, NULL},
        {"inotify:none", watch_it, 0, 0, NULL, NULL, NULL, NULL},
        {"bind", bind_it, 0, 0, NULL, NULL, NULL, NULL},
        {"handle", handle_it, 0, 0, NULL, NULL, NULL, NULL},
        {"handle:follow", handle_it, AT_SYMLINK_FOLLOW, 0, NULL, NULL, NULL, NULL},
        {"fifo", fifo_it, 0, 0, NULL, NULL, NULL, NULL},
};
const size_t use_call_count = ARRAY_LEN(use_calls);
