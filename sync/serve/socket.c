#include "sync/serve/socket.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/serve/why.h"

int socket_listen(int dirfd, const char *name)
{
        CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        CLEANUP_FREE char *fresh = text_new("%s.new", name);
        struct sockaddr_un addr = {.sun_family = AF_UNIX};

        if (fd < 0)
                return -errno;
        if (!fresh)
                return -ENOMEM;
        if ((size_t)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", fd_proc_path(dirfd).text, fresh) >= sizeof(addr.sun_path))
                return -ENAMETOOLONG;
        if (unlinkat(dirfd, fresh, 0) < 0 && errno != ENOENT)
                return -errno;
        if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
                return -errno;
        if (fchmodat(dirfd, fresh, 0600, 0) < 0 || listen(fd, SOCKET_BACKLOG) < 0 || renameat(dirfd, fresh, dirfd, name) < 0) {
                int rc = -errno;

                (void)unlinkat(dirfd, fresh, 0);
                return rc;
        }
        return fd_steal(&fd);
}

bool socket_peer_is_owner(int fd)
{
        struct ucred peer;
        socklen_t len = sizeof(peer);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
                return false;
        return peer.uid == 0 || peer.uid == geteuid();
}
