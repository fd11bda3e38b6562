#include "sync/serve/json.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "cache/base/err.h"

#define ESCAPED_BYTES 4 /* \xHH */

static const char digits[] = "0123456789abcdef";

size_t utf8_sequence(const unsigned char *s, size_t len)
{
        static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
        uint32_t code;

        if (n == 0 || n > len)
                return 0;
        if (n == 1)
                return 1;
        code = s[0] & (0x7fU >> n);
        for (size_t i = 1; i < n; i++) {
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
                code = code << 6 | (s[i] & 0x3f);
        }
        if (code < least[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
                return 0;
        return n;
}

json_t *bytes_to_json(const char *bytes, size_t len)
{
        CLEANUP_FREE char *text = malloc(len * ESCAPED_BYTES + 1);
        size_t n = 0;

        if (!text)
                return NULL;
        for (size_t i = 0; i < len;) {
                unsigned char c = (unsigned char)bytes[i];
                size_t valid = c ? utf8_sequence((const unsigned char *)bytes + i, len - i) : 0;

                if (valid == 0) {
                        text[n++] = '\\';
                        text[n++] = 'x';
                        text[n++] = digits[c >> 4];
                        text[n++] = digits[c & 15];
                        i++;
                        continue;
                }
                if (c == '\\')
                        text[n++] = '\\';
                memcpy(text + n, bytes + i, valid);
                n += valid;
                i += valid;
        }
        return json_stringn(text, n);
}

static int hex_value(char c)
{
        const char *at = c ? strchr(digits, c) : NULL;

        return at ? (int)(at - digits) : -1;
}

/* Undo one escape, which begins at text[*i]. */
static bool unescape(const char *text, size_t len, size_t *i, char *ret)
{
        int high;
        int low;

        if (*i + 1 < len && text[*i + 1] == '\\') {
                *ret = '\\';
                *i += 2;
                return true;
        }
        if (*i + ESCAPED_BYTES > len || text[*i + 1] != 'x')
                return false;
        high = hex_value(text[*i + 2]);
        low = hex_value(text[*i + 3]);
        if (high < 0 || low < 0)
                return false;
        *ret = (char)(high << 4 | low);
        *i += ESCAPED_BYTES;
        return true;
}

int bytes_from_json(const json_t *value, char **ret, size_t *ret_len)
{
        CLEANUP_FREE char *bytes = NULL;
        const char *text = json_string_value(value);
        size_t len = json_string_length(value);
        size_t n = 0;

        if (!text)
                return -EINVAL;
        bytes = malloc(len + 1);
        if (!bytes)
                return -ENOMEM;
        for (size_t i = 0; i < len;) {
                if (text[i] != '\\')
                        bytes[n++] = text[i++];
                else if (!unescape(text, len, &i, &bytes[n++]))
                        return -EINVAL;
        }
        bytes[n] = '\0';
        *ret_len = n;
        *ret = steal_ptr(&bytes);
        return 0;
}

char *path_from_json(const json_t *value)
{
        CLEANUP_FREE char *bytes = NULL;
        size_t len;

        if (bytes_from_json(value, &bytes, &len) || strlen(bytes) != len)
                return NULL;
        return steal_ptr(&bytes);
}

/* Of what a terminal obeys: how many bytes it has here, 0 if it is none. The upper control characters are two in UTF-8. */
static size_t control_at(const unsigned char *s, size_t len)
{
        if (s[0] < ' ' || s[0] == 0x7f)
                return 1;
        return len > 1 && s[0] == 0xc2 && s[1] >= 0x80 && s[1] < 0xa0 ? 2 : 0;
}

static json_t *plain_string(const json_t *string)
{
        const unsigned char *text = (const unsigned char *)json_string_value(string);
        size_t len = json_string_length(string);
        CLEANUP_FREE char *plain = malloc(len * ESCAPED_BYTES + 1);
        size_t n = 0;

        if (!plain)
                return NULL;
        for (size_t i = 0; i < len;) {
                size_t controls = control_at(text + i, len - i);

                if (controls == 0)
                        plain[n++] = (char)text[i++];
                for (; controls > 0; controls--, i++) {
                        plain[n++] = '\\';
                        plain[n++] = 'x';
                        plain[n++] = digits[text[i] >> 4];
                        plain[n++] = digits[text[i] & 0xf];
                }
        }
        return json_stringn(plain, n);
}

json_t *json_plain(const json_t *value)
{
        json_t *copy, *item;
        const char *key;
        size_t i;

        if (json_is_string(value))
                return plain_string(value);
        if (json_is_array(value)) {
                copy = json_array();
                json_array_foreach(value, i, item)
                {
                        (void)json_array_append_new(copy, json_plain(item));
                }
                return copy;
        }
        if (json_is_object(value)) {
                copy = json_object();
                json_object_foreach((json_t *)value, key, item)
                {
                        (void)json_object_set_new(copy, key, json_plain(item));
                }
                return copy;
        }
        return json_deep_copy(value);
}
