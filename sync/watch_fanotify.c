/*
 * The privileged backend: one fanotify mark on the source's whole filesystem. Events name directories and files by handle, so an event
 * becomes an identity without touching the filesystem, and nothing has to be followed or scanned. What lies outside the source is told
 * as well: to the sink these are objects that it doesn't know.
 *
 * Events bear the number of the thread that made the change, and the kernel merges only those of one thread: so whose change it is, is
 * exact. But for a number that was another's when the event was queued: a thread counts only once the queue has been empty since it began.
 */
#include "sync/watch_backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"

#define BUFFER_BYTES 65536

struct fan {
        /* The watch's own thread, which changes nothing, but may close what others wrote to. */
        pid_t self;
        unsigned long long self_since_ns;
        unsigned long long empty_ns; /* what happened before then has been read; 0: nothing is known */
        char buffer[BUFFER_BYTES];
};

/* Newest first. FAN_RENAME (5.17) tells both names and the object in one event; before it, each name comes on its own. */
static const struct variant {
        unsigned init;
        uint64_t moves;
} variants[] = {
        {FAN_REPORT_DFID_NAME_TARGET, FAN_RENAME},
        {FAN_REPORT_DFID_NAME | FAN_REPORT_FID, FAN_MOVED_FROM | FAN_MOVED_TO},
};

/* What one event says, taken from its records. */
struct told {
        bool has_object, has_dir, has_old, has_new;
        struct ident object, dir, old, new;
        const char *dir_name, *old_name, *new_name;
};

/* A record's handle and, when it has one, the name after it. Events, and so records, are not aligned. False when it is no identity. */
static bool parse_record(const char *record, size_t len, struct ident *id, const char **name)
{
        size_t fixed = sizeof(struct fanotify_event_info_fid) + sizeof(struct file_handle);
        struct file_handle handle;

        if (len < fixed)
                return false;
        memcpy(&handle, record + sizeof(struct fanotify_event_info_fid), sizeof(handle));
        if (handle.handle_bytes > len - fixed || !ident_from_handle(handle.handle_type, record + fixed, handle.handle_bytes, id))
                return false;
        if (name) {
                const char *text = record + fixed + handle.handle_bytes;

                if (!memchr(text, '\0', len - fixed - handle.handle_bytes))
                        return false;
                *name = text;
        }
        return true;
}

static void parse_event(const char *at, const char *end, struct told *t)
{
        struct fanotify_event_info_header head;

        memset(t, 0, sizeof(*t));
        for (; (size_t)(end - at) >= sizeof(head); at += head.len) {
                memcpy(&head, at, sizeof(head));
                if (head.len < sizeof(head) || head.len > end - at)
                        return;
                switch (head.info_type) {
                case FAN_EVENT_INFO_TYPE_FID:
                        t->has_object = parse_record(at, head.len, &t->object, NULL);
                        break;
                case FAN_EVENT_INFO_TYPE_DFID:
                        t->has_dir = parse_record(at, head.len, &t->dir, NULL);
                        break;
                case FAN_EVENT_INFO_TYPE_DFID_NAME:
                        t->has_dir = parse_record(at, head.len, &t->dir, &t->dir_name);
                        break;
                case FAN_EVENT_INFO_TYPE_OLD_DFID_NAME:
                        t->has_old = parse_record(at, head.len, &t->old, &t->old_name);
                        break;
                case FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
                        t->has_new = parse_record(at, head.len, &t->new, &t->new_name);
                        break;
                default:
                        break;
                }
        }
        /* A directory itself is told as its own entry "." (or with no name), and not as an object. */
        if (!t->has_object && t->has_dir && (!t->dir_name || strcmp(t->dir_name, ".") == 0)) {
                t->has_object = true;
                t->object = t->dir;
        }
}

static void tell_touched(struct watch_core *c, const struct ident *dir, const char *name)
{
        if (!name || strcmp(name, ".") == 0)
                name = "";
        watch_tell_touched(c, dir, NULL, name, strlen(name));
}

