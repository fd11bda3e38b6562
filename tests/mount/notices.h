/*
 * What a service manager is told over its socket.
 */
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/mount/cli.h"

static inline int notify_socket(char *path, size_t size)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        snprintf(path, size, "%s/notify", box.base);
        cr_assert_lt(strlen(path), sizeof(addr.sun_path));
        memcpy(addr.sun_path, path, strlen(path));
        cr_assert_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
        return fd;
}

static inline void expect_notice(int fd, const char *want)
{
        struct pollfd p = {.fd = fd, .events = POLLIN};
        char text[256] = "";

        cr_assert_gt(poll(&p, 1, PROC_PATIENCE_S * 1000), 0, "no %s", want);
        cr_assert_gt(recv(fd, text, sizeof(text) - 1, 0), 0);
        cr_assert_str_eq(text, want);
}

static inline pid_t start_foreground(const char *mountpoint, const char *notices)
{
        const char *argv[] = {getenv("DSFS_BIN"), "mount", box.src, mountpoint, "--foreground", "-o", "prewarm=off", NULL};
        pid_t pid;

        cr_assert_eq(setenv("NOTIFY_SOCKET", notices, 1), 0);
        pid = proc_start(argv, 0, NULL);
        cr_assert_eq(unsetenv("NOTIFY_SOCKET"), 0);
        return pid;
}
