#include "fs/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "cache/base/err.h"
#include "cache/base/fd.h"
#include "cache/cache.h"

#define FORM "dsfs key 1"
#define NS_PER_S 1000000000LL
/* A file that was changed so shortly before it was looked at may have been changed again since, within one tick of its times. */
#define GRANULE_NS (2 * NS_PER_S + NS_PER_S / 10)
#define MISSING '-'

bool key_equal(const struct key *a, const struct key *b)
{
        return strcmp(a->text, b->text) == 0;
}

bool key_is_text(const char *text)
{
        return strspn(text, "0123456789abcdef") == GENERATION_KEY_TEXT - 1 && strlen(text) == GENERATION_KEY_TEXT - 1;
}

bool key_stamp_equal(const struct key_stamp *a, const struct key_stamp *b)
{
        if (!a->there || !b->there)
                return a->there == b->there;
        return a->mode == b->mode && a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->mtime_ns == b->mtime_ns &&
               a->ctime_ns == b->ctime_ns;
}

void key_stamp_of(const struct stat *st, struct key_stamp *ret)
{
        *ret = (struct key_stamp){
                .there = true,
                .mode = st->st_mode,
                .dev = st->st_dev,
                .ino = st->st_ino,
                .size = st->st_size,
                .mtime_ns = st->st_mtim.tv_sec * NS_PER_S + st->st_mtim.tv_nsec,
                .ctime_ns = st->st_ctim.tv_sec * NS_PER_S + st->st_ctim.tv_nsec,
        };
}

void key_files_release(struct key_files *f)
{
        for (size_t i = 0; i < f->count; i++)
                free(f->list[i].path);
        free(f->list);
        *f = (struct key_files){0};
}

/*
 * Finding
 */

/* Nothing outside the source is a key, nor what a symlink leads to. */
static int open_beneath(int root, const char *path, unsigned long long flags)
{
        struct open_how how = {.flags = flags | O_NOFOLLOW | O_CLOEXEC,
                               .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
        int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));

        return fd < 0 ? -errno : fd;
}

static bool is_absent(int rc)
{
        return rc == -ENOENT || rc == -ENOTDIR || rc == -ELOOP || rc == -EXDEV || rc == -ENAMETOOLONG;
}

