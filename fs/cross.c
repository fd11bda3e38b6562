#include "fs/cross.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "fs/backing.h"
#include "fs/cross_copy.h"
#include "fs/cross_survey.h"
#include "fs/cross_record.h"
#include "fs/view.h"

/* What changed as short ago may change again with the same time. */
#define RACY_NS 20000000LL
#define ATTEMPTS_MAX 5
#define NS_PER_S 1000000000LL

#define TEMP_IN_SOURCE ".dsfs-"

/* One attempt. */
struct crossing {
        struct renaming *r;
        struct overlay *o;
        struct cross_record intent;
        struct survey before;
        uint64_t changes; /* the overlay's, before that */
        bool racy;        /* times alone don't say whether it has changed since */
        struct cross_pairs pairs;
        int temp_dir; /* borrowed: where intent.temp is */
        int fd;       /* a file's copy; -1: it is no file */
        bool nameless;
        bool recorded;
        char record[CROSS_NAME_BYTES];
};

static bool has_gate(const struct fs_mount *m)
{
        return m->overlay && m->overlay->by_copy;
}

void cross_enter(struct fs_mount *m) NO_THREAD_CHECK
{
        if (has_gate(m))
                rwlock_read(&m->overlay->gate);
}

void cross_leave(struct fs_mount *m) NO_THREAD_CHECK
{
        if (!has_gate(m))
                return;
        atomic_fetch_add(&m->overlay->changes, 1);
        rwlock_read_end(&m->overlay->gate);
}

bool cross_can(const struct renaming *r)
{
        return has_gate(r->m) && r->from.p.layer && r->to.p.layer && r->from.p.layer != r->to.p.layer &&
               (r->from.p.layer == &r->m->overlay->layer) != (r->to.p.layer == &r->m->overlay->layer) &&
               !(r->flags & (RENAME_EXCHANGE | RENAME_WHITEOUT));
}

/*
 * Copying
 */

/* Note in place of what was noted before. */
static int note(struct crossing *c)
{
        char record[CROSS_NAME_BYTES];
        int rc = cross_record_write(c->o, &c->intent, record);

        if (rc < 0)
                return rc;
        if (c->recorded)
                cross_record_drop(c->o, c->record);
        memcpy(c->record, record, sizeof(record));
        c->recorded = true;
        return 0;
}

static int begin(struct crossing *c)
{
        const struct end *from = &c->r->from, *to = &c->r->to;
        int rc = layer_path_of(from->p.layer, from->p.fd, from->name, c->intent.from);

        if (rc == 0)
                rc = layer_path_of(to->p.layer, to->p.fd, to->name, c->intent.to);
        if (rc == 0)
                rc = layer_ident(from->p.layer, from->p.fd, "", &c->intent.from_dir);
        if (rc == 0)
                rc = layer_ident(to->p.layer, to->p.fd, "", &c->intent.to_dir);
        if (rc < 0)
                return rc;
        c->intent.kind = CROSS_MOVE;
        c->intent.to_overlay = c->r->to.p.layer == &c->o->layer;
        c->temp_dir = c->intent.to_overlay ? c->o->moving_fd : c->r->to.p.fd;
        cross_record_new_name(c->intent.to_overlay ? CROSS_PREFIX : TEMP_IN_SOURCE, "", c->intent.temp);
        return 0;
}

