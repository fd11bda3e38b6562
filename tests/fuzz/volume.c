/* A volume's record, and with it the options that docker hands over: any bytes are a record that is written and read again as the same, or
 * none. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sync/agent/volume.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct volume *v, *back;
        char *why = NULL, *text;

        if (volume_from_text("app", (const char *)data, size, "b-1", &v, &why)) {
                if (!why)
                        abort();
                free(why);
                return 0;
        }
        text = volume_to_text(v, v->users, "b-1");
        if (!text || volume_from_text("app", text, strlen(text), "b-1", &back, &why) || !json_equal(v->options, back->options) ||
            !json_equal(v->users, back->users) || strcmp(v->wish.options, back->wish.options) != 0)
                abort();
        free(text);
        volume_free(v);
        volume_free(back);
        return 0;
}
