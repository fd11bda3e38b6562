#include "sync/agent/mount_users.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/agent/mountinfo.h"

#define PROCESSES_MAX 32768
#define NAMESPACES_MAX 512
#define MOUNTINFO_MAX (1024 * 1024)
#define CGROUP_MAX 4096
#define CONTAINER_DIGITS 64

struct walk {
        const unsigned *devs;
        size_t count;
        const char *not_at; /* or NULL */
        void (*visit)(void *arg, size_t which, const struct mount_user *u);
        void *arg;
        ino_t seen[NAMESPACES_MAX];
        size_t seen_count;
};

/* Whether that is the first process of it, and there is room to remember it. */
static bool is_new(struct walk *w, ino_t ns)
{
        for (size_t i = 0; i < w->seen_count; i++) {
                if (w->seen[i] == ns)
                        return false;
        }
        if (w->seen_count == NAMESPACES_MAX)
                return false;
        w->seen[w->seen_count++] = ns;
        return true;
}

/* Behind the n-th blank of a line, or NULL. */
static const char *field(const char *line, int n)
{
        while (line && n-- > 0) {
                line += strcspn(line, " \n");
                line = *line == ' ' ? line + 1 : NULL;
        }
        return line;
}

/* Whether a line of mountinfo, "36 35 0:52 / /path …", is of this device (those of FUSE have no major number), and not at this path. */
static bool is_line_of(const char *line, unsigned dev, const char *not_at)
{
        const char *number = field(line, 2);
        const char *path = field(line, 4);
        CLEANUP_FREE char *copy = NULL;
        char wanted[32];

        snprintf(wanted, sizeof(wanted), "0:%u ", dev);
        if (!number || !path || strncmp(number, wanted, strlen(wanted)) != 0)
                return false;
        if (!not_at)
                return true;
        copy = strndup(path, strcspn(path, " \n"));
        if (copy)
                mount_unescape(copy);
        return !copy || strcmp(copy, not_at) != 0;
}

static bool has_device(const char *mountinfo, unsigned dev, const char *not_at)
{
        for (const char *line = mountinfo; line; line = strchr(line, '\n')) {
                line += *line == '\n';
                if (is_line_of(line, dev, not_at))
                        return true;
        }
        return false;
}

/* 64 hexadecimal digits in the name of its control group: docker's, containerd's and podman's way. */
static void find_container(int process, struct mount_user *u)
{
        CLEANUP_FREE char *text = NULL;
        size_t run = 0;

        if (fd_read_file(process, "cgroup", CGROUP_MAX, &text) < 0)
                return;
        for (const char *p = text; *p; p++) {
                run = isxdigit((unsigned char)*p) ? run + 1 : 0;
                if (run == CONTAINER_DIGITS) {
                        snprintf(u->container, sizeof(u->container), "%s", p - CONTAINER_DIGITS + 1);
                        return;
                }
        }
}

static void look_into(struct walk *w, int process, pid_t pid)
{
        CLEANUP_FREE char *mounts = NULL;
        CLEANUP_FREE char *command = NULL;
        struct mount_user u = {.pid = pid};
        bool told = false;

        if (fd_read_file(process, "mountinfo", MOUNTINFO_MAX, &mounts) < 0)
                return;
        for (size_t i = 0; i < w->count; i++) {
                if (!has_device(mounts, w->devs[i], w->not_at))
                        continue;
                if (!told && fd_read_file(process, "comm", sizeof(u.command) + 1, &command) > 0)
                        snprintf(u.command, sizeof(u.command), "%.*s", (int)strcspn(command, "\n"), command);
                if (!told)
                        find_container(process, &u);
                told = true;
                w->visit(w->arg, i, &u);
        }
}

int mount_users(const unsigned *devs, size_t count, void (*visit)(void *arg, size_t which, const struct mount_user *u), void *arg)
{
        return mount_users_elsewhere(NULL, devs, count, visit, arg);
}

int mount_users_elsewhere(const char *place, const unsigned *devs, size_t count,
                          void (*visit)(void *arg, size_t which, const struct mount_user *u), void *arg)
{
        struct walk w = {.devs = devs, .count = count, .not_at = place, .visit = visit, .arg = arg};
        DIR *proc = opendir("/proc");
        struct stat st;
        struct dirent *e;
        size_t processes = 0;
        bool refused = false;

        if (!proc)
                return -errno;
        if (stat("/proc/self/ns/mnt", &st) == 0)
                (void)is_new(&w, st.st_ino);
        while ((e = readdir(proc)) && processes < PROCESSES_MAX) {
                CLEANUP_FD int process = -1;
                pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);

                if (pid <= 0)
                        continue;
                processes++;
                process = openat(dirfd(proc), e->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (process < 0)
                        continue;
                if (fstatat(process, "ns/mnt", &st, 0) < 0)
                        refused = refused || errno == EACCES || errno == EPERM;
                else if (is_new(&w, st.st_ino))
                        look_into(&w, process, pid);
        }
        closedir(proc);
        return refused && geteuid() != 0 ? -EPERM : 0;
}
