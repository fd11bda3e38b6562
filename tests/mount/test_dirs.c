/*
 * Directories and names: making, listing while others change them, seeking in a listing, names of every kind.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"

#define MANY 10000
#define CHANGING 500

SCRIPT(dirs, make_and_remove)
{
        DO(s, mkdir("d", 0750));
        DO(s, mkdir("d", 0755));
        say_stat(s, "d");
        DO(s, mkdir("d/e", 01777));
        say_stat(s, "d/e");
        DO(s, mkdir("x/y", 0755));
        DO(s, rmdir("d"));
        DO(s, rmdir("missing"));
        close(DO_FD(s, open("f", O_WRONLY | O_CREAT, 0644)));
        DO(s, rmdir("f"));
        DO(s, unlink("d"));
        DO(s, mkdir("f", 0755));
        DO(s, mkdir("f/g", 0755));
        DO(s, rmdir("d/e"));
        DO(s, rmdir("d/."));
        DO(s, rmdir("d/.."));
        DO(s, rmdir("d"));
        say_stat(s, "d");
        DO(s, mkdir("d", 0700));
        say_stat(s, "d");
}

SCRIPT(dirs, link_counts_of_directories)
{
        struct stat st;

        DO(s, mkdir("p", 0755));
        DO(s, mkdir("p/a", 0755));
        DO(s, mkdir("p/b", 0755));
        DO(s, stat("p", &st));
        SAY(s, "links %lu\n", (unsigned long)st.st_nlink);
        DO(s, rmdir("p/a"));
        DO(s, stat("p", &st));
        SAY(s, "links %lu\n", (unsigned long)st.st_nlink);
        DO(s, rename("p/b", "b"));
        DO(s, stat("p", &st));
        SAY(s, "links %lu\n", (unsigned long)st.st_nlink);
        DO(s, stat("b/..", &st));
        SAY(s, "links %lu\n", (unsigned long)st.st_nlink);
}

SCRIPT(dirs, removed_directory_in_use)
{
        int fd;

        DO(s, mkdir("gone", 0755));
        fd = DO_FD(s, open("gone", O_RDONLY | O_DIRECTORY));
        DO(s, rmdir("gone"));
        DO_FD(s, openat(fd, "x", O_WRONLY | O_CREAT, 0644));
        DO(s, mkdirat(fd, "y", 0755));
        DO(s, faccessat(fd, "x", F_OK, 0));
        close(fd);
}

static void say_names(struct script *s, DIR *dir)
{
        size_t count = 0, hash = 0;
        struct dirent *e;

        while ((e = readdir(dir))) {
                size_t h = 5381 + e->d_type;

                for (const char *p = e->d_name; *p; p++)
                        h = h * 33 + (unsigned char)*p;
                hash += h;
                count++;
        }
        SAY(s, "%zu names %zx\n", count, hash);
}

SCRIPT(dirs, rewinding_shows_what_is_new)
{
        DIR *dir;

        DO(s, mkdir("d", 0755));
        for (int i = 0; i < 300; i++)
                close(open(at("d", "file-%d", i), O_WRONLY | O_CREAT, 0644));
        DO(s, symlink("x", "d/link"));
        DO(s, mkdir("d/dir", 0755));
        DO(s, mkfifo("d/fifo", 0644));
        dir = opendir("d");
        say_names(s, dir);
        DO(s, unlink("d/file-7"));
        close(DO_FD(s, open("d/new", O_WRONLY | O_CREAT, 0644)));
        rewinddir(dir);
        say_names(s, dir);
        DO(s, rename("d/file-8", "file-8"));
        rewinddir(dir);
        say_names(s, dir);
        closedir(dir);
        dir = opendir(".");
        say_names(s, dir);
        closedir(dir);
}

/* A position stays good: whatever was read behind it is read again after seekdir. */
CASE(dirs, telldir_and_seekdir)
{
        static char names[1000][256];
        static long positions[1000];
        DIR *dir;
        struct dirent *e;
        size_t n = 0;

        for (int i = 0; i < 700; i++)
                put_text(at(f->src, "name-%d", i), "");
        fixture_wait(f);
        dir = opendir(f->mnt);
        must(dir, "opendir");
        for (positions[0] = telldir(dir); n < 999 && (e = readdir(dir)); positions[++n] = telldir(dir))
                snprintf(names[n], sizeof(names[n]), "%s", e->d_name);
        errno = 0;
        must(n == 702, "%zu names", n);
        for (size_t i = 0; i < n; i += 37) {
                seekdir(dir, positions[i]);
                for (size_t k = i; k < n && k < i + 5; k++) {
                        e = readdir(dir);
                        must(e && strcmp(e->d_name, names[k]) == 0, "after seekdir %zu: %s for %s", i, e ? e->d_name : "none", names[k]);
                }
        }
        closedir(dir);
}

struct churn {
        const char *dir;
        const unsigned *stop;
};