static int64_t real_now_ns(void)
{
        struct timespec now;

        clock_gettime(CLOCK_REALTIME, &now);
        return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static int look_at(int root, const char *path, struct key_file *ret)
{
        CLEANUP_FD int fd = open_beneath(root, path, O_PATH);
        struct stat st;

        if (fd < 0)
                return fd;
        if (fstatat(fd, "", &st, AT_EMPTY_PATH) < 0)
                return -errno;
        ret->looked_ns = real_now_ns();
        key_stamp_of(&st, &ret->stamp);
        ret->path = strdup(path);
        return ret->path ? 0 : -ENOMEM;
}

/* From `parent` upwards. */
static int find_one(int root, const char *parent, const char *key, struct key_file *ret)
{
        size_t len = strlen(parent), key_len = strlen(key);
        char path[PATH_MAX];

        *ret = (struct key_file){.looked_ns = real_now_ns()};
        if (len + key_len + 2 > sizeof(path))
                return 0;
        memcpy(path, parent, len);
        for (;;) {
                int rc;

                memcpy(path + len + (len > 0), key, key_len + 1);
                if (len)
                        path[len] = '/';
                rc = look_at(root, path, ret);
                if (rc == 0 || !is_absent(rc))
                        return rc;
                if (len == 0)
                        return 0;
                while (len > 0 && path[len - 1] != '/')
                        len--;
                len -= len > 0;
        }
}

int key_files_find(int root, const char *parent, const struct rule *rule, struct key_files *ret)
{
        struct key_files found = {.list = calloc(rule->key_count + 1, sizeof(*found.list))};
        int rc = found.list ? 0 : -ENOMEM;

        while (rc == 0 && found.count < rule->key_count) {
                rc = find_one(root, parent, rule->keys[found.count], &found.list[found.count]);
                found.count++;
        }
        if (rc < 0)
                key_files_release(&found);
        else
                *ret = found;
        return rc;
}

static bool is_same(const struct key_file *before, const struct key_file *now)
{
        if (!before->path || !now->path)
                return before->path == now->path;
        if (strcmp(before->path, now->path) != 0)
                return false;
        if (S_ISDIR(now->stamp.mode))
                return before->stamp.ino == now->stamp.ino && before->stamp.dev == now->stamp.dev;
        return key_stamp_equal(&before->stamp, &now->stamp) && before->looked_ns - before->stamp.ctime_ns > GRANULE_NS;
}

bool key_files_same(const struct key_files *before, const struct key_files *now)
{
        if (before->count != now->count)
                return false;
        for (size_t i = 0; i < now->count; i++) {
                if (!is_same(&before->list[i], &now->list[i]))
                        return false;
        }
        return true;
}

bool key_files_have_directory(const struct key_files *f)
{
        for (size_t i = 0; i < f->count; i++) {
                if (S_ISDIR(f->list[i].stamp.mode))
                        return true;
        }
        return false;
}

/*
 * Hashing
 */

/* A directory's hash is what `dsfs hash` says of it. Its "." is named, for a symlink, as /proc has it, isn't followed at the end. */
static int hash_directory(int root, const char *path, struct content *ret)
{
        CLEANUP_FD int fd = open_beneath(root, path, O_PATH | O_DIRECTORY);
        struct fd_path self = fd_proc_path(fd);
        char dot[sizeof(self.text) + 2];

        if (fd < 0)
                return fd;
        snprintf(dot, sizeof(dot), "%s/.", self.text);
        return content_of_tree(dot, ret);
}

static int hash_file(int root, const char *path, struct content *ret)
{
        const char *slash = strrchr(path, '/');
        char above[PATH_MAX] = ".";
        CLEANUP_FD int fd = -1;
        int rc;

        if (slash) {
                memcpy(above, path, (size_t)(slash - path));
                above[slash - path] = '\0';
        }
        fd = open_beneath(root, above, O_PATH | O_DIRECTORY);
        if (fd < 0)
                return fd;
        rc = content_of_file(fd, slash ? slash + 1 : path, ret);
        return rc < 0 ? rc : 0;
}

/* Is it what it was when it was found? Else what was hashed may be another one's. */
static bool is_still_there(int root, const struct key_file *f)
{
        struct key_file now = {0};
        bool still = look_at(root, f->path, &now) == 0 && key_stamp_equal(&f->stamp, &now.stamp);

        free(now.path);
        return still;
}

/* One byte for what it is, whether executable or not, and the hash of what it has. */
static int add_file(XXH3_state_t *state, int root, const struct key_file *f)
{
        struct content hash = {0};
        char kind = MISSING;
        int rc = 0;

        if (f->path && S_ISDIR(f->stamp.mode)) {
                kind = CONTENT_DIRECTORY;
                rc = hash_directory(root, f->path, &hash);
        } else if (f->path && (S_ISREG(f->stamp.mode) || S_ISLNK(f->stamp.mode))) {
                kind = S_ISLNK(f->stamp.mode) ? CONTENT_SYMLINK : CONTENT_FILE;
                rc = hash_file(root, f->path, &hash);
        }
        if (rc < 0)
                return is_absent(rc) || rc == -EISDIR || rc == -EINVAL ? -EAGAIN : rc;
        if (f->path && !is_still_there(root, f))
                return -EAGAIN;
        XXH3_128bits_update(state, &kind, sizeof(kind));
        XXH3_128bits_update(state, hash.bytes, sizeof(hash.bytes));
        return 0;
}

static void add_text(XXH3_state_t *state, const char *text)
{
        XXH3_128bits_update(state, text, strlen(text) + 1);
}

int key_of(int root, const struct rule *rule, const struct key_files *f, struct key *ret)
{
        XXH3_state_t *state = XXH3_createState();
        XXH128_canonical_t digest;
        struct content hash;
        int rc = state ? 0 : -ENOMEM;

        if (rc < 0)
                return rc;
        XXH3_128bits_reset(state);
        add_text(state, FORM);
        add_text(state, rule->pattern);
        add_text(state, rule->salt ? rule->salt : "");
        for (size_t i = 0; i < f->count && rc == 0; i++) {
                add_text(state, rule->keys[i]);
                rc = add_file(state, root, &f->list[i]);
        }
        XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(state));
        XXH3_freeState(state);
        memcpy(hash.bytes, digest.digest, sizeof(hash.bytes));
        if (rc == 0)
                content_to_text(&hash, ret->text);
        return rc;
}
