/*
 * The backend without privilege: an inotify watch on every directory. An event names a directory's watch and an entry; which file that is
 * has to be looked up, by a path, some time after the event. What this file does about it:
 *
 * - Moves of directories are followed by asking the filesystem: IN_MOVED_TO and IN_CREATE say where to look (ino_enter), the watch
 *   descriptor says which directory was found. IN_MOVED_FROM takes its place away; IN_MOVE_SELF, which comes after both, finds it with
 *   no place when it has left the source. Cookies are not needed.
 * - A directory that can't be reached has moved, and the event for that is in the queue: what was to be done is put off until then.
 * - A file that was renamed after a write is told as changed when IN_MOVED_TO names it.
 *
 * What inotify can't show: a write to a file whose name was given to another before the event was read, and the new link count of a
 * file when one of its other names goes.
 */
#include "sync/watch_inotify.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/fd.h"

#define INO_LATER_MAX 4096
#define LIMIT_FILE "/proc/sys/fs/inotify/max_user_watches"

void ino_put_off(struct ino *n, int wd, enum ino_later what, const char *name, size_t len)
{
        struct ino_put_off *p;

        if (n->later_count == n->later_room && n->later_room < INO_LATER_MAX) {
                size_t room = n->later_room ? n->later_room * 2 : 16;

                p = realloc(n->later, room * sizeof(*p));
                if (p) {
                        n->later = p;
                        n->later_room = room;
                }
        }
        if (n->later_count == n->later_room) {
                n->resync = true;
                return;
        }
        p = &n->later[n->later_count];
        *p = (struct ino_put_off){.wd = wd, .what = what, .name = strndup(name, len)};
        if (p->name)
                n->later_count++;
        else
                n->resync = true;
}

/* Tell of the file that `name` is now. */
static void tell_named(struct ino *n, const struct watch_dir *dir, enum ino_later what, const char *name, size_t len)
{
        int dirfd = ino_dir_fd(n, dir);
        struct ident id;

        if (ino_has_moved(dirfd))
                ino_put_off(n, dir->wd, what, name, len);
        if (dirfd < 0 || ident_of(dirfd, name, &id) < 0)
                return;
        if (what == INO_CONTENT)
                watch_tell_content(n->c, &id, NULL, 0);
        else
                watch_tell_attr(n->c, &id, NULL, 0);
}

/* A directory's name is gone, by IN_DELETE or IN_MOVED_FROM; unless what we know under it came there later. */
static void leave(struct ino *n, struct watch_dir *dir, const char *name, size_t len, bool deleted)
{
        struct watch_dir *d = watch_tree_child(&n->tree, dir, name, len);
        struct ident id;
        int dirfd;

        if (!d)
                return;
        dirfd = ino_dir_fd(n, dir);
        if (dirfd >= 0 && ident_of(dirfd, name, &id) == 0 && ident_equal(&id, &d->ident))
                return;
        if (deleted)
                ino_drop(n, d);
        else
                watch_tree_unplace(&n->tree, d);
        if (ino_has_moved(dirfd))
                ino_put_off(n, dir->wd, INO_ENTER, name, len);
}

/* Where `d` is, in `buf` of PATH_MAX bytes; NULL when that isn't known: it is told when it is. */
static const char *path_of(const struct ino *n, const struct watch_dir *d, char *buf)
{
        size_t at = PATH_MAX - 1;

        buf[at] = '\0';
        for (; d != n->tree.root; d = d->parent) {
                if (!d->parent || at < d->len + 1U)
                        return NULL;
                if (buf[at])
                        buf[--at] = '/';
                at -= d->len;
                memcpy(buf + at, d->name, d->len);
        }
        return buf + at;
}

