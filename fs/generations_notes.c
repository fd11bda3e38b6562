#include "fs/generations_notes.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"

#define NOTES_NAME ".notes"
/* Another one whenever struct note changes. */
#define NOTE_MAGIC 0x6473667331303031ULL

static bool is_used(const struct note *at)
{
        return at->magic == NOTE_MAGIC;
}

/* What its process came to before it was killed, or ended. */
static void take_left(struct note *at)
{
        if (!is_used(at)) {
                *at = (struct note){0};
                return;
        }
        at->left_writers += at->writers;
        at->writers = 0;
}

void notes_init(struct notes *n, int dirfd)
{
        mutex_init(&n->lock);
        mutex_lock(&n->lock);
        n->fd = openat(dirfd, NOTES_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (n->fd < 0 || pread(n->fd, n->list, sizeof(n->list), 0) < 0)
                log_warn("%s can't be read or made: which side changed a key file is forgotten when the agent is killed: %s", NOTES_NAME,
                         strerror(errno));
        for (unsigned i = 0; i < NOTES_MAX; i++)
                take_left(&n->list[i]);
        mutex_unlock(&n->lock);
}

void notes_release(struct notes *n)
{
        fd_close(&n->fd);
        mutex_release(&n->lock);
}

/* Of no consequence unless the process is killed: then whoever had changed the key file, it counts as the host. */
static void keep_locked(struct notes *n, const struct note *at) REQUIRES(n->lock)
{
        if (n->fd >= 0)
                (void)!pwrite(n->fd, at, sizeof(*at), (off_t)((char *)at - (char *)n->list));
}

void notes_forget_left(struct notes *n)
{
        mutex_lock(&n->lock);
        for (unsigned i = 0; i < NOTES_MAX; i++) {
                if (n->list[i].left_writers) {
                        n->list[i].left_writers = 0;
                        keep_locked(n, &n->list[i]);
                }
        }
        mutex_unlock(&n->lock);
}

static bool is_file(const struct note *at, const struct key_stamp *stamp)
{
        return is_used(at) && at->stamp.there && at->stamp.dev == stamp->dev && at->stamp.ino == stamp->ino;
}

static bool is_gone(const struct note *at, uint64_t dev, uint64_t ino, uint64_t name_hash)
{
        return is_used(at) && !at->stamp.there && at->dir_dev == dev && at->dir_ino == ino && at->name_hash == name_hash;
}

/* The next in turn that isn't of a file being written. */
static struct note *take_locked(struct notes *n) REQUIRES(n->lock)
{
        struct note *at = &n->list[n->next];

        for (unsigned i = 0; i < NOTES_MAX; i++) {
                at = &n->list[n->next];
                n->next = (n->next + 1) % NOTES_MAX;
                if (!at->writers)
                        break;
        }
        *at = (struct note){.magic = NOTE_MAGIC};
        return at;
}

static struct note *find_file_locked(struct notes *n, const struct key_stamp *stamp) REQUIRES(n->lock)
{
        for (unsigned i = 0; i < NOTES_MAX; i++) {
                if (is_file(&n->list[i], stamp))
                        return &n->list[i];
        }
        return NULL;
}

static struct note *of_file_locked(struct notes *n, const struct key_stamp *stamp) REQUIRES(n->lock)
{
        struct note *at = find_file_locked(n, stamp);

        return at ? at : take_locked(n);
}

static struct note *of_gone_locked(struct notes *n, uint64_t dev, uint64_t ino, uint64_t name_hash) REQUIRES(n->lock)
{
        for (unsigned i = 0; i < NOTES_MAX; i++) {
                if (is_gone(&n->list[i], dev, ino, name_hash))
                        return &n->list[i];
        }
        return take_locked(n);
}

static void add_there(struct notes *n, const struct key_stamp *stamp)
{
        struct note *at;

        mutex_lock(&n->lock);
        at = of_file_locked(n, stamp);
        at->stamp = *stamp;
        at->left_writers = 0;
        keep_locked(n, at);
        mutex_unlock(&n->lock);
}

static void add_gone(struct notes *n, const struct key_stamp *dir, const char *name)
{
        uint64_t hash = XXH3_64bits(name, strlen(name));
        struct note *at;

        mutex_lock(&n->lock);
        at = of_gone_locked(n, dir->dev, dir->ino, hash);
        at->dir_dev = dir->dev;
        at->dir_ino = dir->ino;
        at->name_hash = hash;
        keep_locked(n, at);
        mutex_unlock(&n->lock);
}

static bool look(int dirfd, const char *name, struct key_stamp *ret)
{
        struct stat st;

        if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) < 0)
                return false;
        key_stamp_of(&st, ret);
        return true;
}

