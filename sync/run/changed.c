#include "sync/run/changed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "sync/serve/why.h"

static int make_in(const char *dir, struct changed *ret)
{
        CLEANUP_FREE char *path = dir && *dir == '/' ? text_new("%s/dsfs-changed.XXXXXX", dir) : NULL;
        int fd = path ? mkostemp(path, O_CLOEXEC) : -1;

        if (fd < 0)
                return -ENOENT;
        *ret = (struct changed){.fd = fd, .path = steal_ptr(&path), .named = true};
        return 0;
}

int changed_new(struct changed *ret)
{
        /* An image of one program has little of these. */
        const char *const places[] = {getenv("TMPDIR"), "/tmp", "/dev/shm", "/run", "/"};

        *ret = (struct changed){.fd = -1};
        for (size_t i = 0; i < ARRAY_LEN(places); i++) {
                if (make_in(places[i], ret) == 0)
                        return 0;
        }
        ret->fd = memfd_create("dsfs-changed", MFD_CLOEXEC);
        /* Of this process, which outlives the command. */
        ret->path = ret->fd < 0 ? NULL : text_new("/proc/%d/fd/%d", (int)getpid(), ret->fd);
        return ret->path ? 0 : -errno;
}

void changed_release(struct changed *c)
{
        if (c->named)
                (void)unlink(c->path);
        fd_close(&c->fd);
        free(steal_ptr(&c->path));
        c->named = false;
}

void changed_tell(struct changed *c, enum changed_why why, const struct gathered *g, const char *root)
{
        static const char *const texts[] = {[CHANGED_NOTHING] = "start", [CHANGED_PATHS] = "change", [CHANGED_ANYTHING] = "anything"};
        bool paths = why == CHANGED_PATHS && g->len > 0;

        if (c->fd >= 0 && (ftruncate(c->fd, 0) < 0 || lseek(c->fd, 0, SEEK_SET) < 0 || (paths && fd_write_full(c->fd, g->bytes, g->len)))) {
                log_warn("%s can't be written (%s): the command doesn't learn what has changed", c->path, strerror(errno));
                (void)!ftruncate(c->fd, 0);
                paths = false;
                why = why == CHANGED_NOTHING ? why : CHANGED_ANYTHING;
        }
        (void)setenv("DSFS_WHY", texts[why], 1);
        (void)setenv("DSFS_CHANGED", paths ? g->bytes : "", 1);
        (void)setenv("DSFS_CHANGED_FILE", c->path ? c->path : "", 1);
        if (root)
                (void)setenv("DSFS_ROOT", root, 1);
}
