/*
 * SQLite in every journal mode: several writers that are killed at random moments, readers between them, counters that add up, and no
 * acknowledged transaction lost; and the database handed from the mount to the host and back.
 *
 * Both sides at once is nothing that dsfs promises: the kernel keeps a mount's locks to that mount (README, Limits).
 */
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/e2e/tool.h"

#define WRITERS 3
#define READERS 2
#define ROUNDS 8
#define ROUND_COMMITS 12 /* of each writer, at least, before the next is killed */
#define KEYS 50
#define STEP_NS 300000
#define PATIENCE_STEPS 100000
#define PAYLOAD 3000 /* several pages a transaction */

static const char *const modes[] = {"wal", "delete", "truncate", "persist"};

/* Shared with the children: what a writer has put here it has been told to be committed. */
struct board {
        _Atomic long acknowledged[WRITERS];
        _Atomic bool stop;
        _Atomic long read; /* snapshots looked at */
};

struct worker {
        const char *path;
        const char *mode;
        struct board *board;
        int number;
        unsigned long long seed;
};

static void run_sql(sqlite3 *db, const char *sql)
{
        int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

        errno = 0;
        must(rc == SQLITE_OK, "%s: %s (%d)", sql, sqlite3_errmsg(db), sqlite3_extended_errcode(db));
}

