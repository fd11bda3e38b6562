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

enum {
        HAS_OLD = 1,
        HAS_NEW = 2, /* or a root hash */
        HAS_OPERATION = 4,
        HAS_WAS = 8,
        HAS_IS = 16,
        IS_SETTLED = 32,
};

/* A record as it is kept: behind it the counts of one that settles, the hashes that there are, the texts that there are, each with a NUL.
 */
struct packed {
        int64_t time_ns;
        uint64_t batch;
        uint32_t size; /* with all that is behind it; a multiple of ALIGNMENT */
        uint8_t has, kind, origin, type;
};
#define ALIGNMENT 8U

struct journal {
        /* Set at init, read anywhere. */
        char boot[BOOT_TEXT];
        size_t room; /* bytes of the ring */
        void (*news)(void *arg);
        void *arg;

        struct mutex lock; /* innermost */
        /* Records one behind the other, none across the end: the next goes to `head`, if it fits in before the end, else to the beginning.
         * Number `seq` is at places[seq % JOURNAL_RECORDS]; the first that is held has the number `first`, the last `newest`. */
        char *ring GUARDED_BY(lock);       /* owned */
        uint32_t *places GUARDED_BY(lock); /* owned */
        size_t head GUARDED_BY(lock);
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
        mutex_init(&j->lock);
        j->room = (bytes_max ? bytes_max : JOURNAL_BYTES) / ALIGNMENT * ALIGNMENT;
        /* Both are touched only as far as they are used. */
        j->ring = calloc(1, j->room);
        j->places = calloc(JOURNAL_RECORDS, sizeof(*j->places));
        j->first = 1;
        if (!j->ring || !j->places || getrandom(&boot, sizeof(boot), 0) != sizeof(boot)) {
                int rc = j->ring && j->places ? -errno : -ENOMEM;

                journal_free(j);
                return rc;
        }
        snprintf(j->boot, sizeof(j->boot), "%016" PRIx64, boot);
        *ret = j;
        return 0;
}