static void tell_places(struct watch_core *c, const struct told *t)
{
        if (t->has_dir)
                tell_touched(c, &t->dir, t->dir_name);
        if (t->has_old)
                tell_touched(c, &t->old, t->old_name);
        if (t->has_new)
                tell_touched(c, &t->new, t->new_name);
}

static void tell_names(struct watch_core *c, uint64_t mask, const struct told *t, unsigned touches)
{
        const struct watch_name at = {&t->dir, t->dir_name, t->dir_name ? strlen(t->dir_name) : 0};
        const struct watch_name from = {&t->old, t->old_name, t->has_old ? strlen(t->old_name) : 0};
        const struct watch_name to = {&t->new, t->new_name, t->has_new ? strlen(t->new_name) : 0};
        const struct ident *object = t->has_object ? &t->object : NULL;
        unsigned how =
                (mask & (FAN_DELETE | FAN_MOVED_FROM) ? WATCH_DELETED : 0) | (mask & (FAN_CREATE | FAN_MOVED_TO) ? WATCH_CREATED : 0);
        unsigned dir = mask & FAN_ONDIR ? WATCH_DIRECTORY : 0;

        /* Of one name several may be told at once, in no order that is known: what is there now decides. */
        if (t->has_dir && t->dir_name && how)
                watch_tell_entry(c, &at, object, how | dir | touches);
        if (t->has_old && t->has_new)
                watch_tell_moved(c, &from, &to, object, dir);
        else if (t->has_old)
                watch_tell_entry(c, &from, object, WATCH_DELETED | dir);
        else if (t->has_new)
                watch_tell_entry(c, &to, object, WATCH_CREATED | dir);
}

static void tell_event(struct watch_core *c, uint64_t mask, const struct told *t)
{
        const struct watch_name named = {&t->dir, t->dir_name, t->dir_name ? strlen(t->dir_name) : 0};
        /* A link that came or went is told without a name, and no directory's watcher hears of it. */
        const struct watch_name *at = t->has_dir && t->dir_name ? &named : NULL;

        unsigned touches = (mask & FAN_MODIFY ? WATCH_MODIFIED : 0) | (mask & FAN_CLOSE_WRITE ? WATCH_CLOSED : 0) |
                           ((mask & FAN_ATTRIB) && t->has_dir ? WATCH_ATTRIB : 0);
        bool deleted = at && (mask & FAN_DELETE);

        /* What happened to it before it was deleted is told in one, for there is no other time to replay it. */
        tell_names(c, mask, t, deleted ? touches : 0);
        if (deleted)
                touches = 0;
        if (t->has_object && (mask & (FAN_MODIFY | FAN_CLOSE_WRITE)))
                watch_tell_content(c, &t->object, at, touches);
        else if (t->has_object && (mask & (FAN_ATTRIB | FAN_RENAME)))
                watch_tell_attr(c, &t->object, at, touches);
}

/* Whether nobody has to be told of what this thread did; else c->origin is set. */
static bool leave_out(struct watch_core *c, const struct fan *f, pid_t tid)
{
        bool alone = false;

        c->origin = NULL;
        c->by = 0;
        if (tid == f->self && f->self_since_ns < f->empty_ns)
                return true;
        c->by = WATCH_BY_OTHERS;
        if (c->sink.whose)
                c->origin = c->sink.whose(c->arg, tid, f->empty_ns, &alone, &c->by);
        return alone;
}

/* `m` is a copy of the beginning of the event at `at`. */
static void take_event(struct watch_core *c, const struct fan *f, const struct fanotify_event_metadata *m, const char *at)
{
        bool own = leave_out(c, f, m->pid);
        struct told t;

        if (own)
                atomic_fetch_add_explicit(&c->own, 1, memory_order_relaxed);
        if (own && !c->sink.touched)
                return;
        parse_event(at + m->metadata_len, at + m->event_len, &t);
        if (!own)
                tell_event(c, m->mask, &t);
        tell_places(c, &t);
}

