/*
 * What chokidar, watchdog and their like do: a watch on each directory; a directory that appears is watched, then read, for something may
 * have been made in it already. What was heard is boiled down to names.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "tests/fidelity/fidelity.h"

struct follower {
        int fd, stop;
        pthread_t thread;
        char *root; /* owned */
        /* The thread's, until it has ended. */
        char **paths; /* by watch */
        size_t room;
        struct names heard; /* '+' it came, '-' it went, '*' something happened to it; then the path */
};

static void names_add(struct names *n, char kind, const char *dir, const char *name)
{
        char *text;

        if (n->count % 1024 == 0)
                n->at = realloc(n->at, (n->count + 1024) * sizeof(*n->at));
        must(n->at && asprintf(&text, "%.*s%s%s%s", kind ? 1 : 0, &kind, dir, *dir ? "/" : "", name) >= 0, "memory");
        n->at[n->count++] = text;
}

void names_release(struct names *n)
{
        for (size_t i = 0; i < n->count; i++)
                free(n->at[i]);
        free(n->at);
        *n = (struct names){0};
}

static int by_text(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_sort(struct names *n)
{
        size_t kept = 0;

        if (n->count)
                qsort(n->at, n->count, sizeof(*n->at), by_text);
        for (size_t i = 0; i < n->count; i++) {
                if (kept && strcmp(n->at[kept - 1], n->at[i]) == 0)
                        free(n->at[i]);
                else
                        n->at[kept++] = n->at[i];
        }
        n->count = kept;
}

static bool names_have(const struct names *n, char kind, const char *path)
{
        char text[PATH_MAX], *key = text;

        snprintf(text, sizeof(text), "%.*s%s", kind ? 1 : 0, &kind, path);
        return n->count && bsearch(&key, n->at, n->count, sizeof(*n->at), by_text);
}

static void list(struct names *n, const char *root, const char *path)
{
        DIR *d = opendir(*path ? at(root, "%s", path) : root);
        struct dirent *entry;

        must(d, "open %s/%s", root, path);
        while ((entry = readdir(d))) {
                /* git's own files are not the same each time. */
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || strcmp(entry->d_name, ".git") == 0)
                        continue;
                names_add(n, 0, path, entry->d_name);
                if (entry->d_type == DT_DIR) {
                        char *below = strdup(n->at[n->count - 1]);

                        must(below, "memory");
                        list(n, root, below);
                        free(below);
                }
        }
        closedir(d);
}

struct names names_below(const char *dir)
{
        struct names n = {0};

        list(&n, dir, "");
        names_sort(&n);
        return n;
}

/* Gone again is fine. */
static void follow(struct follower *w, const char *path, bool new)
{
        char full[PATH_MAX];
        DIR *d;
        struct dirent *entry;
        int wd;

        snprintf(full, sizeof(full), "%s%s%s", w->root, *path ? "/" : "", path);
        wd = inotify_add_watch(w->fd, full, HEARD | IN_ONLYDIR | IN_DONT_FOLLOW);
        if (wd < 0)
                return;
        if ((size_t)wd >= w->room) {
                w->paths = realloc(w->paths, ((size_t)wd + 256) * sizeof(*w->paths));
                must(w->paths, "memory");
                memset(w->paths + w->room, 0, ((size_t)wd + 256 - w->room) * sizeof(*w->paths));
                w->room = (size_t)wd + 256;
        }
        free(w->paths[wd]);
        w->paths[wd] = strdup(path);
        d = opendir(full);
        while (d && (entry = readdir(d))) {
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                if (new)
                        names_add(&w->heard, '+', path, entry->d_name);
                if (entry->d_type == DT_DIR) {
                        char below[PATH_MAX];

                        snprintf(below, sizeof(below), "%s%s%s", path, *path ? "/" : "", entry->d_name);
                        follow(w, below, new);
                }
        }
        if (d)
                closedir(d);
}

