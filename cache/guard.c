#include "cache/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/check.h"

#define STATE_VERSION 1
#define STATE_MAX 128
#define BOOT_ID_MAX 64
#define BOOT_ID_PATH "/proc/sys/kernel/random/boot_id"
/* A memory of this size is of no source that we know. */
#define DATA_MAX (16LL << 30)

enum state {
        STATE_NONE,
        STATE_CLEAN,
        STATE_DIRTY,       /* written since this machine was started */
        STATE_DIRTY_CRASH, /* ... and the machine went down since */
        STATE_OLDER,
        STATE_NEWER,
        STATE_UNKNOWN,
};

static const char *const distrust[] = {
        [STATE_NONE] = "nothing says how it was left",
        [STATE_DIRTY_CRASH] = "the machine went down while it was being written",
        [STATE_OLDER] = "an older version of dsfs wrote it",
        [STATE_UNKNOWN] = "what should say how it was left is damaged",
};

static bool read_boot_id(char ret[BOOT_ID_MAX])
{
        CLEANUP_FREE char *text = NULL;

        if (fd_read_file(AT_FDCWD, BOOT_ID_PATH, BOOT_ID_MAX, &text) < 0 || sscanf(text, "%63s", ret) != 1)
                return false;
        return true;
}

static enum state read_state(int dir)
{
        /* Whatever lies there: opening a fifo would wait. */
        CLEANUP_FD int fd = openat(dir, "state", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        char text[STATE_MAX] = "", boot[BOOT_ID_MAX], word[16], written[BOOT_ID_MAX] = "";
        int version;

        if (fd < 0)
                return errno == ENOENT ? STATE_NONE : STATE_UNKNOWN;
        if (fd_read_full(fd, text, sizeof(text) - 1) < 0 || sscanf(text, "dsfs cache %d %15s %63s", &version, word, written) < 2)
                return STATE_UNKNOWN;
        if (version != STATE_VERSION)
                return version > STATE_VERSION ? STATE_NEWER : STATE_OLDER;
        if (strcmp(word, "clean") == 0)
                return STATE_CLEAN;
        if (strcmp(word, "dirty") != 0)
                return STATE_UNKNOWN;
        return read_boot_id(boot) && strcmp(boot, written) == 0 ? STATE_DIRTY : STATE_DIRTY_CRASH;
}

static int write_state(int dir, const char *word, const char *boot)
{
        CLEANUP_FD int fd = -1;
        char text[STATE_MAX];
        int len = snprintf(text, sizeof(text), "dsfs cache %d %s %s\n", STATE_VERSION, word, boot);
        int rc;

        /* What a killed process left, or anything else. */
        (void)unlinkat(dir, "state.new", 0);
        fd = openat(dir, "state.new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        rc = fd < 0 ? -errno : fd_write_full(fd, text, (size_t)len);

        if (rc == 0 && (fsync(fd) < 0 || renameat(dir, "state.new", dir, "state") < 0 || fsync(dir) < 0))
                rc = -errno;
        return rc;
}

/* NULL if the file is whole; it can't change meanwhile, for it is ours. */
static const char *look_at_data(int dir, bool *there)
{
        CLEANUP_FD int fd = openat(dir, "data.mdb", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        const char *what;
        struct stat st;
        void *map;

        *there = fd >= 0 || errno != ENOENT;
        if (!*there)
                return NULL;
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > DATA_MAX)
                return "it can't be read";
        /* As a process leaves it that is killed while it makes it. */
        *there = st.st_size > 0;
        if (!*there)
                return NULL;
        map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED)
                return "it can't be read";
        what = check_lmdb(map, (size_t)st.st_size);
        munmap(map, (size_t)st.st_size);
        return what;
}

static int throw_away(int dir)
{
        static const char *const files[] = {"data.mdb", "lock.mdb", "state", "state.new"};
        int rc = 0;

        for (size_t i = 0; i < ARRAY_LEN(files); i++)
                if (unlinkat(dir, files[i], 0) < 0 && errno != ENOENT)
                        rc = -errno;
        return rc;
}

static void say(char **notice, const char *dir, const char *what, const char *why)
{
        if (asprintf(notice, "what was remembered of file contents (%s) %s: %s", dir, what, why) < 0)
                *notice = NULL;
}

/* As its owner. */
static int judge(struct guard *g, const char *dir, enum cache_found *found, char **notice)
{
        enum state state = read_state(g->dir);
        const char *why = state == STATE_CLEAN || state == STATE_DIRTY ? NULL : distrust[state];
        bool there;
        int rc;

        if (state == STATE_NEWER) {
                say(notice, dir, "is left alone, and everything is hashed anew", "a newer version of dsfs wrote it");
                *found = CACHE_REFUSED;
                return 0;
        }
        g->dirty = state == STATE_DIRTY;
        if (!why)
                why = look_at_data(g->dir, &there);
        else
                (void)look_at_data(g->dir, &there);
        *found = there ? CACHE_GOOD : CACHE_FRESH;
        if (there && why) {
                say(notice, dir, "is made anew", why);
                *found = CACHE_REBUILT;
        }
        if (*found == CACHE_GOOD)
                return 0;
        g->dirty = false;
        rc = throw_away(g->dir);
        /* There before the first byte of data is, lest a process that is killed at once leave data of which nothing is known. */
        if (rc == 0)
                rc = write_state(g->dir, "clean", "-");
        if (rc < 0) {
                free(steal_ptr(notice));
                say(notice, dir, "can't be made anew, and everything is hashed", strerror(-rc));
                *found = CACHE_REFUSED;
        }
        return 0;
}

int guard_take(struct guard *g, const char *dir, enum cache_found *found, char **notice)
{
        *g = (struct guard){.dir = -1, .lock = -1};
        if (mkdir(dir, 0700) < 0 && errno != EEXIST)
                return -errno;
        g->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (g->dir < 0)
                return -errno;
        g->lock = openat(g->dir, "owner", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (g->lock < 0)
                return -errno;
        if (flock(g->lock, LOCK_EX | LOCK_NB) < 0) {
                fd_close(&g->lock);
                *found = read_state(g->dir) == STATE_NEWER ? CACHE_REFUSED : CACHE_SHARED;
                if (*found == CACHE_REFUSED)
                        say(notice, dir, "is left alone, and everything is hashed anew", "a newer version of dsfs writes it");
                return 0;
        }
        return judge(g, dir, found, notice);
}

int guard_look(const char *dir, const char **why)
{
        CLEANUP_FD int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        CLEANUP_FD int lock = at < 0 ? -1 : openat(at, "owner", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        enum state state;
        bool there;

        if (at < 0 || lock < 0)
                return -errno;
        if (flock(lock, LOCK_EX | LOCK_NB) < 0)
                return -EBUSY;
        state = read_state(at);
        *why = look_at_data(at, &there);
        if (!there)
                return -ENOENT;
        if (!*why && state != STATE_CLEAN && state != STATE_DIRTY && state != STATE_NEWER)
                *why = distrust[state];
        return *why ? -EUCLEAN : 0;
}

int guard_dirty(struct guard *g)
{
        char boot[BOOT_ID_MAX];
        int rc;

        if (g->dirty)
                return 0;
        if (!read_boot_id(boot))
                strcpy(boot, "unknown"); /* equals no boot id: not trusted unless closed */
        rc = write_state(g->dir, "dirty", boot);
        g->dirty = rc == 0;
        return rc;
}

int guard_clean(struct guard *g)
{
        int rc = g->dirty ? write_state(g->dir, "clean", "-") : 0;

        if (rc == 0)
                g->dirty = false;
        return rc;
}

void guard_release(struct guard *g)
{
        fd_close(&g->lock);
        fd_close(&g->dir);
}
