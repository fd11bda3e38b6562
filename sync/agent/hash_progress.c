#include "sync/agent/hash_progress.h"

#include <fts.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "cache/base/thread.h"

#define NS_PER_S 1e9
#define MIB (1024.0 * 1024.0)
#define PLAIN_EVERY_S 5.0
/* Before that a rate, and what follows from it, means little. */
#define RATE_AFTER_S 0.5
#define LEFT_AFTER_S 1.0
#define LEFT_AFTER_PART 0.02
/* What a file costs whatever its size, in bytes that could be read meanwhile. */
#define FILE_BYTES 65536.0
#define LINE_MAX_BYTES 160
#define COLUMNS_DEFAULT 80

struct hash_progress {
        bool terminal;
        size_t columns;
        unsigned long long began_ns;
        double told_s; /* when the last plain line was */
        bool drawn;

        char *source; /* owned; what is counted; NULL: nothing is */
        pthread_t counter;
        bool counting;
        atomic_bool stop, counted;
        /* Valid once `counted`. */
        _Atomic uint64_t files, bytes;
};

/* Files and bytes below the source; without `.git`, as a scan. */
static void *count(void *arg)
{
        struct hash_progress *h = arg;
        FTS *fts = fts_open((char *[]){h->source, NULL}, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
        uint64_t files = 0;
        uint64_t bytes = 0;
        FTSENT *e;

        if (!fts)
                return NULL;
        while (!atomic_load(&h->stop) && (e = fts_read(fts))) {
                if (e->fts_info == FTS_D && e->fts_level > 0 && strcmp(e->fts_name, ".git") == 0)
                        (void)fts_set(fts, e, FTS_SKIP);
                if (e->fts_info != FTS_F)
                        continue;
                files++;
                bytes += (uint64_t)e->fts_statp->st_size;
        }
        fts_close(fts);
        atomic_store(&h->files, files);
        atomic_store(&h->bytes, bytes);
        atomic_store(&h->counted, !atomic_load(&h->stop));
        return NULL;
}

static bool on_terminal(size_t *columns)
{
        const char *term = getenv("TERM");
        struct winsize size;

        *columns = COLUMNS_DEFAULT;
        if (!isatty(STDERR_FILENO) || (term && strcmp(term, "dumb") == 0))
                return false;
        if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
                *columns = size.ws_col;
        return true;
}

struct hash_progress *hash_progress_new(const char *source, bool fresh)
{
        struct hash_progress *h = calloc(1, sizeof(*h));

        if (!h)
                return NULL;
        h->terminal = on_terminal(&h->columns);
        h->began_ns = clock_now_ns();
        /* Who doesn't look needs no time left. */
        h->source = h->terminal && fresh ? strdup(source) : NULL;
        h->counting = h->source && thread_start(&h->counter, "dsfs-count", count, h) == 0;
        return h;
}

/* Seconds, or below 0 when there is no telling. */
static double left(const struct hash_progress *h, const struct scan_progress *p, double seconds)
{
        double all, done;

        if (!atomic_load(&h->counted) || seconds < LEFT_AFTER_S)
                return -1;
        all = (double)atomic_load(&h->files) * FILE_BYTES + (double)atomic_load(&h->bytes);
        done = (double)p->files * FILE_BYTES + (double)p->bytes;
        if (done < all * LEFT_AFTER_PART || done > all)
                return -1;
        return seconds * (all - done) / done;
}

static void describe(const struct hash_progress *h, const struct scan_progress *p, double seconds, char *line, size_t size)
{
        double rest = left(h, p, seconds);
        size_t len;

        len = (size_t)snprintf(line, size, "hashing: %" PRIu64 " files, %.1f MiB", p->files, (double)p->bytes / MIB);
        if (seconds >= RATE_AFTER_S && len < size)
                len += (size_t)snprintf(line + len, size - len, ", %.0f MB/s", (double)p->bytes / 1e6 / seconds);
        if (rest >= 0 && len < size)
                (void)snprintf(line + len, size - len, ", %.0f s left", rest);
}

void hash_progress_show(void *arg, const struct scan_progress *p)
{
        struct hash_progress *h = arg;
        double seconds = (double)(clock_now_ns() - h->began_ns) / NS_PER_S;
        char line[LINE_MAX_BYTES];
        char drawn[LINE_MAX_BYTES + 8];
        int len;

        describe(h, p, seconds, line, sizeof(line));
        if (h->terminal) {
                /* The last column stays empty: some terminals wrap when it is written. */
                if (strlen(line) >= h->columns)
                        line[h->columns - 1] = '\0';
                len = snprintf(drawn, sizeof(drawn), "\r%s\x1b[K", line);
                (void)fd_write_full(STDERR_FILENO, drawn, (size_t)len);
                h->drawn = true;
        } else if (seconds - h->told_s >= PLAIN_EVERY_S) {
                log_info("%s", line);
                h->told_s = seconds;
        }
}

void hash_progress_free(struct hash_progress *h)
{
        if (!h)
                return;
        atomic_store(&h->stop, true);
        if (h->counting)
                pthread_join(h->counter, NULL);
        if (h->drawn)
                (void)fd_write_full(STDERR_FILENO, "\r\x1b[K", 4);
        free(h->source);
        free(h);
}
