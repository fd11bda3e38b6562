/*
 * The writer: takes what was queued and commits it, many changes at a time. A full map is enlarged and the batch done again; any other
 * failure turns the store off.
 */
#include "cache/store_write.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define QUEUE_MAX 16384U
#define BATCH_MAX 8192U
#define MAP_MAX (64ULL << 30)
#define NEXT_NAME "next"
#define NEXT_VERSION 1U

enum change_what {
        CHANGE_PUT,
        CHANGE_DELETE,
};

struct change {
        struct change *next;
        enum change_what what;
        size_t key_len;
        uint8_t value[RECORD_BYTES];
        uint8_t key[];
};

/* Under the meta directory: the number of the next directory. */
struct next_value {
        uint32_t version;
        uint32_t reserved;
        uint64_t next;
        uint64_t check; /* over the rest: a number that is given out twice mixes two directories */
};

static uint64_t next_check(const struct next_value *v)
{
        return htole64(XXH3_64bits(v, offsetof(struct next_value, check)));
}

static size_t next_key(uint8_t ret[RECORD_KEY_MAX])
{
        return record_key(DIR_ID_META, NEXT_NAME, sizeof(NEXT_NAME) - 1, ret);
}

int store_read_next(struct store *s, MDB_txn *txn)
{
        uint8_t key[RECORD_KEY_MAX];
        MDB_val k = {.mv_data = key, .mv_size = next_key(key)}, v;
        struct next_value value;
        int rc = mdb_get(txn, s->dbi, &k, &v);

        if (rc == MDB_NOTFOUND)
                return 0;
        if (rc != 0)
                return rc;
        if (v.mv_size != sizeof(value))
                return MDB_CORRUPTED;
        memcpy(&value, v.mv_data, sizeof(value));
        if (le32toh(value.version) != NEXT_VERSION || value.check != next_check(&value) || le64toh(value.next) <= DIR_ID_ROOT)
                return MDB_CORRUPTED;
        s->written_next = le64toh(value.next);
        atomic_store(&s->next_dir, s->written_next);
        return 0;
}

static int write_next(struct store *s, MDB_txn *txn)
{
        uint8_t key[RECORD_KEY_MAX];
        dir_id next = atomic_load(&s->next_dir);
        struct next_value value = {.version = htole32(NEXT_VERSION), .next = htole64(next)};
        MDB_val k = {.mv_data = key, .mv_size = next_key(key)}, v = {.mv_data = &value, .mv_size = sizeof(value)};

        if (next == s->written_next)
                return 0;
        value.check = next_check(&value);
        return mdb_put(txn, s->dbi, &k, &v, 0);
}

/* Directories whose records are to go. */
struct doomed {
        dir_id *ids;
        size_t count, room;
};

static int doom(struct doomed *d, dir_id id)
{
        if (d->count == d->room) {
                size_t room = d->room ? 2 * d->room : 16;
                dir_id *ids = realloc(d->ids, room * sizeof(*ids));

                if (!ids)
                        return ENOMEM;
                d->ids = ids;
                d->room = room;
        }
        d->ids[d->count++] = id;
        return 0;
}

static int delete_records(MDB_cursor *cursor, dir_id dir, struct doomed *doomed)
{
        uint64_t from = htobe64(dir);
        MDB_val k = {.mv_data = &from, .mv_size = sizeof(from)}, v;
        struct record record;
        const char *name;
        size_t len;
        dir_id at;
        int rc;

        for (rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); rc == 0; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
                if (!record_key_parse(k.mv_data, k.mv_size, &at, &name, &len) || at != dir)
                        return 0;
                if (record_decode(v.mv_data, v.mv_size, k.mv_data, k.mv_size, &record) && record.kind == CONTENT_DIRECTORY)
                        rc = doom(doomed, record.child);
                if (rc == 0)
                        rc = mdb_cursor_del(cursor, 0);
                if (rc != 0)
                        return rc;
        }
        return rc == MDB_NOTFOUND ? 0 : rc;
}