static void take(struct follower *w, const struct inotify_event *in)
{
        const char *dir = in->wd >= 0 && (size_t)in->wd < w->room ? w->paths[in->wd] : NULL;
        char path[PATH_MAX];

        must(!(in->mask & (IN_Q_OVERFLOW | IN_UNMOUNT)), "the watcher lost events (%x)", in->mask);
        if (!dir || !in->len)
                return;
        names_add(&w->heard,
                  in->mask & (IN_CREATE | IN_MOVED_TO)     ? '+'
                  : in->mask & (IN_DELETE | IN_MOVED_FROM) ? '-'
                                                           : '*',
                  dir, in->name);
        snprintf(path, sizeof(path), "%s%s%s", dir, *dir ? "/" : "", in->name);
        if ((in->mask & (IN_CREATE | IN_MOVED_TO)) && (in->mask & IN_ISDIR))
                follow(w, path, true);
}

static void *run(void *arg)
{
        struct follower *w = arg;
        struct pollfd p[] = {{.fd = w->fd, .events = POLLIN}, {.fd = w->stop, .events = POLLIN}};
        _Alignas(struct inotify_event) char buf[65536];
        ssize_t n;

        for (;;) {
                bool stop;

                must(poll(p, ARRAY_LEN(p), -1) > 0 || errno == EINTR, "poll");
                stop = p[1].revents & POLLIN;
                while ((n = read(w->fd, buf, sizeof(buf))) > 0) {
                        for (const char *at = buf; at < buf + n;) {
                                const struct inotify_event *in = (const void *)at;

                                at += sizeof(*in) + in->len;
                                take(w, in);
                        }
                }
                if (stop)
                        return NULL;
        }
}

struct follower *follower_start(const char *dir)
{
        struct follower *w = calloc(1, sizeof(*w));

        must(w, "memory");
        w->root = strdup(dir);
        w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        w->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        must(w->fd >= 0 && w->stop >= 0, "inotify");
        follow(w, "", false);
        must(thread_start(&w->thread, "follower", run, w) == 0, "thread");
        return w;
}

struct names follower_end(struct follower *w, const struct names *before, const struct names *after)
{
        struct names said = {0};
        uint64_t one = 1;

        must(write(w->stop, &one, sizeof(one)) == sizeof(one), "stop");
        pthread_join(w->thread, NULL);
        names_sort(&w->heard);
        for (size_t i = 0; i < after->count; i++) {
                const char *path = after->at[i];
                bool was = names_have(before, 0, path);

                if (names_have(&w->heard, '+', path) && !was)
                        names_add(&said, 0, "made", path);
                else if (was && (names_have(&w->heard, '*', path) || names_have(&w->heard, '+', path)))
                        names_add(&said, 0, "changed", path);
                else if (!was)
                        names_add(&said, 0, "LOST", path);
        }
        for (size_t i = 0; i < before->count; i++) {
                if (!names_have(after, 0, before->at[i]) && names_have(&w->heard, '-', before->at[i]))
                        names_add(&said, 0, "gone", before->at[i]);
        }
        names_sort(&said);
        for (size_t i = 0; i < w->room; i++)
                free(w->paths[i]);
        free(w->paths);
        names_release(&w->heard);
        free(w->root);
        close(w->fd);
        close(w->stop);
        free(w);
        return said;
}

bool names_differ(const char *what, const struct names *bind, const struct names *mount)
{
        size_t i = 0, k = 0, wrong = 0;

        while (i < bind->count || k < mount->count) {
                int order = i == bind->count ? 1 : k == mount->count ? -1 : strcmp(bind->at[i], mount->at[k]);

                if (order && wrong++ < 5)
                        fprintf(stderr, "%s: heard only in the %s: %s\n", what, order < 0 ? "bind mount" : "mount",
                                order < 0 ? bind->at[i] : mount->at[k]);
                i += order <= 0;
                k += order >= 0;
        }
        for (k = 0; k < bind->count; k++) {
                if (strncmp(bind->at[k], "LOST", 4) == 0 && wrong++ < 5)
                        fprintf(stderr, "%s: the watcher itself missed %s\n", what, bind->at[k]);
        }
        return wrong;
}

char *names_count(const struct names *n)
{
        static const char *const kinds[] = {"made", "changed", "gone"};
        char text[128] = "";

        for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
                size_t count = 0;

                for (size_t k = 0; k < n->count; k++)
                        count += strncmp(n->at[k], kinds[i], strlen(kinds[i])) == 0;
                if (count)
                        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%zu %s", *text ? ", " : "", count, kinds[i]);
        }
        return keep(text);
}
