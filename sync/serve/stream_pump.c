/*
 * What a subscription gets of the journal: the records after its position that it wants, as lines, in pieces of which one is on the way.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache/base/err.h"
#include "sync/serve/stream_lines.h"
#include "sync/serve/stream_self.h"

/* A piece of the journal is written when it has this size; a line more fits in. */
#define PIECE_BYTES ((size_t)32 * 1024)
#define PIECE_MAX (PIECE_BYTES + (size_t)EVENT_LINE_MAX / 2)

/*
 * Reading the journal
 */

static const char *keep_text(char *to, const char *from)
{
        size_t len = from ? strnlen(from, JOURNAL_TEXT_MAX) : 0;

        if (!from)
                return NULL;
        memcpy(to, from, len);
        to[len] = '\0';
        return to;
}

/* Under the journal's lock. */
static void copy_record(void *arg, const struct journal_record *r)
{
        struct stream *s = arg;
        size_t size;

        s->record = *r;
        s->no_memory = false;
        if (r->is_settled) {
                s->record.settled.operation = keep_text(s->texts[0], r->settled.operation);
                s->record.settled.head_was = keep_text(s->texts[1], r->settled.head_was);
                s->record.settled.head_is = keep_text(s->texts[2], r->settled.head_is);
                return;
        }
        size = strlen(r->change.path) + 1;
        if (size > s->path_size) {
                char *grown = realloc(s->path, size * 2);

                s->no_memory = !grown;
                if (!grown)
                        return;
                s->path = grown;
                s->path_size = size * 2;
        }
        memcpy(s->path, r->change.path, size);
        s->record.change.path = s->path;
}

/* Is the record one that this subscriber is told? */
static bool is_wanted(const struct subscription *sub, const struct journal_record *r)
{
        if (sub->touches)
                return true;
        return r->is_settled ? r->settled.changes || r->settled.operation : r->change.kind != CHANGE_TOUCHED;
}

/* Continuity is lost: say so, and go on from now. The line, or NULL without memory. */
static char *start_afresh(struct subscription *sub)
{
        struct journal *j = sub->door->stream->options.journal;
        char clock[CLOCK_TEXT];

        journal_clock(j, clock);
        /* The newest is never forgotten by the time it is asked for; if it is, this is said once more. */
        if (journal_clock_parse(j, clock, &sub->seq))
                return NULL;
        return stream_line_fresh(clock);
}

/* The next line for this subscriber, if any. 0 and *ret; or -EAGAIN, -ENOMEM, or -ESTALE: it was overtaken. */
static int next_line(struct subscription *sub, char **ret)
{
        struct stream *s = sub->door->stream;

        for (;;) {
                int rc = sub->state == ENDING && sub->seq >= sub->upto ? -EAGAIN
                                                                       : journal_next(s->options.journal, sub->seq, copy_record, s);

                if (rc == -ESTALE && sub->more)
                        return rc;
                /* It had all there was: it isn't its fault. */
                if (rc == -ESTALE) {
                        *ret = start_afresh(sub);
                        return *ret ? 0 : -ENOMEM;
                }
                if (rc)
                        return rc;
                if (s->no_memory)
                        return -ENOMEM;
                sub->seq = s->record.seq;
                if (!is_wanted(sub, &s->record))
                        continue;
                *ret = stream_line_record(s->options.journal, &s->record);
                s->stats.sent++;
                s->stats.replayed += s->record.seq <= sub->came_at;
                return *ret ? 0 : -ENOMEM;
        }
}

/*
 * Writing
 */

static void piece_written(uv_write_t *w, int status)
{
        struct subscription *sub = w->data;

        free(steal_ptr(&sub->piece));
        if (status < 0)
                subscription_drop(sub);
        if (sub->state != FOLLOWING && sub->state != ENDING)
                return;
        subscription_clear_deadline(sub);
        subscription_pump(sub);
}

void subscription_write(struct subscription *sub, char *piece, size_t len)
{
        uv_buf_t buf = uv_buf_init(piece, (unsigned)len);

        sub->piece = piece;
        sub->write.data = sub;
        if (uv_write(&sub->write, (uv_stream_t *)&sub->pipe, &buf, 1, piece_written) < 0) {
                subscription_drop(sub);
                return;
        }
        sub->left = uv_stream_get_write_queue_size((uv_stream_t *)&sub->pipe);
        if (sub->left)
                subscription_set_deadline(sub, sub->door->stream->options.patience_ms);
}

void subscription_pump(struct subscription *sub)
{
        char *piece = NULL;
        size_t len = 0;
        int rc = 0;

        if (sub->piece)
                return;
        while (rc == 0 && len < PIECE_BYTES) {
                CLEANUP_FREE char *line = NULL;
                size_t n;

                rc = next_line(sub, &line);
                if (rc)
                        break;
                n = strlen(line);
                if (!piece)
                        piece = malloc(PIECE_MAX);
                if (!piece || len + n > PIECE_MAX) {
                        rc = -ENOMEM;
                        break;
                }
                memcpy(piece + len, line, n);
                len += n;
        }
        sub->more = rc == 0;
        if (len)
                subscription_write(sub, steal_ptr(&piece), len);
        free(piece);
        if (sub->state != FOLLOWING && sub->state != ENDING)
                return;
        if (rc == -ESTALE)
                subscription_cut(sub, "more has changed than is kept for those who read slowly; ask again, and look at everything");
        else if (rc == -ENOMEM)
                subscription_cut(sub, "the agent is out of memory");
        else if (rc == -EAGAIN && sub->state == ENDING)
                subscription_say_last(sub, stream_line_end(sub->why));
}
