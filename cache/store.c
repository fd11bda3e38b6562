/*
 * Readers take a snapshot for as long as one call lasts; the lock that they share is there for the writer to enlarge the map, which LMDB
 * allows only while nobody reads. Writes are gathered in a bounded queue and committed in batches by the one writer thread. Nothing is
 * synced until the store is closed: a dead process loses nothing by that, and for a dead machine cache/guard.c looks at the boot id.
 */
#include "cache/store.h"

#include <endian.h>
#include <errno.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "cache/base/err.h"
#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "cache/guard.h"
#include "cache/store_write.h"

#define MAP_BYTES (64ULL << 20)
#define READERS_MAX 126
/* Less than this is nothing: a batch writes more. */
#define FULL_BYTES (1U << 20)

static const char *phrase(int rc)
{
        switch (rc) {
        case ENOSPC:
                return "the disk is full";
        case EDQUOT:
                return "the quota is used up";
        case EIO:
                return "the disk has errors";
        case EROFS:
                return "its filesystem is read-only";
        case MDB_CORRUPTED:
        case MDB_PAGE_NOTFOUND:
        case MDB_PANIC:
                return "it is damaged";
        default:
                return mdb_strerror(rc);
        }
}

/* A write that was cut short LMDB calls an I/O error. */
static bool is_full(int dir)
{
        struct statvfs fs;

        return fstatvfs(dir, &fs) == 0 && fs.f_bavail * fs.f_frsize < FULL_BYTES;
}

void store_turn_off(struct store *s, int rc)
{
        const char *none = NULL;

        if (rc == EIO && is_full(s->guard.dir))
                rc = ENOSPC;
        atomic_compare_exchange_strong(&s->off, &none, phrase(rc));
}

const char *store_off(struct store *s)
{
        return atomic_load(&s->off);
}

bool store_writable(const struct store *s)
{
        return !s->readonly && !atomic_load(&s->off);
}

/* Another process has made the map larger. */
static int follow_map(struct store *s)
{
        int rc;

        pthread_rwlock_wrlock(&s->map_lock);
        rc = mdb_env_set_mapsize(s->env, 0);
        pthread_rwlock_unlock(&s->map_lock);
        return rc;
}

/* A snapshot, with the lock held; NULL (and nothing held) if there can't be one. */
static MDB_txn *begin_read(struct store *s)
{
        MDB_txn *txn;
        int rc = MDB_MAP_RESIZED;

        for (int i = 0; rc == MDB_MAP_RESIZED && i < 2; i++) {
                pthread_rwlock_rdlock(&s->map_lock);
                rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
                if (rc == 0)
                        return txn;
                pthread_rwlock_unlock(&s->map_lock);
                if (rc == MDB_MAP_RESIZED && follow_map(s) != 0)
                        break;
        }
        return NULL;
}

static void end_read(struct store *s, MDB_txn *txn)
{
        mdb_txn_abort(txn);
        pthread_rwlock_unlock(&s->map_lock);
}

bool store_get(struct store *s, dir_id dir, const char *name, size_t len, struct record *ret)
{
        uint8_t key[RECORD_KEY_MAX];
        MDB_val k = {.mv_data = key, .mv_size = record_key(dir, name, len, key)}, v;
        MDB_txn *txn = begin_read(s);
        bool found;

        if (!txn)
                return false;
        found = mdb_get(txn, s->dbi, &k, &v) == 0 && record_decode(v.mv_data, v.mv_size, key, k.mv_size, ret);
        end_read(s, txn);
        return found;
}

static void list_cursor(MDB_cursor *cursor, dir_id dir, bool (*visit)(void *, const char *, size_t, const struct record *), void *arg)
{
        uint64_t from = htobe64(dir);
        MDB_val k = {.mv_data = &from, .mv_size = sizeof(from)}, v;
        struct record record;
        const char *name;
        size_t len;
        dir_id at;

        for (int rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE); rc == 0; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
                if (!record_key_parse(k.mv_data, k.mv_size, &at, &name, &len) || at != dir)
                        return;
                /* What isn't sound counts as not there. */
                if (record_decode(v.mv_data, v.mv_size, k.mv_data, k.mv_size, &record) && !visit(arg, name, len, &record))
                        return;
        }
}

void store_list(struct store *s, dir_id dir, bool (*visit)(void *arg, const char *name, size_t len, const struct record *r), void *arg)
{
        MDB_txn *txn = begin_read(s);
        MDB_cursor *cursor;

        if (!txn)
                return;
        if (mdb_cursor_open(txn, s->dbi, &cursor) == 0) {
                list_cursor(cursor, dir, visit, arg);
                mdb_cursor_close(cursor);
        }
        end_read(s, txn);
}