/* What read() returns. */
static ssize_t read_events(struct watch_core *c)
{
        struct fan *f = c->state;
        unsigned long long began = clock_now_ns();
        ssize_t n;

        if (!f->self) {
                f->self = gettid();
                f->self_since_ns = began;
        }
        do
                n = read(c->fd, f->buffer, sizeof(f->buffer));
        while (n < 0 && errno == EINTR);
        if (n < 0 && errno == EAGAIN)
                f->empty_ns = began;
        return n;
}

static ssize_t fanotify_take(struct watch_core *c, size_t *events)
{
        struct fan *f = c->state;
        struct fanotify_event_metadata m;
        const char *at = f->buffer;
        ssize_t n = read_events(c);

        if (n < 0)
                return errno == EAGAIN ? 0 : -errno;
        watch_tell_taken(c);
        for (; (size_t)n >= sizeof(m); at += m.event_len, n -= m.event_len) {
                memcpy(&m, at, sizeof(m));
                if (m.vers != FANOTIFY_METADATA_VERSION || m.metadata_len < sizeof(m) || m.event_len < m.metadata_len || m.event_len > n)
                        return -EPROTO;
                ++*events;
                if (m.mask & FAN_Q_OVERFLOW) {
                        watch_tell_lost(c, WATCH_OVERFLOW,
                                        "changes came faster than they could be followed and everything was checked anew: if it happens "
                                        "often, raise fs.fanotify.max_queued_events");
                        continue;
                }
                /* The root, or a directory above it, may be what was moved or deleted. */
                if ((m.mask & FAN_ONDIR) && (m.mask & (FAN_DELETE | FAN_RENAME | FAN_MOVED_FROM)))
                        c->check_root = true;
                take_event(c, f, &m, at);
        }
        c->origin = NULL;
        /* fanotify's FIONREAD counts the fixed part of each event only. */
        return (ssize_t)(*events * FAN_EVENT_METADATA_LEN);
}

static const char *refusal(int error)
{
        switch (error) {
        case EPERM:
                return "fanotify needs CAP_SYS_ADMIN";
        case ENOSYS:
        case EINVAL:
                return "this kernel's fanotify doesn't report names";
        case EMFILE:
                return "fanotify's limit of groups is reached: raise fs.fanotify.max_user_groups";
        case ENOSPC:
                return "fanotify's limit of marks is reached: raise fs.fanotify.max_user_marks";
        case EXDEV:
                return "the source is a subvolume, which fanotify can't mark";
        case ENODEV:
        case EOPNOTSUPP:
                return "the source's filesystem has no identity that fanotify could report";
        default:
                return "fanotify refused the source";
        }
}

static int mark(struct watch_core *c, const struct variant *v)
{
        uint64_t mask = FAN_CREATE | FAN_DELETE | FAN_MODIFY | FAN_CLOSE_WRITE | FAN_ATTRIB | FAN_ONDIR | v->moves;
        struct fd_path path = fd_proc_path(c->root);
        CLEANUP_FD int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_CLOEXEC | FAN_REPORT_TID | v->init, O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        if (fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, mask, AT_FDCWD, path.text) < 0)
                return -errno;
        c->fd = fd_steal(&fd);
        return 0;
}

static int fanotify_open(struct watch_core *c, const char **why)
{
        struct fan *f;
        int rc = -EINVAL;

        if (c->root_ident.how == IDENT_STAT) {
                *why = refusal(EOPNOTSUPP);
                return -EOPNOTSUPP;
        }
        for (size_t i = 0; i < ARRAY_LEN(variants) && rc == -EINVAL; i++)
                rc = mark(c, &variants[i]);
        if (rc) {
                *why = refusal(-rc);
                return rc;
        }
        f = calloc(1, sizeof(*f));
        if (!f) {
                fd_close(&c->fd);
                *why = "out of memory";
                return -ENOMEM;
        }
        c->state = f;
        atomic_store_explicit(&c->watches, 1, memory_order_relaxed);
        return 0;
}

static void fanotify_close(struct watch_core *c)
{
        fd_close(&c->fd);
        free(steal_ptr(&c->state));
}

const struct watch_ops watch_fanotify_ops = {
        .backend = WATCH_FANOTIFY,
        .open = fanotify_open,
        .read = fanotify_take,
        .close = fanotify_close,
};
