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

int hashing_places_init(struct hashing_places *p, const char *source)
{
        p->source = source;
        p->paths = calloc(PLACES_MAX, sizeof(*p->paths));
        if (!p->paths)
                return -ENOMEM;
        /* open_by_handle_at() takes no O_PATH descriptor. */
        p->root = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return p->root < 0 ? -errno : 0;
}

static void drop_paths(struct hashing_places *p)
{
        for (size_t i = 0; i < p->count; i++)
                free((char *)p->paths[i]);
        p->count = 0;
}

void hashing_places_clear(struct hashing_places *p)
{
        drop_paths(p);
        p->all = false;
}

void hashing_places_release(struct hashing_places *p)
{
        drop_paths(p);
        free(p->paths);
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
        p->dir_inside = false;
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

static void add(struct hashing_places *p, const char *dir, size_t dir_len, const char *name, size_t len)
{
        CLEANUP_FREE char *path = NULL;

        p->found++;
        if (p->all)
                return;
        path = text_new("%.*s%s%.*s", (int)dir_len, dir, dir_len && len ? "/" : "", (int)len, name);

        if (!path || p->count == PLACES_MAX || (len && has_other_names(p, path))) {
                take_all(p);
                return;
        }
        if (p->count && strcmp(p->paths[p->count - 1], path) == 0)
                return;
        p->paths[p->count++] = steal_ptr(&path);
}

static void take_one(struct hashing_places *p, const struct hashing_touch *t)
{
        const char *name = t->text + t->path_len;

        if (t->name_len == strlen(LEFT_OUT) && strncmp(name, LEFT_OUT, t->name_len) == 0)
                return;
        if (t->by_path) {
                CLEANUP_FREE char *dir = strndup(t->text, t->path_len);

                if (!dir)
                        take_all(p);
                else if (!is_left_out(dir))
                        add(p, dir, t->path_len, name, t->name_len);
                return;
        }
        if ((!p->has_dir || !ident_equal(&p->dir, &t->dir)) && !find_dir(p, &t->dir)) {
                p->has_dir = false;
                take_all(p);
        } else if (p->dir_inside) {
                add(p, p->dir_path, strlen(p->dir_path), name, t->name_len);
        }
}

void hashing_places_take(struct hashing_places *p, struct hashing_queue *q)
{
        struct hashing_touch *t;

        if (hashing_queue_take_all(q))
                take_all(p);
        while ((t = hashing_queue_take(q))) {
                take_one(p, t);
                free(t);
        }
        /* By the next time it may be elsewhere. */
        p->has_dir = false;
}
