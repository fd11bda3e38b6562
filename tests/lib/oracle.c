#include "tests/lib/oracle.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <xxhash.h>

#include "cache/base/fd.h"

#define TEXT_MAX (64u << 20) /* reserved, not used */

struct trace *trace_new(void)
{
        struct trace *t = mmap(NULL, TEXT_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        must(t != MAP_FAILED, "mmap");
        return t;
}

void trace_free(struct trace *t)
{
        if (t)
                munmap(t, TEXT_MAX);
}

void trace_add(struct trace *t, const char *fmt, ...)
{
        size_t room = TEXT_MAX - sizeof(*t) - t->len;
        va_list args;
        int n;

        va_start(args, fmt);
        n = vsnprintf(t->bytes + t->len, room, fmt, args);
        va_end(args);
        errno = 0;
        must(n >= 0 && (size_t)n < room, "text too long");
        t->len += (size_t)n;
}

bool trace_difference(const struct trace *want, const struct trace *have, char *ret, size_t size)
{
        size_t i = 0, line = 0;

        if (want->len == have->len && memcmp(want->bytes, have->bytes, want->len) == 0)
                return false;
        while (i < want->len && i < have->len && want->bytes[i] == have->bytes[i]) {
                i++;
                if (want->bytes[i - 1] == '\n')
                        line = i;
        }
        snprintf(ret, size, "\n  want: %.*s\n  have: %.*s", (int)strcspn(want->bytes + line, "\n"), want->bytes + line,
                 (int)strcspn(have->bytes + line, "\n"), have->bytes + line);
        return true;
}

void trace_must_equal(const struct trace *want, const struct trace *have, const char *what)
{
        char text[2048];

        if (trace_difference(want, have, text, sizeof(text))) {
                errno = 0;
                must(false, "%s differs:%s", what, text);
        }
}

void script_record(struct script *s, const char *call, long ret, int error)
{
        if (ret < 0)
                trace_add(s->out, "%s -> %ld %s\n", call, ret, strerrorname_np(error));
        else
                trace_add(s->out, "%s -> %ld\n", call, ret);
}

static void say_st(struct script *s, const char *what, const struct stat *st)
{
        long long size = S_ISDIR(st->st_mode) ? -1 : (long long)st->st_size;

        SAY(s, "%s: mode %o links %lu owner %u:%u size %lld rdev %lx\n", what, st->st_mode,
            S_ISDIR(st->st_mode) ? 0 : (unsigned long)st->st_nlink, st->st_uid, st->st_gid, size, (unsigned long)st->st_rdev);
}

void say_stat(struct script *s, const char *path)
{
        struct stat st;

        if (lstat(path, &st) < 0)
                SAY(s, "%s: %s\n", path, strerrorname_np(errno));
        else
                say_st(s, path, &st);
}

void say_fstat(struct script *s, int fd)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                SAY(s, "fstat: %s\n", strerrorname_np(errno));
        else
                say_st(s, "fstat", &st);
}

/* XXH3 of what open descriptor or path holds; readable for short content. */
static void add_content(struct trace *out, int fd)
{
        XXH3_state_t *state = XXH3_createState();
        static char buf[65536];
        ssize_t n;

        XXH3_64bits_reset(state);
        while ((n = read(fd, buf, sizeof(buf))) > 0)
                XXH3_64bits_update(state, buf, (size_t)n);
        if (n < 0)
                trace_add(out, " read=%s", strerrorname_np(errno));
        trace_add(out, " content=%016llx", (unsigned long long)XXH3_64bits_digest(state));
        XXH3_freeState(state);
}

void say_content(struct script *s, const char *path)
{
        CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0) {
                SAY(s, "%s: %s\n", path, strerrorname_np(errno));
                return;
        }
        SAY(s, "%s:", path);
        add_content(s->out, fd);
        SAY(s, "\n");
}

struct user_call {
        struct script *s;
        void (*fn)(struct script *s);
};

static int run_user_call(void *arg)
{
        struct user_call *call = arg;

        call->fn(call->s);
        return 0;
}

void as_user(struct script *s, const struct who *who, void (*fn)(struct script *s))
{
        struct user_call call = {s, fn};

        SAY(s, "as %u:%u\n", who->uid, who->gid);
        must(child_run(who, run_user_call, &call) == 0, "the script failed as uid %u", who->uid);
}

static int run_script(void *arg)
{
        struct user_call *call = arg;

        must(chdir(call->s->root) == 0, "chdir %s", call->s->root);
        errno = 0;
        call->fn(call->s);
        return 0;
}

static struct trace *run_at(const char *root, const char *backing, void (*run)(struct script *s))
{
        struct script s = {root, backing, trace_new()};
        struct user_call call = {&s, run};
        int rc = child_run(NULL, run_script, &call);

        errno = 0;
        must(rc == 0, "the script failed in %s (%d) after:\n%s", root, rc, s.out->bytes);
        return s.out;
}

/*
 * Trees
 */

