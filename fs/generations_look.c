/*
 * Which generation a root should show, and having it do so.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "fs/generations_kept.h"
#include "fs/tree.h"

#define KEY_TRIES 8
#define PUT_OFF_MAX 200U

/* The directory that a root is in, relative to the source. */
struct parent {
        char path[PATH_MAX];
};

static int parent_of(const char *path, struct parent *ret)
{
        size_t len = (size_t)(root_name(path) - path);

        if (len >= sizeof(ret->path))
                return -ENAMETOOLONG;
        memcpy(ret->path, path, len);
        ret->path[len ? len - 1 : 0] = '\0';
        return 0;
}

/* The source's directory; an O_PATH descriptor or -errno. */
static int open_parent(const struct generations *g, const char *path)
{
        struct parent p;
        int rc = parent_of(path, &p);

        return rc < 0 ? rc : overlay_source_open(g->o, p.path);
}

bool root_has_seed(const struct generations *g, const char *path)
{
        CLEANUP_FD int fd = open_parent(g, path);
        struct stat st;

        return fd >= 0 && fstatat(fd, root_name(path), &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/*
 * Keys
 */

static int find_files(const struct generations *g, const struct root *r, struct key_files *ret) REQUIRES(r->lock)
{
        struct parent p;
        int rc = parent_of(r->path, &p);

        return rc < 0 ? rc : key_files_find(g->o->source_layer.root_fd, p.path, r->rule, ret);
}

bool root_is_same_locked(struct generations *g, struct root *r)
{
        struct key_files now = {0};
        bool same = find_files(g, r, &now) == 0 && key_files_same(&r->files, &now);

        key_files_release(&now);
        return same;
}

/* The key that the files ask for, and the files. They may change meanwhile: then again. */
static int ask(struct generations *g, struct root *r, struct key_files *files, struct key *key) REQUIRES(r->lock)
{
        int rc = -EAGAIN;

        for (int i = 0; i < KEY_TRIES && rc == -EAGAIN; i++) {
                key_files_release(files);
                rc = find_files(g, r, files);
                if (rc == 0)
                        rc = key_of(g->o->source_layer.root_fd, r->rule, files, key);
        }
        if (rc == 0 && key_files_have_directory(files))
                atomic_store(&g->directories, true);
        if (rc < 0)
                log_warn("%s keeps the generation that it has: its key can't be read: %s", r->path, strerror(-rc));
        return rc;
}

static void take_files(struct root *r, struct key_files *files) REQUIRES(r->lock)
{
        key_files_release(&r->files);
        r->files = *files;
        *files = (struct key_files){0};
        r->stale = false;
}

/*
 * Whose change was it?
 */

/* Of a file that isn't there any more. */
static bool is_ours_gone(struct generations *g, const char *path)
{
        CLEANUP_FD int fd = open_parent(g, path);
        struct stat st;

        return fd >= 0 && fstatat(fd, "", &st, AT_EMPTY_PATH) == 0 && notes_have_gone(&g->notes, st.st_dev, st.st_ino, root_name(path));
}

static bool is_ours_directory(struct generations *g, const char *path)
{
        CLEANUP_FD int fd = overlay_source_open(g->o, path);

        return fd >= 0 && notes_have_newest(&g->notes, fd);
}

/* `was`: NULL when nothing is known of that, then `now` is there. */
static bool is_ours_file(struct generations *g, const struct key_file *was, const struct key_file *now)
{
        if (!now->path)
                return was->path && is_ours_gone(g, was->path);
        if (S_ISDIR(now->stamp.mode))
                return is_ours_directory(g, now->path);
        return notes_have(&g->notes, &now->stamp);
}

static bool is_changed(const struct key_file *was, const struct key_file *now)
{
        if (!was->path || !now->path)
                return was->path != now->path;
        return strcmp(was->path, now->path) != 0 || S_ISDIR(now->stamp.mode) || !key_stamp_equal(&was->stamp, &now->stamp);
}

/* Of several files that changed the last one counts. */
static bool is_ours(struct generations *g, const struct root *r, const struct key_files *now) REQUIRES(r->lock)
{
        int64_t last_ns = INT64_MIN;
        bool ours = false;

        for (size_t i = 0; i < now->count && r->files.count == now->count; i++) {
                const struct key_file *f = &now->list[i];
                int64_t ns = f->path ? f->stamp.ctime_ns : 0;

                if (is_changed(&r->files.list[i], f) && ns >= last_ns) {
                        last_ns = ns;
                        ours = is_ours_file(g, &r->files.list[i], f);
                }
        }
        return ours;
}

/* Was the last change one that an earlier process had noted, but not yet looked at when it was killed? What the files were before isn't
 * known. */
static bool was_noted(struct generations *g, const struct key_files *now)
{
        const struct key_file *last = NULL;

        for (size_t i = 0; i < now->count; i++) {
                const struct key_file *f = &now->list[i];

                if (f->path && (!last || f->stamp.ctime_ns > last->stamp.ctime_ns))
                        last = f;
        }
        return last && is_ours_file(g, NULL, last);
}

/*
 * Another generation
 */

static bool is_in_tree(struct generations *g, const struct root *r, struct ident *ret) REQUIRES(r->lock)
{
        CLEANUP_FD int above = kept_above(g, r->path, false);

        return above >= 0 && layer_ident(&g->o->layer, above, root_name(r->path), ret) == 0;
}

/* A copy for a generation that begins, in moving/ under *name. 0 or -errno; -ENOENT: it begins with nothing. */
static int copy_beginning(struct generations *g, const struct root *r, char name[MOVING_TEXT]) REQUIRES(r->lock)
{
        struct tree_work w = {0};
        CLEANUP_FD int from = -1;
        int rc;

        if (r->rule->seed && root_has_seed(g, r->path))
                from = open_parent(g, r->path);
        else if (r->registered && r->rule->on_new == RULE_COPY)
                from = kept_above(g, r->path, false);
        else
                return -ENOENT;
        if (from < 0)
                return from;
        kept_moving_name(COPY_PREFIX, name);
        rc = tree_copy(&w, from, root_name(r->path), g->o->moving_fd, name);
        if (rc < 0) {
                (void)tree_remove(g->o->moving_fd, name);
                if (rc != -ENOENT)
                        log_warn("%s begins empty: %s can't be copied: %s", r->path, w.trouble, strerror(-rc));
        }
        return rc;
}

static void begin_kept(struct generations *g, struct root *r, const struct key *key) REQUIRES(r->lock)
{
        char name[MOVING_TEXT];

        if (kept_has(g, r, key) || copy_beginning(g, r, name) < 0)
                return;
        if (kept_put(g, r, key, g->o->moving_fd, name) < 0)
                (void)tree_remove(g->o->moving_fd, name);
}

/* The first generation that there is. */
static void begin_in_tree(struct generations *g, struct root *r) REQUIRES(r->lock)
{
        CLEANUP_FD int above = -1;
        char name[MOVING_TEXT];
        struct ident there;

        if (!r->rule->seed || is_in_tree(g, r, &there) || copy_beginning(g, r, name) < 0)
                return;
        above = kept_above(g, r->path, true);
        if (above < 0 || renameat2(g->o->moving_fd, name, above, root_name(r->path), RENAME_NOREPLACE) < 0)
                (void)tree_remove(g->o->moving_fd, name);
}

int root_switch_locked(struct generations *g, struct root *r, const struct key *key)
{
        struct key from = r->current;
        struct kept *k;
        bool left = false;
        int rc;

        begin_kept(g, r, key);
        rc = kept_switch(g, r, key, &left);
        if (rc < 0) {
                log_warn("%s keeps the generation that it has, which is not the one that it should: %s", r->path, strerror(-rc));
                return rc;
        }
        atomic_fetch_add(&g->switches, 1);
        log_info("%s: generation %s in place of %s", r->path, key->text, from.text);
        k = root_kept_locked(r, &from, false);
        if (k && left) {
                k->used_s = time(NULL);
                k->bytes = GENERATION_UNCOUNTED;
                k->dirty = true;
        } else if (k) {
                root_forget_locked(r, &from);
        }
        (void)root_kept_locked(r, key, true);
        generations_want_sweep(g);
        return 0;
}

int root_relabel_locked(struct generations *g, struct root *r, const struct key *key)
{
        struct key from = r->current;
        struct kept *k;
        int rc = kept_relabel(g, r, key);

        if (rc < 0) {
                log_warn("%s goes by an old key: %s", r->path, strerror(-rc));
                return rc;
        }
        atomic_fetch_add(&g->rekeys, 1);
        log_info("%s: its generation goes by %s, no longer by %s", r->path, key->text, from.text);
        root_forget_locked(r, key);
        k = root_kept_locked(r, &from, false);
        if (k) {
                k->key = *key;
                k->bytes = GENERATION_UNCOUNTED;
                k->dirty = true;
        }
        generations_want_sweep(g);
        return 0;
}

/* Somebody of ours has perhaps just made the change, and not come to note it. */
static bool is_early(struct generations *g, struct root *r) REQUIRES(r->lock)
{
        if (atomic_load(&g->changing) == 0 || r->put_off == PUT_OFF_MAX) {
                r->put_off = 0;
                return false;
        }
        r->put_off++;
        r->stale = true;
        return true;
}

void root_verify_locked(struct generations *g, struct root *r)
{
        struct key_files files = {0};
        struct ident there;
        struct key key;
        int rc = ask(g, r, &files, &key);

        if (rc == 0 && !r->registered) {
                rc = kept_register(g, r, &key);
                if (rc < 0)
                        log_warn("%s has one generation only: %s", r->path, strerror(-rc));
                else
                        begin_in_tree(g, r);
                (void)root_kept_locked(r, &key, true);
        } else if (rc == 0 && !key_equal(&key, &r->current)) {
                bool ours = r->verified ? is_ours(g, r, &files) : was_noted(g, &files);

                if (!ours && r->verified && is_early(g, r))
                        rc = -EAGAIN;
                else
                        rc = ours && is_in_tree(g, r, &there) ? root_relabel_locked(g, r, &key) : root_switch_locked(g, r, &key);
        }
        kept_settle(g, r);
        if (rc == 0)
                take_files(r, &files);
        key_files_release(&files);
        r->verified = true;
}

/*
 * Telling
 */

bool root_told_locked(struct generations *g, struct root *r, struct root_told *ret)
{
        CLEANUP_FD int fd = open_parent(g, r->path);
        size_t len = strlen(root_name(r->path));

        if (fd < 0 || len > NAME_MAX)
                return false;
        memcpy(ret->name, root_name(r->path), len + 1);
        return layer_ident(&g->o->source_layer, fd, "", &ret->dir) == 0;
}

void root_tell(struct generations *g, const struct root_told *told)
{
        if (g->o->listener)
                g->o->listener->switched(g->o->listener_arg, &told->dir, told->name, strlen(told->name));
}

void root_keep_locked(struct generations *g, struct root *r)
{
        struct ident there;

        if (g->o->listener && is_in_tree(g, r, &there))
                g->o->listener->switching(g->o->listener_arg, &there);
}

enum outcome {
        LOOK_DONE,
        LOOK_TELL, /* mounts have to be told */
        LOOK_AGAIN,
};

static enum outcome change(struct generations *g, struct root *r, const struct key_files *files, const struct key *key) REQUIRES(r->lock)
{
        bool ours = is_ours(g, r, files);
        struct ident there;

        if (!ours && is_early(g, r))
                return LOOK_AGAIN;
        if (ours && is_in_tree(g, r, &there)) {
                (void)root_relabel_locked(g, r, key);
                return LOOK_DONE;
        }
        root_keep_locked(g, r);
        return root_switch_locked(g, r, key) == 0 ? LOOK_TELL : LOOK_DONE;
}

bool root_look(struct generations *g, struct root *r)
{
        enum outcome outcome = LOOK_DONE;
        struct key_files files = {0};
        struct root_told told;
        struct key key;
        bool tell;

        mutex_lock(&r->lock);
        if (r->verified && r->registered && (r->stale || !root_is_same_locked(g, r)) && ask(g, r, &files, &key) == 0) {
                if (!key_equal(&key, &r->current))
                        outcome = change(g, r, &files, &key);
                if (key_equal(&key, &r->current))
                        take_files(r, &files);
        }
        key_files_release(&files);
        tell = outcome == LOOK_TELL && root_told_locked(g, r, &told);
        mutex_unlock(&r->lock);
        if (tell)
                root_tell(g, &told);
        if (outcome == LOOK_TELL) {
                mutex_lock(&r->lock);
                kept_settle(g, r);
                mutex_unlock(&r->lock);
        }
        return outcome != LOOK_AGAIN;
}
