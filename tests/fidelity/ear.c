#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/ident.h"
#include "tests/fidelity/fidelity.h"

#define WATCHES_MAX 64
#define TEXT_MAX 16384
#define PATIENCE_MS 2000

struct ear {
        int fd;
        int like; /* the twin, O_PATH */
        size_t count;
        struct {
                int wd;
                char path[96];      /* relative; "" is the directory itself */
                struct ident ident; /* of its twin */
                bool gone;          /* DELETE_SELF was heard */
        } watches[WATCHES_MAX];
};

static void add(struct ear *e, const char *dir, const char *path)
{
        must(e->count < WATCHES_MAX, "too many watches");
        e->watches[e->count].wd = inotify_add_watch(e->fd, *path ? at(dir, "%s", path) : dir, HEARD | IN_DONT_FOLLOW);
        must(e->watches[e->count].wd >= 0, "watch %s/%s", dir, path);
        snprintf(e->watches[e->count].path, sizeof(e->watches[e->count].path), "%s", path);
        must(ident_of(e->like, path, &e->watches[e->count].ident) == 0, "identity of %s", path);
        e->count++;
}

static void add_below(struct ear *e, const char *dir, const char *like, const char *path, bool files)
{
        struct dirent **entries;
        int count = scandir(*path ? at(like, "%s", path) : like, &entries, NULL, alphasort);

        must(count >= 0, "open %s/%s", like, path);
        add(e, dir, path);
        for (int i = 0; i < count; i++) {
                CLEANUP_FREE struct dirent *entry = entries[i];
                char below[96];

                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                must((size_t)snprintf(below, sizeof(below), "%s%s%s", path, *path ? "/" : "", entry->d_name) < sizeof(below), "path");
                if (entry->d_type == DT_DIR)
                        add_below(e, dir, like, below, files);
                else if (files && entry->d_type == DT_REG)
                        add(e, dir, below);
        }
        free(entries);
}

struct ear *ear_open(const char *dir, const char *like, bool files)
{
        struct ear *e = calloc(1, sizeof(*e));

        must(e, "memory");
        e->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        e->like = open(like, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        must(e->fd >= 0 && e->like >= 0, "inotify");
        add_below(e, dir, like, "", files);
        return e;
}

void ear_close(struct ear *e)
{
        close(e->fd);
        close(e->like);
        free(e);
}

static const char *path_of(struct ear *e, int wd, uint32_t mask)
{
        for (size_t i = 0; i < e->count; i++) {
                if (e->watches[i].wd != wd)
                        continue;
                e->watches[i].gone |= (mask & IN_DELETE_SELF) != 0;
                return e->watches[i].path;
        }
        return "?";
}

/* What is deleted stays until nobody has it open, and dsfs itself may, for some milliseconds. */
static bool waits_for_more(const struct ear *e)
{
        for (size_t i = 0; i < e->count; i++) {
                CLEANUP_FD int fd = e->watches[i].gone ? -1 : ident_open(e->like, &e->watches[i].ident, O_PATH);
                struct stat st;

                if (!e->watches[i].gone && (fd < 0 || (fstat(fd, &st) == 0 && st.st_nlink == 0)))
                        return true;
        }
        return false;
}

static void take(struct ear *e, const struct inotify_event *in, struct heard *h)
{
        const char *path = path_of(e, in->wd, in->mask);
        struct event *ev;

        must(!(in->mask & (IN_Q_OVERFLOW | IN_UNMOUNT)), "the watcher lost events (%x)", in->mask);
        if (!(in->mask & HEARD))
                return;
        if (h->count % 64 == 0)
                h->at = realloc(h->at, (h->count + 64) * sizeof(*h->at));
        must(h->at, "memory");
        ev = &h->at[h->count++];
        *ev = (struct event){.mask = in->mask & HEARD, .self = in->len == 0, .dir = in->mask & IN_ISDIR, .cookie = in->cookie};
        snprintf(ev->what, sizeof(ev->what), "%s%s%.64s",
                 in->len ? path
                 : *path ? path
                         : ".",
                 in->len && *path ? "/" : "", in->len ? in->name : "");
}

static void find_pairs(struct heard *h)
{
        unsigned pairs = 0;

        for (size_t i = 0; i < h->count; i++) {
                for (size_t k = i + 1; k < h->count && h->at[i].cookie && !h->at[i].pair; k++) {
                        if (h->at[k].cookie == h->at[i].cookie)
                                h->at[k].pair = h->at[i].pair = ++pairs;
                }
        }
}

static void hear_queued(struct ear *e, struct heard *h)
{
        _Alignas(struct inotify_event) char buf[65536];
        ssize_t n;

        while ((n = read(e->fd, buf, sizeof(buf))) > 0) {
                for (const char *p = buf; p < buf + n;) {
                        const struct inotify_event *in = (const void *)p;

                        p += sizeof(*in) + in->len;
                        take(e, in, h);
                }
        }
        must(n < 0 && errno == EAGAIN, "read events");
        errno = 0;
}

struct heard ear_hear(struct ear *e)
{
        struct pollfd p = {.fd = e->fd, .events = POLLIN};
        struct heard h = {0};

        hear_queued(e, &h);
        while (waits_for_more(e) && poll(&p, 1, PATIENCE_MS) > 0)
                hear_queued(e, &h);
        find_pairs(&h);
        return h;
}

void heard_release(struct heard *h)
{
        free(h->at);
        *h = (struct heard){0};
}

static const char *name_of(uint32_t bit)
{
        static const struct {
                uint32_t bit;
                const char *name;
        } names[] = {{IN_CREATE, "CREATE"},           {IN_DELETE, "DELETE"},           {IN_MODIFY, "MODIFY"},
                     {IN_CLOSE_WRITE, "CLOSE_WRITE"}, {IN_ATTRIB, "ATTRIB"},           {IN_MOVED_FROM, "MOVED_FROM"},
                     {IN_MOVED_TO, "MOVED_TO"},       {IN_DELETE_SELF, "DELETE_SELF"}, {IN_MOVE_SELF, "MOVE_SELF"}};

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                if (bit & names[i].bit)
                        return names[i].name;
        }
        return "?";
}

char *heard_text(const struct heard *h)
{
        char text[TEXT_MAX] = "";
        size_t used = 0;

        for (size_t i = 0; i < h->count && used < sizeof(text) - 256; i++) {
                const struct event *ev = &h->at[i];
                bool of_itself = ev->self && !(ev->mask & (IN_DELETE_SELF | IN_MOVE_SELF));

                used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s %s%s%s", i ? ", " : "", name_of(ev->mask), ev->what,
                                         ev->dir && !ev->self ? "/" : "", of_itself ? " itself" : "");
                if (ev->pair)
                        used += (size_t)snprintf(text + used, sizeof(text) - used, " #%u", ev->pair);
        }
        return keep(*text ? text : "nothing");
}