void notes_add(struct notes *n, int dirfd, const char *name)
{
        struct key_stamp stamp, dir;
        bool there = look(dirfd, name, &stamp), in_dir = *name && look(dirfd, "", &dir);

        if (there)
                add_there(n, &stamp);
        else if (in_dir)
                add_gone(n, &dir, name);
        if (in_dir)
                add_there(n, &dir);
}

static void begin_writing_locked(struct notes *n, const struct key_stamp *stamp) REQUIRES(n->lock)
{
        struct note *at = of_file_locked(n, stamp);

        /* What it is before the first write may be the host's. */
        at->stamp = at->writers ? *stamp : (struct key_stamp){.there = true, .dev = stamp->dev, .ino = stamp->ino};
        at->writers++;
        at->left_writers = 0;
        keep_locked(n, at);
}

/* Only what was noted when it began. */
static void end_writing_locked(struct notes *n, const struct key_stamp *stamp) REQUIRES(n->lock)
{
        struct note *at = find_file_locked(n, stamp);

        if (!at || !at->writers)
                return;
        at->stamp = *stamp;
        at->writers--;
        keep_locked(n, at);
}

void notes_writer(struct notes *n, int fd, int by)
{
        struct key_stamp stamp;

        if (!look(fd, "", &stamp))
                return;
        mutex_lock(&n->lock);
        if (by > 0)
                begin_writing_locked(n, &stamp);
        else
                end_writing_locked(n, &stamp);
        mutex_unlock(&n->lock);
}

bool notes_have(struct notes *n, const struct key_stamp *stamp)
{
        bool found = false;

        mutex_lock(&n->lock);
        for (unsigned i = 0; i < NOTES_MAX && !found; i++)
                found = is_file(&n->list[i], stamp) &&
                        (n->list[i].writers || n->list[i].left_writers || key_stamp_equal(&n->list[i].stamp, stamp));
        mutex_unlock(&n->lock);
        return found;
}

bool notes_have_gone(struct notes *n, uint64_t dir_dev, uint64_t dir_ino, const char *name)
{
        uint64_t hash = XXH3_64bits(name, strlen(name));
        bool found = false;

        mutex_lock(&n->lock);
        for (unsigned i = 0; i < NOTES_MAX && !found; i++)
                found = is_gone(&n->list[i], dir_dev, dir_ino, hash);
        mutex_unlock(&n->lock);
        return found;
}

bool notes_have_newest(struct notes *n, int dirfd)
{
        char dot[sizeof(struct fd_path) + 2];
        char *const roots[] = {dot, NULL};
        int64_t newest_ns = INT64_MIN;
        struct key_stamp stamp;
        bool have = false;
        FTSENT *e;
        FTS *walk;

        snprintf(dot, sizeof(dot), "%s/.", fd_proc_path(dirfd).text);
        walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
        while (walk && (e = fts_read(walk))) {
                if (e->fts_info == FTS_DP || e->fts_info == FTS_NS || e->fts_info == FTS_ERR)
                        continue;
                key_stamp_of(e->fts_statp, &stamp);
                if (stamp.ctime_ns < newest_ns)
                        continue;
                have = (have && stamp.ctime_ns == newest_ns) || notes_have(n, &stamp);
                newest_ns = stamp.ctime_ns;
        }
        if (walk)
                fts_close(walk);
        return have;
}