static int delete_below(struct store *s, MDB_txn *txn, dir_id dir)
{
        struct doomed doomed = {0};
        MDB_cursor *cursor;
        int rc = mdb_cursor_open(txn, s->dbi, &cursor);

        if (rc != 0)
                return rc;
        rc = doom(&doomed, dir);
        while (rc == 0 && doomed.count > 0)
                rc = delete_records(cursor, doomed.ids[--doomed.count], &doomed);
        mdb_cursor_close(cursor);
        free(doomed.ids);
        return rc;
}

static int apply(struct store *s, MDB_txn *txn, const struct change *c)
{
        MDB_val k = {.mv_data = (void *)c->key, .mv_size = c->key_len}, v;
        struct record record;
        dir_id child = DIR_ID_META;
        int rc;

        if (c->what == CHANGE_PUT) {
                v = (MDB_val){.mv_data = (void *)c->value, .mv_size = sizeof(c->value)};
                return mdb_put(txn, s->dbi, &k, &v, 0);
        }
        rc = mdb_get(txn, s->dbi, &k, &v);
        if (rc != 0)
                return rc == MDB_NOTFOUND ? 0 : rc;
        if (record_decode(v.mv_data, v.mv_size, c->key, c->key_len, &record) && record.kind == CONTENT_DIRECTORY)
                child = record.child;
        rc = mdb_del(txn, s->dbi, &k, NULL);
        return rc == 0 && child != DIR_ID_META ? delete_below(s, txn, child) : rc;
}

static int commit(struct store *s, const struct change *list)
{
        MDB_txn *txn;
        int rc = mdb_txn_begin(s->env, NULL, 0, &txn);

        if (rc != 0)
                return rc;
        for (; list && rc == 0; list = list->next)
                rc = apply(s, txn, list);
        if (rc == 0)
                rc = write_next(s, txn);
        if (rc != 0) {
                mdb_txn_abort(txn);
                return rc;
        }
        return mdb_txn_commit(txn);
}

static int enlarge(struct store *s)
{
        MDB_envinfo info;
        int rc;

        pthread_rwlock_wrlock(&s->map_lock);
        rc = mdb_env_info(s->env, &info);
        if (rc == 0)
                rc = info.me_mapsize >= MAP_MAX ? ENOSPC : mdb_env_set_mapsize(s->env, 2 * info.me_mapsize);
        pthread_rwlock_unlock(&s->map_lock);
        return rc;
}

static void write_batch(struct store *s, const struct change *list)
{
        dir_id next = atomic_load(&s->next_dir);
        int rc = -guard_dirty(&s->guard);

        if (rc == 0)
                rc = commit(s, list);
        while (rc == MDB_MAP_FULL && (rc = enlarge(s)) == 0)
                rc = commit(s, list);
        if (rc == 0)
                s->written_next = next;
        else
                store_turn_off(s, rc);
}

static void free_changes(struct change *list)
{
        for (struct change *next; list; list = next) {
                next = list->next;
                free(list);
        }
}

static void *writer_run(void *arg)
{
        struct store *s = arg;

        mutex_lock(&s->lock);
        for (;;) {
                struct change *list;
                uint64_t asked;

                while (!s->stop && s->asked == s->done && s->queued < BATCH_MAX)
                        cond_wait(&s->wake, &s->lock);
                if (s->stop && !s->head && s->asked == s->done)
                        break;
                list = s->head;
                asked = s->asked;
                s->head = NULL;
                s->tail = &s->head;
                s->queued = 0;
                cond_broadcast(&s->room);
                mutex_unlock(&s->lock);
                if (list && !atomic_load(&s->off))
                        write_batch(s, list);
                free_changes(list);
                mutex_lock(&s->lock);
                s->done = asked;
                cond_broadcast(&s->room);
        }
        mutex_unlock(&s->lock);
        return NULL;
}

int store_start_writer(struct store *s)
{
        int rc;

        s->tail = &s->head;
        rc = thread_start(&s->writer, "dsfs-cache", writer_run, s);
        s->writing = rc == 0;
        return rc;
}