void journal_free(struct journal *j)
{
        if (!j)
                return;
        mutex_release(&j->lock);
        free(j->ring);
        free(j->places);
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

static bool is_empty_locked(const struct journal *j) REQUIRES(j->lock)
{
        return j->first > j->newest;
}

static size_t first_place_locked(const struct journal *j) REQUIRES(j->lock)
{
        return j->places[j->first % JOURNAL_RECORDS];
}

static void drop_first_locked(struct journal *j) REQUIRES(j->lock)
{
        struct packed p;

        memcpy(&p, j->ring + first_place_locked(j), sizeof(p));
        j->bytes -= p.size;
        j->first++;
        j->stats.forgotten++;
}

static void lose_locked(struct journal *j) REQUIRES(j->lock)
{
        /* A clock of its own, which is behind nobody's. */
        j->newest++;
        j->first = j->newest + 1;
        j->head = j->bytes = 0;
        j->open = false;
        j->stats.lost++;
}

/* Where a record of `size` bytes goes; what is there is forgotten. */
static char *make_room_locked(struct journal *j, size_t size) REQUIRES(j->lock)
{
        if (j->head + size > j->room) {
                while (!is_empty_locked(j) && first_place_locked(j) >= j->head)
                        drop_first_locked(j);
                j->head = 0;
        }
        while (!is_empty_locked(j) && first_place_locked(j) >= j->head && first_place_locked(j) < j->head + size)
                drop_first_locked(j);
        while (j->newest - j->first + 1 >= JOURNAL_RECORDS)
                drop_first_locked(j);
        return j->ring + j->head;
}

/* Put a record in, with room for `behind` bytes; where they go. NULL: it doesn't fit in at all. */
static char *put_locked(struct journal *j, struct packed *p, size_t behind) REQUIRES(j->lock)
{
        size_t size = (sizeof(*p) + behind + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        char *to = size <= j->room ? make_room_locked(j, size) : NULL;

        if (!to) {
                lose_locked(j);
                return NULL;
        }
        if (!j->open) {
                j->open = true;
                j->batch++;
                j->in_batch = j->touches = 0;
        }
        p->time_ns = now_ns();
        p->batch = j->batch;
        p->size = (uint32_t)size;
        memcpy(to, p, sizeof(*p));
        j->newest++;
        j->places[j->newest % JOURNAL_RECORDS] = (uint32_t)j->head;
        j->head += size;
        j->bytes += size;
        return to + sizeof(*p);
}

static char *put_bytes(char *to, const void *bytes, size_t len)
{
        memcpy(to, bytes, len);
        return to + len;
}

void journal_append(struct journal *j, const struct change *c)
{
        size_t len = strlen(c->path) + 1;
        struct packed p = {.has = (uint8_t)((c->has_old ? HAS_OLD : 0) | (c->has_new ? HAS_NEW : 0)),
                           .kind = (uint8_t)c->kind,
                           .origin = (uint8_t)c->origin,
                           .type = (uint8_t)c->type};
        char *to;

        mutex_lock(&j->lock);
        to = put_locked(j, &p, (c->has_old ? CONTENT_BYTES : 0) + (c->has_new ? CONTENT_BYTES : 0) + len);
        if (to) {
                if (c->has_old)
                        to = put_bytes(to, &c->old_hash, CONTENT_BYTES);
                if (c->has_new)
                        to = put_bytes(to, &c->new_hash, CONTENT_BYTES);
                memcpy(to, c->path, len);
                j->stats.changes++;
                if (c->kind == CHANGE_TOUCHED)
                        j->touches++;
                else
                        j->in_batch++;
        }
        mutex_unlock(&j->lock);
        tell_news(j);
}

static size_t text_size(const char *text)
{
        return text ? strnlen(text, JOURNAL_TEXT_MAX) + 1 : 0;
}

static char *put_text(char *to, const char *text)
{
        size_t size = text_size(text);

        if (size) {
                memcpy(to, text, size - 1);
                to[size - 1] = '\0';
        }
        return to + size;
}

/* The batch is open, or is opened by this. */
static void settle_locked(struct journal *j, const struct settled *s) REQUIRES(j->lock)
{
        struct packed p = {.has = (uint8_t)(IS_SETTLED | (s->has_root ? HAS_NEW : 0) | (s->operation ? HAS_OPERATION : 0) |
                                            (s->head_was ? HAS_WAS : 0) | (s->head_is ? HAS_IS : 0))};
        char *to = put_locked(j, &p,
                              2 * sizeof(uint64_t) + (s->has_root ? CONTENT_BYTES : 0) + text_size(s->operation) + text_size(s->head_was) +
                                      text_size(s->head_is));

        if (!to)
                return;
        to = put_bytes(to, &j->in_batch, sizeof(j->in_batch));
        to = put_bytes(to, &j->touches, sizeof(j->touches));
        if (s->has_root)
                to = put_bytes(to, &s->root, CONTENT_BYTES);
        to = put_text(to, s->operation);
        to = put_text(to, s->head_was);
        (void)put_text(to, s->head_is);
        j->open = false;
        j->stats.batches++;
}

void journal_settle(struct journal *j, const struct settled *s)
{
        bool settles;

        mutex_lock(&j->lock);
        settles = j->open || s->operation;
        if (settles)
                settle_locked(j, s);
        mutex_unlock(&j->lock);
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

static const char *take_bytes(const char *from, void *to, size_t len)
{
        memcpy(to, from, len);
        return from + len;
}

/* The text that is there, if there is one. */
static const char *take_text(const char **from, bool has)
{
        const char *text = *from;

        if (!has)
                return NULL;
        *from += strlen(text) + 1;
        return text;
}

/* The texts stay where they are. */
static void unpack_locked(const struct journal *j, uint64_t seq, struct journal_record *ret) REQUIRES(j->lock)
{
        const char *from = j->ring + j->places[seq % JOURNAL_RECORDS];
        struct packed p;

        from = take_bytes(from, &p, sizeof(p));
        *ret = (struct journal_record){.seq = seq, .batch = p.batch, .time_ns = p.time_ns, .is_settled = p.has & IS_SETTLED};
        if (ret->is_settled) {
                struct settled *s = &ret->settled;

                from = take_bytes(from, &s->changes, sizeof(s->changes));
                from = take_bytes(from, &s->touches, sizeof(s->touches));
                s->has_root = p.has & HAS_NEW;
                if (s->has_root)
                        from = take_bytes(from, &s->root, CONTENT_BYTES);
                s->operation = take_text(&from, p.has & HAS_OPERATION);
                s->head_was = take_text(&from, p.has & HAS_WAS);
                s->head_is = take_text(&from, p.has & HAS_IS);
        } else {
                struct change *c = &ret->change;

                c->kind = (enum change_kind)p.kind;
                c->origin = (enum change_origin)p.origin;
                c->type = (enum content_kind)p.type;
                c->has_old = p.has & HAS_OLD;
                c->has_new = p.has & HAS_NEW;
                if (c->has_old)
                        from = take_bytes(from, &c->old_hash, CONTENT_BYTES);
                if (c->has_new)
                        from = take_bytes(from, &c->new_hash, CONTENT_BYTES);
                c->path = from;
        }
}

int journal_next(struct journal *j, uint64_t seq, void (*visit)(void *arg, const struct journal_record *r), void *arg)
{
        struct journal_record r;
        int rc = 0;

        mutex_lock(&j->lock);
        if (seq + 1 < j->first)
                rc = -ESTALE;
        else if (seq >= j->newest)
                rc = -EAGAIN;
        if (rc == 0) {
                unpack_locked(j, seq + 1, &r);
                visit(arg, &r);
        }
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
