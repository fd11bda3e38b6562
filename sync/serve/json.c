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