static int churn_names(void *arg)
{
        const struct churn *c = arg;

        for (unsigned round = 0; !__atomic_load_n(c->stop, __ATOMIC_ACQUIRE); round++) {
                for (int i = 0; i < CHANGING; i++)
                        close(open(at(c->dir, "changing-%u-%d", round % 2, i), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
                for (int i = 0; i < CHANGING; i++)
                        unlink(at(c->dir, "changing-%u-%d", round % 2, i));
        }
        return 0;
}

/* One listing: every stable name exactly once. */
static void check_listing(const char *path, unsigned char *seen)
{
        DIR *dir = opendir(path);
        struct dirent *e;
        int i;

        must(dir, "opendir %s", path);
        memset(seen, 0, MANY);
        while ((e = readdir(dir)))
                if (sscanf(e->d_name, "stable-%d", &i) == 1 && i >= 0 && i < MANY)
                        seen[i]++;
        closedir(dir);
        errno = 0;
        for (i = 0; i < MANY; i++)
                must(seen[i] == 1, "stable-%d is listed %u times", i, seen[i]);
}

static void list_while_changing(struct fixture *f, const char *where)
{
        unsigned char *seen = malloc(MANY);
        unsigned *stop = shared_new(sizeof(*stop));
        struct churn churn = {.dir = keep(at(where, "d")), .stop = stop};
        pid_t child;

        must(mkdir(at(f->src, "d"), 0755) == 0, "mkdir");
        for (int i = 0; i < MANY; i++)
                put_text(at(f->src, "d/stable-%d", i), "");
        child = child_start(NULL, churn_names, &churn);
        for (int i = 0; i < 12; i++)
                check_listing(at(f->mnt, "d"), seen);
        __atomic_store_n(stop, 1, __ATOMIC_RELEASE);
        must(child_wait(child) == 0, "the changing process");
        fixture_wait(f);
        check_listing(at(f->mnt, "d"), seen);
        must_mirror(f);
        free(seen);
}

CASE(dirs, listing_loses_nothing_while_the_host_changes)
{
        list_while_changing(f, f->src);
}

CASE(dirs, listing_loses_nothing_while_the_mount_changes)
{
        list_while_changing(f, f->mnt);
}

SCRIPT(dirs, names_of_every_kind)
{
        char name[300];

        memset(name, 'n', sizeof(name));
        name[255] = '\0';
        DO(s, mkdir(name, 0755));
        DO(s, symlink("target", at(name, "%s", name)));
        DO(s, rename(name, "short"));
        DO(s, rename("short", name));
        name[255] = 'n';
        name[256] = '\0';
        DO(s, mkdir(name, 0755));
        DO(s, access(name, F_OK));
        DO(s, symlink("x", name));
        DO(s, rename("missing", name));
        DO_FD(s, open(name, O_RDWR | O_CREAT, 0644));
        DO(s, mkdir("new\nline", 0755));
        DO(s, mkdir("\xff\xfe\x80not utf8", 0755));
        DO(s, mkdir("\xc3\xa9t\xc3\xa9", 0755));
        DO(s, mkdir("e\xcc\x81te\xcc\x81", 0755));
        DO(s, mkdir("Case", 0755));
        DO(s, mkdir("case", 0755));
        DO(s, mkdir(" ", 0755));
        DO(s, mkdir("-rf *?[$(x)'\"\\", 0755));
        DO(s, mkdir("...", 0755));
        DO(s, mkdir("\x01\x7f", 0755));
        DO(s, rename("new\nline", "\xff\xfe\x80not utf8/\n"));
        DO(s, access("\xff\xfe\x80not utf8/\n", F_OK));
        DO(s, symlink("\xfe\n", "link\n"));
}

/* Deeper than any path can say: one step at a time. */
SCRIPT(dirs, deeper_than_path_max)
{
        char name[201], path[PATH_MAX + 1000] = "";
        int depth = 0;

        memset(name, 'p', 200);
        name[200] = '\0';
        while (depth < 30 && mkdir(name, 0755) == 0 && chdir(name) == 0)
                depth++;
        SAY(s, "depth %d\n", depth);
        close(DO_FD(s, open("file", O_WRONLY | O_CREAT, 0644)));
        DO(s, rename("file", "renamed"));
        DO(s, mkdir("dir", 0755));
        DO(s, unlink("renamed"));
        for (int i = 0; i < 20; i++)
                strcat(strcat(path, name), "/");
        DO(s, chdir(s->root));
        DO(s, strlen(path) < PATH_MAX && access(path, F_OK) == 0);
        strcat(strcat(path, name), "/");
        DO(s, access(path, F_OK));
}

SCRIPT(dirs, dots_and_slashes)
{
        DO(s, mkdir("a", 0755));
        DO(s, mkdir("a/b", 0755));
        DO(s, access("a/b/../../a/./b//", F_OK));
        DO(s, access("a/b/..", F_OK));
        DO(s, mkdir("a/b/.", 0755));
        DO(s, mkdir(".", 0755));
        DO(s, rename("a/b", "a/b/c"));
        DO(s, rename("a", "a/b/a"));
        DO(s, rename("a/.", "z"));
        DO(s, rename("a/b/", "a/c/"));
        DO(s, access("a/c", F_OK));
}
