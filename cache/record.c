#include "cache/record.h"

#include <endian.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define FLAG_RACY 1U

/* The value's layout. */
struct layout {
        uint8_t version, kind;
        uint16_t flags;
        uint32_t mode;
        uint64_t check; /* over the key and the value with this field 0 */
        uint64_t size, ino;
        uint64_t mtime_s, ctime_s;
        uint32_t mtime_ns, ctime_ns;
        uint8_t hash[CONTENT_BYTES];
        uint64_t child;
};
static_assert(sizeof(struct layout) == RECORD_BYTES, "the layout has no gaps");

void tuple_of(const struct statx *stx, struct tuple *ret)
{
        *ret = (struct tuple){
                .size = stx->stx_size,
                .ino = stx->stx_ino,
                .mtime_s = stx->stx_mtime.tv_sec,
                .mtime_ns = stx->stx_mtime.tv_nsec,
                .ctime_s = stx->stx_ctime.tv_sec,
                .ctime_ns = stx->stx_ctime.tv_nsec,
                .mode = stx->stx_mode,
        };
}

bool tuple_equal(const struct tuple *a, const struct tuple *b)
{
        return a->size == b->size && a->ino == b->ino && a->mtime_s == b->mtime_s && a->mtime_ns == b->mtime_ns &&
               a->ctime_s == b->ctime_s && a->ctime_ns == b->ctime_ns && a->mode == b->mode;
}

size_t record_key(dir_id dir, const char *name, size_t len, uint8_t ret[RECORD_KEY_MAX])
{
        uint64_t be = htobe64(dir);

        memcpy(ret, &be, sizeof(be));
        memcpy(ret + sizeof(be), name, len);
        return sizeof(be) + len;
}

bool record_key_parse(const void *key, size_t len, dir_id *dir, const char **name, size_t *name_len)
{
        uint64_t be;

        if (len <= sizeof(be) || len > RECORD_KEY_MAX)
                return false;
        memcpy(&be, key, sizeof(be));
        *dir = be64toh(be);
        *name = (const char *)key + sizeof(be);
        *name_len = len - sizeof(be);
        return true;
}

static uint64_t check_of(const struct layout *l, const uint8_t *key, size_t key_len)
{
        return XXH3_64bits_withSeed(l, sizeof(*l), XXH3_64bits(key, key_len));
}

void record_encode(const struct record *r, const uint8_t *key, size_t key_len, uint8_t ret[RECORD_BYTES])
{
        const struct tuple *t = &r->tuple;
        struct layout l = {
                .version = RECORD_VERSION,
                .kind = r->kind,
                .flags = htole16(r->racy ? FLAG_RACY : 0),
                .mode = htole32(t->mode),
                .size = htole64(t->size),
                .ino = htole64(t->ino),
                .mtime_s = htole64((uint64_t)t->mtime_s),
                .ctime_s = htole64((uint64_t)t->ctime_s),
                .mtime_ns = htole32(t->mtime_ns),
                .ctime_ns = htole32(t->ctime_ns),
                .child = htole64(r->child),
        };

        memcpy(l.hash, r->hash.bytes, sizeof(l.hash));
        l.check = htole64(check_of(&l, key, key_len));
        memcpy(ret, &l, sizeof(l));
}

bool record_decode(const void *value, size_t len, const uint8_t *key, size_t key_len, struct record *ret)
{
        struct layout l;
        uint64_t check;

        if (len != sizeof(l))
                return false;
        memcpy(&l, value, sizeof(l));
        check = le64toh(l.check);
        l.check = 0;
        if (l.version != RECORD_VERSION || check != check_of(&l, key, key_len))
                return false;
        if (l.kind != CONTENT_FILE && l.kind != CONTENT_PROGRAM && l.kind != CONTENT_SYMLINK && l.kind != CONTENT_DIRECTORY)
                return false;
        *ret = (struct record){
                .kind = l.kind,
                .racy = le16toh(l.flags) & FLAG_RACY,
                .tuple =
                        {
                                .size = le64toh(l.size),
                                .ino = le64toh(l.ino),
                                .mtime_s = (int64_t)le64toh(l.mtime_s),
                                .ctime_s = (int64_t)le64toh(l.ctime_s),
                                .mtime_ns = le32toh(l.mtime_ns),
                                .ctime_ns = le32toh(l.ctime_ns),
                                .mode = le32toh(l.mode),
                        },
                .child = le64toh(l.child),
        };
        memcpy(ret->hash.bytes, l.hash, sizeof(l.hash));
        return true;
}
