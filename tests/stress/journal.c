/*
 * One writes into a journal that is much too small, others read as fast or as slowly as they like: what a reader gets follows what he had,
 * whole; or he is told that it is forgotten, and goes on from the newest clock.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sync/journal.h"
#include "tests/lib/child.h"

#define BYTES ((size_t)64 << 10)
#define CHANGES 200000U
#define PER_BATCH 37U
#define LOST_EVERY 5003U
#define READERS 4
#define PATH_ROOM 512

struct reader {
        struct journal *journal;
        atomic_bool *over;
        bool slow;
        uint64_t seq, read, stale;
        uint64_t batch; /* of the last record */
        bool settled;   /* that was its end */
        uint64_t in_batch;
        bool from_its_beginning;
};

/* Of any length. */
static void put_path(char path[PATH_ROOM], unsigned number)
{
        int n = snprintf(path, PATH_ROOM, "d%u/", number);

        memset(path + n, 'x', number);
        path[n + (int)number] = '\0';
}

static void visit(void *arg, const struct journal_record *r)
{
        struct reader *reader = arg;
        char path[PATH_ROOM];

        must(r->seq == reader->seq + 1, "record %" PRIu64 " after %" PRIu64, r->seq, reader->seq);
        if (reader->read && r->batch != reader->batch)
                must(reader->settled || r->batch > reader->batch, "batch %" PRIu64 " in the middle of %" PRIu64, r->batch, reader->batch);
        if (r->batch != reader->batch) {
                reader->in_batch = 0;
                reader->from_its_beginning = reader->read > 0;
        }
        reader->batch = r->batch;
        reader->settled = r->is_settled;
        reader->seq = r->seq;
        reader->read++;
        if (r->is_settled) {
                must(!reader->from_its_beginning || reader->in_batch == r->settled.changes,
                     "a batch of %" PRIu64 " has %" PRIu64 " changes", r->settled.changes, reader->in_batch);
                must(strcmp(r->settled.operation, "checkout") == 0 && strcmp(r->settled.head_is, "b") == 0, "texts");
                return;
        }
        reader->in_batch++;
        put_path(path, r->change.new_hash.bytes[0]);
        must(strcmp(path, r->change.path) == 0, "%s, not %s", r->change.path, path);
}

static void *read_on(void *arg)
{
        struct reader *r = arg;
        const struct timespec nap = {.tv_nsec = 200000};
        bool over = false;

        for (;;) {
                int rc = journal_next(r->journal, r->seq, visit, r);
                char clock[CLOCK_TEXT];

                if (rc == -EAGAIN && over)
                        return NULL;
                if (rc == -ESTALE) {
                        journal_clock(r->journal, clock);
                        rc = journal_clock_parse(r->journal, clock, &r->seq);
                        must(rc == 0 || rc == -ESTALE, "the newest clock: %d", rc);
                        r->stale++;
                        r->read = 0;
                        r->batch = 0;
                        continue;
                }
                over = atomic_load(r->over);
                if (r->slow || rc == -EAGAIN)
                        nanosleep(&nap, NULL);
        }
}

static void count(void *arg)
{
        ++*(uint64_t *)arg;
}

static void write_all(struct journal *j)
{
        for (unsigned i = 1; i <= CHANGES; i++) {
                char path[PATH_ROOM];
                struct change c = {.kind = CHANGE_MODIFIED, .type = CONTENT_FILE, .path = path, .has_new = true};

                c.new_hash.bytes[0] = (uint8_t)i;
                put_path(path, c.new_hash.bytes[0]);
                journal_append(j, &c);
                if (i % PER_BATCH == 0)
                        journal_settle(j, &(struct settled){.operation = "checkout", .head_was = "a", .head_is = "b"});
                if (i % LOST_EVERY == 0)
                        journal_lost(j);
        }
}

int main(void)
{
        struct reader readers[READERS] = {0};
        pthread_t threads[READERS];
        struct journal_stats stats;
        struct journal *j;
        atomic_bool over = false;
        uint64_t news = 0;

        must(journal_new(BYTES, &j) == 0, "journal_new");
        journal_on_news(j, count, &news);
        for (int i = 0; i < READERS; i++) {
                readers[i] = (struct reader){.journal = j, .over = &over, .slow = i % 2};
                must(pthread_create(&threads[i], NULL, read_on, &readers[i]) == 0, "pthread_create");
        }
        write_all(j);
        atomic_store(&over, true);
        for (int i = 0; i < READERS; i++)
                pthread_join(threads[i], NULL);
        journal_stats(j, &stats);
        must(stats.changes == CHANGES && stats.lost == CHANGES / LOST_EVERY && stats.bytes <= BYTES, "the counts");
        must(news == stats.changes + stats.batches + stats.lost, "%" PRIu64 " calls", news);
        must(readers[1].stale > 0, "the slow one was never overtaken");
        journal_free(j);
        return 0;
}
