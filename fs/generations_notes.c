#include "fs/generations_notes.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

void notes_init(struct notes *n)
{
        mutex_init(&n->lock);
}

void notes_release(struct notes *n)
{
        mutex_release(&n->lock);
}

uint64_t notes_count(struct notes *n)
{
        uint64_t count;

        mutex_lock(&n->lock);
        count = n->count;
        mutex_unlock(&n->lock);
        return count;
}

static bool is_file(const struct note *at, const struct key_stamp *stamp)
{
        return at->used && at->stamp.there && at->stamp.dev == stamp->dev && at->stamp.ino == stamp->ino;
}

static bool is_gone(const struct note *at, uint64_t dev, uint64_t ino, uint64_t name_hash)
{
        return at->used && !at->stamp.there && at->dir_dev == dev && at->dir_ino == ino && at->name_hash == name_hash;
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
        *at = (struct note){.used = true};
        return at;
}

static struct note *of_file_locked(struct notes *n, const struct key_stamp *stamp) REQUIRES(n->lock)
{
        for (unsigned i = 0; i < NOTES_MAX; i++) {
                if (is_file(&n->list[i], stamp))
                        return &n->list[i];
        }
        return take_locked(n);
}

static struct note *of_gone_locked(struct notes *n, uint64_t dev, uint64_t ino, uint64_t name_hash) REQUIRES(n->lock)
{
        for (unsigned i = 0; i < NOTES_MAX; i++) {
                if (is_gone(&n->list[i], dev, ino, name_hash))
                        return &n->list[i];
        }
        return take_locked(n);
}

void notes_add(struct notes *n, int dirfd, const char *name)
{
        uint64_t hash = XXH3_64bits(name, strlen(name));
        struct key_stamp stamp = {0};
        struct stat st, dir;

        if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) == 0)
                key_stamp_of(&st, &stamp);
        else if (!*name || fstatat(dirfd, "", &dir, AT_EMPTY_PATH) < 0)
                return;
        mutex_lock(&n->lock);
        n->count++;
        if (stamp.there) {
                of_file_locked(n, &stamp)->stamp = stamp;
        } else {
                struct note *at = of_gone_locked(n, dir.st_dev, dir.st_ino, hash);

                at->dir_dev = dir.st_dev;
                at->dir_ino = dir.st_ino;
                at->name_hash = hash;
        }
        mutex_unlock(&n->lock);
}

void notes_writer(struct notes *n, int fd, int by)
{
        struct key_stamp stamp;
        struct note *at;
        struct stat st;

        if (fstatat(fd, "", &st, AT_EMPTY_PATH) < 0)
                return;
        key_stamp_of(&st, &stamp);
        mutex_lock(&n->lock);
        n->count++;
        at = of_file_locked(n, &stamp);
        /* What it is before the first write may be the host's. */
        if (by < 0 || at->writers) {
                at->stamp = stamp;
        } else {
                at->stamp = (struct key_stamp){.there = true, .dev = stamp.dev, .ino = stamp.ino};
        }
        if (by > 0)
                at->writers++;
        else if (at->writers)
                at->writers--;
        mutex_unlock(&n->lock);
}

bool notes_have(struct notes *n, const struct key_stamp *stamp)
{
        bool found = false;

        mutex_lock(&n->lock);
        for (unsigned i = 0; i < NOTES_MAX && !found; i++)
                found = is_file(&n->list[i], stamp) && (n->list[i].writers || key_stamp_equal(&n->list[i].stamp, stamp));
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