/* In the source a file has no name before it is whole, where that can be; what has one is noted first. */
static int open_copy(struct crossing *c)
{
        const char *name = c->intent.temp;

        if (!c->intent.to_overlay) {
                c->fd = openat(c->temp_dir, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
                c->nameless = c->fd >= 0;
        }
        if (c->fd < 0)
                c->fd = openat(c->temp_dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        return c->fd < 0 ? -errno : 0;
}

static int copy(struct crossing *c, mode_t type)
{
        const struct end *from = &c->r->from;
        int rc = begin(c);

        if (rc == 0 && !c->intent.to_overlay)
                rc = note(c);
        if (rc < 0)
                return rc;
        if (!S_ISREG(type)) {
                rc = cross_copy(&c->pairs, from->p.fd, from->name, c->temp_dir, c->intent.temp);
        } else {
                rc = open_copy(c);
                if (rc == 0)
                        rc = cross_copy_file(&c->pairs, from->p.fd, from->name, c->fd);
        }
        if (rc < 0)
                return rc;
        c->intent.was = c->pairs.list[c->pairs.count - 1].was;
        c->intent.is = c->pairs.list[c->pairs.count - 1].is;
        return note(c);
}

static void end(struct crossing *c, bool undo)
{
        if (undo && !c->nameless && *c->intent.temp)
                cross_remove(c->temp_dir, c->intent.temp);
        fd_close(&c->fd);
        cross_pairs_release(&c->pairs);
        if (c->recorded)
                cross_record_drop(c->o, c->record);
        c->recorded = false;
}

/*
 * The last moment
 */

/* Of what is passed through the kernel has the object itself. */
static bool is_passed_through(const struct crossing *c)
{
        for (size_t i = 0; i < c->pairs.count; i++) {
                if (overlay_is_passed(c->o, c->r->m, &c->pairs.list[i].was))
                        return true;
        }
        return false;
}

static void rebind_all(const struct crossing *c, bool back)
{
        uint8_t is = c->intent.to_overlay != back ? NODE_OVERLAY : 0;

        for (size_t i = 0; i < c->pairs.count; i++) {
                const struct cross_pair *p = &c->pairs.list[i];

                overlay_moved(c->o, c->r->m, back ? &p->is : &p->was, back ? &p->was : &p->is, is);
        }
}

static int put_in_place(const struct crossing *c)
{
        const struct end *to = &c->r->to;
        bool replace = !(c->r->flags & RENAME_NOREPLACE);

        if (c->nameless) {
                struct fd_path path = fd_proc_path(c->fd);

                if (linkat(AT_FDCWD, path.text, to->p.fd, to->name, AT_SYMLINK_FOLLOW) == 0)
                        return 0;
                if (errno != EEXIST || !replace || linkat(AT_FDCWD, path.text, c->temp_dir, c->intent.temp, AT_SYMLINK_FOLLOW) < 0)
                        return -errno;
        }
        if (renameat2(c->temp_dir, c->intent.temp, to->p.fd, to->name, replace ? 0 : RENAME_NOREPLACE) == 0)
                return 0;
        if (c->nameless) {
                int error = errno;

                (void)unlinkat(c->temp_dir, c->intent.temp, 0);
                errno = error;
        }
        return -errno;
}

/* Nobody changes anything through a mount. 0; -EAGAIN: it isn't what was copied any more; or another -errno. */
static int commit_alone(const struct crossing *c)
{
        const struct end *from = &c->r->from;
        struct survey now;
        int rc = cross_survey(from->p.layer, from->p.fd, from->name, &now);

        if (rc == 0 && (now.digest != c->before.digest || (c->racy && atomic_load(&c->o->changes) != c->changes)))
                rc = -EAGAIN;
        if (rc == 0 && is_passed_through(c))
                rc = -EXDEV;
        if (rc == 0)
                rc = put_in_place(c);
        if (rc == 0)
                rebind_all(c, false);
        return rc;
}

static void take_back(const struct crossing *c)
{
        rwlock_write(&c->o->gate);
        rebind_all(c, true);
        cross_remove(c->r->to.p.fd, c->r->to.name);
        rwlock_write_end(&c->o->gate);
}

/* What takes the place must be on the disk before what it replaces goes. */
static int to_disk(const struct crossing *c)
{
        if ((c->fd >= 0 ? fsync(c->fd) : syncfs(c->r->to.p.layer->root_fd)) < 0)
                return -errno;
        return layer_sync(c->r->to.p.fd);
}

static int finish(struct crossing *c)
{
        int rc = to_disk(c);

        if (rc < 0)
                take_back(c);
        else if (!cross_remove_copied(&c->pairs, c->r->from.p.fd, c->r->from.name))
                rc = 0; /* somebody has changed it since: that stays there, and is found by whoever looks */
        return rc;
}

/*
 * Attempts
 */

static bool is_racy(const struct survey *s)
{
        struct timespec now;

        clock_gettime(CLOCK_REALTIME, &now);
        return now.tv_sec * NS_PER_S + now.tv_nsec - s->newest_ns < RACY_NS;
}

static int attempt(struct renaming *r)
{
        const struct end *from = &r->from;
        bool claimed = r->m->options.squash && r->m->privileged && r->to.p.layer == &r->m->source;
        struct crossing c = {
                .r = r,
                .o = r->m->overlay,
                .changes = atomic_load(&r->m->overlay->changes),
                .pairs = {.from = from->p.layer,
                          .to = r->to.p.layer,
                          .uid = claimed ? r->m->source.uid : (uid_t)-1,
                          .gid = claimed ? r->m->source.gid : (gid_t)-1},
                .fd = -1,
        };
        struct stat st;
        int rc = cross_survey(from->p.layer, from->p.fd, from->name, &c.before);

        if (rc == 0)
                rc = view_check(r);
        if (rc == 0 && fstatat(from->p.fd, from->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                rc = -errno;
        if (rc < 0)
                return rc;
        c.racy = is_racy(&c.before);
        rc = copy(&c, st.st_mode);
        if (rc == 0) {
                rwlock_write(&c.o->gate);
                rc = commit_alone(&c);
                rwlock_write_end(&c.o->gate);
        }
        if (rc == 0)
                rc = finish(&c);
        end(&c, rc < 0);
        return rc;
}

int cross_move(struct renaming *r)
{
        static const struct timespec moment = {.tv_nsec = RACY_NS};
        int rc = attempt(r);

        for (int i = 1; rc == -EAGAIN && i < ATTEMPTS_MAX; i++) {
                (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
                rc = attempt(r);
        }
        if (rc == 0)
                renamed(r);
        return rc == -EAGAIN ? -EXDEV : rc;
}
