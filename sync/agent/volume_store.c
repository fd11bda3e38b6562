#include "sync/agent/volume_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "sync/agent/paths.h"

#define SUFFIX ".json"
#define FRESH_SUFFIX SUFFIX ".new"
#define RECORD_MAX (1024 * 1024)
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

struct file_name {
        char text[VOLUME_NAME_MAX + sizeof(FRESH_SUFFIX)];
};

static struct file_name file_of(const char *name, const char *suffix)
{
        struct file_name n;

        snprintf(n.text, sizeof(n.text), "%.*s%s", VOLUME_NAME_MAX, name, suffix);
        return n;
}

/* Unknown is a boot of its own: users are void, which is safe, for who mounts again is counted again. */
static void read_boot(char *ret, size_t size)
{
        CLEANUP_FREE char *text = NULL;

        if (fd_read_file(AT_FDCWD, BOOT_ID, size, &text) < 0) {
                snprintf(ret, size, "unknown");
                return;
        }
        text[strcspn(text, "\n")] = '\0';
        snprintf(ret, size, "%s", text);
}

int volume_store_open(const char *dir, struct volume_store *ret, char **why)
{
        CLEANUP_FREE char *own = strdup(dir);
        CLEANUP_FD int fd = -1;
        int rc = path_make_private(dir, why);

        if (rc)
                return rc;
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || !own) {
                rc = fd < 0 ? -errno : -ENOMEM;
                return why_set(why, rc, "%s can't be opened: %s", dir, strerror(-rc));
        }
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno == EWOULDBLOCK)
                        return why_set(why, -EBUSY, "another dsfs docker-plugin has %s; end that one, or name another directory by --state",
                                       dir);
                return why_set(why, -errno, "%s can't be locked: %s", dir, strerror(errno));
        }
        read_boot(ret->boot, sizeof(ret->boot));
        ret->dir = steal_ptr(&own);
        ret->fd = fd_steal(&fd);
        return 0;
}

void volume_store_close(struct volume_store *s)
{
        free(steal_ptr(&s->dir));
        fd_close(&s->fd);
}

static void load_one(const struct volume_store *s, const char *name, void (*take)(void *arg, struct volume *v), void *arg)
{
        CLEANUP_FREE char *text = NULL;
        CLEANUP_FREE char *why = NULL;
        struct volume *v;
        ssize_t n = fd_read_file(s->fd, file_of(name, SUFFIX).text, RECORD_MAX, &text);

        if (n < 0)
                log_warn("the volume %s is passed over: %s/%s" SUFFIX ": %s", name, s->dir, name, strerror((int)-n));
        else if (volume_from_text(name, text, (size_t)n, s->boot, &v, &why))
                log_warn("the volume %s is passed over: %s/%s" SUFFIX ": %s", name, s->dir, name, why_text(why));
        else
                take(arg, v);
}

int volume_store_load(const struct volume_store *s, void (*take)(void *arg, struct volume *v), void *arg)
{
        DIR *d = opendir(s->dir);

        if (!d)
                return -errno;
        for (struct dirent *e = readdir(d); e; e = readdir(d)) {
                char name[sizeof(e->d_name)];
                size_t len = strlen(e->d_name);

                if (len <= strlen(SUFFIX) || strcmp(e->d_name + len - strlen(SUFFIX), SUFFIX) != 0)
                        continue;
                memcpy(name, e->d_name, len + 1);
                name[len - strlen(SUFFIX)] = '\0';
                if (volume_name_ok(name))
                        load_one(s, name, take, arg);
        }
        closedir(d);
        return 0;
}

static int replace(const struct volume_store *s, const char *name, const char *text)
{
        struct file_name fresh = file_of(name, FRESH_SUFFIX);
        CLEANUP_FD int fd = openat(s->fd, fresh.text, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        int rc = fd < 0 ? -errno : fd_write_full(fd, text, strlen(text));

        if (rc == 0 && (fsync(fd) < 0 || renameat(s->fd, fresh.text, s->fd, file_of(name, SUFFIX).text) < 0 || fsync(s->fd) < 0))
                rc = -errno;
        if (rc)
                (void)unlinkat(s->fd, fresh.text, 0);
        return rc;
}

int volume_store_write(const struct volume_store *s, const char *name, const char *text, char **why)
{
        int rc = text ? replace(s, name, text) : -ENOMEM;

        return rc ? why_set(why, rc, "%s/%s" SUFFIX " can't be written: %s", s->dir, name, strerror(-rc)) : 0;
}

int volume_store_remove(const struct volume_store *s, const char *name, char **why)
{
        int rc = unlinkat(s->fd, file_of(name, SUFFIX).text, 0) < 0 && errno != ENOENT ? -errno : 0;

        if (rc == 0 && fsync(s->fd) < 0)
                rc = -errno;
        return rc ? why_set(why, rc, "%s/%s" SUFFIX " can't be removed: %s", s->dir, name, strerror(-rc)) : 0;
}
