#include "bench/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/stats.h"
#include "bench/tool.h"
#include "cache/base/err.h"
#include "cache/base/fd.h"

enum {
        PACKAGE_FILES = 100,
        FILES_A_DIR = 12,
        POOL_BYTES = 1 << 20,
        COMMIT_TIME = 1700000000,
};

static const char *const areas[] = {"packages", "server", "client", "tools", "vendor", "plugins", "themes", "common", "services", "apps"};
static const char *const dirs[] = {"",      "/src",           "/src/components", "/src/lib", "/src/lib/internal",
                                   "/test", "/test/fixtures", "/docs",           "/scripts"};
static const char *const words[] = {"account", "buffer",  "cache",   "device", "event",  "filter",   "graph",  "handler",
                                    "index",   "journal", "kernel",  "layout", "module", "notifier", "option", "parser",
                                    "queue",   "render",  "session", "table",  "upload", "view",     "worker", "zone"};
static const char *const suffixes[] = {"ts", "js", "py", "css", "md", "json", "html", "yml"};

/* Sixteenths of the distribution of sizes: half of the files are below 2 KiB, a few are tens of kilobytes. */
static const unsigned sizes[] = {60, 250, 500, 800, 1100, 1400, 1700, 2000, 2500, 3100, 3900, 5000, 6800, 9500, 15000, 24000, TREE_LARGEST};

static uint64_t draw(const struct tree *t, unsigned i, unsigned what)
{
        uint64_t state = t->seed * 0x2545f4914f6cdd1d + (uint64_t)i * 16 + what;

        return rng_next(&state);
}

int tree_init(struct tree *t, unsigned files, uint64_t seed)
{
        uint64_t state = seed;
        size_t len = 0;

        *t = (struct tree){.files = files, .seed = seed, .pool = malloc(POOL_BYTES + 64)};
        if (!t->pool)
                return -ENOMEM;
        while (len < POOL_BYTES)
                len += (size_t)sprintf(t->pool + len, "%s%s", words[rng_below(&state, ARRAY_LEN(words))],
                                       rng_below(&state, 8) ? " " : ";\n");
        return 0;
}

void tree_release(struct tree *t)
{
        free(t->pool);
        t->pool = NULL;
}

void tree_dir(const struct tree *t, unsigned i, char path[TREE_PATH_MAX])
{
        unsigned area = i / TREE_AREA_FILES % ARRAY_LEN(areas), package = i % TREE_AREA_FILES / PACKAGE_FILES;
        const char *word = words[draw(t, i / PACKAGE_FILES, 0) % ARRAY_LEN(words)];

        snprintf(path, TREE_PATH_MAX, "%s/%s-%02u%s", areas[area], word, package, dirs[i % PACKAGE_FILES / FILES_A_DIR]);
}

void tree_path(const struct tree *t, unsigned i, char path[TREE_PATH_MAX])
{
        uint64_t name = draw(t, i, 1);
        size_t len;

        tree_dir(t, i, path);
        len = strlen(path);
        snprintf(path + len, TREE_PATH_MAX - len, "/%s-%s-%02u.%s", words[name % ARRAY_LEN(words)], words[(name >> 16) % ARRAY_LEN(words)],
                 i % PACKAGE_FILES, suffixes[(name >> 32) % ARRAY_LEN(suffixes)]);
}

size_t tree_size(const struct tree *t, unsigned i)
{
        uint64_t size = draw(t, i, 2);
        unsigned step = size % (ARRAY_LEN(sizes) - 1);

        return sizes[step] + (size >> 8) % (sizes[step + 1] - sizes[step]);
}

/* The bytes of file `i` in `variant` (0: main), tree_size() of them. */
static void fill(const struct tree *t, unsigned i, unsigned variant, char *buf)
{
        size_t size = tree_size(t, i), from = draw(t, i, 3 + variant) % (POOL_BYTES - TREE_LARGEST);
        char head[64];
        int len = snprintf(head, sizeof head, "/* %u.%u */ %s\n", i, variant, i % TREE_NEEDLE_EVERY ? "" : TREE_NEEDLE);

        memcpy(buf, t->pool + from, size);
        memcpy(buf, head, (size_t)len < size ? (size_t)len : size);
        buf[size - 1] = '\n';
}

