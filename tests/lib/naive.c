#include "tests/lib/naive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "cache/base/fd.h"
#include "tests/lib/child.h"

#define TAIL_BYTES (2 + CONTENT_BYTES)

struct content naive_hash(const void *bytes, size_t len)
{
        XXH128_hash_t h = XXH3_128bits(bytes, len);
        struct content ret;

        for (int i = 0; i < 8; i++) {
                ret.bytes[i] = (uint8_t)(h.high64 >> (56 - 8 * i));
                ret.bytes[8 + i] = (uint8_t)(h.low64 >> (56 - 8 * i));
        }
        return ret;
}

static struct content hash_file(int dir, const char *name, size_t size)
{
        CLEANUP_FD int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        CLEANUP_FREE char *bytes = malloc(size + 1);
        ssize_t n;

        must(fd >= 0 && bytes, "open %s", name);
        n = fd_read_full(fd, bytes, size + 1);
        must(n == (ssize_t)size, "read %s: %zd", name, n);
        return naive_hash(bytes, size);
}

static int by_bytes(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t list_names(int dir, char ***ret)
{
        int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *list = fdopendir(fd);
        const struct dirent *e;
        size_t count = 0;

        *ret = NULL;
        must(list, "fdopendir");
        while ((e = readdir(list))) {
                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || strcmp(e->d_name, ".git") == 0)
                        continue;
                *ret = realloc(*ret, (count + 1) * sizeof(**ret));
                must(*ret, "out of memory");
                (*ret)[count++] = strdup(e->d_name);
        }
        closedir(list);
        if (count)
                qsort(*ret, count, sizeof(**ret), by_bytes);
        return count;
}

static void add(struct naive *n, const char *path, enum content_kind kind, const struct content *hash)
{
        if (!n)
                return;
        if (n->count == n->room) {
                n->room = n->room ? 2 * n->room : 64;
                n->entries = realloc(n->entries, n->room * sizeof(*n->entries));
                must(n->entries, "out of memory");
        }
        n->entries[n->count++] = (struct naive_entry){.path = strdup(path), .kind = kind, .hash = *hash};
}

static struct content walk(int dir, const char *path, struct naive *n);

static enum content_kind look(int dir, const char *name, const char *path, struct naive *n, struct content *hash)
{
        char target[PATH_MAX];
        struct stat st;
        int fd;

        must(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0, "stat %s", name);
        if (S_ISREG(st.st_mode)) {
                *hash = hash_file(dir, name, (size_t)st.st_size);
                return st.st_mode & 0100 ? CONTENT_PROGRAM : CONTENT_FILE;
        }
        if (S_ISLNK(st.st_mode)) {
                *hash = naive_hash(target, (size_t)readlinkat(dir, name, target, sizeof(target)));
                return CONTENT_SYMLINK;
        }
        if (!S_ISDIR(st.st_mode))
                return CONTENT_NONE;
        fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        must(fd >= 0, "open %s", name);
        *hash = walk(fd, path, n);
        close(fd);
        return CONTENT_DIRECTORY;
}

static struct content walk(int dir, const char *path, struct naive *n)
{
        CLEANUP_FREE char **names = NULL;
        size_t count = list_names(dir, &names), len = 0;
        CLEANUP_FREE char *text = malloc(count * (NAME_MAX + TAIL_BYTES) + 1);

        must(text, "out of memory");
        for (size_t i = 0; i < count; i++) {
                CLEANUP_FREE char *below = NULL;
                struct content hash;
                enum content_kind kind;

                must(asprintf(&below, "%s%s%s", path, *path ? "/" : "", names[i]) > 0, "out of memory");
                kind = look(dir, names[i], below, n, &hash);
                if (kind != CONTENT_NONE) {
                        add(n, below, kind, &hash);
                        len = (size_t)(stpcpy(text + len, names[i]) + 1 - text);
                        text[len++] = (char)kind;
                        memcpy(text + len, hash.bytes, CONTENT_BYTES);
                        len += CONTENT_BYTES;
                }
                free(names[i]);
        }
        return naive_hash(text, len);
}

static int by_path(const void *a, const void *b)
{
        return strcmp(((const struct naive_entry *)a)->path, ((const struct naive_entry *)b)->path);
}

static struct content from_root(const char *root, struct naive *n)
{
        CLEANUP_FD int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        must(fd >= 0, "open %s", root);
        return walk(fd, "", n);
}

void naive_tree(const char *root, struct naive *ret)
{
        struct content hash;

        *ret = (struct naive){0};
        hash = from_root(root, ret);
        add(ret, "", CONTENT_DIRECTORY, &hash);
        qsort(ret->entries, ret->count, sizeof(*ret->entries), by_path);
}

void naive_release(struct naive *n)
{
        for (size_t i = 0; i < n->count; i++)
                free(n->entries[i].path);
        free(n->entries);
        *n = (struct naive){0};
}

const struct naive_entry *naive_find(const struct naive *n, const char *path)
{
        struct naive_entry key = {.path = (char *)path};

        return n->count ? bsearch(&key, n->entries, n->count, sizeof(*n->entries), by_path) : NULL;
}

struct content naive_root(const char *root)
{
        return from_root(root, NULL);
}