/* After a directory was entered: what changes in it from then on is told. */
static void tell_touched(struct ino *n, int wd, const char *name, size_t len)
{
        const struct watch_dir *d = n->c->sink.touched ? watch_tree_find(&n->tree, wd) : NULL;
        char buf[PATH_MAX];
        const char *path = d ? path_of(n, d, buf) : NULL;

        if (path)
                watch_tell_touched(n->c, &d->ident, path, name, len);
}

static void on_self(struct ino *n, struct watch_dir *d, uint32_t mask)
{
        if (mask & IN_ATTRIB)
                watch_tell_attr(n->c, &d->ident, NULL, 0);
        if ((mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)) && d == n->tree.root)
                n->c->check_root = true;
        if (mask & IN_IGNORED) {
                atomic_fetch_sub_explicit(&n->c->watches, 1, memory_order_relaxed);
                watch_tree_remove(&n->tree, d);
        } else if ((mask & IN_MOVE_SELF) && d != n->tree.root && !d->parent) {
                ino_drop(n, d);
        }
}

static void on_entry(struct ino *n, struct watch_dir *d, uint32_t mask, const char *name, size_t len)
{
        if (mask & (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO))
                watch_tell_entry(n->c, &(struct watch_name){&d->ident, name, len}, NULL, 0);
        if (mask & IN_ISDIR) {
                if (mask & (IN_CREATE | IN_MOVED_TO))
                        ino_enter(n, d, name, len);
                else if (mask & (IN_DELETE | IN_MOVED_FROM))
                        leave(n, d, name, len, mask & IN_DELETE);
                else if ((mask & IN_ATTRIB) && !watch_tree_child(&n->tree, d, name, len))
                        ino_enter(n, d, name, len); /* perhaps it may be read now */
                return;
        }
        if (mask & (IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO))
                tell_named(n, d, INO_CONTENT, name, len);
        /* A new name may be another link of a file we know. */
        if (mask & (IN_CREATE | IN_ATTRIB))
                tell_named(n, d, INO_ATTR, name, len);
}

static void on_event(struct ino *n, const struct inotify_event *ev)
{
        struct watch_dir *d;

        if (ev->mask & IN_Q_OVERFLOW) {
                n->resync = true;
                return;
        }
        if (ev->mask & IN_UNMOUNT)
                n->c->check_root = true;
        if (ev->wd == n->parent_wd) {
                if (ev->mask & IN_ISDIR)
                        n->c->check_root = true;
                return;
        }
        d = watch_tree_find(&n->tree, ev->wd);
        if (!d)
                return;
        if (ev->len == 0) {
                on_self(n, d, ev->mask);
        } else {
                on_entry(n, d, ev->mask, ev->name, strlen(ev->name));
                tell_touched(n, ev->wd, ev->name, strlen(ev->name));
        }
}

/* Whether `ev` says again what `last`, just told, said: both are of this batch, so both happened before that was told. */
static bool says_again(const struct inotify_event *last, const struct inotify_event *ev)
{
        const uint32_t content = IN_MODIFY | IN_CLOSE_WRITE;

        return last && ev->wd == last->wd && ev->len > 0 && ev->len == last->len && (last->mask & ~content) == 0 &&
               (ev->mask & ~content) == 0 && strcmp(ev->name, last->name) == 0;
}

static ssize_t inotify_take(struct watch_core *c, size_t *events)
{
        struct ino *n = c->state;
        const struct inotify_event *last = NULL;
        ssize_t got;

        do
                got = read(c->fd, n->buffer, sizeof(n->buffer));
        while (got < 0 && errno == EINTR);
        if (got < 0)
                return errno == EAGAIN ? 0 : -errno;
        watch_tell_taken(c);
        for (ssize_t at = 0; at < got;) {
                const struct inotify_event *ev = (const void *)(n->buffer + at);

                at += (ssize_t)(sizeof(*ev) + ev->len);
                ++*events;
                if (says_again(last, ev))
                        atomic_fetch_add_explicit(&c->coalesced, 1, memory_order_relaxed);
                else
                        on_event(n, ev);
                last = ev;
        }
        ino_forget_fd(n);
        return got;
}

