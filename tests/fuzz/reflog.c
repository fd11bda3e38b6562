/* HEAD's log as it may lie in any checkout: whatever its lines are, what they say fits, and is an operation's name and two places. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sync/reflog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct reflog_move *m, const struct reflog_move *before, bool taken)
{
        if (memchr(m->operation, '\0', sizeof(m->operation)) == NULL || memchr(m->was, '\0', sizeof(m->was)) == NULL ||
            memchr(m->is, '\0', sizeof(m->is)) == NULL)
                abort();
        if (m->operation[strspn(m->operation, "abcdefghijklmnopqrstuvwxyz-")])
                abort();
        if (taken ? !*m->operation || m->moved != (strcmp(m->was, m->is) != 0) : memcmp(m, before, sizeof(*m)) != 0)
                abort();
        if (*before->operation && strcmp(before->was, m->was) != 0)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct reflog_move m = {0};

        while (size) {
                const uint8_t *end = memchr(data, '\n', size);
                size_t len = end ? (size_t)(end - data) : size;
                struct reflog_move before = m;
                char *line = malloc(len ? len : 1); /* no byte behind it */

                bool taken;

                memcpy(line, data, len);
                taken = reflog_take(&m, line, len);
                check(&m, &before, taken);
                free(line);
                data += len;
                size -= len;
                if (size) {
                        data++;
                        size--;
                }
        }
        return 0;
}