static long ask_number(sqlite3 *db, const char *sql)
{
        sqlite3_stmt *q;
        long n;

        errno = 0;
        must(sqlite3_prepare_v2(db, sql, -1, &q, NULL) == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
        must(sqlite3_step(q) == SQLITE_ROW, "%s: %s (%d)", sql, sqlite3_errmsg(db), sqlite3_extended_errcode(db));
        n = (long)sqlite3_column_int64(q, 0);
        sqlite3_finalize(q);
        return n;
}

static void pause_ns(long ns)
{
        struct timespec pause = {.tv_nsec = ns};

        nanosleep(&pause, NULL);
}

/* SQLite's own busy handler comes to wait 100 ms between tries, and a busy writer never lets such a sleeper in. */
static int try_again(void *arg, int tries)
{
        (void)arg;
        pause_ns(STEP_NS);
        return tries < PATIENCE_STEPS;
}

static sqlite3 *open_database(const char *path, const char *mode)
{
        sqlite3 *db;
        char sql[64];

        errno = 0;
        must(sqlite3_open(path, &db) == SQLITE_OK, "%s: %s", path, sqlite3_errmsg(db));
        sqlite3_busy_handler(db, try_again, NULL);
        snprintf(sql, sizeof(sql), "PRAGMA journal_mode=%s", mode);
        run_sql(db, sql);
        run_sql(db, "PRAGMA synchronous=FULL");
        run_sql(db, "PRAGMA wal_autocheckpoint=20"); /* often, so that kills meet checkpoints */
        return db;
}

static void create_database(const char *path, const char *mode)
{
        sqlite3 *db = open_database(path, mode);
        char sql[256];

        run_sql(db, "CREATE TABLE counter (key INTEGER PRIMARY KEY, n INTEGER NOT NULL)");
        run_sql(db, "CREATE TABLE log (writer INTEGER, seq INTEGER, key INTEGER, payload BLOB, PRIMARY KEY (writer, seq))");
        snprintf(sql, sizeof(sql),
                 "WITH RECURSIVE k(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM k WHERE i < %d) INSERT INTO counter SELECT i, 0 FROM k",
                 KEYS - 1);
        run_sql(db, sql);
        sqlite3_close(db);
}

/* Count up until told to stop, from where the database says this writer was. */
static int write_on(void *arg)
{
        const struct worker *w = arg;
        sqlite3 *db = open_database(w->path, w->mode);
        struct dice dice = {w->seed};
        long acknowledged = atomic_load(&w->board->acknowledged[w->number]), seq;
        char sql[512];

        snprintf(sql, sizeof(sql), "SELECT coalesce(max(seq), 0) FROM log WHERE writer = %d", w->number);
        seq = ask_number(db, sql);
        must(seq == acknowledged || seq == acknowledged + 1, "writer %d was told %ld and finds %ld", w->number, acknowledged, seq);
        while (!atomic_load(&w->board->stop)) {
                unsigned key = dice_roll(&dice, KEYS);

                seq++;
                run_sql(db, "BEGIN IMMEDIATE");
                snprintf(sql, sizeof(sql), "UPDATE counter SET n = n + 1 WHERE key = %u", key);
                run_sql(db, sql);
                snprintf(sql, sizeof(sql), "INSERT INTO log VALUES (%d, %ld, %u, randomblob(%d))", w->number, seq, key, PAYLOAD);
                run_sql(db, sql);
                run_sql(db, "COMMIT");
                atomic_store(&w->board->acknowledged[w->number], seq);
                pause_ns(dice_roll(&dice, 4) * STEP_NS); /* the others' turn */
        }
        sqlite3_close(db);
        return 0;
}

static long acknowledged_in_all(struct board *b)
{
        long sum = 0;

        for (int i = 0; i < WRITERS; i++)
                sum += atomic_load(&b->acknowledged[i]);
        return sum;
}

/* Every snapshot is whole, and has all that was acknowledged before it. */
static int read_on(void *arg)
{
        const struct worker *w = arg;
        sqlite3 *db = open_database(w->path, w->mode);

        while (!atomic_load(&w->board->stop)) {
                long before = acknowledged_in_all(w->board), counted, logged;

                run_sql(db, "BEGIN");
                counted = ask_number(db, "SELECT sum(n) FROM counter");
                logged = ask_number(db, "SELECT count(*) FROM log");
                run_sql(db, "COMMIT");
                errno = 0;
                must(counted == logged, "a reader counted %ld and found %ld in the log", counted, logged);
                must(counted >= before, "a reader saw %ld transactions of %ld", counted, before);
                atomic_fetch_add(&w->board->read, 1);
                pause_ns(STEP_NS);
        }
        sqlite3_close(db);
        return 0;
}

struct goal {
        struct board *board;
        long commits[WRITERS], read;
};

static bool reached(void *arg)
{
        const struct goal *g = arg;

        for (int i = 0; i < WRITERS; i++)
                if (atomic_load(&g->board->acknowledged[i]) < g->commits[i])
                        return false;
        return atomic_load(&g->board->read) >= g->read;
}

/* All writers and the readers came on by some steps since the last call. */
static void come_on(struct board *b, long commits)
{
        struct goal g = {.board = b, .read = atomic_load(&b->read) + READERS};

        for (int i = 0; i < WRITERS; i++)
                g.commits[i] = atomic_load(&b->acknowledged[i]) + commits;
        must(wait_until(reached, &g, 60), "the writers don't come on");
}

static void kill_somewhere(pid_t pid, struct dice *dice)
{
        pause_ns(dice_roll(dice, 3000000)); /* anywhere in a transaction: that is the point */
        must(kill(pid, SIGKILL) == 0 && child_wait(pid) == 128 + SIGKILL, "the writer had ended by itself");
}

/* Nothing is lost, nothing was made up; `path` may be on either side, no connection is open. */
static void must_be_whole(const char *path, struct board *b)
{
        sqlite3 *db;
        sqlite3_stmt *q;

        errno = 0;
        must(sqlite3_open(path, &db) == SQLITE_OK, "%s", path);
        sqlite3_busy_handler(db, try_again, NULL);
        must(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW, "%s: %s", path,
             sqlite3_errmsg(db));
        must(strcmp((const char *)sqlite3_column_text(q, 0), "ok") == 0, "integrity_check of %s: %s", path, sqlite3_column_text(q, 0));
        sqlite3_finalize(q);
        for (int i = 0; i < WRITERS; i++) {
                char sql[128];
                long acknowledged = atomic_load(&b->acknowledged[i]), count, last;

                snprintf(sql, sizeof(sql), "SELECT count(*) FROM log WHERE writer = %d", i);
                count = ask_number(db, sql);
                snprintf(sql, sizeof(sql), "SELECT coalesce(max(seq), 0) FROM log WHERE writer = %d", i);
                last = ask_number(db, sql);
                errno = 0;
                must(count == last && (last == acknowledged || last == acknowledged + 1), "%s: writer %d has %ld rows up to %ld, told %ld",
                     path, i, count, last, acknowledged);
                atomic_store(&b->acknowledged[i], last);
        }
        must(ask_number(db, "SELECT count(*) FROM counter c WHERE n <> (SELECT count(*) FROM log l WHERE l.key = c.key)") == 0,
             "%s: a counter is not what the log says", path);
        sqlite3_close(db);
}

static void under_kills(const char *path, const char *mode, unsigned long long seed)
{
        struct board *b = shared_new(sizeof(*b));
        struct dice dice = {seed};
        struct worker w[WRITERS + READERS];
        pid_t pids[WRITERS + READERS];

        create_database(path, mode);
        for (int i = 0; i < WRITERS + READERS; i++) {
                w[i] = (struct worker){path, mode, b, i, seed + (unsigned)i};
                pids[i] = child_start(NULL, i < WRITERS ? write_on : read_on, &w[i]);
        }
        for (int round = 0; round < ROUNDS; round++) {
                unsigned victim = dice_roll(&dice, WRITERS);

                come_on(b, ROUND_COMMITS);
                kill_somewhere(pids[victim], &dice);
                w[victim].seed = seed + 100 + (unsigned)round;
                pids[victim] = child_start(NULL, write_on, &w[victim]);
        }
        come_on(b, ROUND_COMMITS);
        /* At last one is killed that nobody comes after: the next to open the database is the checker. */
        kill_somewhere(pids[0], &dice);
        atomic_store(&b->stop, true);
        for (int i = 1; i < WRITERS + READERS; i++)
                must(child_wait(pids[i]) == 0, "%s %d (%s)", i < WRITERS ? "writer" : "reader", i, mode);
        must_be_whole(path, b);
}

CASE_WITH(sqlite, killed_writers_lose_nothing, tool_variants)
{
        unsigned long long seed = tool_seed();

        for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
                under_kills(keep(at(f->mnt, "%s.db", modes[i])), modes[i], seed + i * 1000);
                fixture_wait(f);
                must_mirror(f);
        }
}

