#include "sync/run/in_mount.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "sync/serve/why.h"

char *in_mount_root(const char *name)
{
        CLEANUP_FREE char *dir = getcwd(NULL, 0);

        while (dir && *dir == '/') {
                CLEANUP_FREE char *path = text_new("%s/%s", dir[1] ? dir : "", name);
                struct stat st;

                if (path && lstat(path, &st) == 0)
                        return steal_ptr(&dir);
                if (!dir[1])
                        return NULL;
                /* Above "/a" is "/". */
                *(strrchr(dir, '/') == dir ? dir + 1 : strrchr(dir, '/')) = '\0';
        }
        return NULL;
}

char *in_mount_absolute(const char *path)
{
        CLEANUP_FREE char *here = *path == '/' ? NULL : getcwd(NULL, 0);

        return here ? text_new("%s/%s", strcmp(here, "/") == 0 ? "" : here, path) : strdup(path);
}

bool in_mount_is_over(void *arg)
{
        struct stat st;

        return lstat(arg, &st) < 0 && errno == ENOENT;
}
