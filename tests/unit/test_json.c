/*
 * Names are bytes: whatever they are, JSON gives them back.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "cache/base/err.h"
#include "sync/serve/json.h"
#include "tests/lib/child.h"

#define ROUNDS 20000
#define NAME_MAX_BYTES 64

static void expect_text(const char *bytes, size_t len, const char *text)
{
        json_t *j = bytes_to_json(bytes, len);

        cr_assert(j, "no JSON for %s", text);
        cr_assert_str_eq(json_string_value(j), text);
        json_decref(j);
}

/* The name survives being written and read. */
static void expect_round_trip(const char *bytes, size_t len)
{
        json_t *j = bytes_to_json(bytes, len);
        CLEANUP_FREE char *wire = json_dumps(j, JSON_ENCODE_ANY);
        CLEANUP_FREE char *back = NULL;
        json_t *read;
        size_t n = 0;

        cr_assert(wire);
        read = json_loads(wire, JSON_DECODE_ANY, NULL);
        cr_assert(read, "not JSON: %s", wire);
        cr_assert_eq(bytes_from_json(read, &back, &n), 0, "not read: %s", wire);
        cr_assert_eq(n, len);
        cr_assert(memcmp(back, bytes, len) == 0, "another name: %s", wire);
        json_decref(read);
        json_decref(j);
}

Test(json, ordinary_names_are_themselves)
{
        expect_text("app", 3, "app");
        expect_text("", 0, "");
        expect_text("a \"b\"\n", 6, "a \"b\"\n");
        expect_text("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
}

Test(json, backslashes_are_doubled)
{
        expect_text("a\\xff", 5, "a\\\\xff");
}

Test(json, what_is_not_utf8_is_escaped)
{
        expect_text("\xff", 1, "\\xff");
        expect_text("a\0b", 3, "a\\x00b");
        expect_text("\xc0\x80", 2, "\\xc0\\x80");                   /* overlong */
        expect_text("\xed\xa0\x80", 3, "\\xed\\xa0\\x80");          /* a surrogate */
        expect_text("\xf4\x90\x80\x80", 4, "\\xf4\\x90\\x80\\x80"); /* beyond Unicode */
        expect_text("\xe2\x82", 2, "\\xe2\\x82");                   /* cut short */
}

Test(json, foreign_escapes_are_refused)
{
        static const char *const bad[] = {"\\", "\\x", "\\x4", "\\xfg", "\\n", "\\X41", "\\xFF"};

        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                json_t *j = json_string(bad[i]);
                char *bytes = NULL;
                size_t len;

                cr_assert_lt(bytes_from_json(j, &bytes, &len), 0, "%s", bad[i]);
                cr_assert_null(bytes);
                json_decref(j);
        }
        cr_assert_null(path_from_json(json_null()));
}

Test(json, a_path_has_no_nul)
{
        json_t *j = json_string("a\\x00b");

        cr_assert_null(path_from_json(j));
        json_decref(j);
}

Test(json, every_name_comes_back)
{
        struct dice d = {.state = 42};

        for (int round = 0; round < ROUNDS; round++) {
                char name[NAME_MAX_BYTES];
                size_t len = dice_roll(&d, sizeof(name));
                unsigned kind = dice_roll(&d, 3);

                for (size_t i = 0; i < len; i++) {
                        /* any byte; mostly lead and continuation bytes; mostly what looks like our own escapes */
                        name[i] = kind == 0   ? (char)dice_roll(&d, 256)
                                  : kind == 1 ? (char)(128 + dice_roll(&d, 128))
                                              : "\\x0fa9\xc3\xa4"[dice_roll(&d, 8)];
                }
                expect_round_trip(name, len);
        }
}

Test(json, different_names_have_different_texts)
{
        json_t *a = bytes_to_json("\\xff", 4);
        json_t *b = bytes_to_json("\xff", 1);

        cr_assert_str_neq(json_string_value(a), json_string_value(b));
        json_decref(a);
        json_decref(b);
}

Test(json, what_a_terminal_would_obey_is_written_out)
{
        json_t *j = json_pack("{s:s, s:[s, i, {s:s}], s:n}", "path", "a\033]0;owned\007b\n", "list", "\xc2\x9b\x7f", 7, "deep", "ä\t\\",
                              "none");
        json_t *plain = json_plain(j);
        json_t *want = json_pack("{s:s, s:[s, i, {s:s}], s:n}", "path", "a\\x1b]0;owned\\x07b\\x0a", "list", "\\xc2\\x9b\\x7f", 7, "deep",
                                 "ä\\x09\\", "none");

        cr_assert(json_equal(plain, want));
        json_decref(j);
        json_decref(plain);
        json_decref(want);
}
