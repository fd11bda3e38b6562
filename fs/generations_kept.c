#include "fs/generations_kept.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "cache/base/fd.h"
#include "fs/generations_records.h"

#define PRIVATE_MODE 0700
#define SWITCH_TRIES 16

const char *root_name(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

static unsigned long long any_number(void)
{
        unsigned long long number = 0;

        (void)!getrandom(&number, sizeof(number), 0);
        return number;
}

void kept_moving_name(const char *prefix, char ret[MOVING_TEXT])
{
        snprintf(ret, MOVING_TEXT, "%s%016llx", prefix, any_number());
}

static int open_dir(int at, const char *name)
{
        int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

static int open_root(struct generations *g, const struct root *r)
{
        return open_dir(g->o->kept_fd, r->id);
}

int kept_above(struct generations *g, const char *path, bool make)
{
        struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                               .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
        CLEANUP_FREE char *above = strndup(path, (size_t)(root_name(path) - path));
        size_t len = above ? strlen(above) : 0;
        int fd;

        if (!above)
                return -ENOMEM;
        if (len)
                above[len - 1] = '\0';
        if (make) {
                CLEANUP_FD int made = overlay_shadow_make(g->o, above);

                if (made < 0)
                        return made;
        }
        fd = (int)syscall(SYS_openat2, g->tree_fd, *above ? above : ".", &how, sizeof(how));
        return fd < 0 ? -errno : fd;
}

/* "<key>/<name>", where another generation is. */
struct kept_path {
        char text[GENERATION_KEY_TEXT + NAME_MAX + 1];
};

static struct kept_path path_of(const struct root *r, const struct key *key)
{
        struct kept_path p;

        snprintf(p.text, sizeof(p.text), "%s/%s", key->text, root_name(r->path));
        return p;
}

static bool is_there(int dirfd, const char *name)
{
        struct stat st;

        return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Out of the way, atomically: the sweeper removes it. */
static int discard(struct generations *g, int dirfd, const char *name)
{
        char gone[MOVING_TEXT];

        kept_moving_name(GONE_PREFIX, gone);
        if (renameat(dirfd, name, g->o->moving_fd, gone) < 0)
                return -errno;
        generations_want_sweep(g);
        return 0;
}

/*
 * Registering
 */

int kept_register(struct generations *g, struct root *r, const struct key *key)
{
        char making[MOVING_TEXT];
        CLEANUP_FD int fd = -1;
        int rc;

        snprintf(r->id, sizeof(r->id), "%016llx", any_number());
        kept_moving_name(COPY_PREFIX, making);
        if (mkdirat(g->o->moving_fd, making, PRIVATE_MODE) < 0)
                return -errno;
        fd = rc = open_dir(g->o->moving_fd, making);
        if (fd >= 0)
                rc = line_write(fd, RECORD_PATH, r->path);
        if (rc >= 0)
                rc = line_write(fd, RECORD_CURRENT, key->text);
        if (rc >= 0 && renameat2(g->o->moving_fd, making, g->o->kept_fd, r->id, RENAME_NOREPLACE) < 0)
                rc = -errno;
        if (rc < 0) {
                (void)discard(g, g->o->moving_fd, making);
                return rc;
        }
        r->registered = true;
        r->current = *key;
        return 0;
}

int kept_write_path(struct generations *g, struct root *r)
{
        CLEANUP_FD int fd = open_root(g, r);

        return fd < 0 ? fd : line_write(fd, RECORD_PATH, r->path);
}

void kept_write_record(struct generations *g, struct root *r, const struct kept *k)
{
        CLEANUP_FD int fd = open_root(g, r);

        if (fd >= 0)
                (void)kept_record_write(fd, k);
}

bool kept_has(struct generations *g, const struct root *r, const struct key *key)
{
        CLEANUP_FD int fd = open_root(g, r);

        return fd >= 0 && is_there(fd, path_of(r, key).text);
}

static void forget_record(int kept, const struct key *key)
{
        char record[RECORD_NAME];

        kept_record_name(key, record);
        (void)unlinkat(kept, record, 0);
}

int kept_drop(struct generations *g, struct root *r, const struct key *key)
{
        CLEANUP_FD int fd = open_root(g, r);
        int rc = fd < 0 ? fd : discard(g, fd, key->text);

        if (fd >= 0)
                forget_record(fd, key);
        return rc;
}

/* `making` of moving/ becomes `name` in `kept`; what was there is removed. */
static int install(struct generations *g, const char *making, int kept, const char *name)
{
        if (renameat2(g->o->moving_fd, making, kept, name, RENAME_NOREPLACE) == 0)
                return 0;
        if (errno != EEXIST || renameat2(g->o->moving_fd, making, kept, name, RENAME_EXCHANGE) < 0)
                return -errno;
        return discard(g, g->o->moving_fd, making);
}

int kept_put(struct generations *g, struct root *r, const struct key *key, int dirfd, const char *name)
{
        CLEANUP_FD int fd = open_root(g, r);
        CLEANUP_FD int made = -1;
        char making[MOVING_TEXT];
        int rc;

        if (fd < 0)
                return fd;
        kept_moving_name(COPY_PREFIX, making);
        if (mkdirat(g->o->moving_fd, making, PRIVATE_MODE) < 0)
                return -errno;
        made = rc = open_dir(g->o->moving_fd, making);
        if (rc >= 0)
                rc = renameat(dirfd, name, made, root_name(r->path)) < 0 ? -errno : install(g, making, fd, key->text);
        if (rc < 0) {
                (void)renameat2(made, root_name(r->path), dirfd, name, RENAME_NOREPLACE);
                (void)unlinkat(g->o->moving_fd, making, AT_REMOVEDIR);
        }
        return rc;
}

/*
 * Switching
 */

/* What is in tree/ goes to kept/. *left: there was something. */
static int put_away(int above, int kept, const struct root *r, bool *left)
{
        struct kept_path from = path_of(r, &r->current);

        if (mkdirat(kept, r->current.text, PRIVATE_MODE) < 0 && errno != EEXIST)
                return -errno;
        *left = above >= 0 && renameat2(above, root_name(r->path), kept, from.text, RENAME_NOREPLACE) == 0;
        if (*left)
                return 0;
        (void)unlinkat(kept, r->current.text, AT_REMOVEDIR);
        return above >= 0 && errno != ENOENT && errno != ENOTEMPTY ? -errno : 0;
}

/* The generation can't be kept under its key. The errno that says so. */
static int undo_exchange(int above, const char *name, int kept, const char *from)
{
        int rc = -errno;

        (void)renameat2(kept, from, above, name, RENAME_EXCHANGE);
        return rc;
}

/* The container may make or remove what is in tree/ as fast as we look. */
static int bring_in(int above, int kept, const struct root *r, const struct key *to, bool *left)
{
        struct kept_path from = path_of(r, to);
        const char *name = root_name(r->path);

        for (int i = 0; i < SWITCH_TRIES; i++) {
                *left = false;
                if (renameat2(kept, from.text, above, name, RENAME_NOREPLACE) == 0) {
                        (void)unlinkat(kept, to->text, AT_REMOVEDIR);
                        return 0;
                }
                if (errno != EEXIST)
                        return -errno;
                if (renameat2(kept, from.text, above, name, RENAME_EXCHANGE) == 0) {
                        *left = renameat2(kept, to->text, kept, r->current.text, RENAME_NOREPLACE) == 0;
                        return *left ? 0 : undo_exchange(above, name, kept, from.text);
                }
                if (errno != ENOENT)
                        return -errno;
        }
        return -EAGAIN;
}

/* Nothing may stand in kept/ under the key of what is in tree/. */
static int clear_way(struct generations *g, int kept, const struct root *r)
{
        int rc = unlinkat(kept, r->current.text, AT_REMOVEDIR) < 0 ? -errno : 0;

        if (rc == -ENOTEMPTY)
                rc = discard(g, kept, r->current.text);
        return rc == -ENOENT ? 0 : rc;
}

int kept_switch(struct generations *g, struct root *r, const struct key *to, bool *left)
{
        CLEANUP_FD int kept = open_root(g, r);
        CLEANUP_FD int above = -1;
        struct kept_path from = path_of(r, to);
        bool has;
        int rc;

        kept_settle(g, r);
        rc = kept < 0 ? kept : clear_way(g, kept, r);
        if (rc < 0)
                return rc;
        has = is_there(kept, from.text);
        above = kept_above(g, r->path, has);
        if (above < 0 && (has || above != -ENOENT))
                return above;
        rc = intent_switch(g->o->moving_fd, r, to, above, kept, from.text);
        if (rc == 0) {
                rc = has ? bring_in(above, kept, r, to, left) : put_away(above, kept, r, left);
                if (rc == 0 && !*left)
                        forget_record(kept, &r->current);
                if (rc == 0)
                        r->current = *to;
                r->unsettled = rc == 0;
                if (rc < 0)
                        intent_done(g->o->moving_fd, r);
        }
        return rc;
}

/* As long as that fails, what was intended stays: the next process finds it. */
void kept_settle(struct generations *g, struct root *r)
{
        CLEANUP_FD int kept = r->unsettled ? open_root(g, r) : -1;

        if (kept < 0 || line_write(kept, RECORD_CURRENT, r->current.text) < 0)
                return;
        intent_done(g->o->moving_fd, r);
        r->unsettled = false;
}

int kept_relabel(struct generations *g, struct root *r, const struct key *to)
{
        CLEANUP_FD int kept = open_root(g, r);
        int rc;

        kept_settle(g, r);
        rc = kept < 0 ? kept : intent_relabel(g->o->moving_fd, r, to);
        if (rc < 0)
                return rc;
        rc = discard(g, kept, to->text);
        forget_record(kept, &r->current);
        if (rc == 0 || rc == -ENOENT)
                rc = line_write(kept, RECORD_CURRENT, to->text);
        if (rc == 0)
                r->current = *to;
        intent_done(g->o->moving_fd, r);
        return rc;
}
