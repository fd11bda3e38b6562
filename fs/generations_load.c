/*
 * What an earlier process left: switches that were under way are completed or undone, then all roots are known.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "fs/generations_kept.h"
#include "fs/generations_records.h"

static bool is_id(const char *name)
{
        return strlen(name) == ROOT_ID_TEXT - 1 && strspn(name, "0123456789abcdef") == ROOT_ID_TEXT - 1;
}

static bool is_same(const struct ident_text *a, const struct ident_text *b)
{
        return strcmp(a->text, b->text) == 0;
}

static bool is_nothing(const struct ident_text *t)
{
        return strcmp(t->text, IDENT_NOTHING) == 0;
}

/* Where a switch stopped. */
struct stopped {
        int kept;
        const struct intent *intent;
        struct ident_text under_from, under_to;
};

static struct ident_text ident_kept(int kept, const struct key *key, const char *name)
{
        CLEANUP_FD int fd = openat(kept, key->text, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        return ident_text_of(fd, name);
}

/* Did the generation that was to come, come? It may have been removed from tree/ again since; but it isn't where it was. */
static bool has_come(const struct stopped *s)
{
        const struct intent *i = s->intent;

        if (is_nothing(&i->comes))
                return !is_nothing(&s->under_from) || is_nothing(&i->was);
        return !is_same(&s->under_to, &i->comes);
}

/* 0 or -errno. */
static int finish_switch(const struct stopped *s)
{
        const struct intent *i = s->intent;

        if (!has_come(s)) {
                (void)unlinkat(s->kept, i->from.text, AT_REMOVEDIR);
                return line_write(s->kept, RECORD_CURRENT, i->from.text);
        }
        /* What was exchanged for it is still in its place. */
        if (!is_nothing(&s->under_to)) {
                (void)unlinkat(s->kept, i->from.text, AT_REMOVEDIR);
                if (renameat2(s->kept, i->to.text, s->kept, i->from.text, RENAME_NOREPLACE) < 0)
                        return -errno;
        }
        (void)unlinkat(s->kept, i->to.text, AT_REMOVEDIR);
        return line_write(s->kept, RECORD_CURRENT, i->to.text);
}

static int finish_relabel(struct generations *g, int kept, const struct intent *i)
{
        char gone[MOVING_TEXT];

        kept_moving_name(GONE_PREFIX, gone);
        if (renameat(kept, i->to.text, g->o->moving_fd, gone) < 0 && errno != ENOENT)
                return -errno;
        return line_write(kept, RECORD_CURRENT, i->to.text);
}

static int finish(struct generations *g, int kept, struct root *r) REQUIRES(r->lock)
{
        struct intent intent;
        int rc;

        if (!intent_read(g->o->moving_fd, r->id, &intent))
                return 0;
        if (intent.relabel) {
                rc = finish_relabel(g, kept, &intent);
        } else {
                struct stopped s = {
                        .kept = kept,
                        .intent = &intent,
                        .under_from = ident_kept(kept, &intent.from, root_name(r->path)),
                        .under_to = ident_kept(kept, &intent.to, root_name(r->path)),
                };
                rc = finish_switch(&s);
        }
        if (rc == 0)
                intent_done(g->o->moving_fd, r);
        return rc;
}

/*
 * Knowing
 */

static int know_kept(int kept, struct root *r, const char *name) REQUIRES(r->lock)
{
        struct key key;
        struct ident_text ident;
        struct kept *k;

        memcpy(key.text, name, sizeof(key.text));
        ident = ident_kept(kept, &key, root_name(r->path));
        if (is_nothing(&ident)) {
                (void)unlinkat(kept, key.text, AT_REMOVEDIR);
                return 0;
        }
        k = root_kept_locked(r, &key, true);
        if (!k)
                return -ENOMEM;
        kept_record_read(kept, k);
        return 0;
}

static int know_all_kept(int kept, struct root *r) REQUIRES(r->lock)
{
        int fd = fcntl(kept, F_DUPFD_CLOEXEC, 0);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        const struct dirent *e;
        struct kept *current;
        int rc = d ? 0 : -errno;

        while (rc == 0 && (e = readdir(d))) {
                if (key_is_text(e->d_name) && strcmp(e->d_name, r->current.text) != 0)
                        rc = know_kept(kept, r, e->d_name);
        }
        if (d)
                closedir(d);
        else
                fd_close(&fd);
        current = rc == 0 ? root_kept_locked(r, &r->current, true) : NULL;
        if (current)
                kept_record_read(kept, current);
        return rc == 0 && !current ? -ENOMEM : rc;
}

static int read_current(int kept, struct root *r) REQUIRES(r->lock)
{
        int rc = line_read(kept, RECORD_CURRENT, r->current.text, sizeof(r->current.text));

        return rc == 0 && !key_is_text(r->current.text) ? -EINVAL : rc;
}

static int know_root(struct generations *g, const char *id)
{
        CLEANUP_FD int kept = openat(g->o->kept_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        char path[PATH_MAX];
        struct root *r;
        int rc = kept < 0 ? -errno : line_read(kept, RECORD_PATH, path, sizeof(path));

        if (rc < 0)
                return rc;
        r = roots_find(g, path, true);
        if (!r)
                return -ENOMEM;
        mutex_lock(&r->lock);
        rc = r->registered ? -EEXIST : 0;
        if (rc == 0) {
                memcpy(r->id, id, sizeof(r->id));
                rc = finish(g, kept, r);
        }
        if (rc == 0)
                rc = read_current(kept, r);
        if (rc == 0)
                rc = know_all_kept(kept, r);
        if (rc == 0)
                r->registered = true;
        mutex_unlock(&r->lock);
        return rc;
}

int kept_load(struct generations *g)
{
        int fd = fcntl(g->o->kept_fd, F_DUPFD_CLOEXEC, 0);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        const struct dirent *e;
        int rc = d ? 0 : -errno;

        if (!d) {
                fd_close(&fd);
                return rc;
        }
        rewinddir(d);
        while (rc == 0 && (e = readdir(d))) {
                if (!is_id(e->d_name))
                        continue;
                rc = know_root(g, e->d_name);
                if (rc == -ENOMEM)
                        break;
                if (rc < 0)
                        log_warn("%s/kept/%s is left alone: %s", g->o->dir, e->d_name, strerror(-rc));
                rc = 0;
        }
        closedir(d);
        return rc;
}
