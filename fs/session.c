/*
 * A mount from beginning to end: options, negotiation, the loop's thread, unmounting.
 */
#include "fs/session.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "fs/attach.h"
#include "fs/backing.h"
#include "fs/inject.h"
#include "fs/later.h"
#include "fs/mount.h"
#include "fs/offload.h"
#include "fs/overlay.h"
#include "fs/own.h"
#include "fs/threads.h"
#include "fs/worker.h"

#define FOR_EVER_S ((double)(1U << 30))
#define EPOCH_PROTO_MINOR 44U /* FUSE 7.44, Linux 6.16 */
/* Requests larger than this gain nothing, and each io_uring entry has a buffer of this size. */
#define MAX_WRITE (256U * 1024U)
#define MAX_BACKGROUND 64
#define DEV_THREADS 10
#define OFFLOAD_THREADS 4
#define OFFLOAD_QUEUE 256
/* Of the descriptors that the process may have; the rest is for directories being read, sockets, the watch. */
#define FD_SHARE_PERCENT 70
#define FD_DEFAULT_MAX 16384U

/* What libfuse said last on this thread: the reason when it then fails. */
static _Thread_local char last_words[512];

static void hear(enum fuse_log_level level, const char *fmt, va_list ap)
{
        char line[sizeof(last_words)];
        int error = errno;

        vsnprintf(line, sizeof(line), fmt, ap);
        line[strcspn(line, "\n")] = '\0';
        if (level <= FUSE_LOG_ERR)
                memcpy(last_words, line, sizeof(line));
        log_debug("libfuse: %s", line);
        errno = error; /* callers look at it after libfuse has complained */
}

void session_init(void *userdata, struct fuse_conn_info *conn)
{
        static const uint64_t never[] = {
                FUSE_CAP_ATOMIC_O_TRUNC,  /* OPEN isn't sent: truncation must be a SETATTR */
                FUSE_CAP_AUTO_INVAL_DATA, /* our own writes change mtime: pages would go for nothing */
                FUSE_CAP_SPLICE_READ,     FUSE_CAP_SPLICE_WRITE,    FUSE_CAP_SPLICE_MOVE,
                FUSE_CAP_WRITEBACK_CACHE, FUSE_CAP_IOCTL_DIR,       FUSE_CAP_SETXATTR_EXT,
                FUSE_CAP_FLOCK_LOCKS,     FUSE_CAP_POSIX_LOCKS, /* the kernel's own locks do, across containers too */
                FUSE_CAP_EXPORT_SUPPORT,  FUSE_CAP_NO_OPEN_SUPPORT, FUSE_CAP_NO_OPENDIR_SUPPORT,
        };
        static const uint64_t wanted[] = {
                FUSE_CAP_ASYNC_READ, FUSE_CAP_PARALLEL_DIROPS,    FUSE_CAP_READDIRPLUS, FUSE_CAP_READDIRPLUS_AUTO,
                FUSE_CAP_DONT_MASK,  FUSE_CAP_HANDLE_KILLPRIV_V2, FUSE_CAP_ASYNC_DIO,   FUSE_CAP_DIRECT_IO_ALLOW_MMAP,
        };
        struct fs_mount *m = userdata;
        bool strict = m->options.coherence == FS_COHERENCE_STRICT;

        for (size_t i = 0; i < ARRAY_LEN(never); i++)
                fuse_unset_feature_flag(conn, never[i]);
        for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
                fuse_set_feature_flag(conn, wanted[i]);
        if (!strict) {
                fuse_set_feature_flag(conn, FUSE_CAP_NO_OPEN_SUPPORT);
                fuse_set_feature_flag(conn, FUSE_CAP_NO_OPENDIR_SUPPORT);
                fuse_set_feature_flag(conn, FUSE_CAP_CACHE_SYMLINKS);
        }
        if (m->options.xattr && m->source.acl)
                fuse_set_feature_flag(conn, FUSE_CAP_POSIX_ACL);
        if (m->options.profile == FS_PROFILE_DATA)
                backing_negotiate(m, conn);
        if (m->options.transport == FS_TRANSPORT_DEV)
                fuse_unset_feature_flag(conn, FUSE_CAP_OVER_IO_URING);
        conn->max_write = MAX_WRITE;
        conn->max_background = MAX_BACKGROUND;
        conn->congestion_threshold = MAX_BACKGROUND;
        conn->time_gran = 1;
        conn->no_interrupt = 1;
        mutex_lock(&m->lock); /* for those who look without having been asked by the kernel: see start() */
        m->epoch = conn->proto_minor >= EPOCH_PROTO_MINOR;
        m->timeout = strict ? 0 : FOR_EVER_S;
        mutex_unlock(&m->lock);
}