dir_id store_new_dir(struct store *s)
{
        return atomic_fetch_add(&s->next_dir, 1);
}

static int open_env(struct store *s, const char *dir)
{
        unsigned flags = MDB_NOTLS | MDB_NOSYNC | MDB_NORDAHEAD | (s->guard.lock < 0 || s->readonly ? MDB_RDONLY : 0);
        MDB_txn *txn = NULL;
        int rc = mdb_env_create(&s->env);
        int dead;

        if (rc == 0)
                rc = mdb_env_set_mapsize(s->env, MAP_BYTES);
        if (rc == 0)
                rc = mdb_env_set_maxreaders(s->env, READERS_MAX);
        if (rc == 0)
                rc = mdb_env_open(s->env, dir, flags, 0600);
        if (rc == 0)
                (void)mdb_reader_check(s->env, &dead);
        if (rc == 0)
                rc = mdb_txn_begin(s->env, NULL, flags & MDB_RDONLY, &txn);
        if (rc == MDB_MAP_RESIZED && mdb_env_set_mapsize(s->env, 0) == 0)
                rc = mdb_txn_begin(s->env, NULL, flags & MDB_RDONLY, &txn);
        if (rc == 0)
                rc = mdb_dbi_open(txn, NULL, 0, &s->dbi);
        if (rc == 0)
                rc = store_read_next(s, txn);
        if (txn) {
                if (rc == 0)
                        rc = mdb_txn_commit(txn);
                else
                        mdb_txn_abort(txn);
        }
        return rc;
}

static void free_store(struct store *s)
{
        if (s->env)
                mdb_env_close(s->env);
        guard_release(&s->guard);
        pthread_rwlock_destroy(&s->map_lock);
        mutex_release(&s->lock);
        cond_release(&s->wake);
        cond_release(&s->room);
        free(s);
}

static struct store *new_store(bool readonly)
{
        struct store *s = calloc(1, sizeof(*s));

        if (!s)
                return NULL;
        s->readonly = readonly;
        s->guard = (struct guard){.dir = -1, .lock = -1};
        atomic_init(&s->next_dir, DIR_ID_ROOT + 1);
        pthread_rwlock_init(&s->map_lock, NULL);
        mutex_init(&s->lock);
        cond_init(&s->wake);
        cond_init(&s->room);
        return s;
}

int store_open(const char *dir, bool readonly, struct store **ret, enum cache_found *found, char **notice)
{
        struct store *s = new_store(readonly);
        int rc;

        *ret = NULL;
        *notice = NULL;
        if (!s)
                return -ENOMEM;
        rc = guard_take(&s->guard, dir, found, notice);
        if (s->guard.lock < 0)
                s->readonly = true;
        if (rc < 0) {
                rc = -rc;
        } else if (*found == CACHE_REFUSED || (readonly && (*found == CACHE_FRESH || *found == CACHE_REBUILT))) {
                free_store(s);
                return 0;
        } else {
                rc = open_env(s, dir);
        }
        /* Who only reads keeps nobody from writing: from here on LMDB knows of its snapshots. */
        if (rc == 0 && readonly)
                fd_close(&s->guard.lock);
        if (rc == 0 && !s->readonly)
                rc = -store_start_writer(s);
        if (rc != 0) {
                *found = CACHE_REFUSED;
                free(steal_ptr(notice));
                if (asprintf(notice, "file contents can't be remembered in %s, and everything is hashed anew: %s", dir, phrase(rc)) < 0)
                        *notice = NULL;
                free_store(s);
                return rc == ENOMEM ? -ENOMEM : 0;
        }
        *ret = s;
        return 0;
}

void store_close(struct store *s)
{
        if (!s)
                return;
        if (s->writing) {
                store_stop_writer(s);
                if (!atomic_load(&s->off) && s->guard.dirty && mdb_env_sync(s->env, 1) == 0)
                        (void)guard_clean(&s->guard);
        }
        free_store(s);
}

void store_stats(struct store *s, struct store_stats *ret)
{
        MDB_stat stat;
        MDB_envinfo info;

        *ret = (struct store_stats){0};
        pthread_rwlock_rdlock(&s->map_lock);
        if (mdb_env_stat(s->env, &stat) == 0 && mdb_env_info(s->env, &info) == 0) {
                ret->entries = stat.ms_entries;
                ret->bytes = (info.me_last_pgno + 1) * (uint64_t)stat.ms_psize;
        }
        pthread_rwlock_unlock(&s->map_lock);
}
