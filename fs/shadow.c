#include "fs/shadow.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "fs/cross_copy.h"
#include "fs/cross_record.h"
#include "fs/shadow_tree.h"
#include "fs/view.h"

static bool is_source(const struct place *p)
{
        return !(p->is & NODE_OVERLAY);
}

static bool is_directory(const struct end *e)
{
        struct stat st;

        return fstatat(e->p.fd, e->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/*
 * Are there artifacts in it?
 */

static bool lists_artifacts(struct fs_mount *m, struct node *dir, const struct place_pair *pair)
{
        DIR *d = cross_read_directory(pair->overlay.fd);
        const struct dirent *e;
        bool found = false;
        uint8_t is;

        if (!d)
                return true;
        while (!found && (e = readdir(d))) {
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
                        found = place_shows(m, dir, pair, &pair->overlay, e->d_name, e->d_type, &is);
        }
        closedir(d);
        return found;
}

static bool shows_artifacts(struct fs_mount *m, struct node *dir)
{
        struct place_pair pair;
        bool found = place_list(m, dir, &pair) == 0 && pair.overlay.fd >= 0 && lists_artifacts(m, dir, &pair);

        place_list_end(m, &pair);
        return found;
}

/* The directory `name` at `p` must show none. `n` as shadow_rmdir() has it. */
static int must_show_none(struct fs_mount *m, const struct place *p, const char *name, struct node *n)
{
        struct node *own = NULL;
        struct ident ident;
        bool shows;

        if (!n) {
                if (layer_ident(p->layer, p->fd, name, &ident) < 0)
                        return 0;
                n = own = node_intern(m->nodes, &ident, S_IFDIR, p->is);
                if (!own)
                        return -ENOMEM;
        }
        shows = S_ISDIR(n->type) && shows_artifacts(m, n);
        if (own)
                mount_forget(m, own, 1);
        return shows ? -ENOTEMPTY : 0;
}

int shadow_rmdir(struct fs_mount *m, const struct place *p, const char *name, struct node *n)
{
        CLEANUP_FD int shadow = m->overlay && is_source(p) ? place_shadow(m, p->fd) : -1;
        char path[PATH_MAX];
        int rc = 0;

        if (shadow >= 0 && faccessat(shadow, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                rc = must_show_none(m, p, name, n);
        if (rc == 0 && unlinkat(p->fd, name, AT_REMOVEDIR) < 0)
                rc = -errno;
        if (rc < 0 || shadow < 0)
                return rc;
        if (layer_path_of(p->layer, p->fd, name, path) == 0)
                (void)shadow_tree_prune(m->overlay, path);
        return 0;
}

/*
 * Renaming
 */

static int describe(const struct renaming *r, struct cross_record *i)
{
        const struct overlay *o = r->m->overlay;
        CLEANUP_FD int a = -1;
        CLEANUP_FD int b = -1;
        int rc = layer_path_of(r->from.p.layer, r->from.p.fd, r->from.name, i->from);

        if (rc == 0)
                rc = layer_path_of(r->to.p.layer, r->to.p.fd, r->to.name, i->to);
        if (rc < 0)
                return rc;
        i->kind = CROSS_SHADOWS;
        i->exchange = r->flags & RENAME_EXCHANGE;
        a = overlay_shadow(o, i->from);
        b = overlay_shadow(o, i->to);
        if (a >= 0)
                (void)layer_ident(&o->layer, a, "", &i->shadow_from);
        if (b >= 0)
                (void)layer_ident(&o->layer, b, "", &i->shadow_to);
        return layer_ident(r->from.p.layer, r->from.p.fd, r->from.name, &i->was);
}

static bool is_as_described(const struct renaming *r, const struct cross_record *i)
{
        char from[PATH_MAX], to[PATH_MAX];

        return layer_path_of(r->from.p.layer, r->from.p.fd, r->from.name, from) == 0 &&
               layer_path_of(r->to.p.layer, r->to.p.fd, r->to.name, to) == 0 && strcmp(from, i->from) == 0 && strcmp(to, i->to) == 0;
}

/* Both, as one to all who look through mounts. -EAGAIN: a directory above has been renamed meanwhile. */
static int rename_both(struct renaming *r, const struct cross_record *i)
{
        struct overlay *o = r->m->overlay;
        int rc = -EAGAIN, followed;

        rwlock_write(&o->paths);
        if (is_as_described(r, i))
                rc = rename_plainly(r);
        if (rc == 0) {
                followed = shadow_tree_follow(o, i->from, i->to, i->exchange);
                if (followed < 0)
                        log_warn("%s: the artifacts of %s could not follow it to %s: %s", o->source, i->from, i->to, strerror(-followed));
        }
        rwlock_write_end(&o->paths);
        return rc;
}

static int try_source_directories(struct renaming *r)
{
        struct overlay *o = r->m->overlay;
        struct cross_record i = {0};
        char record[CROSS_NAME_BYTES];
        int rc = describe(r, &i);

        if (rc < 0)
                return rc;
        if (i.shadow_from.how == IDENT_NONE && i.shadow_to.how == IDENT_NONE) {
                rc = rename_plainly(r);
                if (rc == 0)
                        shadow_tree_followed(o, i.from, i.to, i.exchange);
                return rc;
        }
        rc = cross_record_write(o, &i, record);
        if (rc < 0)
                return rc;
        rc = rename_both(r, &i);
        if (rc == 0)
                shadow_tree_followed(o, i.from, i.to, i.exchange);
        if (rc == 0 && o->by_copy)
                (void)layer_sync(r->to.p.fd);
        cross_record_drop(o, record);
        return rc;
}

static int rename_source_directories(struct renaming *r)
{
        int rc;

        do
                rc = try_source_directories(r);
        while (rc == -EAGAIN);
        return rc;
}

int shadow_rename(struct renaming *r, struct node *victim)
{
        struct fs_mount *m = r->m;
        bool exchange = r->flags & RENAME_EXCHANGE;
        bool within = is_source(&r->from.p) && is_source(&r->to.p);
        int rc;

        if (!m->overlay || (!is_directory(&r->from) && !(exchange && is_directory(&r->to))))
                return rename_plainly(r);
        rc = view_check(r);
        if (rc == 0 && !exchange && is_source(&r->to.p) && is_directory(&r->to))
                rc = must_show_none(m, &r->to.p, r->to.name, victim);
        if (rc < 0)
                return rc;
        if (m->overlay->by_copy && r->from.p.layer != r->to.p.layer)
                return -EXDEV;
        return within ? rename_source_directories(r) : rename_plainly(r);
}
