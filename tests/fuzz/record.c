/* Records as they lie in a memory: any bytes are a record that encodes to the same bytes, or none. The first byte is the key's length. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cache/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        uint8_t value[RECORD_BYTES], again[RECORD_KEY_MAX];
        size_t key_len, name_len;
        struct record r, back;
        const char *name;
        dir_id dir;

        if (size == 0)
                return 0;
        key_len = data[0] < size ? data[0] : size - 1;
        data++;
        size--;
        if (record_key_parse(data, key_len, &dir, &name, &name_len) &&
            (record_key(dir, name, name_len, again) != key_len || memcmp(again, data, key_len) != 0))
                abort();
        if (record_decode(data + key_len, size - key_len, data, key_len, &r))
                abort(); /* a check of 64 bits is not guessed */
        /* What is encoded is decoded, whatever the numbers. */
        memset(&r, 0, sizeof(r));
        r.kind = CONTENT_FILE;
        r.racy = size & 1;
        memcpy(&r.tuple, data, size < sizeof(r.tuple) ? size : sizeof(r.tuple));
        memcpy(&r.hash, data, size < sizeof(r.hash) ? size : sizeof(r.hash));
        record_encode(&r, data, key_len, value);
        if (!record_decode(value, sizeof(value), data, key_len, &back) || !tuple_equal(&r.tuple, &back.tuple) || r.racy != back.racy ||
            !content_equal(&r.hash, &back.hash))
                abort();
        if (size)
                value[data[0] % sizeof(value)] ^= (uint8_t)(data[size - 1] | 1);
        if (size && record_decode(value, sizeof(value), data, key_len, &back))
                abort();
        return 0;
}