static int by_name(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static char **sorted_names(int fd, size_t *count)
{
        DIR *dir = fdopendir(dup(fd));
        char **names = NULL;
        struct dirent *e;

        must(dir, "fdopendir");
        *count = 0;
        rewinddir(dir);
        while (errno = 0, (e = readdir(dir))) {
                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                        continue;
                if (*count % 64 == 0)
                        names = realloc(names, (*count + 64) * sizeof(*names));
                must(names, "memory");
                names[(*count)++] = strdup(e->d_name);
        }
        must(errno == 0, "readdir");
        closedir(dir);
        if (names)
                qsort(names, *count, sizeof(*names), by_name);
        return names;
}

static void add_xattrs(struct trace *t, int dirfd, const char *name)
{
        char path[300];
        char list[4096];
        char value[4096];
        CLEANUP_FREE char **names = NULL;
        size_t count = 0;
        ssize_t len;

        snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dirfd, name);
        len = llistxattr(path, list, sizeof(list));
        names = calloc(sizeof(list), sizeof(*names));
        must(names, "memory");
        for (char *p = list; len > 0 && p < list + len; p += strlen(p) + 1)
                names[count++] = p;
        qsort(names, count, sizeof(*names), by_name);
        for (size_t i = 0; i < count; i++) {
                ssize_t n = lgetxattr(path, names[i], value, sizeof(value));

                trace_add(t, " %s=%016llx", names[i], n < 0 ? 0 : (unsigned long long)XXH3_64bits(value, (size_t)n));
        }
}

static void describe_one(struct trace *t, int dirfd, const char *name, const char *shown, const struct stat *st, enum tree_what what)
{
        bool dir = S_ISDIR(st->st_mode);

        trace_add(t, "%s mode=%o owner=%u:%u rdev=%lx", shown, st->st_mode, st->st_uid, st->st_gid, (unsigned long)st->st_rdev);
        if (!dir || what != TREE_CONTENT)
                trace_add(t, " links=%lu size=%lld", (unsigned long)st->st_nlink, (long long)st->st_size);
        if (what == TREE_IDENTITY)
                trace_add(t, " blocks=%lld", (long long)st->st_blocks);
        if (what != TREE_CONTENT)
                trace_add(t, " ino=%lu mtime=%lld.%09ld ctime=%lld.%09ld", (unsigned long)st->st_ino, (long long)st->st_mtim.tv_sec,
                          st->st_mtim.tv_nsec, (long long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
        add_xattrs(t, dirfd, name);
        if (S_ISLNK(st->st_mode)) {
                char target[PATH_MAX];
                ssize_t n = readlinkat(dirfd, name, target, sizeof(target));

                trace_add(t, " -> %.*s", (int)(n < 0 ? 0 : n), target);
        } else if (S_ISREG(st->st_mode)) {
                CLEANUP_FD int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

                if (fd < 0)
                        trace_add(t, " open=%s", strerrorname_np(errno));
                else
                        add_content(t, fd);
        }
        trace_add(t, "\n");
}

static void describe_below(struct trace *t, int dirfd, const char *prefix, enum tree_what what)
{
        size_t count;
        char **names = sorted_names(dirfd, &count);

        for (size_t i = 0; i < count; i++) {
                CLEANUP_FREE char *shown = NULL;
                struct stat st;

                must(asprintf(&shown, "%s/%s", prefix, names[i]) > 0, "memory");
                if (fstatat(dirfd, names[i], &st, AT_SYMLINK_NOFOLLOW) < 0) {
                        trace_add(t, "%s %s\n", shown, strerrorname_np(errno));
                } else {
                        describe_one(t, dirfd, names[i], shown, &st, what);
                        if (S_ISDIR(st.st_mode)) {
                                CLEANUP_FD int fd = openat(dirfd, names[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

                                if (fd < 0)
                                        trace_add(t, "%s open=%s\n", shown, strerrorname_np(errno));
                                else
                                        describe_below(t, fd, shown, what);
                        }
                }
                free(names[i]);
        }
        free(names);
}

void tree_describe(struct trace *t, const char *root, enum tree_what what)
{
        CLEANUP_FD int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct stat st;

        must(fd >= 0 && fstat(fd, &st) == 0, "open %s", root);
        describe_one(t, fd, ".", ".", &st, what);
        describe_below(t, fd, "", what);
}

void must_mirror(struct fixture *f)
{
        struct trace *want = trace_new(), *have = trace_new();

        tree_describe(want, f->src, TREE_IDENTITY);
        tree_describe(have, f->mnt, TREE_IDENTITY);
        trace_must_equal(want, have, "the mount, from its source,");
        trace_free(want);
        trace_free(have);
}

void oracle_compare(struct fixture *f, void (*run)(struct script *s))
{
        struct trace *want = run_at(f->plain, f->plain, run);
        struct trace *have = run_at(f->mnt, f->src, run);
        struct trace *want_tree = trace_new(), *have_tree = trace_new();

        errno = 0;
        must(want->len > 0, "the script recorded nothing");
        trace_must_equal(want, have, "an answer of the mount");
        tree_describe(want_tree, f->plain, TREE_CONTENT);
        tree_describe(have_tree, f->src, TREE_CONTENT);
        trace_must_equal(want_tree, have_tree, "what the mount left in the source");
        must_mirror(f);
        trace_free(want);
        trace_free(have);
        trace_free(want_tree);
        trace_free(have_tree);
}
