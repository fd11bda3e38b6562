#include "sync/agent/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* An XDG variable that is not an absolute path is as good as none, says its specification. */
static const char *directory_from(const char *variable)
{
        const char *value = getenv(variable);

        return value && value[0] == '/' ? value : NULL;
}

char *path_runtime(void)
{
        const char *base = directory_from("XDG_RUNTIME_DIR");

        if (base)
                return text_new("%s/dsfs", base);
        if (geteuid() == 0)
                return text_new("/run/dsfs");
        return text_new("/tmp/dsfs-%u", (unsigned)geteuid());
}

char *path_state(const char *id)
{
        const char *base = directory_from("XDG_STATE_HOME");
        const char *home = directory_from("HOME");

        if (base)
                return text_new("%s/dsfs/%s", base, id);
        if (geteuid() == 0)
                return text_new("/var/lib/dsfs/%s", id);
        if (home)
                return text_new("%s/.local/state/dsfs/%s", home, id);
        return text_new("/tmp/dsfs-%u/state/%s", (unsigned)geteuid(), id);
}

void path_source_id(const char *canonical, char ret[SOURCE_ID_TEXT])
{
        snprintf(ret, SOURCE_ID_TEXT, "%016llx", (unsigned long long)XXH3_64bits(canonical, strlen(canonical)));
}

static int make_parents(char *path)
{
        for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                int rc;

                *slash = '\0';
                rc = mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
                *slash = '/';
                if (rc)
                        return rc;
        }
        return 0;
}

int path_make_private(const char *dir, char **why)
{
        CLEANUP_FREE char *copy = strdup(dir);
        struct stat st;
        int rc;

        if (!copy)
                return why_set(why, -ENOMEM, "out of memory");
        rc = make_parents(copy);
        if (rc == 0 && mkdir(dir, 0700) < 0 && errno != EEXIST)
                rc = -errno;
        if (rc == 0 && lstat(dir, &st) < 0)
                rc = -errno;
        if (rc)
                return why_set(why, rc, "%s can't be made: %s", dir, strerror(-rc));
        if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
                return why_set(why, -EPERM, "%s must be a directory that only you can enter; remove it, or chmod 700 it", dir);
        return 0;
}

int path_canonical_place(const char *path, char **ret)
{
        CLEANUP_FREE char *copy = strdup(path);
        CLEANUP_FREE char *parent = NULL;
        const char *last;
        char *slash;
        size_t len = strlen(path);

        if (!copy)
                return -ENOMEM;
        if (len == 0)
                return -ENOENT;
        while (len > 1 && copy[len - 1] == '/')
                copy[--len] = '\0';
        slash = strrchr(copy, '/');
        last = slash ? slash + 1 : copy;
        if (*last == '\0' || strcmp(last, ".") == 0 || strcmp(last, "..") == 0) {
                *ret = realpath(copy, NULL);
                return *ret ? 0 : -errno;
        }
        if (slash)
                *slash = '\0';
        parent = realpath(!slash ? "." : slash == copy ? "/" : copy, NULL);
        if (!parent)
                return -errno;
        *ret = text_new("%s/%s", strcmp(parent, "/") == 0 ? "" : parent, last);
        return *ret ? 0 : -ENOMEM;
}

int path_is_below(const char *path, const char *above)
{
        size_t len = strlen(above);

        if (strcmp(above, "/") == 0)
                return 1;
        return strncmp(path, above, len) == 0 && (path[len] == '\0' || path[len] == '/');
}