void store_stop_writer(struct store *s)
{
        mutex_lock(&s->lock);
        s->stop = true;
        cond_signal(&s->wake);
        mutex_unlock(&s->lock);
        pthread_join(s->writer, NULL);
}

static void queue(struct store *s, enum change_what what, dir_id dir, const char *name, size_t len, const struct record *r)
{
        struct change *c;

        if (!store_writable(s))
                return;
        c = malloc(sizeof(*c) + sizeof(dir_id) + len);
        if (!c) {
                store_turn_off(s, ENOMEM);
                return;
        }
        *c = (struct change){.what = what};
        c->key_len = record_key(dir, name, len, c->key);
        if (r)
                record_encode(r, c->key, c->key_len, c->value);
        mutex_lock(&s->lock);
        while (s->queued >= QUEUE_MAX)
                cond_wait(&s->room, &s->lock);
        *s->tail = c;
        s->tail = &c->next;
        if (++s->queued == BATCH_MAX)
                cond_signal(&s->wake);
        mutex_unlock(&s->lock);
}

void store_put(struct store *s, dir_id dir, const char *name, size_t len, const struct record *r)
{
        queue(s, CHANGE_PUT, dir, name, len, r);
}

void store_delete(struct store *s, dir_id dir, const char *name, size_t len)
{
        queue(s, CHANGE_DELETE, dir, name, len, NULL);
}

void store_flush(struct store *s)
{
        uint64_t mine;

        if (!s->writing)
                return;
        mutex_lock(&s->lock);
        mine = ++s->asked;
        cond_signal(&s->wake);
        while (s->done < mine)
                cond_wait(&s->room, &s->lock);
        mutex_unlock(&s->lock);
}

/* The directories with records that `lives` doesn't know, once each. */
static int find_lost(struct store *s, MDB_txn *txn, bool (*lives)(void *arg, dir_id dir), void *arg, struct doomed *ret)
{
        MDB_val k, v;
        MDB_cursor *cursor;
        const char *name;
        size_t len;
        dir_id at, last = DIR_ID_META;
        int rc = mdb_cursor_open(txn, s->dbi, &cursor);

        if (rc != 0)
                return rc;
        for (rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST); rc == 0; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
                if (!record_key_parse(k.mv_data, k.mv_size, &at, &name, &len)) {
                        rc = MDB_CORRUPTED;
                        break;
                }
                if (at == last || at == DIR_ID_META)
                        continue;
                last = at;
                if (!lives(arg, at) && (rc = doom(ret, at)) != 0)
                        break;
        }
        mdb_cursor_close(cursor);
        return rc == MDB_NOTFOUND ? 0 : rc;
}

void store_sweep(struct store *s, bool (*lives)(void *arg, dir_id dir), void *arg)
{
        struct doomed lost = {0};
        MDB_cursor *cursor;
        MDB_txn *txn;
        int rc;

        store_flush(s);
        if (!store_writable(s) || guard_dirty(&s->guard) < 0)
                return;
        /* The queue is empty and only who calls this fills it: the writer is idle. */
        rc = mdb_txn_begin(s->env, NULL, 0, &txn);
        if (rc != 0)
                return;
        rc = find_lost(s, txn, lives, arg, &lost);
        if (rc == 0)
                rc = mdb_cursor_open(txn, s->dbi, &cursor);
        if (rc == 0) {
                /* What lies below a lost directory is lost itself. */
                for (size_t i = 0; rc == 0 && i < lost.count; i++) {
                        struct doomed below = {0};

                        rc = delete_records(cursor, lost.ids[i], &below);
                        free(below.ids);
                }
                mdb_cursor_close(cursor);
        }
        free(lost.ids);
        if (rc == 0)
                rc = mdb_txn_commit(txn);
        else
                mdb_txn_abort(txn);
        if (rc != 0 && rc != MDB_MAP_FULL)
                store_turn_off(s, rc);
}