/* The last of a database's connections in the mount closes, then the host works with it, then the mount again. */
CASE_WITH(sqlite, handed_over_between_the_sides, tool_variants)
{
        struct dice dice = {tool_seed()};

        for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
                char *mount = keep(at(f->mnt, "%s.db", modes[i])), *host = keep(at(f->src, "%s.db", modes[i]));
                struct board *b = shared_new(sizeof(*b));

                create_database(mount, modes[i]);
                for (int round = 0; round < 6; round++) {
                        struct worker w = {round % 2 ? host : mount, modes[i], b, 0, (unsigned)round};
                        struct goal g = {.board = b, .commits = {atomic_load(&b->acknowledged[0]) + 5}};
                        pid_t writer;

                        atomic_store(&b->stop, false);
                        writer = child_start(NULL, write_on, &w);
                        must(wait_until(reached, &g, 60), "the writer doesn't come on");
                        if (round % 3 == 2) {
                                kill_somewhere(writer, &dice);
                        } else {
                                atomic_store(&b->stop, true);
                                must(child_wait(writer) == 0, "the writer in %s", w.path);
                        }
                        fixture_wait(f);
                        must_be_whole(round % 2 ? mount : host, b);
                        fixture_wait(f);
                }
                must_mirror(f);
        }
}

static bool locks_it(const char *path)
{
        CLEANUP_FD int fd = open(path, O_RDWR | O_CLOEXEC);
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};

        must(fd >= 0, "open %s", path);
        return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

/* The limit itself. If this fails because the host is kept out as well: README has a line less. */
CASE_WITH(sqlite, locks_hold_within_the_mount_only, tool_variants)
{
        char *mount = keep(at(f->mnt, "lock")), *host = keep(at(f->src, "lock"));
        CLEANUP_FD int fd = -1;
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};

        put_text(host, "x");
        fixture_wait(f);
        fd = open(mount, O_RDWR | O_CLOEXEC);
        must(fd >= 0 && fcntl(fd, F_OFD_SETLK, &lock) == 0, "lock %s", mount);
        must(!locks_it(mount), "a second lock in the mount");
        must(locks_it(host) != f->bind, "the lock of the mount and the host");
}
