#include "fs/generations_records.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "cache/base/fd.h"
#include "cache/base/ident.h"
#include "fs/generations_kept.h"

#define INTENT_PREFIX "switch-"
#define INTENT_NAME (sizeof(INTENT_PREFIX) + ROOT_ID_TEXT)
#define RECORD_MAX 256
#define VERSION "1"

static int write_new(int dirfd, const char *name, const char *text)
{
        CLEANUP_FD int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        int rc = fd < 0 ? -errno : fd_write_full(fd, text, strlen(text));

        return rc == 0 ? fd_write_full(fd, "\n", 1) : rc;
}

int line_write(int dirfd, const char *name, const char *text)
{
        char making[RECORD_NAME];
        int rc;

        snprintf(making, sizeof(making), ".%s", name);
        rc = write_new(dirfd, making, text);
        return rc == 0 && renameat(dirfd, making, dirfd, name) < 0 ? -errno : rc;
}

int line_read(int dirfd, const char *name, char *ret, size_t size)
{
        CLEANUP_FREE char *text = NULL;
        ssize_t n = fd_read_file(dirfd, name, size, &text);

        if (n < 0)
                return (int)n;
        if (n == 0 || text[n - 1] != '\n' || (size_t)n > size)
                return -EINVAL;
        memcpy(ret, text, (size_t)n - 1);
        ret[n - 1] = '\0';
        return 0;
}

/* These are the targets of symlinks: there whole or not at all, whatever happens. */
static int link_write(int dirfd, const char *name, const char *text)
{
        char making[RECORD_NAME];

        if (symlinkat(text, dirfd, name) == 0)
                return 0;
        if (errno != EEXIST)
                return -errno;
        snprintf(making, sizeof(making), ".%s", name);
        if (unlinkat(dirfd, making, 0) < 0 && errno != ENOENT)
                return -errno;
        if (symlinkat(text, dirfd, making) < 0 || renameat(dirfd, making, dirfd, name) < 0)
                return -errno;
        return 0;
}

static int link_read(int dirfd, const char *name, char *ret, size_t size)
{
        ssize_t n = readlinkat(dirfd, name, ret, size);

        if (n < 0)
                return -errno;
        if ((size_t)n == size)
                return -ENAMETOOLONG;
        ret[n] = '\0';
        return 0;
}

void kept_record_name(const struct key *key, char ret[RECORD_NAME])
{
        snprintf(ret, RECORD_NAME, "%s.is", key->text);
}

int kept_record_write(int dirfd, const struct kept *k)
{
        char name[RECORD_NAME], text[RECORD_MAX];

        kept_record_name(&k->key, name);
        snprintf(text, sizeof(text), VERSION " %" PRId64 " %" PRId64 " %" PRIu64, k->created_s, k->used_s, k->bytes);
        return link_write(dirfd, name, text);
}

void kept_record_read(int dirfd, struct kept *k)
{
        char name[RECORD_NAME], text[RECORD_MAX];
        int64_t created, used;
        uint64_t bytes;

        kept_record_name(&k->key, name);
        if (link_read(dirfd, name, text, sizeof(text)) == 0 &&
            sscanf(text, VERSION " %" SCNd64 " %" SCNd64 " %" SCNu64, &created, &used, &bytes) == 3) {
                k->created_s = created;
                k->used_s = used;
                k->bytes = bytes;
        }
}

struct ident_text ident_text_of(int dirfd, const char *name)
{
        struct ident_text ret = {.text = IDENT_NOTHING};
        struct ident ident;
        int len;

        if (dirfd < 0 || ident_of(dirfd, name, &ident) < 0)
                return ret;
        len = snprintf(ret.text, sizeof(ret.text), "%04x", (unsigned)(uint16_t)ident.type);
        for (unsigned i = 0; i < ident.len; i++)
                len += snprintf(ret.text + len, sizeof(ret.text) - (size_t)len, "%02x", ident.bytes[i]);
        return ret;
}

static void intent_name(const char *id, char ret[INTENT_NAME])
{
        snprintf(ret, INTENT_NAME, INTENT_PREFIX "%s", id);
}

static int intend(int moving, const struct root *r, const char *text)
{
        char name[INTENT_NAME];

        intent_name(r->id, name);
        return link_write(moving, name, text);
}

int intent_switch(int moving, const struct root *r, const struct key *to, int above, int kept, const char *from)
{
        struct ident_text was = ident_text_of(above, root_name(r->path));
        struct ident_text comes = ident_text_of(kept, from);
        char text[RECORD_MAX];

        snprintf(text, sizeof(text), VERSION " %s %s %s %s", r->current.text, to->text, was.text, comes.text);
        return intend(moving, r, text);
}

int intent_relabel(int moving, const struct root *r, const struct key *to)
{
        char text[RECORD_MAX];

        snprintf(text, sizeof(text), VERSION " %s %s", r->current.text, to->text);
        return intend(moving, r, text);
}

void intent_done(int moving, const struct root *r)
{
        char name[INTENT_NAME];

        intent_name(r->id, name);
        (void)unlinkat(moving, name, 0);
}

bool intent_read(int moving, const char *id, struct intent *ret)
{
        char name[INTENT_NAME], text[RECORD_MAX];
        int n;

        intent_name(id, name);
        if (link_read(moving, name, text, sizeof(text)) < 0)
                return false;
        n = sscanf(text, VERSION " %32s %32s %47s %47s", ret->from.text, ret->to.text, ret->was.text, ret->comes.text);
        ret->relabel = n == 2;
        return (n == 2 || n == 4) && key_is_text(ret->from.text) && key_is_text(ret->to.text);
}
