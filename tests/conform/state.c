/*
 * What can be seen of a tree, in lines that can be compared: one for each kind of property, so that a difference names it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <xxhash.h>

#include "cache/base/fd.h"
#include "tests/conform/conform.h"

#define READABLE_MAX 40
#define ATTR_MAX 65536

static void add_escaped(struct trace *t, const char *bytes, size_t len)
{
        size_t shown = len > READABLE_MAX ? READABLE_MAX : len;

        for (size_t i = 0; i < shown; i++)
                trace_add(t, bytes[i] > ' ' && bytes[i] < 0x7f ? "%c" : "\\%02x", (unsigned char)bytes[i]);
        if (shown < len)
                trace_add(t, "(%zu bytes, %016llx)", len, (unsigned long long)XXH3_64bits(bytes, len));
}

static void add_name(struct trace *t, const char *path)
{
        add_escaped(t, path, strlen(path));
}

static bool later(struct timespec a, struct timespec b)
{
        return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

static const char *age(struct timespec time, const struct state_options *o)
{
        if (time.tv_sec == OLD_TIME && time.tv_nsec == 0)
                return "old";
        return later(time, o->since) ? "new" : "set";
}

static void add_time(struct trace *t, const char *name, const char *what, struct timespec time, const struct state_options *o)
{
        const char *how = age(time, o);
        bool ctime = strcmp(what, "ctime") == 0;

        add_name(t, name);
        trace_add(t, " %s=%s", what, how);
        if ((strcmp(how, "set") == 0 && !ctime) || o->exact)
                trace_add(t, "(%lld.%09ld)", (long long)time.tv_sec, time.tv_nsec);
        trace_add(t, "\n");
}

static int by_name(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_attrs(struct trace *t, const char *name, const char *path)
{
        static char list[ATTR_MAX], value[ATTR_MAX];
        char *names[256];
        size_t count = 0;
        ssize_t len = llistxattr(path, list, sizeof(list));

        for (char *p = list; len > 0 && p < list + len && count < ARRAY_LEN(names); p += strlen(p) + 1)
                names[count++] = p;
        qsort(names, count, sizeof(*names), by_name);
        for (size_t i = 0; i < count; i++) {
                ssize_t n = lgetxattr(path, names[i], value, sizeof(value));

                add_name(t, name);
                trace_add(t, " xattr ");
                add_name(t, names[i]);
                trace_add(t, "=");
                if (n < 0)
                        trace_add(t, "%s\n", strerrorname_np(errno));
                else
                        add_escaped(t, value, (size_t)n), trace_add(t, "\n");
        }
}

static void add_content(struct trace *t, const char *name, const char *path, const struct stat *st, const struct state_options *o)
{
        static char buf[ATTR_MAX];
        ssize_t n = 0;

        add_name(t, name);
        trace_add(t, " content=");
        if (S_ISLNK(st->st_mode)) {
                n = readlink(path, buf, sizeof(buf));
        } else {
                CLEANUP_FD int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | (o->own_times ? O_NOATIME : 0));

                n = fd < 0 ? -1 : pread(fd, buf, sizeof(buf), 0);
        }
        if (n < 0)
                trace_add(t, "%s\n", strerrorname_np(errno));
        else
                add_escaped(t, buf, (size_t)n), trace_add(t, "\n");
}

static void add_object(struct trace *t, const char *name, const struct stat *st, const struct state_options *o)
{
        add_name(t, name);
        trace_add(t, " mode=%o\n", st->st_mode);
        if (!o->squash || o->exact) {
                add_name(t, name);
                trace_add(t, " owner=%u:%u\n", st->st_uid, st->st_gid);
        }
        add_name(t, name);
        trace_add(t, " links=%lu size=%lld rdev=%lx", (unsigned long)st->st_nlink, (long long)st->st_size, (unsigned long)st->st_rdev);
        if (o->exact)
                trace_add(t, " ino=%lu", (unsigned long)st->st_ino);
        trace_add(t, "\n");
        /* Whoever looks at a link from beside the mount moves its access time. */
        if (!o->exact || !S_ISLNK(st->st_mode))
                add_time(t, name, "atime", st->st_atim, o);
        add_time(t, name, "mtime", st->st_mtim, o);
        add_time(t, name, "ctime", st->st_ctim, o);
}

static char **sorted_names(const char *path, const struct state_options *o, size_t *count)
{
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (o->own_times ? O_NOATIME : 0));
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        char **names = NULL;
        struct dirent *e;

        *count = 0;
        while (dir && (e = readdir(dir))) {
                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                        continue;
                names = realloc(names, (*count + 1) * sizeof(*names));
                must(names, "memory");
                names[(*count)++] = strdup(e->d_name);
        }
        if (dir)
                closedir(dir);
        if (names)
                qsort(names, *count, sizeof(*names), by_name);
        return names;
}

static void describe(struct trace *t, const char *name, const char *path, const struct state_options *o, bool inside)
{
        char **names;
        size_t count;
        struct stat st;

        if (lstat(path, &st) < 0) {
                add_name(t, name);
                trace_add(t, " %s\n", strerrorname_np(errno));
                return;
        }
        if (!inside)
                add_object(t, name, &st, o);
        else
                add_attrs(t, name, path);
        if (inside && (S_ISLNK(st.st_mode) || S_ISREG(st.st_mode)))
                add_content(t, name, path, &st, o);
        if (!S_ISDIR(st.st_mode))
                return;
        names = sorted_names(path, o, &count);
        for (size_t i = 0; i < count; i++) {
                CLEANUP_FREE char *below = NULL, *shown = NULL;

                must(asprintf(&below, "%s/%s", path, names[i]) > 0 && asprintf(&shown, "%s/%s", name, names[i]) > 0, "memory");
                describe(t, shown, below, o, inside);
                free(names[i]);
        }
        free(names);
}

void state_describe(struct trace *t, const char *root, const struct state_options *o)
{
        /* Reading moves access times, of what has another name too. */
        describe(t, ".", root, o, false);
        describe(t, ".", root, o, true);
}

void say_seen(struct trial *t, const char *what, const struct stat *st)
{
        TELL(t, "%s: mode=%o\n%s: links=%lu size=%lld rdev=%lx\n", what, st->st_mode, what, (unsigned long)st->st_nlink,
             (long long)st->st_size, (unsigned long)st->st_rdev);
        if (!t->squash)
                TELL(t, "%s: owner=%u:%u\n", what, st->st_uid, st->st_gid);
}

void say_fd(struct trial *t, int fd)
{
        struct stat st;

        if (TRY(t, "fstat", fstat(fd, &st)) == 0)
                say_seen(t, "fstat", &st);
}

void say_path(struct trial *t, const char *path)
{
        struct stat st;

        if (TRY(t, "lstat", lstat(path, &st)) == 0)
                say_seen(t, "lstat", &st);
}

long tell_result(struct trial *t, const char *what, long ret, int error)
{
        if (ret < 0)
                TELL(t, "%s -> %ld %s\n", what, ret, strerrorname_np(error));
        else
                TELL(t, "%s -> %ld\n", what, ret);
        return ret;
}

struct child_call {
        struct trial *t;
        void (*fn)(struct trial *t);
};

static int run_child_call(void *arg)
{
        struct child_call *c = arg;

        c->fn(c->t);
        return 0;
}

void in_child(struct trial *t, const struct who *who, void (*fn)(struct trial *t))
{
        struct child_call c = {t, fn};
        int rc = child_run(who, run_child_call, &c);

        if (rc)
                TELL(t, "the child ended with %d\n", rc);
}
