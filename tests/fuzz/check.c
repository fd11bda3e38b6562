/* Bytes that check_lmdb() calls whole are given to LMDB, which reads all of it, changes it, and must not notice. */
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/check.h"
#include "cache/base/fd.h"

#define MAP_BYTES (1U << 22)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/dev/shm/dsfs-fuzz.XXXXXX", data_path[64], lock_path[64];

static void remove_files(void)
{
        unlink(data_path);
        unlink(lock_path);
        rmdir(dir);
}

static void make_place(void)
{
        if (data_path[0])
                return;
        if (!mkdtemp(dir))
                abort();
        snprintf(data_path, sizeof(data_path), "%s/data.mdb", dir);
        snprintf(lock_path, sizeof(lock_path), "%s/lock.mdb", dir);
        atexit(remove_files);
}

static void empty(MDB_env *env)
{
        MDB_txn *txn;
        MDB_cursor *cursor;
        MDB_val k, v;
        MDB_dbi dbi;

        if (mdb_txn_begin(env, NULL, 0, &txn))
                return;
        if (mdb_dbi_open(txn, NULL, 0, &dbi) || mdb_cursor_open(txn, dbi, &cursor)) {
                mdb_txn_abort(txn);
                return;
        }
        for (unsigned i = 0; mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0; i++)
                if (i % 3)
                        mdb_cursor_del(cursor, 0);
        for (uint64_t i = 0; i < 100; i++) {
                MDB_val key = {.mv_data = &i, .mv_size = sizeof(i)}, value = {.mv_data = (uint64_t[10]){i}, .mv_size = 80};

                if (mdb_put(txn, dbi, &key, &value, 0))
                        break;
        }
        mdb_cursor_close(cursor);
        if (mdb_txn_commit(txn))
                return;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        MDB_env *env;
        int fd;

        if (check_lmdb(data, size))
                return 0;
        make_place();
        fd = open(data_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0 || fd_write_full(fd, data, size) < 0)
                abort();
        close(fd);
        if (mdb_env_create(&env))
                abort();
        mdb_env_set_mapsize(env, MAP_BYTES);
        if (mdb_env_open(env, dir, MDB_NOSYNC | MDB_NOTLS, 0600) == 0) {
                empty(env);
                empty(env);
        }
        mdb_env_close(env);
        return 0;
}
