/*
 * One operation at a time: who injects writes down what is to be expected, does it, and crosses it out. A request is ours when the
 * injecting thread made it, which the kernel says, and it is what stands there; all others of that thread (the way to the directory) are
 * served as anybody's.
 *
 * The way goes by the names that the kernel believes, from the mount's root on, and crosses no mount: what somebody else has mounted below
 * is never touched.
 */
#include "fs/inject.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "cache/base/fd.h"
#include "fs/inject_work.h"

#define DEPTH_MAX 256U
/* How often somebody else's look at a name may come between. */
#define TRIES 8

int injector_new(struct injector **ret)
{
        struct injector *i = calloc(1, sizeof(*i));

        if (!i)
                return -ENOMEM;
        mutex_init(&i->busy);
        mutex_init(&i->lock);
        i->root = -1;
        *ret = i;
        return 0;
}

void injector_free(struct injector *i)
{
        if (!i)
                return;
        mutex_lock(&i->busy);
        fd_close(&i->root);
        mutex_unlock(&i->busy);
        mutex_release(&i->busy);
        mutex_release(&i->lock);
        free(i);
}

/*
 * The way
 */

/* A private copy of the mount, so that nobody is kept from unmounting. */
static int open_root(const struct fs_mount *m, struct injector *i) REQUIRES(i->busy)
{
        CLEANUP_FD int fd = -1;
        struct stat st;

        if (i->root >= 0)
                return i->root;
        fd = (int)syscall(SYS_open_tree, AT_FDCWD, m->options.mountpoint, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0 || major(st.st_dev) != 0 || minor(st.st_dev) != m->connection)
                return -ENODEV;
        i->root = fd_steal(&fd);
        return i->root;
}

/* The path that the kernel knows a directory by, into `buf`; its beginning, or NULL. */
static const char *path_of(struct fs_mount *m, struct node *dir, char buf[PATH_MAX])
{
        node_id id = node_id_of(dir);
        size_t at = PATH_MAX - 1;

        buf[at] = '\0';
        for (unsigned depth = 0; id != NODE_ROOT; depth++) {
                char name[NAME_BYTES_MAX + 1];
                struct node *n = depth < DEPTH_MAX ? node_hold(m->nodes, id) : NULL;
                size_t len;

                if (!n)
                        return NULL;
                id = name_of_node(m->names, n, 0, name);
                mount_forget(m, n, 1);
                len = strlen(name);
                if (id == NODE_NONE || at < len + 1)
                        return NULL;
                if (buf[at])
                        buf[--at] = '/';
                at -= len;
                memcpy(buf + at, name, len);
        }
        return buf[at] ? buf + at : ".";
}

