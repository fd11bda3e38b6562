/*
 * A big tree and few descriptors: every file is read through the mount by an agent held to 1,024 descriptors and fewer for its nodes;
 * directories are renamed on the host in between; then the kernel forgets, and the agent must.
 *
 *   tree [FILES [uring|dev]]
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/lib/mount.h"

#define FILES_DEFAULT 60000
#define IN_A_DIR 250
#define FD_BUDGET 128
#define OTHER_FDS 128
#define LIFE 3600
#define NODES_LEFT 1000

struct tree {
        struct fixture *f;
        unsigned files;
};

static const char *file_name(const char *root, unsigned i)
{
        return at(root, "dir-%u/file-%u", i / IN_A_DIR, i % IN_A_DIR);
}

static void make(const struct tree *t)
{
        for (unsigned i = 0; i < t->files; i++) {
                char text[32];

                if (i % IN_A_DIR == 0)
                        must(mkdir(at(t->f->src, "dir-%u", i / IN_A_DIR), 0755) == 0, "mkdir");
                snprintf(text, sizeof(text), "file number %u", i);
                put_text(file_name(t->f->src, i), text);
        }
}

static void read_all(const struct tree *t)
{
        for (unsigned i = 0; i < t->files; i++) {
                CLEANUP_FREE char *have = NULL;
                char want[32];

                snprintf(want, sizeof(want), "file number %u", i);
                must(fd_read_file(AT_FDCWD, file_name(t->f->mnt, i), 100, &have) > 0, "read %s", file_name("", i));
                errno = 0;
                must(strcmp(have, want) == 0, "%s says %s", file_name("", i), have);
        }
}

static unsigned count_fds(const struct tree *t)
{
        DIR *dir = opendir(at("/proc", "%d/fd", t->f->pid));
        unsigned count = 0;

        must(dir, "/proc/%d/fd", t->f->pid);
        while (readdir(dir))
                count++;
        closedir(dir);
        return count - 2;
}

static int64_t ask(const struct tree *t, const char *key)
{
        int64_t value;

        must(fixture_status(t->f, key, &value), "status has no %s", key);
        return value;
}

static void rename_each_dir(const struct tree *t, const char *from, const char *to)
{
        for (unsigned d = 0; d * IN_A_DIR < t->files; d += 7) {
                const char *old = at(t->f->src, "%s-%u", from, d);

                must(rename(old, at(t->f->src, "%s-%u", to, d)) == 0, "rename %s", old);
        }
}

static bool forgotten(void *arg)
{
        put_text("/proc/sys/vm/drop_caches", "2");
        return ask(arg, "nodes") < NODES_LEFT;
}

int main(int argc, char **argv)
{
        struct variant v = {.backing = ON_EXT4, .max_fds = FD_BUDGET, .nofile = 1024, .life = LIFE};
        struct tree t = {.files = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : FILES_DEFAULT};
        int64_t nodes;

        v.transport = argc > 2 && strcmp(argv[2], "dev") == 0 ? BY_DEV : BY_URING;
        t.f = fixture_prepare(&v);
        make(&t);
        fixture_mount(t.f);
        read_all(&t);
        errno = 0;
        nodes = ask(&t, "nodes");
        must(nodes >= t.files, "%ld nodes known", (long)nodes);
        must(count_fds(&t) <= FD_BUDGET + OTHER_FDS, "%u descriptors", count_fds(&t));
        printf("files=%u nodes=%ld bytes_a_node=%ld fds=%u\n", t.files, (long)nodes, (long)(ask(&t, "node_bytes") / nodes), count_fds(&t));
        rename_each_dir(&t, "dir", "moved");
        fixture_wait(t.f);
        must(access(at(t.f->mnt, "dir-0"), F_OK) < 0 && access(at(t.f->mnt, "moved-0/file-0"), F_OK) == 0, "what was renamed");
        rename_each_dir(&t, "moved", "dir");
        fixture_wait(t.f);
        read_all(&t);
        must(wait_until(forgotten, &t, 60), "%ld nodes after drop_caches", (long)ask(&t, "nodes"));
        read_all(&t);
        must(count_fds(&t) <= FD_BUDGET + OTHER_FDS, "%u descriptors", count_fds(&t));
        fixture_free(t.f);
        return 0;
}
