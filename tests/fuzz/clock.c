/* Clocks as a client sends them: any text is one that is written the same way again, or none. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sync/journal.h"

#define TEXT_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static struct journal *j;
        char text[TEXT_MAX + 20] = {0}, again[CLOCK_TEXT];
        uint64_t seq;
        int rc;

        if (!j) {
                if (journal_new(0, &j))
                        abort();
                for (int i = 0; i < 20; i++)
                        journal_append(j, &(struct change){.kind = CHANGE_TOUCHED, .path = "x"});
        }
        if (size > TEXT_MAX)
                return 0;
        memcpy(text, data, size);
        /* As it is, and with our own boot id, which isn't guessed but by a fuzzer that looks over our shoulder. */
        for (int own = 0; own < 2; own++) {
                rc = journal_clock_parse(j, text, &seq);
                if (rc == 0)
                        journal_clock_of(j, seq, again);
                if (rc == 0 ? strcmp(again, text) != 0 : rc != -EINVAL && rc != -ESTALE)
                        abort();
                journal_clock(j, again);
                memcpy(text, again, strlen("c:0123456789abcdef:"));
        }
        return 0;
}