static int open_on(const struct fs_mount *m, int dirfd, const char *path, unsigned long long flags)
{
        struct open_how how = {.flags = flags | O_CLOEXEC | O_NOFOLLOW,
                               .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
        int fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

        (void)m;
        return fd < 0 ? -errno : fd;
}

static struct expected_name named(struct node *dir, const char *name, struct node *n, const struct stat *st)
{
        struct expected_name e = {.dir = dir, .n = n, .st = *st};

        snprintf(e.name, sizeof(e.name), "%s", name);
        return e;
}

static void expect(struct fs_mount *m, const struct expected *e)
{
        struct injector *i = m->injector;

        mutex_lock(&i->lock);
        i->expected = *e;
        mutex_unlock(&i->lock);
        atomic_store(&i->tid, e->what == EXPECT_NOTHING ? 0 : gettid());
}

/* Cross it out. Whether it was asked for. */
static bool expected_came(struct fs_mount *m)
{
        struct injector *i = m->injector;
        struct node *stand_in;
        bool answered;

        atomic_store(&i->tid, 0);
        mutex_lock(&i->lock);
        answered = i->expected.answered;
        stand_in = i->expected.stand_in;
        i->expected = (struct expected){0};
        mutex_unlock(&i->lock);
        if (stand_in)
                mount_forget(m, stand_in, 1);
        return answered;
}

/* The directory that there isn't, with a reference. */
static struct node *elsewhere(struct fs_mount *m)
{
        static const struct ident nobody = {.how = IDENT_STAT, .len = sizeof(ELSEWHERE) - 1, .type = -1, .bytes = ELSEWHERE};

        return node_intern(m->nodes, &nobody, S_IFDIR, 0);
}

static int open_elsewhere(struct fs_mount *m, struct node *n) REQUIRES(m->injector->busy)
{
        const struct expected e = {.what = EXPECT_ELSEWHERE, .elsewhere = n};
        int root = n ? open_root(m, m->injector) : -ENOMEM;
        int fd;

        if (root < 0)
                return root;
        expect(m, &e);
        fd = open_on(m, root, ELSEWHERE, O_PATH | O_DIRECTORY);
        (void)expected_came(m);
        return fd;
}

static int open_dir(struct fs_mount *m, struct node *dir) REQUIRES(m->injector->busy)
{
        char buf[PATH_MAX];
        const char *path = path_of(m, dir, buf);
        int root = path ? open_root(m, m->injector) : -ENOENT;

        return root < 0 ? root : open_on(m, root, path, O_PATH | O_DIRECTORY);
}

/*
 * Doing
 */

static bool may_inject(const struct fs_mount *m)
{
        return m->injector && !atomic_load(&m->quiet);
}

static int make(int dirfd, const char *name, mode_t mode)
{
        int rc = S_ISDIR(mode)   ? mkdirat(dirfd, name, mode & 07777)
                 : S_ISLNK(mode) ? symlinkat("-", dirfd, name)
                                 : mknodat(dirfd, name, mode & (S_IFMT | 07777), 0);

        return rc < 0 ? -errno : 0;
}

static bool counted(struct fs_mount *m, bool done)
{
        if (done)
                atomic_fetch_add(&m->replayed, 1);
        return done;
}

/* Another name of a file, as the kernel knows it: only a link tells those who watch the file itself. */
static bool find_other(struct fs_mount *m, const struct node *dir, const char *name, struct node *n, struct node **other, char *text)
{
        node_id id;

        for (unsigned nth = 0; (id = name_of_node(m->names, n, nth, text)) != NODE_NONE; nth++) {
                if (name_belief(m->names, id, text, strlen(text)) != node_id_of(n) || (id == node_id_of(dir) && strcmp(text, name) == 0))
                        continue;
                *other = node_hold(m->nodes, id);
                return *other != NULL;
        }
        return false;
}

static int make_link(struct fs_mount *m, int fd, const struct expected *e) REQUIRES(m->injector->busy)
{
        char text[NAME_BYTES_MAX + 1];
        struct node *other = NULL;
        CLEANUP_FD int from = -1;
        int rc = -ENOENT;

        if (!find_other(m, e->at.dir, e->at.name, e->at.n, &other, text))
                return rc;
        from = open_dir(m, other);
        if (from >= 0) {
                expect(m, e);
                rc = linkat(from, text, fd, e->at.name, 0) < 0 ? -errno : 0;
        }
        mount_forget(m, other, 1);
        return rc;
}

bool inject_created(struct fs_mount *m, struct node *dir, const char *name, struct node *n, const struct stat *st, bool stays)
{
        const struct expected e = {.what = EXPECT_CREATE, .at = named(dir, name, n, st), .stays = stays};
        bool done = false;
        int rc = -EEXIST;

        if (!may_inject(m) || S_ISBLK(st->st_mode) || S_ISCHR(st->st_mode))
                return false;
        mutex_lock(&m->injector->busy);
        {
                CLEANUP_FD int fd = open_dir(m, dir);

                /* Who has looked at the name since it was made has it already: it has to be new to the kernel. */
                for (int i = 0; fd >= 0 && rc == -EEXIST && i < TRIES; i++) {
                        (void)fuse_lowlevel_notify_inval_entry(m->session, node_id_of(dir), name, strlen(name));
                        rc = stays && !S_ISDIR(st->st_mode) && st->st_nlink > 1 ? make_link(m, fd, &e) : -ENOENT;
                        done = expected_came(m) && rc == 0;
                        if (rc == 0 || rc == -EEXIST)
                                continue;
                        expect(m, &e);
                        rc = make(fd, name, st->st_mode);
                        done = expected_came(m) && rc == 0;
                }
        }
        mutex_unlock(&m->injector->busy);
        return counted(m, done);
}

bool inject_deleted(struct fs_mount *m, struct node *dir, const char *name, struct node *n, const struct stat *st)
{
        const struct expected e = {.what = EXPECT_DELETE, .at = named(dir, name, n, st)};
        bool done = false;

        if (!may_inject(m))
                return false;
        mutex_lock(&m->injector->busy);
        {
                CLEANUP_FD int fd = open_dir(m, dir);

                if (fd >= 0) {
                        expect(m, &e);
                        done = unlinkat(fd, name, S_ISDIR(n->type) ? AT_REMOVEDIR : 0) == 0;
                        done = expected_came(m) && done;
                }
        }
        mutex_unlock(&m->injector->busy);
        return counted(m, done);
}

static int open_end(struct fs_mount *m, const struct inject_end *end, struct node *none) REQUIRES(m->injector->busy)
{
        return end->dir ? open_dir(m, end->dir) : open_elsewhere(m, none);
}

bool inject_renamed(struct fs_mount *m, const struct inject_end *from, const struct inject_end *to, bool exchange)
{
        struct node *none = m->injector && (!from->dir || !to->dir) ? elsewhere(m) : NULL;
        const struct expected e = {
                .what = EXPECT_RENAME,
                .at = named(from->dir ? from->dir : none, from->name, from->n, &from->st),
                .to = named(to->dir ? to->dir : none, to->name, to->n, &to->st),
                .elsewhere = none,
                .exchange = exchange,
        };
        bool done = false;

        if (!may_inject(m))
                return false;
        mutex_lock(&m->injector->busy);
        {
                CLEANUP_FD int out = open_end(m, from, none);
                CLEANUP_FD int in = open_end(m, to, none);

                if (out >= 0 && in >= 0) {
                        expect(m, &e);
                        done = renameat2(out, from->name, in, to->name, exchange ? RENAME_EXCHANGE : 0) == 0;
                        done = expected_came(m) && done;
                }
        }
        mutex_unlock(&m->injector->busy);
        /* There it is forgotten at once. */
        if (done && !to->dir)
                (void)fuse_lowlevel_notify_inval_entry(m->session, node_id_of(none), to->name, strlen(to->name));
        if (none)
                mount_forget(m, none, 1);
        return counted(m, done);
}

void inject_note_swapped(struct fs_mount *m, const struct ident *object)
{
        m->injector->swapped = *object;
        m->injector->has_swapped = true;
}

bool inject_was_swapped(struct fs_mount *m, const struct ident *object)
{
        bool was = m->injector->has_swapped && object && ident_equal(object, &m->injector->swapped);

        m->injector->has_swapped = false;
        return was;
}

/* As a writer would: opened, changed, closed. Where opening it for writing is refused, at least changed. */
static bool touch_file(struct fs_mount *m, int dirfd, const char *name, const struct stat *st, unsigned how)
{
        const struct timespec modified[2] = {{.tv_nsec = UTIME_OMIT}, st->st_mtim};
        const struct timespec both[2] = {st->st_atim, st->st_mtim};
        bool open_it = (how & FS_HOST_CLOSED) && S_ISREG(st->st_mode);
        CLEANUP_FD int fd = open_on(m, dirfd, name, open_it ? O_WRONLY | O_NONBLOCK | O_NOCTTY : O_PATH);

        if (fd < 0 && open_it)
                fd = open_on(m, dirfd, name, O_PATH);
        if (fd < 0)
                return false;
        if ((how & FS_HOST_MODIFIED) && utimensat(fd, "", modified, AT_EMPTY_PATH) < 0)
                return false;
        return !(how & FS_HOST_ATTRIB) || utimensat(fd, "", both, AT_EMPTY_PATH) == 0;
}

bool inject_touched(struct fs_mount *m, struct node *dir, const char *name, struct node *n, const struct stat *st, unsigned how, bool stays)
{
        const struct expected e = {.what = EXPECT_SETATTR, .at = named(dir, name, n, st), .stays = stays};
        bool done = false;

        if (!may_inject(m))
                return false;
        mutex_lock(&m->injector->busy);
        {
                CLEANUP_FD int fd = open_dir(m, dir);

                if (fd >= 0) {
                        expect(m, &e);
                        done = touch_file(m, fd, name, st, how);
                        (void)expected_came(m);
                }
        }
        mutex_unlock(&m->injector->busy);
        return counted(m, done);
}

void inject_rest(struct fs_mount *m)
{
        if (!m->injector)
                return;
        mutex_lock(&m->injector->busy);
        fd_close(&m->injector->root);
        mutex_unlock(&m->injector->busy);
}
