#include "cache/scan_dir.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/fd.h"

#define LIST_BYTES (64U * 1024U)
#define LEFT_OUT ".git"

struct dir *dir_new(struct dir *parent, size_t slot, const struct scope *scope, dir_id id, bool remembered)
{
        struct dir *d = calloc(1, sizeof(*d));

        if (!d)
                return NULL;
        d->parent = parent;
        d->slot = slot;
        d->scope = scope;
        d->id = id;
        d->remembered = remembered;
        d->fd = -1;
        atomic_init(&d->pending, 1);
        atomic_init(&d->users, 1);
        return d;
}

void dir_free(struct dir *d)
{
        if (!d)
                return;
        fd_close(&d->fd);
        free(d->entries);
        free(d->records);
        free(d->names);
        free(d);
}

static bool grow(void **array, size_t *room, size_t need, size_t size)
{
        size_t more = *room ? 2 * *room : 32;
        void *moved;

        if (need <= *room)
                return true;
        if (more < need)
                more = need;
        moved = realloc(*array, more * size);
        if (!moved)
                return false;
        *array = moved;
        *room = more;
        return true;
}

int dir_add(struct dir *d, const char *name, size_t len, struct entry **ret)
{
        if (!grow((void **)&d->entries, &d->room, d->count + 1, sizeof(*d->entries)) ||
            !grow((void **)&d->names, &d->names_room, d->names_len + len + 1, 1))
                return -ENOMEM;
        if (d->names_len > UINT32_MAX - NAME_MAX - 1)
                return -E2BIG;
        *ret = &d->entries[d->count++];
        **ret = (struct entry){.name = (uint32_t)d->names_len, .len = (uint16_t)len};
        memcpy(d->names + d->names_len, name, len);
        d->names[d->names_len + len] = '\0';
        d->names_len += len + 1;
        return 0;
}

int dir_read(struct dir *d)
{
        CLEANUP_FREE char *buf = malloc(LIST_BYTES);
        ssize_t n;

        if (!buf)
                return -ENOMEM;
        while ((n = getdents64(d->fd, buf, LIST_BYTES)) > 0) {
                for (ssize_t at = 0; at < n;) {
                        const struct dirent64 *e = (const struct dirent64 *)(buf + at);
                        struct entry *added;
                        int rc;

                        at += e->d_reclen;
                        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || strcmp(e->d_name, LEFT_OUT) == 0)
                                continue;
                        rc = dir_add(d, e->d_name, strlen(e->d_name), &added);
                        if (rc < 0)
                                return rc;
                        added->looked = true;
                }
        }
        return n < 0 ? -errno : 0;
}

static int by_name(const void *a, const void *b, void *names)
{
        const struct entry *x = a, *y = b;

        return strcmp((char *)names + x->name, (char *)names + y->name);
}

void dir_sort(struct dir *d)
{
        size_t kept = 0;

        if (d->count == 0)
                return;
        qsort_r(d->entries, d->count, sizeof(*d->entries), by_name, d->names);
        /* A directory that changes while it is read may show a name twice. */
        for (size_t i = 0; i < d->count; i++)
                if (i == 0 || by_name(&d->entries[kept - 1], &d->entries[i], d->names) != 0)
                        d->entries[kept++] = d->entries[i];
        d->count = kept;
}

/* A walk over what is remembered, in the same order as the entries. */
struct merge {
        struct dir *d;
        size_t at;
        int rc;
        void (*gone)(void *arg, const char *name, size_t len, const struct record *r);
        void *arg;
        /* Names that are gone: told after the walk, during which the store must not be called. */
        struct dir *lost;
        size_t lost_room;
};

static void merge_lost(struct merge *m, const char *name, size_t len, const struct record *r)
{
        struct entry *e;

        if (!grow((void **)&m->lost->records, &m->lost_room, m->lost->count + 1, sizeof(*r)) || dir_add(m->lost, name, len, &e) < 0)
                m->rc = -ENOMEM;
        else
                m->lost->records[m->lost->count - 1] = *r;
}

static bool merge_one(void *arg, const char *name, size_t len, const struct record *r)
{
        struct merge *m = arg;
        struct dir *d = m->d;
        int order = 1;

        while (m->at < d->count) {
                const struct entry *e = &d->entries[m->at];
                size_t common = e->len < len ? e->len : len;

                order = memcmp(dir_name_of(d, e), name, common);
                if (order == 0)
                        order = (e->len > len) - (e->len < len);
                if (order >= 0)
                        break;
                m->at++;
        }
        if (m->at < d->count && order == 0) {
                d->entries[m->at].known = true;
                d->records[m->at++] = *r;
        } else {
                merge_lost(m, name, len, r);
        }
        return m->rc == 0;
}