static void tell_blindness(struct ino *n)
{
        char detail[256];

        if (n->limit_hit && !n->limit_told) {
                CLEANUP_FREE char *now = NULL;
                ssize_t len = fd_read_file(AT_FDCWD, LIMIT_FILE, 32, &now);

                n->limit_told = true;
                snprintf(detail, sizeof(detail),
                         "not all directories can be watched: raise fs.inotify.max_user_watches (now %.*s), then mount again",
                         len > 0 ? (int)strcspn(now, "\n") : 7, len > 0 ? now : "unknown");
                watch_tell_lost(n->c, WATCH_LIMIT, detail);
        }
        if (n->blind_error && !n->blind_told) {
                n->blind_told = true;
                snprintf(detail, sizeof(detail), "some directories can't be watched (%s): remedy that, then mount again",
                         strerror(n->blind_error));
                watch_tell_lost(n->c, WATCH_LIMIT, detail);
        }
}

static void forget_later(struct ino *n)
{
        for (size_t i = 0; i < n->later_count; i++)
                free(n->later[i].name);
        n->later_count = 0;
}

/* Try again what was put off. */
static void catch_up(struct ino *n)
{
        struct ino_put_off *later = steal_ptr(&n->later);
        size_t count = n->later_count;

        n->later_count = n->later_room = 0;
        for (size_t i = 0; i < count; i++) {
                struct ino_put_off *p = &later[i];
                struct watch_dir *d = watch_tree_find(&n->tree, p->wd);

                if (d && p->what == INO_ENTER)
                        ino_enter(n, d, p->name, strlen(p->name));
                else if (d)
                        tell_named(n, d, p->what, p->name, strlen(p->name));
                tell_touched(n, p->wd, p->name, strlen(p->name));
                free(p->name);
        }
        free(later);
}

static bool inotify_settle(struct watch_core *c, bool give_up)
{
        struct ino *n = c->state;

        if (n->later_count && give_up)
                n->resync = true;
        else if (n->later_count)
                catch_up(n);
        if (n->resync) {
                forget_later(n);
                n->resync = false;
                ino_rescan(n);
                watch_tell_lost(c, WATCH_OVERFLOW,
                                "changes came faster than they could be followed and everything was checked anew: if it happens often, "
                                "raise fs.inotify.max_queued_events");
        }
        tell_blindness(n);
        ino_forget_fd(n);
        return n->later_count == 0 && !n->resync;
}

static void inotify_close(struct watch_core *c)
{
        struct ino *n = c->state;

        fd_close(&c->fd);
        ino_forget_fd(n);
        forget_later(n);
        free(n->later);
        watch_tree_release(&n->tree);
        free(n);
        c->state = NULL;
}

static int inotify_open(struct watch_core *c, const char **why)
{
        struct ino *n = calloc(1, sizeof(*n));
        int rc;

        *why = "out of memory";
        if (!n)
                return -ENOMEM;
        n->c = c;
        n->at_fd = n->at_wd = -1;
        rc = watch_tree_init(&n->tree);
        if (rc) {
                free(n);
                return rc;
        }
        c->state = n;
        c->by = WATCH_BY_UNKNOWN;
        c->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        rc = c->fd < 0 ? -errno : ino_watch_root(n);
        if (rc == 0)
                return 0;
        *why = c->fd < 0       ? "inotify's limit of instances is reached: raise fs.inotify.max_user_instances"
               : rc == -ENOSPC ? "inotify's limit of watches is reached: raise fs.inotify.max_user_watches"
                               : "the source can't be watched";
        inotify_close(c);
        return rc;
}

const struct watch_ops watch_inotify_ops = {
        .backend = WATCH_INOTIFY,
        .open = inotify_open,
        .read = inotify_take,
        .settle = inotify_settle,
        .close = inotify_close,
};
