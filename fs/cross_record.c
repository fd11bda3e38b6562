#include "fs/cross_record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include <xxhash.h>

#include "cache/base/fd.h"

#define MAGIC 0x6d667364U /* "dsfm" */
#define VERSION 1U
#define TEXTS 3U
#define RECORD_MAX (sizeof(struct record) + TEXTS * PATH_MAX)
#define PRIVATE_FILE 0600

enum ident_at {
        AT_WAS,
        AT_IS,
        AT_SHADOW_FROM,
        AT_SHADOW_TO,
        AT_FROM_DIR,
        AT_TO_DIR,
        IDENTS,
};

struct record {
        uint32_t magic, version;
        uint64_t check; /* of all that follows */
        uint32_t kind;
        uint8_t exchange, to_overlay;
        uint16_t lens[TEXTS];
        struct ident idents[IDENTS];
        char texts[]; /* from, to, temp: without NUL */
};

void cross_record_new_name(const char *before, const char *after, char ret[CROSS_NAME_BYTES])
{
        uint64_t number = 0;

        (void)!getrandom(&number, sizeof(number), 0);
        snprintf(ret, CROSS_NAME_BYTES, "%s%016" PRIx64 "%s", before, number, after);
}

static uint64_t check_of(const struct record *r, size_t len)
{
        size_t begin = offsetof(struct record, kind);

        return XXH3_64bits((const char *)r + begin, len - begin);
}

static size_t fill(struct record *r, const struct cross_record *i)
{
        const char *texts[TEXTS] = {i->from, i->to, i->temp};
        size_t len = sizeof(*r);

        r->magic = MAGIC;
        r->version = VERSION;
        r->kind = (uint32_t)i->kind;
        r->exchange = i->exchange;
        r->to_overlay = i->to_overlay;
        r->idents[AT_WAS] = i->was;
        r->idents[AT_IS] = i->is;
        r->idents[AT_SHADOW_FROM] = i->shadow_from;
        r->idents[AT_SHADOW_TO] = i->shadow_to;
        r->idents[AT_FROM_DIR] = i->from_dir;
        r->idents[AT_TO_DIR] = i->to_dir;
        for (size_t t = 0; t < TEXTS; t++) {
                r->lens[t] = (uint16_t)strlen(texts[t]);
                memcpy((char *)r + len, texts[t], r->lens[t]);
                len += r->lens[t];
        }
        r->check = check_of(r, len);
        return len;
}

int cross_record_write(const struct overlay *o, const struct cross_record *i, char ret[CROSS_NAME_BYTES])
{
        CLEANUP_FREE struct record *r = calloc(1, RECORD_MAX);
        CLEANUP_FD int fd = -1;
        int rc;

        if (!r)
                return -ENOMEM;
        cross_record_new_name(CROSS_PREFIX, CROSS_RECORD_SUFFIX, ret);
        fd = openat(o->moving_fd, ret, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, PRIVATE_FILE);
        if (fd < 0)
                return -errno;
        rc = fd_write_full(fd, r, fill(r, i));
        if (rc == 0 && (fsync(fd) < 0 || fsync(o->moving_fd) < 0))
                rc = -errno;
        if (rc < 0)
                cross_record_drop(o, ret);
        return rc;
}

void cross_record_drop(const struct overlay *o, const char *name)
{
        (void)unlinkat(o->moving_fd, name, 0);
}

static bool take_texts(const struct record *r, size_t len, struct cross_record *ret)
{
        char *to[TEXTS] = {ret->from, ret->to, ret->temp};
        const size_t room[TEXTS] = {sizeof(ret->from), sizeof(ret->to), sizeof(ret->temp)};
        size_t at = sizeof(*r);

        for (size_t t = 0; t < TEXTS; t++) {
                if (r->lens[t] >= room[t] || at + r->lens[t] > len)
                        return false;
                memcpy(to[t], (const char *)r + at, r->lens[t]);
                to[t][r->lens[t]] = '\0';
                at += r->lens[t];
        }
        return at == len;
}

int cross_record_read(const struct overlay *o, const char *name, struct cross_record *ret)
{
        CLEANUP_FREE char *bytes = NULL;
        ssize_t len = fd_read_file(o->moving_fd, name, RECORD_MAX, &bytes);
        const struct record *r = (const struct record *)bytes;

        if (len < 0)
                return (int)len;
        if ((size_t)len < sizeof(*r) || r->magic != MAGIC || r->version != VERSION || r->check != check_of(r, (size_t)len))
                return -EBADMSG;
        *ret = (struct cross_record){
                .kind = (enum cross_kind)r->kind,
                .exchange = r->exchange,
                .to_overlay = r->to_overlay,
                .was = r->idents[AT_WAS],
                .is = r->idents[AT_IS],
                .shadow_from = r->idents[AT_SHADOW_FROM],
                .shadow_to = r->idents[AT_SHADOW_TO],
                .from_dir = r->idents[AT_FROM_DIR],
                .to_dir = r->idents[AT_TO_DIR],
        };
        return take_texts(r, (size_t)len, ret) ? 0 : -EBADMSG;
}
