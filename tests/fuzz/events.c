/*
 * The event stream, both ways: any bytes are a request or refused with a sentence; any are an event or none; and what the server says, of
 * whatever names there are, its client understands as it was meant. The first byte chooses.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cache/base/err.h"
#include "sync/serve/stream_lines.h"
#include "sync/serve/subscriber.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(const char *text, size_t len)
{
        struct stream_request q;
        CLEANUP_FREE char *why = NULL;
        int rc = stream_request_parse(text, len, &q, &why);
        CLEANUP_FREE char *answer = rc ? stream_line_refused(why) : NULL;
        struct event e;

        if (rc) {
                /* The refusal is itself a line that makes sense. */
                CLEANUP_FREE char *not = NULL;

                if (!why || !answer || event_parse(answer, strlen(answer) - 1, &e, &not ) || e.kind != EVENT_REFUSED)
                        abort();
                event_release(&e);
        }
        stream_request_release(&q);
}

static void hear(const char *text, size_t len)
{
        CLEANUP_FREE char *why = NULL;
        struct event e;

        if (event_parse(text, len, &e, &why)) {
                if (!why)
                        abort();
                return;
        }
        if (event_is_change(&e) && (!e.path || !e.clock || strlen(e.path) != e.path_len))
                abort();
        event_release(&e);
}

static void tell(struct journal *j, const char *name, uint8_t how)
{
        struct journal_record r = {.seq = how + 1U, .batch = how, .time_ns = (int64_t)how << 50};
        CLEANUP_FREE char *line = NULL;
        CLEANUP_FREE char *why = NULL;
        struct event e;

        if (!*name)
                return;
        r.is_settled = how & 1;
        if (r.is_settled)
                r.settled = (struct settled){.changes = how, .operation = name, .head_was = name, .head_is = name};
        else
                r.change = (struct change){.kind = how % 4, .origin = how % 3, .type = CONTENT_FILE, .path = name, .has_new = how & 2};
        line = stream_line_record(j, &r);
        if (!line || line[strlen(line) - 1] != '\n' || strchr(line, '\n') != line + strlen(line) - 1)
                abort();
        if (event_parse(line, strlen(line) - 1, &e, &why))
                abort();
        if (!r.is_settled && (strcmp(e.path, name) != 0 || e.batch != how || !e.clock))
                abort();
        if (r.is_settled && (e.kind != EVENT_SETTLED || e.changes != how || !e.operation))
                abort();
        event_release(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static struct journal *journal;
        CLEANUP_FREE char *text = NULL;

        if (size < 2)
                return 0;
        if (!journal && journal_new(0, &journal))
                abort();
        text = malloc(size);
        if (!text)
                return 0;
        memcpy(text, data + 1, size - 1);
        text[size - 1] = '\0';
        if (data[0] == 'r')
                ask(text, size - 1);
        else if (data[0] == 'e')
                hear(text, size - 1);
        else
                tell(journal, text, data[0]);
        return 0;
}