static int remember_all(struct dir *d, struct store *store, struct merge *m)
{
        d->records = calloc(d->count + 1, sizeof(*d->records));
        m->lost = dir_new(NULL, 0, NULL, DIR_ID_META, false);
        if (!d->records || !m->lost)
                m->rc = -ENOMEM;
        else
                store_list(store, d->id, merge_one, m);
        for (size_t i = 0; m->rc == 0 && i < m->lost->count; i++)
                m->gone(m->arg, dir_name_of(m->lost, &m->lost->entries[i]), m->lost->entries[i].len, &m->lost->records[i]);
        dir_free(m->lost);
        return m->rc;
}

struct load {
        struct dir *d;
        struct hasher *hasher;
        size_t room;
        int rc;
};

static bool load_one(void *arg, const char *name, size_t len, const struct record *r)
{
        struct load *l = arg;
        struct entry *e;

        if (!grow((void **)&l->d->records, &l->room, l->d->count + 1, sizeof(*r)))
                l->rc = -ENOMEM;
        else
                l->rc = dir_add(l->d, name, len, &e);
        if (l->rc < 0)
                return false;
        l->d->records[l->d->count - 1] = *r;
        e->known = true;
        e->kind = r->kind;
        e->hash = r->hash;
        hash_dir_add(l->hasher, name, len, r->kind, &r->hash);
        return true;
}

/* Both are in order: put the scope's names among the entries. */
static int add_scope(struct dir *d)
{
        size_t wanted = 0, at = 0, added = d->count;
        struct record *records;

        for (const struct scope *s = d->scope->children; s; s = s->next) {
                struct entry *e;
                int order = 1;

                if (strcmp(s->name, LEFT_OUT) == 0)
                        continue;
                while (at < added && (order = strcmp(dir_name_of(d, &d->entries[at]), s->name)) < 0)
                        at++;
                if (at < added && order == 0) {
                        e = &d->entries[at];
                } else {
                        int rc = dir_add(d, s->name, strlen(s->name), &e);

                        if (rc < 0)
                                return rc;
                        wanted++;
                }
                e->looked = true;
                e->named = s->whole;
                e->scope = s->whole ? NULL : s;
        }
        if (wanted == 0)
                return 0;
        /* The new ones have no records; in order again, the others' follow them. */
        records = calloc(d->count, sizeof(*records));
        if (!records)
                return -ENOMEM;
        dir_sort(d);
        for (size_t i = 0, from = 0; i < d->count; i++)
                if (d->entries[i].known)
                        records[i] = d->records[from++];
        free(d->records);
        d->records = records;
        return 0;
}

static int remember_scope(struct dir *d, struct store *store, struct hasher *hasher, const struct content *believed)
{
        struct load l = {.d = d, .hasher = hasher};
        struct content is;

        hash_dir_begin(hasher);
        store_list(store, d->id, load_one, &l);
        hash_dir_end(hasher, &is);
        if (l.rc < 0)
                return l.rc;
        if (!content_equal(&is, believed)) {
                d->count = 0;
                d->names_len = 0;
                free(steal_ptr(&d->records));
                return -EBADMSG;
        }
        return add_scope(d);
}

int dir_remember(struct dir *d, struct store *store, struct hasher *hasher, const struct content *believed,
                 void (*gone)(void *arg, const char *name, size_t len, const struct record *r), void *arg)
{
        struct merge m = {.d = d, .gone = gone, .arg = arg};

        if (d->scope)
                return remember_scope(d, store, hasher, believed);
        return remember_all(d, store, &m);
}

static size_t path_size(const struct dir *d, const struct entry *e)
{
        size_t size = e ? e->len + 1U : 1;

        for (; d->parent; d = d->parent)
                size += d->parent->entries[d->slot].len + 1U;
        return size;
}

const char *dir_path(const struct dir *d, const struct entry *e, struct path_room *room)
{
        size_t at = path_size(d, e);

        if (!grow((void **)&room->bytes, &room->size, at + 1, 1))
                return NULL;
        room->bytes[at] = '\0';
        for (;;) {
                if (e) {
                        if (room->bytes[at])
                                room->bytes[--at] = '/';
                        at -= e->len;
                        memcpy(room->bytes + at, dir_name_of(d, e), e->len);
                }
                if (!d->parent)
                        return room->bytes + at;
                e = &d->parent->entries[d->slot];
                d = d->parent;
        }
}
