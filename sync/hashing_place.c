#include "sync/hashing_place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/hashing_queue.h"
#include "sync/serve/why.h"

/* Beyond that, looking at everything costs little more. */
#define PLACES_MAX 1024U
#define LEFT_OUT ".git"

int hashing_places_init(struct hashing_places *p, const char *source, const char *git)
{
        p->source = source;
        p->git = git;
        p->paths = calloc(PLACES_MAX, sizeof(*p->paths));
        p->by = calloc(PLACES_MAX, sizeof(*p->by));
        p->order = calloc(PLACES_MAX, sizeof(*p->order));
        if (!p->paths || !p->by || !p->order)
                return -ENOMEM;
        /* open_by_handle_at() takes no O_PATH descriptor. */
        p->root = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return p->root < 0 ? -errno : 0;
}

static void drop_paths(struct hashing_places *p)
{
        for (size_t i = 0; i < p->count; i++)
                free((char *)p->paths[i]);
        p->count = p->ordered = 0;
}

void hashing_places_clear(struct hashing_places *p)
{
        drop_paths(p);
        p->all = false;
        p->all_by = 0;
}

void hashing_places_release(struct hashing_places *p)
{
        drop_paths(p);
        free(p->paths);
        free(p->by);
        free(p->order);
        p->paths = NULL;
        if (p->root > 0)
                fd_close(&p->root);
}

bool hashing_places_is_empty(const struct hashing_places *p)
{
        return !p->all && p->count == 0;
}

static void take_all(struct hashing_places *p)
{
        drop_paths(p);
        p->all = true;
        p->found++;
}

/* What is left of `path` below the source; NULL if it isn't below. */
static const char *relative(const struct hashing_places *p, const char *path)
{
        size_t len = strlen(p->source);

        if (strcmp(p->source, "/") == 0)
                return path + 1;
        if (strncmp(path, p->source, len) != 0 || (path[len] != '\0' && path[len] != '/'))
                return NULL;
        return path + len + (path[len] == '/');
}

/* Whether one of the components of `path` is what no hash takes in. */
static bool is_left_out(const char *path)
{
        while (*path) {
                size_t len = strcspn(path, "/");

                if (len == strlen(LEFT_OUT) && strncmp(path, LEFT_OUT, len) == 0)
                        return true;
                path += len;
                path += strspn(path, "/");
        }
        return false;
}

