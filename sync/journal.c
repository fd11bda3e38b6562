#include "sync/journal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "cache/base/err.h"
#include "cache/base/thread.h"

#define BOOT_TEXT 17
#define SEQ_DIGITS 20
#define NS_PER_S 1000000000LL

/* A record with its texts behind it, in one piece. */
struct stored {
        size_t bytes; /* all of it */
        struct journal_record record;
        char text[];
};

struct journal {
        /* Set at init, read anywhere. */
        char boot[BOOT_TEXT];
        size_t bytes_max;
        void (*news)(void *arg);
        void *arg;

        struct mutex lock; /* innermost */
        /* Record number `seq` is at seq % JOURNAL_RECORDS; the first that is held has the number `first`, the last `newest`. */
        struct stored **ring GUARDED_BY(lock); /* owned, each too */
        uint64_t first GUARDED_BY(lock), newest GUARDED_BY(lock);
        size_t bytes GUARDED_BY(lock);
        uint64_t batch GUARDED_BY(lock);
        bool open GUARDED_BY(lock);
        uint64_t in_batch GUARDED_BY(lock), touches GUARDED_BY(lock);
        struct journal_stats stats GUARDED_BY(lock); /* what it says of ever */
};

const char *change_kind_text(enum change_kind kind)
{
        static const char *const texts[] = {
                [CHANGE_CREATED] = "created",
                [CHANGE_MODIFIED] = "modified",
                [CHANGE_DELETED] = "deleted",
                [CHANGE_TOUCHED] = "touched",
        };

        return texts[kind];
}

const char *change_origin_text(enum change_origin origin)
{
        static const char *const texts[] = {
                [ORIGIN_HOST] = "host",
                [ORIGIN_CONTAINER] = "container",
                [ORIGIN_UNKNOWN] = "unknown",
        };

        return texts[origin];
}

const char *change_type_text(enum content_kind type)
{
        switch (type) {
        case CONTENT_PROGRAM:
                return "program";
        case CONTENT_SYMLINK:
                return "symlink";
        case CONTENT_DIRECTORY:
                return "directory";
        case CONTENT_NONE:
        case CONTENT_FILE:
        default:
                return "file";
        }
}

int journal_new(size_t bytes_max, struct journal **ret)
{
        struct journal *j = calloc(1, sizeof(*j));
        uint64_t boot;

        if (!j)
                return -ENOMEM;
        /* Touched only as far as it is used. */
        j->ring = calloc(JOURNAL_RECORDS, sizeof(*j->ring));
        if (!j->ring || getrandom(&boot, sizeof(boot), 0) != sizeof(boot)) {
                int rc = j->ring ? -errno : -ENOMEM;

                free(j->ring);
                free(j);
                return rc;
        }
        snprintf(j->boot, sizeof(j->boot), "%016" PRIx64, boot);
        mutex_init(&j->lock);
        j->bytes_max = bytes_max ? bytes_max : JOURNAL_BYTES;
        j->first = 1;
        *ret = j;
        return 0;
}

static void drop_first_locked(struct journal *j) REQUIRES(j->lock)
{
        struct stored **at = &j->ring[j->first % JOURNAL_RECORDS];

        j->bytes -= (*at)->bytes;
        free(steal_ptr(at));
        j->first++;
}

void journal_free(struct journal *j)
{
        if (!j)
                return;
        mutex_lock(&j->lock);
        while (j->first <= j->newest)
                drop_first_locked(j);
        mutex_unlock(&j->lock);
        mutex_release(&j->lock);
        free(j->ring);
        free(j);
}

void journal_on_news(struct journal *j, void (*news)(void *arg), void *arg)
{
        j->news = news;
        j->arg = arg;
}

static void tell_news(struct journal *j)
{
        if (j->news)
                j->news(j->arg);
}

/*
 * Writing
 */

