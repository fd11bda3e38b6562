#include "sync/agent/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/agent/paths.h"

#define SOURCE_FILE "source"
#define SOURCE_FRESH "source.new"
#define SOURCE_FILE_MAX (PATH_MAX + 64)
#define CACHE "cache"
#define BLOCK 512U

static char *state_dir(const char *source)
{
        char id[SOURCE_ID_TEXT];

        path_source_id(source, id);
        return path_state(id);
}

char *state_cache(const char *source)
{
        CLEANUP_FREE char *dir = state_dir(source);

        return dir ? text_new("%s/" CACHE, dir) : NULL;
}

/* 0: there is none. */
static uint64_t filesystem_of(const char *path)
{
        struct statfs fs;
        uint64_t id = 0;

        if (statfs(path, &fs) == 0)
                memcpy(&id, &fs.f_fsid, sizeof(id) < sizeof(fs.f_fsid) ? sizeof(id) : sizeof(fs.f_fsid));
        return id;
}

static int write_whose(int dir, const char *text)
{
        CLEANUP_FD int fd = openat(dir, SOURCE_FRESH, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        int rc = fd < 0 ? -errno : fd_write_full(fd, text, strlen(text));

        if (rc == 0 && renameat(dir, SOURCE_FRESH, dir, SOURCE_FILE) < 0)
                rc = -errno;
        return rc;
}

/* Whose state directory this is: the path in *ret (the caller frees), or NULL. */
static uint64_t read_whose(int dir, char **ret)
{
        CLEANUP_FREE char *text = NULL;
        uint64_t id = 0;
        char *line;

        *ret = NULL;
        if (fd_read_file(dir, SOURCE_FILE, SOURCE_FILE_MAX, &text) < 0)
                return 0;
        line = strrchr(text, '\n');
        if (text[0] != '/' || !line || sscanf(line + 1, "%" SCNx64, &id) != 1)
                return 0;
        *line = '\0';
        *ret = steal_ptr(&text);
        return id;
}

int state_make(const char *source, char **why)
{
        CLEANUP_FREE char *dir = state_dir(source);
        CLEANUP_FREE char *text = text_new("%s\n%016" PRIx64, source, filesystem_of(source));
        CLEANUP_FREE char *canonical = NULL;
        CLEANUP_FREE char *was = NULL;
        CLEANUP_FD int fd = -1;
        int rc;

        if (!dir || !text)
                return why_set(why, -ENOMEM, "out of memory");
        rc = path_make_private(dir, why);
        if (rc)
                return rc;
        canonical = realpath(dir, NULL);
        if (canonical && path_is_below(canonical, source))
                return why_set(why, -ELOOP,
                               "%s lies inside %s, and each write to it would be a change; set XDG_STATE_HOME to another place", dir,
                               source);
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        rc = fd < 0 ? -errno : 0;
        if (rc == 0 && (fd_read_file(fd, SOURCE_FILE, SOURCE_FILE_MAX, &was) < 0 || strcmp(was, text) != 0))
                rc = write_whose(fd, text);
        return rc ? why_set(why, rc, "%s can't be written to: %s", dir, strerror(-rc)) : 0;
}

bool state_remembers(const char *source)
{
        CLEANUP_FREE char *cache = state_cache(source);
        CLEANUP_FREE char *data = cache ? text_new("%s/data.mdb", cache) : NULL;

        return data && access(data, F_OK) == 0;
}

/* Only what is sure to be gone is: on a disk that is not mounted everything seems to be. */
static enum state_life life_of(const char *source, uint64_t filesystem)
{
        CLEANUP_FREE char *parent = NULL;
        struct stat st;
        char *slash;

        if (!source)
                return STATE_UNKNOWN;
        if (lstat(source, &st) == 0 || errno != ENOENT || !filesystem)
                return STATE_IN_USE;
        parent = strdup(source);
        slash = parent ? strrchr(parent, '/') : NULL;
        if (!slash)
                return STATE_IN_USE;
        slash[slash == parent ? 1 : 0] = '\0';
        return filesystem_of(parent) == filesystem ? STATE_GONE : STATE_IN_USE;
}

static uint64_t bytes_below(int at, const char *name)
{
        CLEANUP_FD int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        uint64_t sum = 0;
        struct dirent *e;
        struct stat st;

        if (!dir)
                return 0;
        while ((e = readdir(dir))) {
                if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
                        sum += (uint64_t)st.st_blocks * BLOCK;
        }
        (void)fd_steal(&fd);
        closedir(dir);
        return sum;
}

static bool is_source_id(const char *name)
{
        return strlen(name) == SOURCE_ID_TEXT - 1 && strspn(name, "0123456789abcdef") == SOURCE_ID_TEXT - 1;
}

static int visit_one(const char *base, const char *id, void (*visit)(void *arg, const struct state_entry *e), void *arg)
{
        CLEANUP_FREE char *dir = text_new("%s/%s", base, id);
        CLEANUP_FREE char *source = NULL;
        CLEANUP_FD int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW) : -1;
        struct state_entry e = {.dir = dir, .id = id};
        uint64_t filesystem;
        struct stat st;

        if (!dir)
                return -ENOMEM;
        if (fd < 0)
                return 0;
        filesystem = read_whose(fd, &source);
        e.source = source;
        e.life = life_of(source, filesystem);
        e.cache_bytes = bytes_below(fd, CACHE);
        if (fstatat(fd, CACHE "/data.mdb", &st, AT_SYMLINK_NOFOLLOW) == 0)
                e.cache_written_s = st.st_mtim.tv_sec;
        visit(arg, &e);
        return 0;
}

int state_list(void (*visit)(void *arg, const struct state_entry *e), void *arg)
{
        CLEANUP_FREE char *base = path_state(".");
        DIR *dir = base ? opendir(base) : NULL;
        struct dirent *e;
        int rc = 0;

        if (!base)
                return -ENOMEM;
        if (!dir)
                return errno == ENOENT ? 0 : -errno;
        base[strlen(base) - 2] = '\0';
        while (rc == 0 && (e = readdir(dir))) {
                if (is_source_id(e->d_name))
                        rc = visit_one(base, e->d_name, visit, arg);
        }
        closedir(dir);
        return rc;
}

/* What a memory consists of, and nothing else; its owner file last. */
static int remove_files(int cache)
{
        static const char *const files[] = {"data.mdb", "lock.mdb", "state", "state.new", "owner"};

        for (size_t i = 0; i < ARRAY_LEN(files); i++) {
                if (unlinkat(cache, files[i], 0) < 0 && errno != ENOENT)
                        return -errno;
        }
        return 0;
}

int state_forget(const char *dir)
{
        CLEANUP_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        CLEANUP_FD int cache = fd < 0 ? -1 : openat(fd, CACHE, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        CLEANUP_FD int owner = -1;
        int rc = 0;

        if (cache < 0)
                return -errno;
        /* As cache/guard.h has it: whoever holds this lock keeps the memory. */
        owner = openat(cache, "owner", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (owner >= 0 && flock(owner, LOCK_EX | LOCK_NB) < 0)
                return -EBUSY;
        rc = remove_files(cache);
        if (rc == 0 && unlinkat(fd, CACHE, AT_REMOVEDIR) < 0)
                rc = -errno;
        return rc;
}
