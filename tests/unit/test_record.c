#include <criterion/criterion.h>
#include <string.h>

#include "cache/record.h"

static const struct record sample = {
        .kind = CONTENT_PROGRAM,
        .racy = true,
        .tuple = {.size = 1ULL << 40,
                  .ino = 42,
                  .mtime_s = -5,
                  .ctime_s = 1700000000,
                  .mtime_ns = 999999999,
                  .ctime_ns = 1,
                  .mode = 0100755},
        .hash = {.bytes = {1, 2, 3, 255}},
        .child = 77,
};

Test(record, survives_encoding)
{
        uint8_t key[RECORD_KEY_MAX], value[RECORD_BYTES];
        size_t len = record_key(3, "name\n\xff", 6, key);
        struct record r;

        record_encode(&sample, key, len, value);
        cr_assert(record_decode(value, sizeof(value), key, len, &r));
        cr_assert_eq(r.kind, sample.kind);
        cr_assert(r.racy);
        cr_assert(tuple_equal(&r.tuple, &sample.tuple));
        cr_assert(content_equal(&r.hash, &sample.hash));
        cr_assert_eq(r.child, 77);
}

Test(record, no_single_bit_can_differ)
{
        uint8_t key[RECORD_KEY_MAX], value[RECORD_BYTES];
        size_t len = record_key(3, "name", 4, key);
        struct record r;

        record_encode(&sample, key, len, value);
        for (size_t bit = 0; bit < 8 * sizeof(value); bit++) {
                value[bit / 8] ^= (uint8_t)(1U << (bit % 8));
                cr_assert_not(record_decode(value, sizeof(value), key, len, &r), "bit %zu of the value", bit);
                value[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        }
        for (size_t bit = 0; bit < 8 * len; bit++) {
                key[bit / 8] ^= (uint8_t)(1U << (bit % 8));
                cr_assert_not(record_decode(value, sizeof(value), key, len, &r), "bit %zu of the key", bit);
                key[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        }
        for (size_t n = 0; n < sizeof(value); n++)
                cr_assert_not(record_decode(value, n, key, len, &r), "%zu bytes", n);
        cr_assert(record_decode(value, sizeof(value), key, len, &r));
}

Test(record, keys_of_a_directory_sort_together_by_name)
{
        uint8_t a[RECORD_KEY_MAX], b[RECORD_KEY_MAX];
        size_t a_len = record_key(255, "zz", 2, a), b_len = record_key(256, "a", 1, b);

        cr_assert_lt(memcmp(a, b, a_len < b_len ? a_len : b_len), 0);
        record_key(256, "a-", 2, a);
        record_key(256, "aa", 2, b);
        cr_assert_lt(memcmp(a, b, sizeof(dir_id) + 2), 0);
}

Test(record, keys_are_parsed_or_refused)
{
        uint8_t key[RECORD_KEY_MAX + 1] = {0};
        char longest[NAME_MAX];
        const char *name;
        size_t len;
        dir_id dir;

        memset(longest, 'n', sizeof(longest));
        cr_assert(record_key_parse(key, record_key(UINT64_MAX, longest, NAME_MAX, key), &dir, &name, &len));
        cr_assert_eq(dir, UINT64_MAX);
        cr_assert_eq(len, NAME_MAX);
        cr_assert_eq(memcmp(name, longest, NAME_MAX), 0);
        cr_assert_not(record_key_parse(key, sizeof(dir_id), &dir, &name, &len));
        cr_assert_not(record_key_parse(key, RECORD_KEY_MAX + 1, &dir, &name, &len));
}