static unsigned fd_budget(unsigned asked)
{
        struct rlimit limit;
        unsigned most;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                limit.rlim_cur = 1024;
        if (limit.rlim_cur < limit.rlim_max) {
                limit.rlim_cur = limit.rlim_max;
                if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
                        (void)getrlimit(RLIMIT_NOFILE, &limit);
        }
        most = limit.rlim_cur > UINT_MAX / 100 ? FD_DEFAULT_MAX : (unsigned)limit.rlim_cur * FD_SHARE_PERCENT / 100;
        if (most > FD_DEFAULT_MAX)
                most = FD_DEFAULT_MAX;
        return asked && asked < most ? asked : most;
}

static int copy_options(struct fs_mount *m, const struct fs_options *o)
{
        m->options = *o;
        m->options.source = strdup(o->source);
        m->options.mountpoint = strdup(o->mountpoint);
        m->options.name = strdup(o->name);
        return m->options.source && m->options.mountpoint && m->options.name ? 0 : -ENOMEM;
}

/* The root's node is the table's first, so that its number is the one that FUSE gives it; it stays. */
static int make_root(struct fs_mount *m)
{
        CLEANUP_FD int fd = openat(m->source.root_fd, ".", O_PATH | O_CLOEXEC);
        struct ident ident;
        struct held h;
        struct node *root;
        int rc = fd < 0 ? -errno : ident_of(fd, "", &ident);

        if (rc < 0)
                return rc;
        root = node_intern(m->nodes, &ident, S_IFDIR, 0);
        if (!root || node_id_of(root) != NODE_ROOT)
                return -ENOMEM;
        h = slots_put(m->slots, root, SLOT_PATH, fd_steal(&fd));
        (void)slots_pin(m->slots, root);
        slots_release(m->slots, &h);
        return 0;
}

static int make_session(struct fs_mount *m)
{
        CLEANUP_FREE char *options = attach_options(m);
        char *argv[] = {"dsfs", "-o", options, NULL};
        struct fuse_args args = FUSE_ARGS_INIT(3, argv);

        if (!options)
                return -ENOMEM;
        fuse_set_log_func(hear);
        m->session = fuse_session_new(&args, &fs_ops, sizeof(fs_ops), m);
        fuse_opt_free_args(&args);
        return m->session ? 0 : -EINVAL;
}

static void *run_loop(void *arg)
{
        struct fs_mount *m = arg;
        struct fuse_loop_config *config = fuse_loop_cfg_create();
        void (*on_end)(void *) = NULL;
        int rc = -ENOMEM;

        if (config) {
                fuse_loop_cfg_set_max_threads(config, DEV_THREADS);
                fuse_loop_cfg_set_idle_threads(config, DEV_THREADS);
                fuse_loop_cfg_set_clone_fd(config, 0);
                rc = fuse_session_loop_mt(m->session, config);
                fuse_loop_cfg_destroy(config);
        }
        if (rc < 0)
                log_warn("%s: serving ended: %s", m->options.mountpoint, strerror(-rc));
        mutex_lock(&m->lock);
        m->ended = true;
        on_end = m->on_end;
        mutex_unlock(&m->lock);
        if (on_end)
                on_end(m->on_end_arg);
        return NULL;
}