/* mkdir -p; `path` is whole again afterwards. */
static int make_dirs(int root, char *path)
{
        for (char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                int failed = mkdirat(root, path, 0755) && errno != EEXIST ? -errno : 0;

                *slash = '/';
                if (failed)
                        return failed;
        }
        return 0;
}

static int write_one(const struct tree *t, int root, unsigned i, char *buf)
{
        CLEANUP_FD int fd = -1;
        char path[TREE_PATH_MAX];
        int err;

        tree_path(t, i, path);
        fd = openat(root, path, O_CREAT | O_WRONLY | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0 && errno == ENOENT) {
                err = make_dirs(root, path);
                if (err)
                        return err;
                fd = openat(root, path, O_CREAT | O_WRONLY | O_EXCL | O_CLOEXEC, 0644);
        }
        if (fd < 0)
                return -errno;
        fill(t, i, 0, buf);
        return fd_write_full(fd, buf, tree_size(t, i));
}

int tree_write(const struct tree *t, const char *root)
{
        CLEANUP_FREE char *buf = malloc(TREE_LARGEST);
        CLEANUP_FD int dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        int err = 0;

        if (!buf)
                return -ENOMEM;
        if (dir < 0)
                return -errno;
        for (unsigned i = 0; !err && i < t->files; i++)
                err = write_one(t, dir, i, buf);
        return err;
}

static void import_file(const struct tree *t, unsigned i, unsigned variant, FILE *to, char *buf)
{
        char path[TREE_PATH_MAX];

        tree_path(t, i, path);
        fill(t, i, variant, buf);
        fprintf(to, "M 100644 inline %s\ndata %zu\n", path, tree_size(t, i));
        fwrite(buf, tree_size(t, i), 1, to);
        fputc('\n', to);
}

static void import_commit(FILE *to, const char *branch)
{
        fprintf(to, "commit refs/heads/%s\ncommitter Bench <bench@example.org> %d +0000\ndata %zu\n%s\n", branch, COMMIT_TIME,
                strlen(branch), branch);
}

/* Of the files that differ, most are changed; one in eight is gone, one in eight is new. */
static void import_stream(const struct tree *t, FILE *to, char *buf)
{
        char path[TREE_PATH_MAX];

        import_commit(to, "main");
        for (unsigned i = 0; i < t->files; i++)
                import_file(t, i, 0, to, buf);
        import_commit(to, "other");
        fputs("from refs/heads/main\n", to);
        for (unsigned i = 0; i < t->files; i += TREE_CHANGED_EVERY) {
                tree_path(t, i, path);
                if (i / TREE_CHANGED_EVERY % 8 == 0)
                        fprintf(to, "D %s\n", path);
                else if (i / TREE_CHANGED_EVERY % 8 == 1)
                        fprintf(to, "R %s %s.new\n", path, path);
                else
                        import_file(t, i, 1, to, buf);
        }
        fputs("done\n", to);
}

static int import(const struct tree *t, const char *root)
{
        const char *const argv[] = {"git", "-C", root, "-c", "core.compression=1", "fast-import", "--quiet", "--done", NULL};
        CLEANUP_FREE char *buf = malloc(TREE_LARGEST);
        CLEANUP_FD int from = -1;
        int ends[2], err, failed;
        pid_t pid;
        FILE *to;

        if (!buf)
                return -ENOMEM;
        if (pipe2(ends, O_CLOEXEC))
                return -errno;
        from = ends[0];
        to = fdopen(ends[1], "w");
        if (!to) {
                close(ends[1]);
                return -ENOMEM;
        }
        err = tool_start(argv, from, -1, &pid);
        fd_close(&from);
        if (err) {
                fclose(to);
                return err;
        }
        import_stream(t, to, buf);
        failed = ferror(to) | fclose(to);
        return tool_wait(pid) || failed ? -EIO : 0;
}

int tree_write_repository(const struct tree *t, const char *root)
{
        const char *const init[] = {"git", "init", "-q", "-b", "main", root, NULL};
        const char *const reset[] = {"git", "-C", root, "reset", "-q", "--hard", "main", NULL};
        const char *const refresh[] = {"git", "-C", root, "update-index", "-q", "--refresh", NULL};
        int err;

        if (tool_run(init))
                return -EIO;
        err = import(t, root);
        if (err)
                return err;
        return tool_run(reset) || tool_run(refresh) ? -EIO : 0;
}