static int64_t now_ns(void)
{
        struct timespec now;

        clock_gettime(CLOCK_REALTIME, &now);
        return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void lose_locked(struct journal *j) REQUIRES(j->lock)
{
        while (j->first <= j->newest)
                drop_first_locked(j);
        /* A clock of its own, which is behind nobody's. */
        j->newest++;
        j->first = j->newest + 1;
        j->open = false;
        j->stats.lost++;
}

/* Takes the record. */
static void put_locked(struct journal *j, struct stored *s) REQUIRES(j->lock)
{
        while (j->first <= j->newest && (j->bytes + s->bytes > j->bytes_max || j->newest - j->first + 1 >= JOURNAL_RECORDS)) {
                drop_first_locked(j);
                j->stats.forgotten++;
        }
        if (!j->open) {
                j->open = true;
                j->batch++;
                j->in_batch = j->touches = 0;
        }
        s->record.seq = ++j->newest;
        s->record.batch = j->batch;
        s->record.time_ns = now_ns();
        j->bytes += s->bytes;
        j->ring[s->record.seq % JOURNAL_RECORDS] = s;
}

/* With room for `texts` bytes; NULL without memory. */
static struct stored *stored_new(size_t texts)
{
        struct stored *s = calloc(1, sizeof(*s) + texts);

        if (s)
                s->bytes = sizeof(*s) + texts;
        return s;
}

void journal_append(struct journal *j, const struct change *c)
{
        size_t len = strlen(c->path);
        struct stored *s = stored_new(len + 1);

        if (s) {
                memcpy(s->text, c->path, len + 1);
                s->record.change = *c;
                s->record.change.path = s->text;
        }
        mutex_lock(&j->lock);
        if (s) {
                put_locked(j, s);
                j->stats.changes++;
                if (c->kind == CHANGE_TOUCHED)
                        j->touches++;
                else
                        j->in_batch++;
        } else {
                lose_locked(j);
        }
        mutex_unlock(&j->lock);
        tell_news(j);
}

static size_t text_len(const char *text)
{
        return text ? strnlen(text, JOURNAL_TEXT_MAX) : 0;
}

/* Copy a text to *at, and go on behind it. */
static const char *put_text(char **at, const char *text)
{
        char *begin = *at;
        size_t len = text_len(text);

        if (!text)
                return NULL;
        memcpy(begin, text, len);
        begin[len] = '\0';
        *at += len + 1;
        return begin;
}

void journal_settle(struct journal *j, const struct settled *given)
{
        struct stored *s = stored_new(text_len(given->operation) + text_len(given->head_was) + text_len(given->head_is) + 3);
        bool settles;

        if (s) {
                struct settled *to = &s->record.settled;
                char *at = s->text;

                s->record.is_settled = true;
                *to = *given;
                to->operation = put_text(&at, given->operation);
                to->head_was = put_text(&at, given->head_was);
                to->head_is = put_text(&at, given->head_is);
        }
        mutex_lock(&j->lock);
        settles = j->open || given->operation;
        if (settles && s) {
                put_locked(j, s);
                s->record.settled.changes = j->in_batch;
                s->record.settled.touches = j->touches;
                s = NULL;
                j->open = false;
                j->stats.batches++;
        } else if (settles) {
                lose_locked(j);
        }
        mutex_unlock(&j->lock);
        free(s);
        if (settles)
                tell_news(j);
}

void journal_lost(struct journal *j)
{
        mutex_lock(&j->lock);
        lose_locked(j);
        mutex_unlock(&j->lock);
        tell_news(j);
}

/*
 * Reading
 */

void journal_clock_of(const struct journal *j, uint64_t seq, char ret[CLOCK_TEXT])
{
        snprintf(ret, CLOCK_TEXT, "c:%s:%" PRIu64, j->boot, seq);
}

void journal_clock(struct journal *j, char ret[CLOCK_TEXT])
{
        uint64_t newest;

        mutex_lock(&j->lock);
        newest = j->newest;
        mutex_unlock(&j->lock);
        journal_clock_of(j, newest, ret);
}

/* A number as we write it: no sign, no zero before it. */
static bool parse_seq(const char *text, uint64_t *ret)
{
        size_t len = strspn(text, "0123456789");

        if (len == 0 || len > SEQ_DIGITS || text[len] || (len > 1 && text[0] == '0'))
                return false;
        *ret = 0;
        for (; *text; text++) {
                if (__builtin_mul_overflow(*ret, 10, ret) || __builtin_add_overflow(*ret, (unsigned)(*text - '0'), ret))
                        return false;
        }
        return true;
}

int journal_clock_parse(struct journal *j, const char *text, uint64_t *seq)
{
        uint64_t number;
        int rc = 0;

        if (strncmp(text, "c:", 2) != 0 || strspn(text + 2, "0123456789abcdef") != BOOT_TEXT - 1 || text[BOOT_TEXT + 1] != ':' ||
            !parse_seq(text + BOOT_TEXT + 2, &number))
                return -EINVAL;
        if (strncmp(text + 2, j->boot, BOOT_TEXT - 1) != 0)
                return -ESTALE;
        mutex_lock(&j->lock);
        if (number > j->newest)
                rc = -EINVAL;
        else if (number + 1 < j->first)
                rc = -ESTALE;
        mutex_unlock(&j->lock);
        if (rc == 0)
                *seq = number;
        return rc;
}

int journal_next(struct journal *j, uint64_t seq, void (*visit)(void *arg, const struct journal_record *r), void *arg)
{
        int rc = 0;

        mutex_lock(&j->lock);
        if (seq + 1 < j->first)
                rc = -ESTALE;
        else if (seq >= j->newest)
                rc = -EAGAIN;
        else
                visit(arg, &j->ring[(seq + 1) % JOURNAL_RECORDS]->record);
        mutex_unlock(&j->lock);
        return rc;
}

void journal_stats(struct journal *j, struct journal_stats *ret)
{
        mutex_lock(&j->lock);
        *ret = j->stats;
        ret->records = j->newest + 1 - j->first;
        ret->bytes = j->bytes;
        ret->open = j->open;
        mutex_unlock(&j->lock);
}