/* Whether git keeps its own at the path that is `rest` in the source, if it is in there. */
static bool is_git(const struct hashing_places *p, const char *path, const char *rest)
{
        size_t len = strlen(p->git);

        if (rest)
                return strncmp(rest, LEFT_OUT, strlen(LEFT_OUT)) == 0 && (rest[strlen(LEFT_OUT)] == '\0' || rest[strlen(LEFT_OUT)] == '/');
        return len && path && strncmp(path, p->git, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

/* Find the directory by its identity. False when that can't be done. One that is gone is as good as outside: of the name that it had, its
 * parent is told. */
static bool find_dir(struct hashing_places *p, const struct ident *dir)
{
        CLEANUP_FD int fd = ident_open(p->root, dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        char path[PATH_MAX];
        const char *rest;
        struct stat st;
        ssize_t n;

        p->has_dir = true;
        p->dir = *dir;
        p->dir_inside = p->dir_git = false;
        if (fd < 0)
                return fd == -ESTALE || fd == -ENOTDIR;
        if (fstat(fd, &st) < 0 || st.st_nlink == 0)
                return true;
        n = readlink(fd_proc_path(fd).text, path, sizeof(path) - 1);
        if (n < 0 || path[0] != '/')
                return n >= 0;
        if ((size_t)n == sizeof(path) - 1)
                return false;
        path[n] = '\0';
        rest = relative(p, path);
        p->dir_inside = rest && !is_left_out(rest);
        p->dir_git = !p->dir_inside && is_git(p, path, rest);
        if (p->dir_inside)
                memcpy(p->dir_path, rest, strlen(rest) + 1);
        return true;
}

/* A file with another name may have been changed through that, or that through this: nothing says where it is. */
static bool has_other_names(const struct hashing_places *p, const char *path)
{
        struct stat st;

        return fstatat(p->root, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && st.st_nlink > 1;
}

static void add(struct hashing_places *p, uint8_t by, const char *dir, size_t dir_len, const char *name, size_t len)
{
        CLEANUP_FREE char *path = NULL;

        p->found++;
        p->all_by |= by;
        if (p->all)
                return;
        path = text_new("%.*s%s%.*s", (int)dir_len, dir, dir_len && len ? "/" : "", (int)len, name);

        if (!path || p->count == PLACES_MAX || (len && has_other_names(p, path))) {
                take_all(p);
                return;
        }
        if (p->count && strcmp(p->paths[p->count - 1], path) == 0) {
                p->by[p->count - 1] |= by;
                return;
        }
        p->by[p->count] = by;
        p->paths[p->count++] = steal_ptr(&path);
}

static void take_one(struct hashing_places *p, const struct hashing_touch *t)
{
        const char *name = t->text + t->path_len;

        if (t->name_len == strlen(LEFT_OUT) && strncmp(name, LEFT_OUT, t->name_len) == 0) {
                p->in_git++;
                return;
        }
        if (t->by_path) {
                CLEANUP_FREE char *dir = strndup(t->text, t->path_len);

                if (!dir)
                        take_all(p);
                else if (!is_left_out(dir))
                        add(p, t->by, dir, t->path_len, name, t->name_len);
                else
                        p->in_git += is_git(p, NULL, dir);
                return;
        }
        if ((!p->has_dir || !ident_equal(&p->dir, &t->dir)) && !find_dir(p, &t->dir)) {
                p->has_dir = false;
                take_all(p);
        } else if (p->dir_inside) {
                add(p, t->by, p->dir_path, strlen(p->dir_path), name, t->name_len);
        } else {
                p->in_git += p->dir_git;
        }
}

void hashing_places_take(struct hashing_places *p, struct hashing_queue *q)
{
        struct hashing_touch *t;
        uint8_t by;

        if (hashing_queue_take_all(q, &by)) {
                take_all(p);
                p->all_by |= by;
        }
        while ((t = hashing_queue_take(q))) {
                take_one(p, t);
                free(t);
        }
        /* By the next time it may be elsewhere. */
        p->has_dir = false;
}

/*
 * Who was it?
 */

static int by_path(const void *a, const void *b, void *arg)
{
        const struct hashing_places *p = arg;

        return strcmp(p->paths[*(const uint16_t *)a], p->paths[*(const uint16_t *)b]);
}

static void put_in_order(struct hashing_places *p)
{
        for (size_t i = 0; i < p->count; i++)
                p->order[i] = (uint16_t)i;
        qsort_r(p->order, p->count, sizeof(*p->order), by_path, p);
        p->ordered = p->count;
}

/* Below 0, 0, above 0: the i-th place in order comes before, is, comes after the path. */
static int compare(const struct hashing_places *p, size_t i, const char *path, size_t len)
{
        const char *there = p->paths[p->order[i]];
        int order = strncmp(there, path, len);

        return order ? order : there[len] != '\0';
}

/* Who touched just this path; false: nobody did. */
static bool find_by(const struct hashing_places *p, const char *path, size_t len, uint8_t *ret)
{
        size_t low = 0, high = p->count;
        bool found = false;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (compare(p, middle, path, len) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        /* It may have been touched more than once. */
        for (; low < p->count && compare(p, low, path, len) == 0; low++) {
                *ret |= p->by[p->order[low]];
                found = true;
        }
        return found;
}

uint8_t hashing_places_by(struct hashing_places *p, const char *path)
{
        size_t len = strlen(path);
        uint8_t by = 0;

        if (p->all)
                return p->all_by;
        if (p->ordered != p->count)
                put_in_order(p);
        while (!find_by(p, path, len, &by) && len > 0) {
                while (len > 0 && path[len - 1] != '/')
                        len--;
                len -= len > 0;
        }
        return by;
}
