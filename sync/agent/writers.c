#include "sync/agent/writers.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/fd.h"

#define PROC_FILE_MAX (16 * 1024 * 1024)
#define MOUNTS_MAX 64 /* of ours, as one process sees them */
#define NAME_ROOM 64

/* A mount of ours in a process's namespace: `root` of it is seen at `point`. */
struct seen_mount {
        long id;
        unsigned device;
        char *root, *point; /* in the text that was read */
};

struct search {
        const unsigned *devices;
        size_t count;
        bool (*visit)(void *arg, pid_t pid, const char *program, const char *path);
        void *arg;
        bool stopped;
        /* Of the process that is looked at. */
        pid_t pid;
        struct seen_mount mounts[MOUNTS_MAX];
        size_t mount_count;
};

/* \040 and the like. */
static void unescape(char *text)
{
        char *to = text;

        for (const char *from = text; *from; from++) {
                if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && isdigit((unsigned char)from[2]) &&
                    isdigit((unsigned char)from[3])) {
                        *to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
                        from += 3;
                } else {
                        *to++ = *from;
                }
        }
        *to = '\0';
}

static bool is_ours(const struct search *s, unsigned device)
{
        for (size_t i = 0; i < s->count; i++) {
                if (s->devices[i] == device)
                        return true;
        }
        return false;
}

/* "36 35 0:98 /root /point …" */
static void take_mount(struct search *s, char *line)
{
        struct seen_mount m;
        unsigned major;
        int at = 0;
        char *save;

        if (sscanf(line, "%ld %*d %u:%u %n", &m.id, &major, &m.device, &at) != 3 || !at || major != 0 || !is_ours(s, m.device) ||
            s->mount_count == MOUNTS_MAX)
                return;
        m.root = strtok_r(line + at, " ", &save);
        m.point = strtok_r(NULL, " ", &save);
        if (!m.root || !m.point)
                return;
        unescape(m.root);
        unescape(m.point);
        s->mounts[s->mount_count++] = m;
}

/* What is behind `above` in `path`, with its slash; NULL: it isn't below. */
static const char *below(const char *path, const char *above)
{
        size_t len = strcmp(above, "/") == 0 ? 0 : strlen(above);

        return strncmp(path, above, len) == 0 && (path[len] == '/' || path[len] == '\0') ? path + len : NULL;
}

static void tell(struct search *s, const struct seen_mount *m, const char *path)
{
        const char *rest = below(path, m->point);
        char inside[2 * PATH_MAX], comm[32], program[NAME_ROOM] = "?";
        CLEANUP_FREE char *text = NULL;

        if (!rest || (size_t)snprintf(inside, sizeof(inside), "%s%s", strcmp(m->root, "/") == 0 ? "" : m->root, rest) >= sizeof(inside))
                return;
        snprintf(comm, sizeof(comm), "/proc/%d/comm", (int)s->pid);
        if (fd_read_file(AT_FDCWD, comm, NAME_ROOM, &text) > 0)
                snprintf(program, sizeof(program), "%.*s", (int)strcspn(text, "\n"), text);
        s->stopped = !s->visit(s->arg, s->pid, program, inside + (inside[0] == '/'));
}

/*
 * Descriptors
 */

static void look_at_fd(struct search *s, int proc, const char *number)
{
        CLEANUP_FREE char *info = NULL;
        char name[48], path[PATH_MAX];
        const char *flags_at, *id_at;
        unsigned flags;
        long id;
        ssize_t n;

        snprintf(name, sizeof(name), "fdinfo/%.16s", number);
        if (fd_read_file(proc, name, PATH_MAX, &info) <= 0)
                return;
        flags_at = strstr(info, "flags:");
        id_at = strstr(info, "mnt_id:");
        if (!flags_at || !id_at || sscanf(flags_at, "flags: %o", &flags) != 1 || sscanf(id_at, "mnt_id: %ld", &id) != 1 ||
            (flags & O_ACCMODE) == O_RDONLY)
                return;
        for (size_t i = 0; i < s->mount_count; i++) {
                if (s->mounts[i].id != id)
                        continue;
                snprintf(name, sizeof(name), "fd/%.16s", number);
                n = readlinkat(proc, name, path, sizeof(path) - 1);
                if (n > 0) {
                        path[n] = '\0';
                        tell(s, &s->mounts[i], path);
                }
                return;
        }
}

static void look_at_fds(struct search *s, int proc)
{
        int fd = openat(proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;

        if (!d) {
                fd_close(&fd);
                return;
        }
        while (!s->stopped && (e = readdir(d))) {
                if (isdigit((unsigned char)e->d_name[0]))
                        look_at_fd(s, proc, e->d_name);
        }
        closedir(d);
}

/*
 * Mappings, which need no descriptor: "7f… rw-s 00000000 00:62 1234   /path"
 */

static void look_at_mapping(struct search *s, const char *line)
{
        const struct seen_mount *best = NULL;
        unsigned major, device;
        char mode[8];
        int at = 0;

        if (sscanf(line, "%*s %7s %*s %x:%x %*s %n", mode, &major, &device, &at) != 3 || !at || mode[1] != 'w' || mode[3] != 's' ||
            major != 0)
                return;
        for (size_t i = 0; i < s->mount_count; i++) {
                const struct seen_mount *m = &s->mounts[i];

                if (m->device == device && below(line + at, m->point) && (!best || strlen(m->point) > strlen(best->point)))
                        best = m;
        }
        if (best)
                tell(s, best, line + at);
}

static void look_at_mappings(struct search *s, int proc)
{
        CLEANUP_FREE char *text = NULL;
        char *save;

        if (fd_read_file(proc, "maps", PROC_FILE_MAX, &text) <= 0)
                return;
        for (char *line = strtok_r(text, "\n", &save); line && !s->stopped; line = strtok_r(NULL, "\n", &save))
                look_at_mapping(s, line);
}

static void look_at_process(struct search *s, const char *number)
{
        CLEANUP_FREE char *text = NULL;
        CLEANUP_FD int proc = -1;
        char path[32];
        char *save;

        snprintf(path, sizeof(path), "/proc/%.16s", number);
        proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        s->pid = (pid_t)atoi(number);
        s->mount_count = 0;
        if (proc < 0 || s->pid == getpid() || fd_read_file(proc, "mountinfo", PROC_FILE_MAX, &text) <= 0)
                return;
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
                take_mount(s, line);
        if (s->mount_count == 0)
                return;
        look_at_fds(s, proc);
        if (!s->stopped)
                look_at_mappings(s, proc);
}

void writers_each(const unsigned *devices, size_t count, bool (*visit)(void *arg, pid_t pid, const char *program, const char *path),
                  void *arg)
{
        struct search s = {.devices = devices, .count = count, .visit = visit, .arg = arg};
        DIR *d = opendir("/proc");
        struct dirent *e;

        while (d && !s.stopped && (e = readdir(d))) {
                if (isdigit((unsigned char)e->d_name[0]))
                        look_at_process(&s, e->d_name);
        }
        if (d)
                closedir(d);
}