static int start(struct fs_mount *m)
{
        struct stat st;
        int rc = later_new(m, &m->later);

        if (rc == 0)
                rc = offload_new(OFFLOAD_THREADS, OFFLOAD_QUEUE, worker_setup, m, &m->offload);
        if (rc == 0)
                rc = attach(m);
        if (rc == 0) {
                rc = thread_start(&m->loop, "dsfs-loop", run_loop, m);
                m->loop_started = rc == 0;
                if (rc < 0)
                        fuse_session_unmount(m->session);
        }
        /* The first answer: from here on the mount is usable, and what was negotiated is known. */
        if (rc == 0) {
                rc = stat(m->options.mountpoint, &st) < 0 ? -errno : 0;
                mutex_lock(&m->lock);
                if (rc == 0)
                        m->connection = minor(st.st_dev);
                mutex_unlock(&m->lock);
        }
        if (rc == 0 && m->options.transport == FS_TRANSPORT_URING && !atomic_load(&m->uring)) {
                snprintf(last_words, sizeof(last_words),
                         "the kernel does not offer FUSE over io_uring; `dsfs doctor` says how to enable it");
                rc = -EOPNOTSUPP;
        }
        return rc;
}

static void free_all(struct fs_mount *m)
{
        if (m->loop_started)
                pthread_join(m->loop, NULL);
        later_free(m->later);
        injector_free(m->injector);
        backings_free(m->backings);
        offload_free(m->offload);
        if (m->session)
                fuse_session_destroy(m->session);
        threads_leave(m);
        slots_free(m->slots);
        name_index_free(m->names);
        node_table_free(m->nodes);
        own_free(m->own);
        layer_release(&m->source);
        workers_free(m->workers);
        mutex_release(&m->lock);
        mutex_release(&m->forget_gate);
        free((char *)m->options.source);
        free((char *)m->options.mountpoint);
        free((char *)m->options.name);
        free(m);
}

static void say_why(const struct fs_mount *m, int rc, const char *doing, const char *path, char **why)
{
        int n = last_words[0] ? asprintf(why, "%s %s: %s (%s)", doing, path, strerror(-rc), last_words)
                              : asprintf(why, "%s %s: %s", doing, path, strerror(-rc));

        (void)m;
        if (n < 0)
                *why = NULL;
}

int fs_mount_new(const struct fs_options *options, struct fs_mount **ret, char **why)
{
        struct fs_mount *m = calloc(1, sizeof(*m));
        int rc;

        *why = NULL;
        last_words[0] = '\0';
        if (!m)
                return -ENOMEM;
        mutex_init(&m->lock);
        mutex_init(&m->forget_gate);
        m->source.root_fd = -1;
        m->privileged = geteuid() == 0;
        m->overlay = options->overlay;
        /* Connections' numbers come again. */
        if (m->overlay)
                overlay_raise_epoch(m->overlay);
        rc = copy_options(m, options);
        if (rc == 0)
                rc = m->overlay && !options->readonly ? layer_copy(&m->overlay->source_layer, &m->source)
                                                      : layer_open(options->source, options->readonly, &m->source);
        if (rc < 0) {
                say_why(m, rc, "cannot open the source", options->source, why);
                goto fail;
        }
        slots_share(fd_budget(0));
        if (own_new(&m->own) < 0 || node_table_new(&m->nodes) < 0 || name_index_new(&m->names) < 0 ||
            slots_new(fd_budget(options->max_fds), &m->slots) < 0)
                rc = -ENOMEM;
        if (rc == 0 && options->profile == FS_PROFILE_DATA)
                rc = backings_new(&m->backings);
        /* Where files move between the layers by being copied, a replay may come between what is stored through a mapping and the copy. */
        if (rc == 0 && options->replay && !(m->overlay && m->overlay->by_copy))
                rc = injector_new(&m->injector);
        if (rc == 0)
                rc = make_root(m);
        if (rc == 0)
                rc = make_session(m);
        if (rc == 0)
                rc = start(m);
        if (rc < 0) {
                say_why(m, rc, "cannot mount at", options->mountpoint, why);
                goto fail;
        }
        *ret = m;
        return 0;
fail:
        if (m->loop_started)
                (void)fs_mount_stop(m, true);
        free_all(m);
        return rc;
}

void fs_mount_on_end(struct fs_mount *m, void (*ended)(void *arg), void *arg)
{
        bool already;

        mutex_lock(&m->lock);
        m->on_end = ended;
        m->on_end_arg = arg;
        already = m->ended;
        mutex_unlock(&m->lock);
        if (already)
                ended(arg);
}

void fs_mount_free(struct fs_mount *m)
{
        if (m)
                free_all(m);
}
